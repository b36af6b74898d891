//! The properties that the log relies on, checked on both directories; and the
//! log on files.

mod workload;

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use t4_kv_types::LogIndex;
use t4_wal::{Config, Entry, FileDir, MemoryDir, SegmentDir, Wal};
use workload::{Random, entry};

fn check_dir(dir: &dyn SegmentDir) {
    let file = dir.create("a", 8192).expect("create");
    assert_eq!(file.file_bytes().expect("length"), 8192);
    let mut bytes = [9; 16];
    file.read_at(&mut bytes, 8176).expect("read");
    assert_eq!(bytes, [0; 16], "new files read as zeros");
    let error = file.read_at(&mut bytes, 8177).expect_err("behind the end");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);

    file.write_at(b"hello", 4094).expect("write");
    file.sync().expect("sync");
    let again = dir.open("a").expect("open");
    let mut hello = [0; 7];
    again.read_at(&mut hello, 4093).expect("read");
    assert_eq!(&hello, b"\0hello\0");

    assert_eq!(dir.create("a", 1).err().map(|e| e.kind()), Some(ErrorKind::AlreadyExists));
    assert_eq!(dir.open("b").err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    assert_eq!(dir.remove("b").err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    assert_eq!(dir.rename("b", "c").err().map(|e| e.kind()), Some(ErrorKind::NotFound));

    dir.create("b", 4096).expect("create").write_at(b"b", 0).expect("write");
    dir.rename("b", "a").expect("rename replaces");
    dir.sync_dir().expect("sync");
    assert_eq!(dir.list().expect("list"), ["a"]);
    assert_eq!(dir.open("a").expect("open").file_bytes().expect("length"), 4096);
    again.read_at(&mut hello, 4093).expect("handles stay usable");
    assert_eq!(&hello, b"\0hello\0");
    dir.remove("a").expect("remove");
    assert!(dir.list().expect("list").is_empty());

    let salts = [dir.fresh_salt().expect("salt"), dir.fresh_salt().expect("salt")];
    assert!(salts[0] != salts[1] && !salts.contains(&0));
}

#[test]
fn the_directory_in_memory_does_what_the_log_relies_on() {
    check_dir(&MemoryDir::new());
}

#[test]
fn the_directory_of_files_does_what_the_log_relies_on() {
    let root = tempfile::tempdir().expect("a directory");
    check_dir(&FileDir::open(root.path().join("data/wal")).expect("open"));
}

#[test]
fn a_log_in_files() {
    let root = tempfile::tempdir().expect("a directory");
    let config = Config { segment_bytes: 256 << 10, background: true };
    let open = |after| {
        let dir = FileDir::open(root.path()).expect("open");
        Wal::open(dir, config.clone(), LogIndex(after)).expect("open")
    };
    let mut random = Random::new(5);
    let entries: Vec<Entry> =
        (1..=400).map(|index| entry(index, 1 + index / 100, random.payload(8000))).collect();
    let (mut wal, _) = open(0);
    for batch in entries.chunks(7) {
        wal.append(batch).expect("append");
        wal.sync().expect("sync");
    }
    assert!(wal.counters().segments_begun > 3);
    drop(wal);

    let (mut wal, replay) = open(0);
    assert!(replay.collect::<Result<Vec<_>, _>>().expect("entries") == entries);
    assert_eq!(wal.recovery(), &t4_wal::Recovery::default());
    assert!(wal.read(LogIndex(200), usize::MAX).expect("read") == entries[199..]);
    wal.release(LogIndex(250)).expect("release");
    wal.truncate_after(LogIndex(300)).expect("truncate");
    drop(wal);

    let (wal, replay) = open(250);
    assert!(replay.collect::<Result<Vec<_>, _>>().expect("entries") == entries[250..300]);
    assert!(wal.first_index() > LogIndex(1));
    for file in root.path().read_dir().expect("list") {
        let file = file.expect("a file").metadata().expect("metadata");
        assert!(file.blocks() * 512 >= file.len(), "the room is there");
    }
}

#[test]
fn what_a_crash_leaves_of_a_preparation_is_removed() {
    let dir = MemoryDir::new();
    dir.put("next.tmp", vec![0; 100]);
    let (wal, _) = Wal::open(dir.clone(), workload::config(), LogIndex(0)).expect("open");
    drop(wal);
    assert_eq!(dir.list().expect("list"), ["00000000000000000001.wal"]);
}
