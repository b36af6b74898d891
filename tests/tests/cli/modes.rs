//! Who may read what the server makes: its owner alone, whatever the umask.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use t4_testkit::{Program, Rpc, Scratch, free_port, poll_until, t4_binary};

use crate::{DEADLINE, READY, put, runtime, stderr, without_own_variables};

/// t4 with a umask of its own.
fn under(umask: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("umask {umask}; exec \"$0\" \"$@\""));
    command.arg(t4_binary().expect("a t4 to test"));
    without_own_variables(&mut command);
    command
}

/// Everything below a directory, itself too. What a running server removes
/// while it is listed, such as a file that it renames once it is complete, is
/// left out.
fn everything(dir: &Path) -> BTreeMap<PathBuf, fs::Metadata> {
    let mut found = BTreeMap::new();
    let metadata = match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return found,
        metadata => metadata.expect("metadata"),
    };
    if metadata.is_dir() {
        for entry in fs::read_dir(dir).expect("list") {
            found.extend(everything(&entry.expect("entry").path()));
        }
    }
    found.insert(dir.to_owned(), metadata);
    found
}

/// The mode that a file is to have. A certificate is shown to everyone who
/// connects: others may read it, if the umask allows.
fn wanted(path: &Path, metadata: &fs::Metadata, umask: u32) -> u32 {
    let is_certificate = path.extension().is_some_and(|e| e == "crt") || path.ends_with("cert.pem");
    match metadata {
        _ if metadata.is_dir() => 0o700,
        _ if is_certificate => 0o644 & !umask,
        _ => 0o600,
    }
}

fn assert_private(dir: &Path, umask: &str) -> BTreeMap<PathBuf, fs::Metadata> {
    let bits = u32::from_str_radix(umask, 8).expect("a mode");
    let found = everything(dir);
    for (path, metadata) in &found {
        let (mode, wanted) = (metadata.permissions().mode() & 0o7777, wanted(path, metadata, bits));
        let name = path.display();
        assert_eq!(mode, wanted, "umask {umask}: {name} is {mode:04o} and not {wanted:04o}");
    }
    found
}

/// The data directory with all that can be in it, a socket, and a log file.
#[test]
fn all_that_a_server_makes_is_its_owners_alone() {
    for umask in ["000", "022", "077"] {
        let scratch = Scratch::new("modes").expect("scratch");
        // Not below what `T4` makes, which follows the umask of the suite.
        let made = scratch.join("made");
        let socket = std::env::temp_dir().join(format!("t4-modes-{}", free_port()));
        let [plain, tls] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
        let mut command = under(umask);
        command
            .args(["run", "--metrics-addr=", "--segment-max-size-mb=2", "--auto-tls", "--data-dir"])
            .arg(&made)
            .arg(format!("--listen=http://{plain}"))
            .arg(format!("--listen=https://{tls}"))
            .arg(format!("--listen=unix://{}", socket.display()));
        let log = scratch.join("t4.log");
        let mut program = Program::start("t4", command, &log).expect("start");
        program.wait_for_line(READY, DEADLINE).expect("ready");
        let metadata = fs::symlink_metadata(&socket).expect("the socket");
        assert!(metadata.file_type().is_socket());
        let mode = metadata.permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "umask {umask}: the socket is {mode:04o}");

        // Enough for a seal, whose segments of the log are released.
        runtime().block_on(async {
            let mut rpc = Rpc::connect(&plain).await.expect("connect");
            let value = "v".repeat(1 << 20);
            for number in 0..36 {
                rpc.kv.put(put(&format!("{number}"), &value)).await.expect("put");
            }
        });
        let sealed = poll_until("a seal", DEADLINE, || {
            let found = everything(&made);
            let sealed = found.keys().any(|path| path.extension().is_some_and(|e| e == "seg"));
            ensure!(sealed, "{:?}", found.keys());
            Ok(())
        });
        sealed.expect("sealed");
        program.terminate().expect("signal");
        assert!(program.wait(DEADLINE).expect("end").success());

        let found = assert_private(&made, umask);
        let kinds = ["LOCK", "IDENTITY", "log", "state/MANIFEST", "fixtures/client/key.pem"];
        for part in kinds.map(|part| made.join(part)) {
            assert!(found.contains_key(&part), "{} was not made", part.display());
        }
        assert!(!program.log().iter().any(|line| line.contains("open to others")));
    }
}

#[test]
fn log_files_and_keys_are_their_owners_alone() {
    for umask in ["000", "022", "077"] {
        let scratch = Scratch::new("modes").expect("scratch");
        let made = scratch.join("made");
        let dir = under(umask).args(["certs", "init-ca", "--dir"]).arg(&made).output();
        let dir = dir.expect("start t4");
        assert!(dir.status.success(), "{}", stderr(&dir));
        let issue = ["certs", "issue", "server", "--san", "localhost", "--dir"];
        let issued = under(umask).current_dir(&made).args(issue).arg(&made).output();
        let issued = issued.expect("start t4");
        assert!(issued.status.success(), "{}", stderr(&issued));

        let log = made.join("etcd.log");
        let url = format!("http://127.0.0.1:{}", free_port());
        let mut command = under(umask);
        command
            .args(["etcd", "--listen-client-urls", &url, "--advertise-client-urls", &url])
            .arg(format!("--log-outputs={},stderr", log.display()))
            .arg("--data-dir")
            .arg(made.join("default.etcd"));
        let program = Program::start("t4", command, &scratch.join("t4.log")).expect("start");
        program.wait_for_line(READY, DEADLINE).expect("ready");
        let found = assert_private(&made, umask);
        assert!(found.contains_key(&log) && found.contains_key(&made.join("server.key")));
    }
}

/// It may be the operator's, with rights that were given on purpose: said, and
/// not changed. What lies in it is closed.
#[test]
fn a_data_directory_that_is_open_to_others_is_told_with_the_remedy() {
    let scratch = Scratch::new("modes").expect("scratch");
    let data = scratch.join("data");
    let told = |mode| {
        fs::set_permissions(&data, fs::Permissions::from_mode(mode)).expect("chmod");
        let listen = format!("127.0.0.1:{}", free_port());
        let mut command = under("022");
        command.args(["run", "--metrics-addr=", "--listen", &listen, "--data-dir"]).arg(&data);
        let mut program = Program::start("t4", command, &scratch.join("t4.log")).expect("start");
        program.wait_for_line(READY, DEADLINE).expect("ready");
        program.kill().expect("kill");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&data.join("log")), 0o700);
        let log = program.log();
        log.into_iter().filter(|line| line.contains("chmod")).collect::<Vec<_>>()
    };
    fs::create_dir_all(data.join("log")).expect("a directory of an earlier version");
    fs::set_permissions(data.join("log"), fs::Permissions::from_mode(0o755)).expect("chmod");
    let lines = told(0o755);
    let remedy = format!("chmod 700 {}", data.display());
    assert!(lines.len() == 1 && lines[0].contains(&remedy), "{lines:?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("0755"), "{lines:?}");
    assert_eq!(told(0o700), Vec::<String>::new());
}
