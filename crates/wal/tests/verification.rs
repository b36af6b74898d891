//! Verifying a damaged log tells of all that a start would be refused for, however much
//! else is wrong.

mod workload;

use t4_kv_types::LogIndex;
use t4_wal::{Damage, MemoryDir, SegmentDir, WalError, verify};
use workload::{Random, entry, open};

const END: &str = "END";

/// A log of some segments that was closed, with so many entries.
fn closed_log(random: &mut Random, entries: u64) -> MemoryDir {
    let dir = MemoryDir::new();
    let (mut wal, _) = open(&dir, 0).expect("open");
    for index in 1..=entries {
        wal.append(&[entry(index, 1, random.payload(2_500))]).expect("append");
        wal.sync().expect("sync");
    }
    wal.close().expect("close");
    dir
}

fn segments(dir: &MemoryDir) -> Vec<String> {
    let mut names = dir.list().expect("list");
    names.retain(|name| name.ends_with(".wal"));
    names.sort();
    names
}

fn change(dir: &MemoryDir, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = dir.contents(name).expect("there");
    change(&mut bytes);
    dir.put(name, bytes);
}

fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

fn damage_end_mark(dir: &MemoryDir) {
    change(dir, END, |bytes| bytes[0] ^= 1);
}

fn told(faults: &[WalError]) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

fn is_stray_bit(fault: &WalError) -> bool {
    matches!(fault, WalError::Corrupt { what: Damage::StrayBit, .. })
}

#[test]
fn a_damaged_end_mark_hides_no_lost_entries() {
    let dir = closed_log(&mut Random::seeded(21), 5);
    damage_end_mark(&dir);
    let faults = verify(dir.duplicate(), LogIndex(9)).faults;
    let both = matches!(faults[..], [WalError::EndMark { .. }, WalError::Short { .. }]);
    assert!(both, "{faults:?}");
}

#[test]
fn a_stray_bit_hides_no_lost_end() {
    let dir = closed_log(&mut Random::seeded(22), 1);
    let newest = segments(&dir).pop().expect("a segment");
    change(&dir, &newest, |bytes| {
        bytes[4096..].fill(0);
        *bytes.last_mut().expect("bytes") = 1;
    });
    let faults = verify(dir.duplicate(), LogIndex(0)).faults;
    assert!(is_stray_bit(&faults[0]), "{faults:?}");
    assert!(matches!(faults[1..], [WalError::EndLost { .. }]), "{faults:?}");
}

/// Several damages at once, at random.
fn damage(random: &mut Random, dir: &MemoryDir) {
    let names = segments(dir);
    let newest = names.last().expect("a segment");
    if random.chance(40) {
        damage_end_mark(dir);
    }
    if random.chance(40) {
        change(dir, newest, |bytes| {
            let from = 4096 + random.below((used(bytes).max(4097) - 4096) as u64) as usize;
            bytes[from..].fill(0);
        });
    }
    let any = &names[random.below(names.len() as u64) as usize];
    if random.chance(30) {
        change(dir, any, |bytes| {
            let from = used(bytes).max(4096);
            if from < bytes.len() {
                let at = from + random.below((bytes.len() - from) as u64) as usize;
                bytes[at] = 1 << random.below(8);
            }
        });
    }
    if random.chance(20) {
        change(dir, any, |bytes| {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
        });
    }
    if random.chance(20) {
        dir.remove(&names[random.below(names.len() as u64) as usize]).expect("there");
    }
}

#[test]
fn what_a_start_is_refused_for_is_among_the_faults() {
    let mut random = Random::seeded(23);
    let (mut refused, mut opened, mut unmarked) = (0, 0, 0);
    for _ in 0..2_000 {
        let entries = 1 + random.below(12);
        let dir = closed_log(&mut random, entries);
        damage(&mut random, &dir);
        let after = random.below(entries + 3);
        let faults = verify(dir.duplicate(), LogIndex(after)).faults;
        match open(&dir.duplicate(), after) {
            Ok(_) => opened += 1,
            Err(error) => {
                assert!(told(&faults).contains(&error.to_string()), "{error}; {faults:#?}");
                refused += 1;
            }
        }
        // What operators are advised to do then.
        if matches!(faults[..], [WalError::EndMark { .. }]) {
            dir.remove(END).expect("there");
            open(&dir, after).expect("nothing else was wrong");
            unmarked += 1;
        }
    }
    println!("{refused} refused, {opened} opened, {unmarked} opened without their end mark");
    assert!(refused > 500 && opened > 100 && unmarked > 50);
}
