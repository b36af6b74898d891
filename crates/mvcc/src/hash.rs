//! etcd's hash of the key space, byte for byte.
//!
//! A CRC-32C over the word "key" and then, in revision order, the storage key
//! and the stored protobuf of each record that counts. [`Selection`] decides
//! which records count, and [`RecordHash`] hashes them. The caller reads the records.

use t4_kv_types::KeyValue;

use crate::index::{Entry, Version};

/// A hash of records, added one by one in ascending order of revision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordHash(u32);

impl RecordHash {
    /// The hash of no records.
    pub(crate) fn new() -> Self {
        // The name of etcd's storage bucket.
        RecordHash(crc32c::crc32c(b"key"))
    }

    /// Adds the change `sub` of revision `main`. A delete contributes only its
    /// key; a put contributes everything but `mod_revision`, which is `main`.
    pub(crate) fn record(&mut self, main: i64, sub: u32, deleted: bool, kv: &KeyValue) {
        let mut head = Vec::with_capacity(18 + 1 + 10);
        head.extend_from_slice(&main.to_be_bytes());
        head.push(b'_');
        head.extend_from_slice(&i64::from(sub).to_be_bytes());
        if deleted {
            head.push(b't');
        }
        put_length(&mut head, 1, kv.key.len());
        self.bytes(&head);
        self.bytes(&kv.key);
        if deleted {
            return;
        }
        let mut middle = Vec::with_capacity(4 * 11);
        put_varint(&mut middle, 2, kv.create_revision.0);
        put_varint(&mut middle, 3, main);
        put_varint(&mut middle, 4, kv.version);
        put_length(&mut middle, 5, kv.value.len());
        self.bytes(&middle);
        self.bytes(&kv.value);
        let mut tail = Vec::with_capacity(11);
        put_varint(&mut tail, 6, kv.lease.0);
        self.bytes(&tail);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, bytes);
    }

    /// The hash of the added records.
    pub(crate) fn finish(self) -> u32 {
        self.0
    }
}

/// A protobuf field of type int64; omitted if 0, as in proto3.
fn put_varint(out: &mut Vec<u8>, field: u8, value: i64) {
    if value == 0 {
        return;
    }
    out.push(field << 3);
    put_base128(out, value as u64);
}

/// Tag and length of a protobuf field of type bytes; omitted if empty.
fn put_length(out: &mut Vec<u8>, field: u8, length: usize) {
    if length == 0 {
        return;
    }
    out.push(field << 3 | 2);
    put_base128(out, length as u64);
}

fn put_base128(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Which versions count in the hash at a revision.
///
/// All changes after the compacted revision count, and of those up to it, the
/// ones that a reader at the hash's revision still sees. If that reader sees no
/// key at all, etcd counts what the compaction left (but never a delete at
/// exactly the compacted revision, which its older releases do not keep). The
/// result does not depend on the progress of the compaction pass.
#[derive(Debug)]
pub(crate) struct Selection {
    compacted: i64,
    at: i64,
    /// Whether any key is live at `at`.
    any_live: bool,
    chosen: Vec<Version>,
    /// Counted only if no key is live at `at`.
    left: Vec<Version>,
}

impl Selection {
    /// For the hash at revision `at` of a store compacted to `compacted` (0 or
    /// less: never compacted). Both must not change while entries are added.
    pub(crate) fn new(compacted: i64, at: i64) -> Self {
        Selection { compacted, at, any_live: false, chosen: Vec::new(), left: Vec::new() }
    }

    /// Adds a key. Each key must be added once; the order does not matter.
    pub(crate) fn entry(&mut self, entry: &Entry<'_>) {
        let live_at = |revision| entry.at(revision).filter(|version| !version.deleted);
        let seen = live_at(self.at);
        if seen.is_some() && !self.any_live {
            self.any_live = true;
            self.left = Vec::new();
        }
        let recent = entry.versions().filter(|v| self.compacted < v.main && v.main <= self.at);
        self.chosen.extend(recent);
        let Some(kept) = live_at(self.compacted) else { return };
        if seen == Some(kept) {
            self.chosen.push(*kept);
        } else if !self.any_live {
            self.left.push(*kept);
        }
    }

    /// The versions that count, in ascending order.
    pub(crate) fn finish(mut self) -> Vec<Version> {
        if !self.any_live {
            self.chosen.append(&mut self.left);
        }
        self.chosen.sort_unstable_by_key(Version::order);
        self.chosen
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::ControlFlow;

    use t4_kv_types::{KeyRange, LeaseId, Revision};

    use super::*;
    use crate::index::{Index, Location, Newest};

    /// What etcd 3.5.1 answered: changes, compactions and hashes in the order in
    /// which they happened. It refuses the hash at exactly the compacted
    /// revision, so the recording has none.
    const ETCD_3_5: &str = include_str!("../tests/fixtures/hash-kv-etcd-3.5.1.txt");

    /// The same from a build of etcd's main branch at 3.8.0-alpha.0, which
    /// answers that hash and keeps a delete at exactly the compacted revision.
    const ETCD_3_8: &str = include_str!("../tests/fixtures/hash-kv-etcd-3.8.0-alpha.txt");

    /// A store that replays a recording.
    struct Replay {
        index: Index,
        records: BTreeMap<(i64, u32), KeyValue>,
        compacted: i64,
        /// Whether compactions drop versions immediately or never.
        passes: bool,
    }

    impl Replay {
        fn change(&mut self, main: i64, sub: u32, deleted: bool, mut kv: KeyValue) {
            let before = self.index.get(&kv.key).map(|entry| *entry.newest);
            let before = before.filter(|before| !before.version.deleted);
            kv.create_revision = Revision(before.map_or(main, |before| before.create));
            kv.version = before.map_or(1, |before| before.count + 1);
            let version = Version { main, sub, deleted, size: 0, at: Location::default() };
            let (create, count) = (kv.create_revision.0, kv.version);
            self.index.insert(&kv.key, Newest { version, create, count, lease: kv.lease.0 });
            self.records.insert((main, sub), kv);
        }

        fn compact(&mut self, c: i64) {
            self.compacted = c;
            if self.passes {
                let records = &mut self.records;
                self.index.compact(c, None, usize::MAX, |_, version| {
                    records.remove(&version.order());
                });
            }
        }

        fn hash(&self, at: i64) -> u32 {
            let mut selection = Selection::new(self.compacted, at);
            self.index.scan(&KeyRange::all(), |entry| {
                selection.entry(&entry);
                ControlFlow::Continue(())
            });
            let mut hash = RecordHash::new();
            for version in selection.finish() {
                let kv = &self.records[&version.order()];
                hash.record(version.main, version.sub, version.deleted, kv);
            }
            hash.finish()
        }

        /// Executes a line and returns the number of hashes compared.
        fn line(&mut self, line: &str) -> usize {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |word: &str| word.parse::<i64>().expect("a number");
            let order = |word: &str| {
                let (main, sub) = word.split_once('.').expect("main.sub");
                (number(main), number(sub) as u32)
            };
            match words[..] {
                ["put", at, key, value, lease] => {
                    let value = if value == "-" { "" } else { value };
                    self.change(
                        order(at).0,
                        order(at).1,
                        false,
                        KeyValue {
                            key: key.to_owned().into(),
                            value: value.to_owned().into(),
                            lease: LeaseId(number(lease)),
                            ..KeyValue::default()
                        },
                    );
                }
                ["delete", at, key] => {
                    let kv = KeyValue { key: key.to_owned().into(), ..KeyValue::default() };
                    self.change(order(at).0, order(at).1, true, kv);
                }
                ["compact", c] => self.compact(number(c)),
                ["hash", at, "compacted", c, "is", hash] => {
                    assert_eq!(self.compacted, number(c), "{line}");
                    assert_eq!(i64::from(self.hash(number(at))), number(hash), "{line}");
                    return 1;
                }
                _ => assert!(line.is_empty() || line.starts_with('#'), "{line}"),
            }
            0
        }
    }

    fn replay(recording: &str, passes: bool) -> usize {
        let (index, records) = (Index::default(), BTreeMap::new());
        let mut replay = Replay { index, records, compacted: -1, passes };
        recording.lines().map(|line| replay.line(line)).sum()
    }

    #[test]
    fn hashes_as_etcd_does() {
        assert!(replay(ETCD_3_5, true) > 50);
        assert!(replay(ETCD_3_8, true) > 50);
    }

    #[test]
    fn the_hash_does_not_wait_for_the_pass() {
        assert!(replay(ETCD_3_5, false) > 50);
        assert!(replay(ETCD_3_8, false) > 50);
    }

    #[test]
    fn the_hash_of_nothing_is_that_of_the_bucket() {
        assert_eq!(RecordHash::new().finish(), 1_084_519_789);
    }
}
