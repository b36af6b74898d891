//! Log lines: etcd's keys under `t4 etcd`, and what each start says.

use std::process::Command;

use t4_testkit::{Program, Rpc, Scratch, T4, T4Options, free_port, t4_binary};

use crate::{DEADLINE, EtcdCommand, READY, put, runtime};

/// Whether a line is an object with etcd's keys in etcd's order.
fn is_etcds(line: &str) -> bool {
    let mut rest = line;
    for (key, end) in [("{\"level\":\"", "\""), (",\"ts\":\"", "\""), (",\"caller\":\"", "\"")] {
        let Some(after) = rest.strip_prefix(key) else { return false };
        let Some((value, after)) = after.split_once(end) else { return false };
        let is_sound = match key {
            "{\"level\":\"" => matches!(value, "debug" | "info" | "warn" | "error"),
            // 2026-12-01T09:54:51.934910Z
            ",\"ts\":\"" => value.len() == 27 && value.ends_with('Z') && &value[10..11] == "T",
            _ => value.contains(".rs:"),
        };
        if !is_sound {
            return false;
        }
        rest = after;
    }
    rest.starts_with(",\"msg\":\"") && rest.ends_with('}')
}

#[test]
fn every_line_of_t4_etcd_has_the_keys_that_collectors_rest_on() {
    let mut etcd = EtcdCommand::start(&["--heartbeat-interval=100", "--log-level=debug"]);
    etcd.program.terminate().expect("signal");
    etcd.program.wait(DEADLINE).expect("end");
    etcd.program.wait_for_line("\"msg\":\"stopped\"", DEADLINE).expect("the last line");
    let log = etcd.program.log();
    assert!(log.len() >= 5, "{log:?}");
    for line in &log {
        assert!(is_etcds(line), "{line}");
    }
    assert_eq!(log.iter().filter(|line| line.contains(READY)).count(), 1, "{log:?}");
    let has = |text: &str| log.iter().any(|line| line.contains(text));
    assert!(has("\"setting\":\"heartbeat-interval\""), "{log:?}");
    assert!(!is_etcds("{\"level\":\"INFO\"}"));
}

#[test]
fn a_line_of_the_console_has_columns() {
    let etcd = EtcdCommand::start(&["--log-format=console"]);
    for line in etcd.program.log() {
        let columns: Vec<&str> = line.split('\t').collect();
        assert!(columns.len() >= 4 && columns[0].ends_with('Z'), "{line}");
        assert!(matches!(columns[1], "info" | "warn") && columns[2].contains(".rs:"), "{line}");
    }
}

/// The line with this text.
fn line_with(log: &[String], text: &str) -> String {
    let found: Vec<&String> = log.iter().filter(|line| line.contains(text)).collect();
    assert_eq!(found.len(), 1, "{text}: {log:?}");
    found[0].clone()
}

#[test]
fn a_start_tells_what_was_restored_and_what_is_served_also_after_a_crash() {
    let flags = vec!["--quota-backend-bytes=123456789".to_owned()];
    let mut t4 = T4::start(T4Options { flags, ..T4Options::default() }).expect("start");
    runtime().block_on(async {
        let mut rpc = Rpc::connect(t4.endpoint()).await.expect("connect");
        for n in 0..5 {
            rpc.kv.put(put(&format!("k{n}"), "v")).await.expect("put");
        }
    });
    // It is on the other stream than the line that was waited for.
    let serving = t4.program().wait_for_line(" serving ", DEADLINE).expect("told");
    let client = format!("client=\"http://{}\"", t4.endpoint());
    let metrics = format!("metrics=\"http://{}\"", t4.metrics_endpoint());
    for part in [
        &client,
        &metrics,
        "tls=\"off\"",
        "auth=\"off\"",
        "quota_bytes=\"123456789\"",
        "cluster_id=",
        "member_id=",
        "revision=1 ",
        "keys=0 ",
    ] {
        assert!(serving.contains(part), "{part}: {serving}");
    }
    t4.kill().expect("kill");
    t4.start_again().expect("start");
    let serving = t4.program().wait_for_line(" serving ", DEADLINE).expect("told");
    assert!(serving.contains("revision=6 keys=5"), "{serving}");
    let restored = line_with(&t4.program().log(), "the key space was restored");
    assert!(restored.contains("revision=6 ") && restored.contains("keys=5 "), "{restored}");
    assert!(restored.contains("took=") && restored.contains("replayed_bytes="), "{restored}");
    let entries = restored.split("replayed_entries=").nth(1).expect("the entries");
    let entries: u64 = entries.split(' ').next().expect("a word").parse().expect("a number");
    // Each put was alone, behind the barrier of the epoch and the member's own.
    assert!(entries >= 6, "{restored}");
}

#[test]
fn the_ready_line_says_that_metrics_are_off() {
    let etcd = EtcdCommand::start(&["--log-format=console"]);
    let ready = line_with(&etcd.program.log(), READY);
    assert!(ready.ends_with("; metrics off"), "{ready}");
}

/// A disk whose syncs take long: `strace` makes each of them wait.
#[test]
fn a_slow_sync_of_the_log_is_told_in_etcds_words() {
    let scratch = Scratch::new("slow-sync").expect("scratch");
    let endpoint = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("strace");
    command
        // The tracer is the grandchild, so that the process that is ended is t4.
        .args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"])
        .args(["-e", "inject=fdatasync:delay_exit=1200000"])
        .arg(t4_binary().expect("a t4 to test"))
        .args(["run", "--metrics-addr=off", "--listen", &endpoint, "--data-dir"])
        .arg(scratch.join("data"));
    let program = Program::start("t4", command, &scratch.join("log")).expect("strace is there");
    program.wait_for_line(READY, DEADLINE).expect("ready");
    let line = program.wait_for_line("slow fdatasync", DEADLINE).expect("told");
    assert!(line.contains("took=1.") && line.contains("expected-duration=1s"), "{line}");
}
