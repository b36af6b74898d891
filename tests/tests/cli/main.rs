//! The command line of the real binary: what it refuses and how, what it
//! prints, how it ends, and what `t4 inspect` shows of what it leaves.

mod certs;
mod damage;
mod disks;
mod documents;
mod ending;
mod inspect;
mod modes;
mod settings;
mod socket;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use t4_proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};
use t4_testkit::{Rpc, T4, T4Options, free_port, t4_binary};
use tokio::runtime::Runtime;

const DEADLINE: Duration = Duration::from_secs(60);
const READY: &str = "ready to serve client requests";

/// The binary without the suite's own variables, which it would take for its
/// configuration.
fn binary() -> Command {
    let mut command = Command::new(t4_binary().expect("a t4 to test"));
    without_own_variables(&mut command);
    command
}

fn without_own_variables(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("T4_") {
            command.env_remove(name);
        }
    }
}

fn t4(args: &[&str]) -> Output {
    binary().args(args).output().expect("start t4")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// `t4 run` on a directory, which must not start. Returns what it says.
fn refused_start(dir: &Path) -> String {
    let listen = format!("127.0.0.1:{}", free_port());
    let output = binary()
        .args(["run", "--metrics-addr=", "--listen", &listen, "--data-dir"])
        .arg(dir)
        .output()
        .expect("start t4");
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(!stdout(&output).contains(READY), "{told}");
    told
}

/// Every file below a directory, with its bytes. What a running server removes or
/// renames while they are listed is left out.
fn every_file(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("list") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            found.extend(every_file(&path));
        } else {
            match fs::read(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                bytes => drop(found.insert(path, bytes.expect("read"))),
            }
        }
    }
    found
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn put(key: &str, value: &str) -> PutRequest {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    PutRequest { key, value, ..Default::default() }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest { key: key.as_bytes().to_vec().into(), ..Default::default() }
}

// A server that was stopped after /a=1, /b=1, /a=2, /b deleted (revisions 2 to 5).
fn stopped_server() -> T4 {
    let mut t4 = T4::start(T4Options::default()).expect("start");
    let runtime = runtime();
    runtime.block_on(async {
        let mut rpc = Rpc::connect(t4.endpoint()).await.expect("connect");
        for (key, value) in [("/a", "1"), ("/b", "1"), ("/a", "2")] {
            rpc.kv.put(put(key, value)).await.expect("put");
        }
        let key = b"/b".to_vec().into();
        let delete = DeleteRangeRequest { key, ..Default::default() };
        rpc.kv.delete_range(delete).await.expect("delete");
    });
    t4.stop().expect("stop");
    t4
}
