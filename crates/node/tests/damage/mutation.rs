//! What a disk, a person or a bad copy does to a data directory, drawn from a
//! seed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file of a directory, by its path in it.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

const PAGE: usize = 4096;

/// splitmix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end
    }
}

pub(crate) fn read(dir: &Path) -> Files {
    let mut files = Files::new();
    for part in ["", "log", "state"] {
        for entry in fs::read_dir(dir.join(part)).expect("list") {
            let path = entry.expect("entry").path();
            if path.is_file() {
                let name = path.strip_prefix(dir).expect("inside").to_owned();
                files.insert(name, fs::read(path).expect("read"));
            }
        }
    }
    files
}

pub(crate) fn write(dir: &Path, files: &Files) {
    for part in ["log", "state"] {
        fs::create_dir_all(dir.join(part)).expect("make");
    }
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).expect("write");
    }
}

pub(crate) fn is_wal(name: &Path) -> bool {
    name.extension().is_some_and(|ext| ext == "wal")
}

fn is_segment(name: &Path) -> bool {
    name.extension().is_some_and(|ext| ext == "seg")
}

/// Changes something; says what, or nothing if that did not change a byte.
pub(crate) fn mutate(files: &mut Files, older: &Files, random: &mut Random) -> Option<String> {
    let before = files.clone();
    let names: Vec<PathBuf> = files.keys().filter(|name| !is_slack(name)).cloned().collect();
    let name = names[random.below(names.len())].clone();
    let told = match random.below(18) {
        0 => lose_newest(files, random),
        1 => lose_all(files, random),
        2 => {
            files.remove(&name);
            "deleted".to_owned()
        }
        3 => swap_files(files, &names, &name, random),
        4 => duplicate_file(files, &name, random),
        5 => swap_records(files, random)?,
        6 => stale(files, older, &name, random)?,
        16 | 17 => lose_the_end(files, random),
        kind => change_bytes(files.get_mut(&name)?, kind, random),
    };
    (*files != before).then(|| format!("{}: {told}", name.display()))
}

/// Bytes that mean nothing.
pub(crate) fn is_slack(name: &Path) -> bool {
    let name = name.to_string_lossy();
    name == "LOCK" || name.ends_with(".tmp") || name.ends_with(".new")
}

fn lose_newest(files: &mut Files, random: &mut Random) -> String {
    let wals: Vec<PathBuf> = files.keys().filter(|name| is_wal(name)).cloned().collect();
    let count = 1 + random.below(3);
    wals.iter().rev().take(count).for_each(|name| drop(files.remove(name)));
    format!("the newest {count} of {} log segments lost", wals.len())
}

/// The last bytes of the newest log segment read as zeros, as a write that the
/// power cut off would, or are not there.
pub(crate) fn lose_the_end(files: &mut Files, random: &mut Random) -> String {
    let Some((name, bytes)) = files.iter_mut().rfind(|(name, _)| is_wal(name)) else {
        return "nothing".to_owned();
    };
    let used = used(bytes);
    let from = used - random.below((used - PAGE.min(used)).max(1)) - 1;
    if random.below(4) == 0 {
        bytes.truncate(from);
    } else {
        bytes[from..].fill(0);
    }
    format!("{}: {used} bytes in use, the end lost from {from} on", name.display())
}

/// How many bytes something is in.
pub(crate) fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

fn lose_all(files: &mut Files, random: &mut Random) -> String {
    let part = ["log", "state"][random.below(2)];
    let wals_only = random.below(2) == 0;
    files.retain(|name, _| !name.starts_with(part) || wals_only && is_slack(name));
    format!("all of {part} lost")
}

fn swap_files(files: &mut Files, names: &[PathBuf], one: &Path, random: &mut Random) -> String {
    let same: Vec<&PathBuf> =
        names.iter().filter(|name| name.extension() == one.extension()).collect();
    let other = same[random.below(same.len())];
    let (first, second) = (files[one].clone(), files[other].clone());
    files.insert(one.to_owned(), second);
    files.insert(other.clone(), first);
    format!("changed places with {}", other.display())
}

fn duplicate_file(files: &mut Files, one: &Path, random: &mut Random) -> String {
    let to = match random.below(2) {
        0 if is_wal(one) => one.with_file_name(format!("{:020}.wal", 1 + random.below(900))),
        _ if is_segment(one) => one.with_file_name(format!("{:064x}.seg", random.next())),
        _ => one.with_extension("copy"),
    };
    files.insert(to.clone(), files[one].clone());
    format!("copied to {}", to.display())
}

/// Swaps two records of the same length in a block that is stored as it is: a
/// misdirected write within a page.
fn swap_records(files: &mut Files, random: &mut Random) -> Option<String> {
    let segments: Vec<PathBuf> = files.keys().filter(|name| is_segment(name)).cloned().collect();
    let name = &segments[random.below(segments.len())];
    let bytes = files.get_mut(name)?;
    let mut records = Vec::new();
    let mut at = 16;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_le_bytes(length.try_into().expect("four")) as usize;
        // The first block that is compressed, or the keys: no record.
        let sound = bytes.get(at..at + length).filter(|_| (52..10_000).contains(&length));
        let Some(record) = sound else { break };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&record[..4]), &record[8..]);
        if record[4..8] != crc.to_le_bytes() {
            break;
        }
        records.push((at, length));
        at += length;
    }
    let one = *records.get(random.below(records.len().max(1)))?;
    let same: Vec<_> =
        records.iter().filter(|other| other.1 == one.1 && other.0 != one.0).collect();
    let other = same.get(random.below(same.len().max(1)))?.0;
    for i in 0..one.1 {
        bytes.swap(one.0 + i, other + i);
    }
    Some(format!("{}: records at {} and {other} swapped", name.display(), one.0))
}

/// A page, or all of it, as it was in an older copy.
fn stale(files: &mut Files, older: &Files, name: &Path, random: &mut Random) -> Option<String> {
    let old = older.get(name)?;
    let bytes = files.get_mut(name)?;
    if random.below(3) == 0 {
        bytes.clone_from(old);
        return Some("replaced by that of an older copy".to_owned());
    }
    let unit = if random.below(2) == 0 { 512 } else { PAGE };
    let from = random.below(bytes.len().min(old.len()).max(1)) / unit * unit;
    let end = (from + unit).min(bytes.len()).min(old.len());
    bytes.get_mut(from..end)?.copy_from_slice(&old[from..end]);
    Some(format!("bytes {from}..{end} are those of an older copy"))
}

fn change_bytes(bytes: &mut Vec<u8>, kind: usize, random: &mut Random) -> String {
    let length = bytes.len().max(1);
    // Half of the places where something is.
    let region = [used(bytes).max(1), length][random.below(2)];
    let at = random.below(region);
    let most = [8, 512, PAGE][random.below(3)];
    let count = 1 + random.below(most);
    let end = (at + count).min(bytes.len());
    match kind {
        7..=9 => {
            let bit = random.below(8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} flipped")
        }
        10 => {
            bytes[at..end].fill(0);
            format!("bytes {at}..{end} zeroed")
        }
        11 => {
            bytes[at..end].iter_mut().for_each(|byte| *byte = random.next() as u8);
            format!("bytes {at}..{end} overwritten with noise")
        }
        12 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        13 => {
            let filler = if random.below(2) == 0 { 0 } else { 0xa5 };
            bytes.resize(bytes.len() + count, filler);
            format!("grown by {count}")
        }
        14 => {
            bytes.splice(at..at, (0..count).map(|n| n as u8)).for_each(drop);
            format!("{count} bytes inserted at {at}")
        }
        _ => swap_pages(bytes, random),
    }
}

fn swap_pages(bytes: &mut [u8], random: &mut Random) -> String {
    let unit = [64, 512, PAGE][random.below(3)];
    let pages = bytes.len() / unit;
    if pages < 2 {
        return "nothing".to_owned();
    }
    let (one, other) = (random.below(pages) * unit, random.below(pages) * unit);
    let (first, second) = (bytes[one..one + unit].to_vec(), bytes[other..other + unit].to_vec());
    bytes[one..one + unit].copy_from_slice(&second);
    if random.below(2) == 0 {
        return format!("{unit} bytes at {other} copied to {one}");
    }
    bytes[other..other + unit].copy_from_slice(&first);
    format!("{unit} bytes at {one} and {other} swapped")
}
