//! Directories that are damaged or of a newer version: told, and left alone.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use t4_proto::etcdserverpb::PutRequest;
use t4_testkit::{Rpc, T4, T4Options, poll_until};

use crate::{
    DEADLINE, every_file, put, refused_start, runtime, stderr, stdout, stopped_server, t4,
};

// What each way of damaging a stopped server's directory must be told.
#[test]
fn a_damaged_directory_is_told_and_left_as_it_is() {
    let mut server = stopped_server();
    let dir = server.data_dir();
    let segment = only_log_segment(&dir);
    let sound = every_file(&dir);
    let check = |what: &str, expected: &[&str]| {
        let before = every_file(&dir);
        let told = refused_start(&dir);
        for expected in expected {
            assert!(told.contains(expected), "{what}: {told}");
        }
        assert!(every_file(&dir) == before, "{what}: a file was changed");
        let looked = t4(&["inspect", "meta", &format!("--data-dir={}", dir.display())]);
        assert_eq!(looked.status.code(), Some(1), "{what}: inspect");
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
    check("a flipped bit in the log", &[name, "corrupt at byte"]);

    server.start_again().expect("the restored directory is sound");
}

fn only_log_segment(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir.join("log")).expect("list").map(|e| e.expect("entry").path());
    let mut segments: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|ext| ext == "wal")).collect();
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments.remove(0)
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
