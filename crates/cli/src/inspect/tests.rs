//! Each command, run on the directory of a stopped node.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use t4_kv_types::{DeleteRangeRequest, KeyRange, LeaseId, PutRequest, Revision};
use t4_node::{Closed, Config, Node, OpenError};

use super::scope::{AtArgs, KeyArgs, PrefixArgs};
use super::*;

/// Runs `work` with a node on `dir`, then stops it.
fn with_node<F: Future<Output = ()>>(dir: &Path, work: impl FnOnce(Node) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let node = Node::open(Config::new(dir)).await.expect("open");
        work(node.clone()).await;
        assert_eq!(node.stop().await, Closed::Stopped);
    });
}

async fn put(node: &Node, key: &str, value: &str) -> Revision {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    let request = PutRequest { key, value, ..Default::default() };
    node.put(request).await.expect("put").revision
}

async fn delete(node: &Node, key: &str) -> Revision {
    let range = KeyRange::single(key.to_owned());
    let request = DeleteRangeRequest { range, prev_kv: false };
    node.delete_range(request).await.expect("delete").revision
}

/// Revisions 2 to 6: /a=1, /b=1, /a=2, /b deleted, /c=x; a lease; nothing sealed.
fn a_small_history() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    with_node(dir.path(), |node| async move {
        put(&node, "/a", "1").await;
        put(&node, "/b", "1").await;
        put(&node, "/a", "2").await;
        delete(&node, "/b").await;
        assert_eq!(put(&node, "/c", "x").await, Revision(6));
        node.lease_grant(LeaseId(7), 60).await.expect("grant");
    });
    dir
}

fn show(dir: &Path, args: impl Show, json: bool) -> anyhow::Result<(ExitCode, String)> {
    let data = Offline::open(dir)?;
    let mut out = Vec::new();
    let code = args.show(&data, &mut Output { out: &mut out, json })?;
    Ok((code, String::from_utf8(out).expect("UTF-8")))
}

fn text(dir: &Path, args: impl Show) -> String {
    show(dir, args, false).expect("shown").1
}

fn lines(dir: &Path, args: impl Show) -> Vec<Value> {
    let (_, out) = show(dir, args, true).expect("shown");
    out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn at(rev: i64) -> AtArgs {
    AtArgs::revision(rev)
}

#[test]
fn meta_tells_what_the_node_was() {
    let dir = a_small_history();
    let meta = &lines(dir.path(), meta::MetaArgs {})[0];
    assert_eq!(meta["revision"], 6);
    assert_eq!((&meta["keys"], &meta["leases"]), (&Value::from(2), &Value::from(1)));
    assert_eq!(meta["compacted_revision"], Value::Null);
    assert_eq!(meta["oldest_revision"], 1);
    assert_eq!(meta["sealed_log_index"], 0);
    assert_eq!(meta["log"]["last_index"], meta["applied_log_index"]);
    assert_eq!(meta["members"][0]["name"], "default");
    assert_eq!(meta["members"][0]["id"], meta["member_id"]);
    let text = text(dir.path(), meta::MetaArgs {});
    let log = meta["log"]["bytes_on_disk"].as_u64().expect("a number");
    assert!(log >= 1 << 20, "files of a log are made larger than what is in them: {log}");
    let sealed = meta["bytes_on_disk"].as_u64().expect("a number");
    let total = format!(
        "bytes on disk: {} ({sealed} sealed in 0 segments, {log} of the log)",
        log + sealed
    );
    let auth = "authentication: off, revision 1, 0 tokens";
    for line in ["revision: 6", "compacted: never", "keys: 2", auth, &total] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[test]
fn get_reads_any_kept_revision() {
    let dir = a_small_history();
    let get = |key: &str, at| get::GetArgs { key: KeyArgs::of(key), at, print_value_only: false };
    let newest = text(dir.path(), get("/a", AtArgs::default()));
    assert_eq!(
        newest,
        "key: /a\nvalue: 2\ncreate_revision: 2\nmod_revision: 4\nversion: 2\nlease: -\n"
    );
    assert!(text(dir.path(), get("/a", at(3))).contains("value: 1\n"));
    let kv = &lines(dir.path(), get("/b", at(4)))[0];
    assert_eq!((&kv["key"], &kv["value"]), (&Value::from("L2I="), &Value::from("MQ==")));
    let (code, out) = show(dir.path(), get("/b", AtArgs::default()), false).expect("read");
    assert_eq!((format!("{code:?}"), out), (format!("{:?}", ExitCode::from(1)), String::new()));
}

#[test]
fn a_key_that_cannot_be_typed_is_given_in_digits_and_its_value_comes_out_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let (key, value) = (b"bin\x01\0\xff", b"\0\xff\n");
    with_node(dir.path(), |node| async move {
        let (key, value) = (key.to_vec().into(), value.to_vec().into());
        node.put(PutRequest { key, value, ..Default::default() }).await.expect("put");
    });
    let get = |key| get::GetArgs { key, at: AtArgs::default(), print_value_only: true };
    let args = ["--key-hex=62696e0100ff", "--key-base64=YmluAQD/"]
        .map(|flag| key_args(&[flag]).expect(flag));
    for args in args {
        let data = Offline::open(dir.path()).expect("open");
        let mut out = Vec::new();
        get(args).show(&data, &mut Output { out: &mut out, json: false }).expect("shown");
        assert_eq!(out, value);
    }
    let list = list::ListArgs {
        prefix: PrefixArgs::default(),
        at: AtArgs::default(),
        limit: None,
        values: false,
    };
    assert!(text(dir.path(), list).ends_with("\tbin\\u{1}\\u{0}\\xff\n"));
    for wrong in [&[][..], &["--key-hex=6"], &["--key-hex=62", "k"], &["--key-base64=?"]] {
        assert!(key_args(wrong).is_err(), "{wrong:?}");
    }
    assert!(key_args(&[""]).expect("parsed").bytes().is_err(), "an empty key");
}

/// The key given by a command line.
fn key_args(args: &[&str]) -> Result<KeyArgs, clap::Error> {
    use clap::{Args, FromArgMatches};
    let command = KeyArgs::augment_args(clap::Command::new("t4").no_binary_name(true));
    KeyArgs::from_arg_matches(&command.try_get_matches_from(args)?)
}

#[test]
fn revisions_that_cannot_be_read_are_told_with_those_that_can() {
    let dir = a_small_history();
    with_node(dir.path(), |node| async move {
        node.compact(Revision(4), true).await.expect("compact");
    });
    let told = |rev| {
        let count = count::CountArgs { prefix: PrefixArgs::default(), at: at(rev) };
        show(dir.path(), count, false).expect_err("refused").to_string()
    };
    let range = "this directory has revisions 4 to 6";
    assert_eq!(told(3), format!("revision 3 cannot be read: {range}"));
    assert_eq!(told(7), format!("revision 7 cannot be read: {range}"));
}

#[test]
fn count_and_list_take_a_prefix_and_a_revision() {
    let dir = a_small_history();
    let count = |prefix: Option<&str>, at| {
        let args = count::CountArgs { prefix: PrefixArgs::of(prefix), at };
        text(dir.path(), args).trim().parse::<u32>().expect("a number")
    };
    assert_eq!(count(None, AtArgs::default()), 2);
    assert_eq!(count(Some("/b"), AtArgs::default()), 0);
    assert_eq!(count(Some("/b"), at(4)), 1);
    let list =
        |values, limit| list::ListArgs { prefix: PrefixArgs::default(), at: at(4), limit, values };
    assert_eq!(
        text(dir.path(), list(true, None)),
        "CREATED\tMODIFIED\tVERSION\tLEASE\tKEY\tVALUE\n2\t4\t2\t-\t/a\t2\n3\t3\t1\t-\t/b\t1\n"
    );
    assert_eq!(
        text(dir.path(), list(false, Some(1))),
        "CREATED\tMODIFIED\tVERSION\tLEASE\tKEY\n2\t4\t2\t-\t/a\n"
    );
    let kvs = lines(dir.path(), list(false, None));
    assert_eq!(kvs.len(), 2);
    assert_eq!(kvs[0].get("value"), None);
}

#[test]
fn history_is_what_is_kept() {
    let dir = a_small_history();
    let history = |key: &str, prefix| history::HistoryArgs { key: KeyArgs::of(key), prefix };
    let changes = |key: &str, prefix| -> Vec<(String, i64)> {
        let lines = lines(dir.path(), history(key, prefix));
        let change = |line: &Value| {
            let revision = line["kv"]["mod_revision"].as_i64().expect("a number");
            (line["type"].as_str().expect("text").to_owned(), revision)
        };
        lines.iter().map(change).collect()
    };
    let expected = |changes: &[(&str, i64)]| -> Vec<(String, i64)> {
        changes.iter().map(|(kind, revision)| ((*kind).to_owned(), *revision)).collect()
    };
    assert_eq!(changes("/b", false), expected(&[("PUT", 3), ("DELETE", 5)]));
    assert_eq!(
        text(dir.path(), history("/b", false)),
        "REVISION\tCHANGE\tVERSION\tLEASE\tKEY\tVALUE\n3\tput\t1\t-\t/b\t1\n5\tdelete\t-\t-\t/b\t\n"
    );
    let all = [("PUT", 2), ("PUT", 3), ("PUT", 4), ("DELETE", 5), ("PUT", 6)];
    assert_eq!(changes("/", true), expected(&all));

    with_node(dir.path(), |node| async move {
        node.compact(Revision(4), true).await.expect("compact");
    });
    // /a got its value at the compacted revision in revision 4, /b in 3.
    let kept = [("PUT", 3), ("PUT", 4), ("DELETE", 5), ("PUT", 6)];
    assert_eq!(changes("/", true), expected(&kept));

    with_node(dir.path(), |node| async move {
        node.compact(Revision(5), true).await.expect("compact");
    });
    assert_eq!(changes("/", true), expected(&[("PUT", 4), ("DELETE", 5), ("PUT", 6)]));
}

#[test]
fn diff_of_two_revisions() {
    let dir = a_small_history();
    let diff =
        |from, to, values| diff::DiffArgs { from: Some(from), to, values, ..Default::default() };
    assert_eq!(
        text(dir.path(), diff(3, None, false)),
        "~ /a (revision 2 -> 4)\n- /b (revision 3)\n+ /c (revision 6)\n"
    );
    assert_eq!(text(dir.path(), diff(3, Some(4), true)), "~ /a (revision 2 -> 4)\n  - 1\n  + 2\n");
    assert_eq!(text(dir.path(), diff(6, None, false)), "");
    let changes = lines(dir.path(), diff(1, Some(2), false));
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0]["change"], "added");
    assert_eq!(changes[0]["after"]["key"], "L2E=");
}

#[test]
fn diff_of_two_directories() {
    let (one, two) = (a_small_history(), a_small_history());
    let diff = || diff::DiffArgs {
        other: Some(two.path().to_str().expect("UTF-8").to_owned()),
        ..Default::default()
    };
    assert_eq!(text(one.path(), diff()), "");
    with_node(two.path(), |node| async move {
        delete(&node, "/a").await;
        put(&node, "/d", "").await;
    });
    assert_eq!(text(one.path(), diff()), "- /a (revision 4)\n+ /d (revision 8)\n");
    let at_6 = diff::DiffArgs { rev: Some(6), ..diff() };
    assert_eq!(text(one.path(), at_6), "");

    // Equal revisions with different values are a difference.
    let three = tempfile::tempdir().expect("a directory");
    with_node(three.path(), |node| async move {
        for (key, value) in [("/a", "1"), ("/b", "other")] {
            put(&node, key, value).await;
        }
    });
    let other = three.path().to_str().expect("UTF-8").to_owned();
    let at_3 = diff::DiffArgs { other: Some(other), rev: Some(3), ..Default::default() };
    assert_eq!(text(one.path(), at_3), "~ /b (value)\n");
}

#[test]
fn walks_go_on_behind_a_full_page() {
    let dir = tempfile::tempdir().expect("a directory");
    with_node(dir.path(), |node| async move {
        for key in 0..130 {
            put(&node, &format!("{key:03}"), "").await;
        }
    });
    let list = list::ListArgs {
        prefix: PrefixArgs::default(),
        at: AtArgs::default(),
        limit: None,
        values: true,
    };
    let keys: Vec<String> = text(dir.path(), list).lines().skip(1).map(str::to_owned).collect();
    assert_eq!(keys.len(), 130);
    assert!(keys.iter().enumerate().all(|(at, line)| line.contains(&format!("\t{at:03}\t"))));
}

fn every_file(dir: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("list") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            found.extend(every_file(&path));
        } else {
            let bytes = std::fs::read(&path).expect("read");
            found.insert(path, bytes);
        }
    }
    found
}

#[test]
fn nothing_is_written_and_a_running_node_is_in_the_way() {
    let dir = a_small_history();
    let before = every_file(dir.path());
    text(dir.path(), meta::MetaArgs {});
    assert!(every_file(dir.path()) == before, "a file was changed");

    let path = dir.path().to_owned();
    with_node(dir.path(), |_node| async move {
        let told = show(&path, meta::MetaArgs {}, false).expect_err("in use");
        assert!(matches!(told.downcast_ref(), Some(OpenError::Locked { .. })), "{told}");
    });
    let missing = dir.path().join("missing");
    assert!(show(&missing, meta::MetaArgs {}, false).is_err());
    assert!(!missing.exists(), "looking made it");
}
