//! Starts on a disk that fails: a first one, and one on data that is there.

use std::process::Command;

use t4_testkit::{Scratch, Seed, free_port};

use crate::cases::one_of;
use crate::injection::{Fault, Injection, injected, is_possible};
use crate::writers::{acknowledged, assert_kept};
use crate::{COMMAND, DEADLINE, READY, Server, assert_no_backtrace, run};

/// Starts a server on `data` whose `calls` to `path` fail, which it must not
/// survive; its last words name the file.
fn assert_refuses(scratch: &Scratch, calls: &'static str, error: &'static str, path: &str) {
    let what = format!("{calls} of {path}: {error}");
    println!("start: {what}");
    let data = scratch.join("data");
    let [listen, metrics] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let command: Command = run(&data, &listen, &metrics);
    let file = data.join(path).display().to_string();
    let fault = Fault { calls, error, when: "1+".to_owned(), paths: vec![file] };
    let trace = scratch.join("trace");
    let mut program = Injection::start(&command, &fault, &trace).expect("start");
    let status = program.wait(DEADLINE).expect(&what);
    assert!(injected(&trace) > 0, "{what}: no call has failed: {}", program.log_tail());
    assert_eq!(status.code(), Some(1), "{what}: {}", program.log_tail());
    // Without the ending of a temporary file.
    let name = path.rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or(path);
    let last = program.wait_for_line("t4: ", DEADLINE).expect(&what);
    assert!(last.contains(name), "{what}: {last}");
    let log = program.log();
    assert!(!log.iter().any(|line| line.contains(READY)), "{what}: {log:#?}");
    assert_no_backtrace(&log, &what);
}

#[test]
fn a_first_start_that_fails_says_where_and_can_be_repeated() {
    if !is_possible() {
        return;
    }
    let seed = Seed::announce("first starts", COMMAND);
    let mut rng = seed.rng();
    let lacking = ["EMFILE", "ENFILE", "ENOMEM", "ENOSPC", "EDQUOT", "EIO", "EROFS"];
    let scratch = Scratch::new("disk_faults").expect("scratch");
    for (calls, path) in [
        // In the order in which they are made: what a failed start has made is
        // not made again.
        ("openat", "LOCK"),
        ("/^mkdir", "log"),
        ("openat", "log/next.tmp"),
        ("fallocate", "log/next.tmp"),
        ("/^rename", "log/next.tmp"),
        ("openat", "IDENTITY.new"),
        ("write", "IDENTITY.new"),
        ("openat", "state/MANIFEST.tmp"),
        ("/^rename", "state/MANIFEST.tmp"),
    ] {
        assert_refuses(&scratch, calls, one_of(&mut rng, &lacking), path);
    }
    for (calls, path) in [
        ("fsync", "IDENTITY.new"),
        ("fsync", "state/MANIFEST.tmp"),
        ("fsync", "state"),
        ("fdatasync", "log/next.tmp"),
    ] {
        let scratch = Scratch::new("disk_faults").expect("scratch");
        assert_refuses(&scratch, calls, one_of(&mut rng, &["EIO", "ENOSPC"]), path);
    }
    // What the failed starts have left behind is no obstacle.
    let [listen, metrics] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let command = run(&scratch.join("data"), &listen, &metrics);
    let program = t4_testkit::Program::start("t4", command, &scratch.join("t4.log"));
    program.expect("start").wait_for_line(READY, DEADLINE).expect("ready");
}

#[test]
fn a_start_on_data_that_fails_loses_nothing() {
    if !is_possible() {
        return;
    }
    let seed = Seed::announce("later starts", COMMAND);
    let mut rng = seed.rng();
    let mut server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let writes = runtime.block_on(acknowledged(&server.endpoint, "kept", 200, 1000));
    server.program.kill().expect("kill");
    let segment = server.newest_segment();
    let segment = format!("log/{}", segment.rsplit('/').next().unwrap_or_default());
    let lacking = ["EMFILE", "ENOMEM", "EIO", "EACCES"];
    for path in ["LOCK", "IDENTITY", "state/MANIFEST", &segment] {
        assert_refuses(&server.scratch, "openat", one_of(&mut rng, &lacking), path);
    }
    for (calls, path) in [("read", "IDENTITY"), ("read", "state/MANIFEST"), ("pread64", &segment)] {
        assert_refuses(&server.scratch, calls, "EIO", path);
    }
    // It writes the frames again that a sync may not have reached.
    assert_refuses(&server.scratch, "pwrite64", one_of(&mut rng, &["EIO", "ENOSPC"]), &segment);
    assert_refuses(&server.scratch, "fdatasync", one_of(&mut rng, &["EIO", "ENOSPC"]), &segment);
    server.start_again();
    runtime.block_on(assert_kept(&server.endpoint, &writes, "after failed starts"));
}
