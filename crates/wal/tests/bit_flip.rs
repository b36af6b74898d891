//! No flipped bit goes unnoticed, and no damage passes for a torn tail.

mod workload;

use t4_kv_types::LogIndex;
use t4_wal::{Damage, Entry, MemoryDir, SegmentDir, WalError};
use workload::{Random, entry, open};

/// A synced log of three segments; its payloads include the awkward ones.
fn log() -> (MemoryDir, Vec<Entry>) {
    let dir = MemoryDir::new();
    let (mut wal, _) = open(&dir, 0).expect("open");
    let mut random = Random::new(3);
    let mut one_bit = vec![0; 1500];
    one_bit[800] = 16;
    let mut payloads = vec![vec![], vec![0; 1500], one_bit.clone(), b"text".to_vec()];
    payloads.extend((0..6).map(|_| random.payload(1200)));
    payloads.extend([vec![1; 480], one_bit, vec![]]);
    let entries: Vec<_> =
        payloads.into_iter().zip(1..).map(|(p, index)| entry(index, 1 + index / 4, p)).collect();
    for batch in entries.chunks(2) {
        wal.append(batch).expect("append");
        wal.sync().expect("sync");
    }
    assert!(dir.list().expect("list").len() >= 2, "more than one segment");
    (dir, entries)
}

fn segments(dir: &MemoryDir) -> Vec<String> {
    let names = dir.list().expect("list").into_iter();
    names.filter(|name| name.ends_with(".wal")).collect()
}

/// The same log, closed.
fn closed_log() -> (MemoryDir, Vec<Entry>) {
    let (dir, entries) = log();
    open(&dir, 0).expect("open").0.close().expect("close");
    (dir, entries)
}

#[test]
fn every_flipped_bit_of_every_file_is_detected() {
    let (dir, entries) = closed_log();
    let mut corrupt = 0;
    let mut strays = 0;
    assert!(dir.contents("END").is_some());
    for name in dir.list().expect("list") {
        let bits = dir.contents(&name).expect("there").len() * 8;
        for bit in 0..bits {
            let flipped = dir.duplicate();
            flipped.flip(&name, bit);
            match open(&flipped, 0) {
                Err(WalError::Corrupt { file, .. } | WalError::EndMark { file }) => {
                    // A header's link to the previous segment is checked there.
                    assert_eq!(file, name);
                    corrupt += 1;
                }
                Err(other) => panic!("{name} bit {bit}: {other}"),
                Ok((wal, recovered)) => {
                    // Only in unused space, and reported.
                    assert!(recovered == entries, "{name} bit {bit}");
                    let [stray] = &wal.recovery().strays[..] else {
                        panic!("{name} bit {bit} went unnoticed");
                    };
                    assert_eq!((&stray.file, stray.offset as usize), (&name, bit / 8));
                    strays += 1;
                }
            }
        }
    }
    assert!(corrupt > 100_000 && strays > 10_000, "{corrupt} {strays}");
}

#[test]
fn a_stray_bit_behind_the_end_is_removed() {
    let (dir, entries) = log();
    let name = dir.list().expect("list").pop().expect("a segment");
    dir.flip(&name, dir.contents(&name).expect("there").len() * 8 - 1);
    let (wal, _) = open(&dir, 0).expect("open");
    assert_eq!(wal.recovery().strays.len(), 1);
    let (wal, recovered) = open(&dir, 0).expect("open");
    assert!(recovered == entries && wal.recovery().strays.is_empty());
}

/// Overwrites a piece of a synced log with noise. If a later frame vouches for
/// the piece, or if a power cut cannot leave such bytes, it is corruption; the
/// log never opens with fewer entries than a power cut would have left, and
/// never with different ones.
#[test]
fn noise_is_never_read_as_entries() {
    let (dir, entries) = log();
    let mut random = Random::seeded(21);
    for name in dir.list().expect("list") {
        let whole = dir.contents(&name).expect("there");
        for _ in 0..3000 {
            let mut bytes = whole.clone();
            let from = random.below(bytes.len() as u64) as usize;
            let to = (from + 1 + random.below(600) as usize).min(bytes.len());
            bytes[from..to].iter_mut().for_each(|byte| *byte = random.next() as u8);
            if bytes == whole {
                continue;
            }
            let damaged = dir.duplicate();
            damaged.put(&name, bytes);
            match open(&damaged, 0) {
                Err(WalError::Corrupt { .. }) => {}
                Err(other) => panic!("{other}"),
                Ok((wal, recovered)) => {
                    assert!(recovered == entries, "noise cost synced entries");
                    assert!(wal.recovery().torn.is_some() || !wal.recovery().strays.is_empty());
                }
            }
        }
    }
}

/// A sector of synced entries reads as zeros, which no power cut causes. It is
/// distinguishable from a power cut as long as a later frame vouches for the
/// lost entries: everywhere except in the sectors of the last batch.
#[test]
fn a_lost_sector_before_the_last_batch_is_corruption() {
    let (dir, entries) = log();
    let names = dir.list().expect("list");
    let mut corrupt = 0;
    for name in &names {
        let whole = dir.contents(name).expect("there");
        let used = whole.iter().rposition(|&byte| byte != 0).expect("something");
        for sector in 8..whole.len() / 512 {
            let mut bytes = whole.clone();
            bytes[sector * 512..][..512].fill(0);
            if bytes == whole {
                continue;
            }
            let damaged = dir.duplicate();
            damaged.put(name, bytes);
            match open(&damaged, 0) {
                Err(WalError::Corrupt { .. }) => corrupt += 1,
                Err(other) => panic!("{other}"),
                Ok((_, recovered)) => {
                    assert!(name == &names[names.len() - 1] && sector == used / 512);
                    assert!(recovered == entries[..recovered.len()]);
                }
            }
        }
    }
    assert!(corrupt > 10, "{corrupt}");
}

fn check_corrupt(dir: &MemoryDir, after: u64, expected: impl Fn(&Damage) -> bool) {
    match open(dir, after) {
        Err(WalError::Corrupt { what, .. }) if expected(&what) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn damage_to_whole_files_is_told_apart() {
    let (dir, _) = log();
    let names = dir.list().expect("list");
    let [first, second, ..] = &names[..] else { panic!("two segments") };
    assert!(names.len() > 2, "{names:?}");

    let damaged = dir.duplicate();
    damaged.remove(second).expect("remove");
    check_corrupt(&damaged, 0, |what| *what == Damage::MissingSegment);

    let damaged = dir.duplicate();
    damaged.rename(second, "00000000000000000900.wal").expect("rename");
    check_corrupt(&damaged, 0, |what| matches!(what, Damage::NameMismatch { .. }));

    let damaged = dir.duplicate();
    damaged.rename(second, "5.wal").expect("rename");
    check_corrupt(&damaged, 0, |what| *what == Damage::Name);

    let damaged = dir.duplicate();
    let whole = damaged.contents(second).expect("there");
    damaged.put(second, whole[..whole.len() - 1].to_vec());
    check_corrupt(&damaged, 0, |what| matches!(what, Damage::FileLength { .. }));
    damaged.put(second, whole[..100].to_vec());
    check_corrupt(&damaged, 0, |what| matches!(what, Damage::ShortFile { bytes: 100 }));

    let damaged = dir.duplicate();
    damaged.put(second, vec![b'?'; whole.len()]);
    check_corrupt(&damaged, 0, |what| *what == Damage::Magic);

    // A header with a valid checksum that contradicts the end of the previous
    // segment.
    let mut rewritten = whole.clone();
    rewritten[32] += 1;
    let crc = crc32c::crc32c(&rewritten[..60]).to_le_bytes();
    rewritten[60..64].copy_from_slice(&crc);
    damaged.put(second, rewritten);
    check_corrupt(&damaged, 0, |what| *what == Damage::HeaderValue);

    // The same name from another log.
    let other = MemoryDir::new();
    (0..9).for_each(|_| drop(other.fresh_salt()));
    let (mut wal, _) = open(&other, 0).expect("open");
    wal.append(&[entry(1, 1, "another log")]).expect("append");
    wal.sync().expect("sync");
    let damaged = dir.duplicate();
    damaged.put(first, other.contents(first).expect("there"));
    check_corrupt(&damaged, 0, |what| *what == Damage::MissingSegment);

    let damaged = dir.duplicate();
    damaged.remove(first).expect("remove");
    assert!(matches!(open(&damaged, 0), Err(WalError::Gap { after: LogIndex(0), .. })));
}

/// Any lost sector of a closed log, and any other end mark.
#[test]
fn a_lost_sector_of_a_closed_log_is_corruption_and_so_is_another_end_mark() {
    let (dir, entries) = closed_log();
    for name in segments(&dir) {
        let whole = dir.contents(&name).expect("there");
        for sector in 8..whole.len() / 512 {
            let mut bytes = whole.clone();
            bytes[sector * 512..][..512].fill(0);
            if bytes != whole {
                let damaged = dir.duplicate();
                damaged.put(&name, bytes);
                let error = open(&damaged, 0).err().expect("refused");
                assert!(error.to_string().starts_with(&name), "{error}");
            }
        }
    }
    let mark = dir.contents("END").expect("there");
    for other in [vec![], mark[..63].to_vec(), [&mark[..], b"\n"].concat(), vec![0; 9000]] {
        let damaged = dir.duplicate();
        damaged.put("END", other);
        let error = open(&damaged, 0).err().expect("refused");
        assert!(error.to_string().starts_with("END: damaged"), "{error}");
        assert!(error.to_string().contains("remove this one file"), "{error}");
        damaged.remove("END").expect("there");
        assert!(open(&damaged, 0).expect("open").1 == entries, "the advice does not help");
    }
    // With all segments lost, a new log must not begin before the mark.
    segments(&dir).iter().for_each(|name| dir.remove(name).expect("there"));
    let lost = open(&dir, 0).err().expect("refused").to_string();
    assert!(lost.starts_with("00000000000000000001.wal: entries 1 to 13"), "{lost}");
}

/// The mark is a lower bound: a log that continued without updating it, as an
/// older version does, is sound.
#[test]
fn an_old_end_mark_is_true_of_a_log_that_went_on() {
    let dir = MemoryDir::new();
    let (mut wal, _) = open(&dir, 0).expect("open");
    wal.append(&[entry(1, 1, "closed")]).expect("append");
    wal.close().expect("close");
    let mark = dir.contents("END");
    let (mut wal, _) = open(&dir, 0).expect("open");
    for index in 2..30 {
        wal.append(&[entry(index, 1, vec![7; 900])]).expect("append");
        wal.sync().expect("sync");
    }
    wal.release(LogIndex(20)).expect("release");
    drop(wal);
    assert_eq!(dir.contents("END"), mark);
    let (wal, _) = open(&dir, 20).expect("open");
    wal.close().expect("close");
    assert_eq!(
        dir.contents("END").expect("there"),
        b"t4 log end, format 1\n\
        entry 00000000000000000029\ncrc32c 7365c6cd\n"
            .to_vec()
    );
}

#[test]
fn a_newer_version_is_refused_and_a_file_of_ours_only() {
    let (dir, entries) = log();
    let name = dir.list().expect("list").remove(0);
    let mut page = dir.contents(&name).expect("there");
    page[8] = 7;
    let crc = crc32c::crc32c(&page[..12]).to_le_bytes();
    page[12..16].copy_from_slice(&crc);
    let newer = dir.duplicate();
    newer.put(&name, page);
    let error = open(&newer, 0).err().expect("refused");
    assert!(matches!(error, WalError::NewerFormat { version: 7, known: 2, .. }), "{error}");

    dir.put("lost+found", vec![]);
    dir.put("00000000000000000001.wal.copy", b"of no concern".to_vec());
    let (_, recovered) = open(&dir, 0).expect("open");
    assert!(recovered == entries);
}

#[test]
fn corruption_says_what_to_do_and_changes_nothing() {
    let (dir, _) = log();
    let names = dir.list().expect("list");
    dir.flip(&names[1], (4096 + 60) * 8);
    let before: Vec<_> = names.iter().map(|name| dir.contents(name)).collect();
    let text = open(&dir, 0).err().expect("refused").to_string();
    assert!(text.contains(&names[1]) && text.contains("byte 4096"), "{text}");
    assert!(text.contains("restore the whole data directory"), "{text}");
    assert!(text.contains("from a backup copy"), "{text}");
    let after: Vec<_> = names.iter().map(|name| dir.contents(name)).collect();
    assert!(before == after);
}
