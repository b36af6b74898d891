//! Inspecting a log finds what opening it would, and changes nothing.

mod workload;

use std::io::ErrorKind;

use t4_kv_types::LogIndex;
use t4_wal::{Entry, FileDir, Inspection, MemoryDir, Operation, SegmentDir, WalError, inspect};
use workload::{Random, config, entry, open};

fn look(dir: impl SegmentDir, after: u64) -> Result<(Inspection, Vec<Entry>), WalError> {
    let (inspection, replay) = inspect(dir, LogIndex(after))?;
    Ok((inspection, replay.collect::<Result<Vec<_>, _>>()?))
}

fn every_file(dir: &MemoryDir) -> Vec<(String, Option<Vec<u8>>)> {
    let mut names = dir.list().expect("list");
    names.sort();
    names.into_iter().map(|name| (name.clone(), dir.contents(&name))).collect()
}

/// Inspects, then opens, and compares. Returns whether there was a torn tail.
fn check(dir: &MemoryDir, after: u64) -> bool {
    let before = every_file(dir);
    let looked = look(dir.clone(), after);
    assert!(every_file(dir) == before, "looking changed a file");
    match (looked, open(dir, after)) {
        (Ok((inspection, looked)), Ok((wal, opened))) => {
            assert!(looked == opened, "other entries than opening finds");
            assert_eq!(inspection.last, wal.last());
            assert_eq!(inspection.first, wal.first_index());
            assert_eq!(inspection.recovery, *wal.recovery());
            inspection.recovery.torn.is_some()
        }
        (Err(looked), Err(opened)) => {
            assert_eq!(looked.to_string(), opened.to_string());
            false
        }
        (looked, opened) => panic!(
            "looking: {:?}; opening: {:?}",
            looked.map(|found| found.0),
            opened.map(|found| found.1.len())
        ),
    }
}

/// Every disk operation of appending, syncing and releasing.
fn operations(random: &mut Random) -> Vec<Operation> {
    let dir = MemoryDir::recording();
    let (mut wal, _) = open(&dir, 0).expect("open");
    for index in 1..=40 {
        wal.append(&[entry(index, 1 + index / 10, random.payload(900))]).expect("append");
        if random.chance(40) {
            wal.sync().expect("sync");
        }
        if random.chance(5) {
            wal.release(LogIndex(index / 2)).expect("release");
        }
    }
    dir.operations()
}

#[test]
fn whatever_a_crash_left_is_found_and_left() {
    let mut random = Random::seeded(0x1005_0001);
    let mut torn = 0;
    for _ in 0..40 {
        let operations = operations(&mut random);
        for _ in 0..10 {
            let dir = MemoryDir::new();
            let cut = random.below(operations.len() as u64) as usize;
            for operation in &operations[..cut] {
                dir.repeat(operation, usize::MAX);
            }
            dir.repeat(&operations[cut], random.below(1500) as usize);
            let left = dir.power_cut(&mut |states| random.below(states as u64 + 1) as usize);
            torn += usize::from(check(&left, random.below(50)));
        }
    }
    assert!(torn > 0, "no cut tore the log: the test has seen too little");
}

#[test]
fn damage_is_told_as_opening_tells_it() {
    let mut random = Random::seeded(0x1005_0002);
    let dir = MemoryDir::new();
    let (mut wal, _) = open(&dir, 0).expect("open");
    for index in 1..=30 {
        wal.append(&[entry(index, 1, random.payload(900))]).expect("append");
        wal.sync().expect("sync");
    }
    drop(wal);
    let names = dir.list().expect("list");
    for _ in 0..300 {
        let damaged = dir.duplicate();
        let name = &names[random.below(names.len() as u64) as usize];
        let bits = damaged.contents(name).map_or(0, |bytes| bytes.len() as u64 * 8);
        damaged.flip(name, random.below(bits) as usize);
        check(&damaged, 0);
    }
}

#[test]
fn an_empty_directory_is_an_empty_log() {
    let dir = MemoryDir::new();
    let (inspection, entries) = look(dir.clone(), 7).expect("look");
    assert_eq!((inspection.first, inspection.last.1), (LogIndex(8), LogIndex(7)));
    assert!(entries.is_empty() && inspection.segments == 0);
    assert!(dir.list().expect("list").is_empty(), "nothing was made");
}

#[test]
fn a_read_only_directory_of_files_is_enough_and_refuses_the_rest() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("log");
    let missing = FileDir::open_read_only(&path).expect_err("not there");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(!path.exists(), "looking made it");

    let (mut wal, _) =
        t4_wal::Wal::open(FileDir::open(&path).expect("open"), config(), LogIndex(0))
            .expect("open");
    let entries = [entry(1, 1, "one"), entry(2, 1, "two")];
    wal.append(&entries).expect("append");
    wal.sync().expect("sync");
    drop(wal);

    let dir = FileDir::open_read_only(&path).expect("open");
    let refused = |result: std::io::Result<()>| result.expect_err("refused").kind();
    let name = dir.list().expect("list").remove(0);
    assert_eq!(refused(dir.create("x", 1).map(drop)), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(refused(dir.remove(&name)), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(refused(dir.rename(&name, "x")), ErrorKind::ReadOnlyFilesystem);
    assert!(dir.open(&name).expect("open").write_at(b"x", 0).is_err());
    assert_eq!(look(dir, 0).expect("look").1, entries);
}
