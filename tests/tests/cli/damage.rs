//! Directories that are damaged or of a newer version: told, and left alone.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::etcdserverpb::{PutRequest, WatchCreateRequest, WatchRequest};
use t4_testkit::{Rpc, T4, T4Options, poll_until};
use tonic::Code;

use crate::{
    DEADLINE, every_file, get, put, refused_start, runtime, stderr, stdout, stopped_server, t4,
};

// What each way of damaging a stopped server's directory must be told.
#[test]
fn a_damaged_directory_is_told_and_left_as_it_is() {
    let mut server = stopped_server();
    let dir = server.data_dir();
    let segment = only_log_segment(&dir);
    let sound = every_file(&dir);
    let verified = t4(&["verify", "--json", &format!("--data-dir={}", dir.display())]);
    let told = stdout(&verified);
    assert!(verified.status.success(), "{told}");
    assert!(
        told.starts_with(r#"{"ok":true,"files":4,"#) && told.contains(r#""faults":[]"#),
        "{told}"
    );
    let check = |what: &str, expected: &[&str]| {
        let before = every_file(&dir);
        let told = refused_start(&dir);
        for expected in expected {
            assert!(told.contains(expected), "{what}: {told}");
        }
        assert!(every_file(&dir) == before, "{what}: a file was changed");
        let looked = t4(&["inspect", "meta", &format!("--data-dir={}", dir.display())]);
        assert_eq!(looked.status.code(), Some(1), "{what}: inspect");
        let verified = t4(&["verify", &format!("--data-dir={}", dir.display())]);
        assert_eq!(verified.status.code(), Some(1), "{what}: verify");
        for expected in expected {
            assert!(stdout(&verified).contains(expected), "{what}: {}", stdout(&verified));
        }
        assert!(every_file(&dir) == before, "{what}: inspect changed a file");
        for (path, bytes) in &sound {
            fs::write(path, bytes).expect("restore");
        }
    };

    let identity = dir.join("IDENTITY");
    let text = fs::read_to_string(&identity).expect("read");
    fs::write(&identity, text.replace("format 1", "format 2")).expect("write");
    check("a newer identity", &["IDENTITY", "newer version"]);
    fs::write(&identity, text.replace("cluster", "klaster")).expect("write");
    check("a changed identity", &["IDENTITY", "Restore the data directory"]);
    fs::remove_file(&identity).expect("remove");
    check("no identity", &["IDENTITY", "missing"]);

    set_format(&dir.join("state/MANIFEST"), 99);
    check("a newer manifest", &["MANIFEST", "format 99 is newer than 1"]);
    flip(&dir.join("state/MANIFEST"), 30);
    check("a flipped bit in the manifest", &["MANIFEST", "corrupt"]);

    set_format(&segment, 99);
    let name = segment.file_name().expect("name").to_str().expect("UTF-8");
    check("a newer log", &[name, "log format 99"]);
    // Inside of the first entry; others follow it.
    flip(&segment, 4096 + 60);
    let faults = faults(&dir);
    assert_eq!(faults.matches(r#""kind""#).count(), 1, "{faults}");
    let expected = format!(
        r#"[{{"file":"log/{name}","offset":4096,"kind":"corrupt","message":"log: {name}: "#
    );
    assert!(faults.starts_with(&expected), "{faults}");
    check("a flipped bit in the log", &[name, "corrupt at byte"]);

    // After a clean stop, what looks like a write that the power cut off is none.
    zero_the_end(&segment);
    let faults = self::faults(&dir);
    assert!(faults.contains(r#""kind":"missing""#) && faults.contains(r#""offset":"#), "{faults}");
    check("zeros at the end of the log", &[name, "are missing from byte", "the file END says"]);
    flip(&dir.join("log/END"), 30);
    check("a flipped bit in the mark of the log's end", &["END: damaged", "remove this one file"]);

    // Nothing is sealed yet: all that was acknowledged was in it.
    fs::remove_file(&segment).expect("remove");
    check("no log", &["log: the log is missing", "backup copy"]);

    server.start_again().expect("the restored directory is sound");
}

fn only_log_segment(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir.join("log")).expect("list").map(|e| e.expect("entry").path());
    let mut segments: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|ext| ext == "wal")).collect();
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments.remove(0)
}

/// The faults of a directory, as JSON.
fn faults(dir: &Path) -> String {
    let verified = t4(&["verify", "--json", &format!("--data-dir={}", dir.display())]);
    assert_eq!(verified.status.code(), Some(1), "{}", stderr(&verified));
    let told = stdout(&verified);
    let (_, faults) = told.split_once(r#""faults":"#).expect("faults");
    faults.to_owned()
}

/// The last 40 bytes that are in use read as zeros.
fn zero_the_end(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    let used = bytes.iter().rposition(|&byte| byte != 0).expect("something") + 1;
    bytes[used - 40..].fill(0);
    fs::write(path, bytes).expect("write");
}

/// Makes a file one of another format: bytes 8 to 11 are the number, the next
/// four its checksum, in every format of ours that is not text.
fn set_format(path: &Path, format: u32) {
    let mut bytes = fs::read(path).expect("read");
    bytes[8..12].copy_from_slice(&format.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(path, bytes).expect("write");
}

fn flip(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    byte[0] ^= 1;
    file.write_all_at(&byte, at).expect("write");
}

#[test]
fn a_damaged_segment_is_told_and_left_as_it_is() {
    let mut server = T4::start(T4Options::default()).expect("start");
    let dir = server.data_dir();
    // Enough for the tail to be sealed.
    let value = vec![b'v'; 1 << 20];
    runtime().block_on(async {
        let mut rpc = Rpc::connect(server.endpoint()).await.expect("connect");
        for key in 0..40 {
            let request = PutRequest { value: value.clone().into(), ..put(&format!("{key}"), "") };
            rpc.kv.put(request).await.expect("put");
        }
    });
    let segment = poll_until("a sealed segment", DEADLINE, || {
        let entries = fs::read_dir(dir.join("state"))?;
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths
            .find(|path| path.extension().is_some_and(|ext| ext == "seg"))
            .ok_or_else(|| anyhow::anyhow!("none yet"))
    })
    .expect("sealed");
    server.stop().expect("stop");
    // If the manifest does not name it yet, it would be a leftover.
    server.start_again().expect("start");
    server.stop().expect("stop");
    let bytes = fs::read(&segment).expect("the segment is part of the store");

    flip(&segment, bytes.len() as u64 - 10);
    let before = every_file(&dir.join("state"));
    let told = refused_start(&dir);
    let name = segment.file_name().expect("name").to_str().expect("UTF-8");
    assert!(told.contains(name) && told.contains("corrupt"), "{told}");
    fs::remove_file(&segment).expect("remove");
    let told = refused_start(&dir);
    assert!(told.contains(name) && told.contains("missing"), "{told}");
    fs::write(&segment, &bytes).expect("restore");
    flip(&segment, bytes.len() as u64 - 10);
    assert!(every_file(&dir.join("state")) == before, "a file was changed");
    fs::write(&segment, &bytes).expect("restore");
    let dir_flag = format!("--data-dir={}", dir.display());
    let count = t4(&["inspect", "count", &dir_flag]);
    assert_eq!(stdout(&count), "40\n", "{}", stderr(&count));

    // A log that is not there is not an empty one.
    fs::rename(dir.join("log"), dir.join("log.away")).expect("move");
    fs::create_dir(dir.join("log")).expect("create");
    let looked = stderr(&t4(&["inspect", "count", &dir_flag]));
    assert!(looked.contains("the log is missing"), "{looked}");
    let told = refused_start(&dir);
    assert!(told.contains("the log is missing"), "{told}");
    fs::remove_dir_all(dir.join("log")).expect("remove");
    fs::rename(dir.join("log.away"), dir.join("log")).expect("move");
    server.start_again().expect("the restored directory is sound");
}

/// The newest segments of a log of several: the name of the first that is lost is
/// told, by the start, `inspect` and `verify`.
#[test]
fn a_log_that_has_lost_its_end_is_refused_by_name() {
    let flags = ["--segment-max-size-mb", "1"].map(str::to_owned).into();
    let mut server = T4::start(T4Options { flags, ..T4Options::default() }).expect("start");
    let dir = server.data_dir();
    runtime().block_on(async {
        let mut rpc = Rpc::connect(server.endpoint()).await.expect("connect");
        for key in 0..9 {
            let value = vec![b'v'; 500 << 10].into();
            let request = PutRequest { value, ..put(&format!("{key}"), "") };
            rpc.kv.put(request).await.expect("put");
        }
    });
    server.kill().expect("kill");
    let mut segments: Vec<PathBuf> = every_file(&dir.join("log")).into_keys().collect();
    segments.retain(|path| path.extension().is_some_and(|ext| ext == "wal"));
    assert!(segments.len() > 3, "{segments:?}");
    let sound = every_file(&dir);
    for lost in 1..=3 {
        let first = &segments[segments.len() - lost];
        let name = first.file_name().expect("name").to_str().expect("UTF-8");
        fs::remove_file(first).expect("remove");
        let expected = format!("{name}: missing");
        let dir_flag = format!("--data-dir={}", dir.display());
        let told = refused_start(&dir);
        assert!(told.contains(&expected), "{told}");
        let looked = stderr(&t4(&["inspect", "meta", &dir_flag]));
        assert!(looked.contains(&expected), "{looked}");
        let verified = t4(&["verify", &dir_flag]);
        assert_eq!(verified.status.code(), Some(1));
        assert!(stdout(&verified).contains(&expected), "{}", stdout(&verified));
    }
    for (path, bytes) in sound {
        fs::write(path, bytes).expect("restore");
    }
    server.start_again().expect("the restored directory is sound");
}

/// Damage that a running server meets: told to the client who asked and to the
/// watcher, in readiness and in the log, once; what is sound can be read.
#[test]
fn damage_that_is_met_later_is_told_to_everyone_whom_it_concerns() {
    let mut server = T4::start(T4Options::default()).expect("start");
    let dir = server.data_dir();
    runtime().block_on(async {
        let mut rpc = Rpc::connect(server.endpoint()).await.expect("connect");
        rpc.kv.put(put("early", "1")).await.expect("put");
        for key in 0..40 {
            let value = vec![b'v'; 1 << 20].into();
            rpc.kv.put(PutRequest { value, ..put(&format!("{key}"), "") }).await.expect("put");
        }
    });
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "seg");
    let segment = poll_until("a sealed segment", DEADLINE, || {
        let found = every_file(&dir.join("state")).into_keys().find(is_segment);
        found.ok_or_else(|| anyhow::anyhow!("none yet"))
    });
    let segment = segment.expect("sealed");
    server.stop().expect("stop");
    server.start_again().expect("start");
    runtime().block_on(async {
        let mut rpc = Rpc::connect(server.endpoint()).await.expect("connect");
        rpc.kv.put(put("late", "1")).await.expect("put");
    });
    server.stop().expect("stop");
    // The first record, which is in the first block.
    flip(&segment, 16 + 30);
    let name = segment.file_name().expect("name").to_str().expect("UTF-8");
    let dir_flag = format!("--data-dir={}", dir.display());
    let verified = t4(&["verify", &dir_flag]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(
        stdout(&verified).contains(&format!("{name}: corrupt: byte 16")),
        "{}",
        stdout(&verified)
    );

    server.start_again().expect("damage of a value does not keep it from starting");
    let refused = t4(&["verify", &dir_flag]);
    assert!(stderr(&refused).contains("in use by another process"), "{}", stderr(&refused));
    let (status, _) = ask(server.metrics_endpoint(), "/readyz");
    assert_eq!(status, 200, "nobody has met it");
    runtime().block_on(async {
        let mut rpc = Rpc::connect(server.endpoint()).await.expect("connect");
        for _ in 0..3 {
            let told = rpc.kv.range(get("early")).await.expect_err("damaged");
            assert_eq!(told.code(), Code::DataLoss, "{told}");
            assert!(told.message().contains(name), "{told}");
        }
        let create = WatchCreateRequest {
            key: "late".into(),
            start_revision: 2,
            ..WatchCreateRequest::default()
        };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests =
            tokio_stream::StreamExt::chain(tokio_stream::iter([request]), tokio_stream::pending());
        let mut watch = rpc.watch.watch(requests).await.expect("watch").into_inner();
        let mut next = async || {
            let message = tokio::time::timeout(DEADLINE, watch.message()).await;
            message.expect("not silent").expect("no error").expect("no end")
        };
        assert!(next().await.created);
        let end = next().await;
        assert!(end.canceled && end.cancel_reason.contains(name), "{end:?}");
        let late = rpc.kv.range(get("late")).await.expect("sound").into_inner();
        assert_eq!(late.kvs.len(), 1);
    });
    poll_until("readiness to end", DEADLINE, || {
        let (status, body) = ask(server.metrics_endpoint(), "/readyz");
        anyhow::ensure!(status == 503 && body.contains("CORRUPT"), "{status} {body}");
        let (status, body) = ask(server.metrics_endpoint(), "/health");
        anyhow::ensure!(status == 503 && body.contains("CORRUPT"), "{status} {body}");
        Ok(())
    })
    .expect("not ready");
    server.program().wait_for_line("data is damaged", DEADLINE).expect("told");
    server.stop().expect("stop");
    let log = fs::read_to_string(server.log_path()).expect("read");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("data is damaged")).collect();
    assert!((1..=2).contains(&lines.len()), "{lines:?}");
    assert!(lines[0].contains(name), "{lines:?}");
}

/// GET over a connection of its own.
fn ask(endpoint: &str, path: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(endpoint).expect("connect");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n")
        .expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("receive");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), answer)
}
