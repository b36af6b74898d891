//! Full disks cause refusals; failing disks end the log.

mod workload;

use std::io::ErrorKind;

use t4_kv_types::LogIndex;
use t4_wal::{Call, Entry, MemoryDir, SegmentDir, Wal, WalError};
use workload::{entry, open};

/// A log with `count` entries of 1000 bytes, all synced.
fn log(dir: &MemoryDir, count: u64) -> (Wal, Vec<Entry>) {
    let (mut wal, _) = open(dir, 0).expect("open");
    let entries: Vec<_> = (1..=count).map(|index| entry(index, 1, vec![b'a'; 1000])).collect();
    for entry in &entries {
        wal.append(std::slice::from_ref(entry)).expect("append");
    }
    wal.sync().expect("sync");
    (wal, entries)
}

#[test]
fn no_room_for_a_segment_refuses_and_goes_on_when_there_is() {
    let dir = MemoryDir::new();
    let (mut wal, mut entries) = log(&dir, 3);
    dir.set_capacity(Some(8192));
    let next = entry(4, 1, vec![b'b'; 1000]);
    let error = wal.append(std::slice::from_ref(&next)).expect_err("full");
    assert!(error.is_no_space(), "{error}");
    assert_eq!(wal.last().1, LogIndex(3));

    // None of it is on the disk, whichever writes survive.
    let (_, recovered) = open(&dir.power_cut(&mut |writes| writes), 0).expect("open");
    assert!(recovered == entries);
    assert_eq!(dir.list().expect("list").len(), 1, "and the room is free again");

    dir.set_capacity(None);
    wal.append(std::slice::from_ref(&next)).expect("there is room now");
    wal.sync().expect("sync");
    entries.push(next);
    let (_, recovered) = open(&dir.power_cut(&mut |_| 0), 0).expect("open");
    assert!(recovered == entries);
}

/// On copy-on-write file systems, even an in-place write can run out of space.
/// Half of the batch is written by then, including whole frames.
#[test]
fn refused_entries_never_come_back() {
    for survive in [0, usize::MAX] {
        let dir = MemoryDir::new();
        let (mut wal, mut entries) = log(&dir, 1);
        let refused: Vec<_> = (2..8).map(|index| entry(index, 1, "refused")).collect();
        dir.fail(Call::Write, 0, ErrorKind::StorageFull);
        assert!(wal.append(&refused).expect_err("full").is_no_space());

        let left = dir.power_cut(&mut |writes| survive.min(writes));
        let (reopened, recovered) = open(&left, 0).expect("open");
        assert!(recovered == entries);
        assert_eq!(reopened.recovery().torn, None, "nothing is half-written");

        // A frame of the same length in place of the first refused one does not
        // bring back the second.
        let taken = entry(2, 1, "another");
        wal.append(std::slice::from_ref(&taken)).expect("append");
        wal.sync().expect("sync");
        entries.push(taken);
        let (_, recovered) = open(&dir, 0).expect("open");
        assert!(recovered == entries);
    }
}

#[test]
fn a_refusal_that_cannot_be_undone_is_fatal() {
    for second in [Call::Write, Call::Sync] {
        let dir = MemoryDir::new();
        let (mut wal, _) = log(&dir, 1);
        dir.fail(Call::Write, 0, ErrorKind::StorageFull);
        // A failure of the same call waits for the one planned before it.
        dir.fail(second, 0, ErrorKind::StorageFull);
        let error = wal.append(&[entry(2, 1, "x")]).expect_err("full");
        assert!(matches!(error, WalError::Io { .. }), "{error}");
        assert!(matches!(wal.append(&[entry(2, 1, "x")]), Err(WalError::Failed)));
    }
}

#[test]
fn a_failed_sync_ends_the_log_even_for_want_of_room() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        let dir = MemoryDir::new();
        let (mut wal, _) = log(&dir, 1);
        wal.append(&[entry(2, 1, "x")]).expect("append");
        dir.fail(Call::Sync, 0, kind);
        let error = wal.sync().expect_err("failed");
        assert!(matches!(error, WalError::Io { operation: "sync", .. }), "{error}");
        assert!(matches!(wal.sync(), Err(WalError::Failed)), "never tried again");
        assert!(matches!(wal.append(&[entry(3, 1, "x")]), Err(WalError::Failed)));
        assert!(matches!(wal.release(LogIndex(1)), Err(WalError::Failed)));
        assert!(matches!(wal.truncate_after(LogIndex(1)), Err(WalError::Failed)));
    }
}

#[test]
fn failures_while_a_segment_is_begun_are_fatal_or_refusals() {
    let begin = |call, after, kind| {
        let dir = MemoryDir::new();
        let (mut wal, entries) = log(&dir, 3);
        dir.fail(call, after, kind);
        let error = wal.append(&[entry(4, 1, vec![1; 1000])]).expect_err("failed");
        let (_, recovered) = open(&dir.power_cut(&mut |writes| writes), 0).expect("open");
        assert!(recovered == entries);
        error
    };
    // Writes: zeros, then the header. Syncs: zeros, then the header.
    for after in [0, 1] {
        assert!(begin(Call::Write, after, ErrorKind::StorageFull).is_no_space());
        let error = begin(Call::Write, after, ErrorKind::Other);
        assert!(matches!(error, WalError::Io { .. }), "{error}");
    }
    assert!(matches!(begin(Call::Sync, 1, ErrorKind::StorageFull), WalError::Io { .. }));
    assert!(matches!(begin(Call::SyncDir, 0, ErrorKind::StorageFull), WalError::Io { .. }));
    assert!(begin(Call::Create, 0, ErrorKind::QuotaExceeded).is_no_space());
}

/// After a failed sync the page cache contains data that the disk does not
/// have, and considers it clean. Entries that are read after a restart must be
/// durable all the same.
#[test]
fn what_is_read_after_a_failed_sync_is_durable() {
    let dir = MemoryDir::new();
    let (mut wal, mut entries) = log(&dir, 2);
    let last = entry(3, 1, vec![b'z'; 1500]);
    wal.append(std::slice::from_ref(&last)).expect("append");
    dir.fail(Call::Sync, 0, ErrorKind::Other);
    wal.sync().expect_err("failed");
    drop(wal);
    let (_, recovered) = open(&dir.power_cut(&mut |_| 0), 0).expect("open");
    assert!(recovered == entries, "the disk does not have it");

    let (wal, recovered) = open(&dir, 0).expect("the process was started again");
    entries.push(last);
    assert!(recovered == entries, "the page cache shows it");
    assert_eq!(wal.synced(), LogIndex(3));
    let (_, recovered) = open(&dir.power_cut(&mut |_| 0), 0).expect("open");
    assert!(recovered == entries, "and now the disk has it");
}

#[test]
fn truncating_without_room_changes_nothing() {
    let dir = MemoryDir::new();
    let (mut wal, entries) = log(&dir, 10);
    dir.set_capacity(Some(0));
    assert!(wal.truncate_after(LogIndex(2)).expect_err("full").is_no_space());
    dir.set_capacity(None);
    let (_, recovered) = open(&dir.duplicate(), 0).expect("open");
    assert!(recovered == entries);
    wal.truncate_after(LogIndex(2)).expect("truncate");
    wal.append(&[entry(3, 9, "new")]).expect("append");
}

#[test]
fn what_cannot_follow_is_refused_before_anything_is_written() {
    let dir = MemoryDir::new();
    let (mut wal, _) = log(&dir, 2);
    let before = dir.contents("00000000000000000001.wal");
    let error = wal.append(&[entry(3, 1, ""), entry(5, 1, "")]).expect_err("a hole");
    let expected = (LogIndex(4), LogIndex(5));
    assert!(matches!(error, WalError::OutOfOrder { expected: e, got } if (e, got) == expected));
    let error = wal.append(&[entry(3, 2, ""), entry(4, 1, "")]).expect_err("an older epoch");
    assert!(matches!(error, WalError::EpochBackwards { index: LogIndex(4), .. }), "{error}");
    assert!(before == dir.contents("00000000000000000001.wal"));
    wal.append(&[]).expect("nothing");
    assert!(before == dir.contents("00000000000000000001.wal"));
}

/// Closing a segment writes in place; if even that runs out of space, the
/// append is refused, closing is retried later, and nothing is misreported.
#[test]
fn no_room_for_the_closing_mark_refuses_and_goes_on_when_there_is() {
    let dir = MemoryDir::new();
    let (mut wal, mut entries) = log(&dir, 3);
    // The zeros and the header of the new segment, then the mark.
    dir.fail(Call::Write, 2, ErrorKind::StorageFull);
    let next = entry(4, 1, vec![b'b'; 1000]);
    let error = wal.append(std::slice::from_ref(&next)).expect_err("full");
    assert!(error.is_no_space() && error.to_string().contains("00000000000000000001"), "{error}");
    assert_eq!(wal.last().1, LogIndex(3));
    for survive in [0, usize::MAX] {
        let left = dir.power_cut(&mut |writes| survive.min(writes));
        assert!(open(&left, 0).expect("open").1 == entries);
    }
    // A small one would have fit in the previous segment.
    let small = entry(4, 1, "small");
    wal.append(std::slice::from_ref(&small)).expect("there is room now");
    wal.sync().expect("sync");
    entries.push(small);
    let (_, recovered) = open(&dir.power_cut(&mut |_| 0), 0).expect("open");
    assert!(recovered == entries);
    dir.remove("00000000000000000004.wal").expect("there");
    assert!(matches!(open(&dir, 0), Err(WalError::Lost { from: LogIndex(4), .. })));
}

#[test]
fn a_closing_mark_that_was_lost_is_missed() {
    let dir = MemoryDir::new();
    drop(log(&dir, 9));
    let name = "00000000000000000001.wal";
    let mut bytes = dir.contents(name).expect("there");
    bytes[512..1024].fill(0);
    dir.put(name, bytes);
    let error = open(&dir, 0).err().expect("refused");
    assert!(
        error.to_string().starts_with("00000000000000000001.wal: corrupt at byte 512"),
        "{error}"
    );
}
