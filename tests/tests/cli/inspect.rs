//! `t4 inspect` on what a server left.

use std::process::Command;

use t4_proto::etcdserverpb::CompactionRequest;
use t4_testkit::{Rpc, t4_binary};

use crate::{binary, every_file, put, runtime, stderr, stdout, stopped_server, t4};

#[test]
fn inspect_shows_what_clients_saw_and_changes_nothing() {
    let mut server = stopped_server();
    let dir = format!("--data-dir={}", server.data_dir().display());
    let before = every_file(&server.data_dir());
    let show = |args: &[&str]| {
        let output = t4(&[&["inspect"], args, &[&dir]].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        stdout(&output)
    };
    assert!(show(&["meta"]).contains("\nrevision: 5\n"));
    assert!(show(&["meta", "--json"]).contains("\"revision\":5,"));
    assert!(show(&["get", "/a"]).contains("value: 2\n"));
    assert!(show(&["get", "/b", "--rev", "3"]).contains("value: 1\n"));
    assert_eq!(show(&["count"]), "1\n");
    assert_eq!(show(&["count", "/", "--rev", "3", "--json"]), "{\"count\":2,\"revision\":3}\n");
    assert_eq!(show(&["list", "/", "--values"]).lines().last(), Some("2\t4\t2\t-\t/a\t2"));
    assert_eq!(show(&["history", "/b"]).lines().count(), 3);
    assert_eq!(show(&["diff", "--from", "3"]), "~ /a (revision 2 -> 4)\n- /b (revision 3)\n");
    assert_eq!(t4(&["inspect", "get", "/none", &dir]).status.code(), Some(1));
    let told = stderr(&t4(&["inspect", "count", "--rev", "9", &dir]));
    assert!(told.contains("revisions 1 to 5"), "{told}");
    assert!(every_file(&server.data_dir()) == before, "a file was changed");

    let mut by_variable = binary();
    by_variable.args(["inspect", "count"]).env("T4_DATA_DIR", server.data_dir());
    assert_eq!(stdout(&by_variable.output().expect("run")), "1\n");

    // A pipe that is closed early is no error.
    let script = format!("'{}' inspect list '{dir}' | true", t4_binary().expect("t4").display());
    let piped = Command::new("bash").args(["-o", "pipefail", "-c", &script]).output();
    assert!(piped.expect("bash").status.success());

    server.start_again().expect("start");
    let refused = t4(&["inspect", "meta", &dir]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("in use by another process"), "{}", stderr(&refused));

    // What a killed server has acknowledged is shown too, and a compaction.
    runtime().block_on(async {
        let mut rpc = Rpc::connect(server.endpoint()).await.expect("connect");
        rpc.kv.put(put("/c", "3")).await.expect("put");
        let compaction = CompactionRequest { revision: 4, physical: false };
        rpc.kv.compact(compaction).await.expect("compact");
    });
    server.kill().expect("kill");
    assert!(show(&["meta"]).contains("\ncompacted: 4\n"));
    assert!(show(&["get", "/c"]).contains("mod_revision: 6\n"));
}
