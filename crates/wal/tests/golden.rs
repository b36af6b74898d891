//! Files that were written once stay readable: version 1, which new logs no
//! longer use, and version 2, which is the current one.
//!
//! The files are small so that they can be read beside `docs/formats/wal.md`;
//! `write_log` ensures that all are created by the same steps.

mod workload;

use t4_kv_types::{Epoch, LogIndex};
use t4_wal::format::{Closing, EndMark, Tail, Unreadable, decode_segment};
use t4_wal::{Entry, MemoryDir, SegmentDir};
use workload::{Random, entry, open};

const FIRST: &[u8] = include_bytes!("golden/v2-00000000000000000001.wal");
const SECOND: &[u8] = include_bytes!("golden/v2-00000000000000000005.wal");
const OLD_FIRST: &[u8] = include_bytes!("golden/v1-00000000000000000001.wal");
const OLD_SECOND: &[u8] = include_bytes!("golden/v1-00000000000000000005.wal");
const END: &[u8] = include_bytes!("golden/end-v1");
const FIRST_NAME: &str = "00000000000000000001.wal";
const SECOND_NAME: &str = "00000000000000000005.wal";

/// One entry of each kind: empty, text, one that is stored scrambled, one that
/// makes the next header skip to the next sector; then another segment.
fn entries() -> Vec<Entry> {
    vec![
        entry(1, 1, ""),
        entry(2, 1, "put /registry/pods/web-1"),
        entry(3, 2, vec![0; 1400]),
        entry(4, 2, vec![b'x'; 440]),
        entry(5, 3, vec![b'y'; 2300]),
        entry(6, 7, "the end"),
    ]
}

fn write_log() -> MemoryDir {
    let dir = MemoryDir::new();
    let (mut wal, _) = open(&dir, 0).expect("open");
    for batch in [0..2, 2..4, 4..5, 5..6] {
        wal.append(&entries()[batch]).expect("append");
        wal.sync().expect("sync");
    }
    dir
}

#[test]
fn what_is_written_is_what_was_written() {
    let dir = write_log();
    assert!(dir.contents(FIRST_NAME).as_deref() == Some(FIRST));
    assert!(dir.contents(SECOND_NAME).as_deref() == Some(SECOND));
    open(&dir, 0).expect("open").0.close().expect("close");
    assert_eq!(dir.contents("END").as_deref(), Some(END));
    assert_eq!(EndMark::decode(END), Ok(EndMark { entry: LogIndex(6) }));
}

/// A log with the files of one version.
fn log_of(first: &[u8], second: &[u8]) -> MemoryDir {
    let dir = MemoryDir::new();
    dir.put(FIRST_NAME, first.to_vec());
    dir.put(SECOND_NAME, second.to_vec());
    dir
}

#[test]
fn what_was_written_is_read() {
    for (first, second) in [(FIRST, SECOND), (OLD_FIRST, OLD_SECOND)] {
        let (wal, recovered) = open(&log_of(first, second), 0).expect("open");
        assert_eq!(recovered, entries());
        assert_eq!(wal.last(), (Epoch(7), LogIndex(6)));
    }
    let first = decode_segment(FIRST).expect("sound");
    assert_eq!((first.header.version, first.closing), (2, Closing::Closed(LogIndex(5))));
    let old = decode_segment(OLD_FIRST).expect("sound");
    assert_eq!((old.header.version, old.closing), (1, Closing::Open));

    let second = decode_segment(SECOND).expect("sound");
    assert_eq!((second.header.first, second.header.epoch), (LogIndex(5), Epoch(2)));
    assert_eq!(second.header.previous_salt, decode_segment(FIRST).expect("sound").header.salt);
    assert_eq!((second.entries.as_slice(), second.tail), (&entries()[4..], Tail::Clean));
}

/// A log of version 1 continues, and after its first open the loss of its end
/// is detected.
#[test]
fn an_old_log_gets_its_marks_when_it_is_opened() {
    let dir = log_of(OLD_FIRST, OLD_SECOND);
    let unmarked = dir.duplicate();
    unmarked.remove(SECOND_NAME).expect("there");
    assert_eq!(open(&unmarked, 0).expect("nothing says otherwise").1, &entries()[..4]);

    let (mut wal, _) = open(&dir, 0).expect("open");
    wal.append(&[entry(7, 7, "after the upgrade"), entry(8, 7, vec![b'z'; 7000])]).expect("append");
    wal.sync().expect("sync");
    drop(wal);
    let (_, recovered) = open(&dir, 0).expect("open");
    assert_eq!(recovered.len(), 8);
    assert_eq!(recovered[..6], entries());
    let closed = decode_segment(&dir.contents(FIRST_NAME).expect("there")).expect("sound");
    assert_eq!(closed.closing, Closing::Closed(LogIndex(5)));
    let closed = decode_segment(&dir.contents(SECOND_NAME).expect("there")).expect("sound");
    assert_eq!((closed.header.version, closed.closing), (1, Closing::Closed(LogIndex(7))));
    let newest = "00000000000000000007.wal";
    for lost in [&[newest][..], &[newest, SECOND_NAME]] {
        let dir = dir.duplicate();
        lost.iter().for_each(|name| dir.remove(name).expect("there"));
        let error = open(&dir, 0).err().expect("refused");
        assert!(error.to_string().starts_with(lost[lost.len() - 1]), "{error}");
    }
}

#[test]
fn a_torn_one_is_read_up_to_the_tear() {
    let mut torn = SECOND.to_vec();
    let used = torn.iter().rposition(|&byte| byte != 0).expect("something");
    torn[used] = 0;
    let contents = decode_segment(&torn).expect("a tear is not damage");
    assert_eq!(contents.entries, &entries()[4..5]);
    assert!(matches!(contents.tail, Tail::Torn { end, .. } if end == used as u64));
}

/// Bytes with valid checksums and wrong contents, and arbitrary bytes: the
/// decoder rejects them, and never panics.
#[test]
fn any_bytes_can_be_decoded() {
    let mut random = Random::seeded(41);
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut bytes = if random.chance(50) { FIRST } else { SECOND }.to_vec();
        for _ in 0..=random.below(3) {
            let end = if random.chance(80) { 64 } else { 4096 };
            let at = random.below(end) as usize;
            bytes[at] = if random.chance(50) { 0xff } else { random.next() as u8 };
        }
        if random.chance(80) {
            bytes[8..12].copy_from_slice(&(1 + random.below(2) as u32).to_le_bytes());
            let crc = crc32c::crc32c(&bytes[..12]).to_le_bytes();
            bytes[12..16].copy_from_slice(&crc);
            let crc = crc32c::crc32c(&bytes[..60]).to_le_bytes();
            bytes[60..64].copy_from_slice(&crc);
        }
        bytes.truncate(if random.chance(90) { 8192 } else { random.below(8192) as usize });
        match decode_segment(&bytes) {
            Ok(contents) => assert!(contents.entries.len() <= 4),
            Err(Unreadable::Newer { version }) => assert!(version > 2),
            Err(Unreadable::Damaged(found)) => {
                assert!(found.offset <= 8192 && !found.what.to_string().is_empty());
                refused += 1;
            }
        }
    }
    assert!(refused > 1000, "{refused}");
    assert!(decode_segment(&[]).is_err());
}
