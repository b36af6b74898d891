//! A leaf of the tree: up to 64 keys with their versions.

use super::keys::{PackedKeys, make_room};
use super::version::{Entry, Newest, Version};

/// The most keys of a leaf, one per bit of a word.
pub(super) const LEAF_KEYS_MAX: usize = 64;

/// A leaf with more than one key is split before its keys take more bytes than
/// this, so that an insert never moves much memory, however long the keys are.
pub(super) const LEAF_BYTES_MAX: usize = 16 << 10;

/// A leaf with fewer keys than this is joined with a neighbour if possible.
const LEAF_KEYS_SMALL: usize = LEAF_KEYS_MAX / 4;

/// Keys in ascending order, and their versions.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) keys: PackedKeys,
    /// The newest version of each key.
    newest: Vec<Newest>,
    /// Bit `i`: the newest version of key `i` is a delete.
    dead: u64,
    /// Bit `i`: key `i` has older versions.
    updated: u64,
    /// The older versions, oldest first, of each key whose bit is set in
    /// `updated`, in key order. Never empty for such a key.
    older: Vec<Vec<Version>>,
    /// No compaction below this revision drops anything here, so a pass skips
    /// leaves without recent changes.
    drops_from: i64,
}

impl Default for Leaf {
    fn default() -> Self {
        Leaf {
            keys: PackedKeys::default(),
            newest: Vec::new(),
            dead: 0,
            updated: 0,
            older: Vec::new(),
            drops_from: i64::MAX,
        }
    }
}

impl Leaf {
    /// From entries in key order, without spare capacity.
    pub(super) fn from_sorted<K: AsRef<[u8]>>(
        keys: &[K],
        newest: Vec<Newest>,
        older: Vec<Vec<Version>>,
    ) -> Self {
        let mut leaf = Leaf { keys: PackedKeys::from_sorted(keys), ..Leaf::default() };
        for (at, (newest, older)) in newest.iter().zip(&older).enumerate() {
            leaf.dead |= u64::from(newest.version.deleted) << at;
            leaf.updated |= u64::from(!older.is_empty()) << at;
        }
        leaf.newest = newest;
        leaf.newest.shrink_to_fit();
        leaf.older = older.into_iter().filter(|older| !older.is_empty()).collect();
        leaf.older.shrink_to_fit();
        leaf.drops_from = leaf.find_drops_from();
        leaf
    }

    fn find_drops_from(&self) -> i64 {
        let drops = |at| drops_from(self.older(at), &self.newest[at].version);
        bits(self.dead | self.updated).map(drops).min().unwrap_or(i64::MAX)
    }

    pub(super) fn len(&self) -> usize {
        self.newest.len()
    }

    /// The number of live keys.
    pub(super) fn live(&self) -> u64 {
        self.live_before(self.len())
    }

    /// The number of live keys among the first `at`.
    pub(super) fn live_before(&self, at: usize) -> u64 {
        at as u64 - u64::from((self.dead & low_bits(at)).count_ones())
    }

    /// Whether a compaction to `c` may drop something here.
    pub(super) fn may_drop(&self, c: i64) -> bool {
        self.drops_from <= c
    }

    /// Whether the leaf must be split before `key` is inserted.
    pub(super) fn is_full_for(&self, key: &[u8]) -> bool {
        self.len() >= LEAF_KEYS_MAX
            || self.len() > 0 && self.keys.stored_bytes_with(key) > LEAF_BYTES_MAX
    }

    /// Whether it should be joined with a neighbour that has room.
    pub(super) fn is_small(&self) -> bool {
        self.len() < LEAF_KEYS_SMALL
    }

    /// Whether the joined leaf would have a quarter of its capacity left.
    pub(super) fn has_room_for(&self, other: &Leaf) -> bool {
        self.len() + other.len() <= LEAF_KEYS_MAX * 3 / 4
            && self.keys.stored_bytes_joined(&other.keys) <= LEAF_BYTES_MAX * 3 / 4
    }

    /// The entry at `at`; `key` is its key.
    pub(super) fn entry<'a>(&'a self, at: usize, key: &'a [u8]) -> Entry<'a> {
        Entry { key, newest: &self.newest[at], older: self.older(at) }
    }

    fn is_updated(&self, at: usize) -> bool {
        self.updated >> at & 1 == 1
    }

    /// The place of the older versions of key `at`, or the place to insert them.
    fn older_at(&self, at: usize) -> usize {
        (self.updated & low_bits(at)).count_ones() as usize
    }

    pub(super) fn older(&self, at: usize) -> &[Version] {
        if self.is_updated(at) { &self.older[self.older_at(at)] } else { &[] }
    }

    /// Inserts a new key at `at`. The leaf must not be full.
    pub(super) fn insert(&mut self, at: usize, key: &[u8], newest: Newest) {
        self.keys.insert(at, key);
        make_room(&mut self.newest, 1);
        self.newest.insert(at, newest);
        self.dead = insert_bit(self.dead, at, newest.version.deleted);
        self.updated = insert_bit(self.updated, at, false);
        if newest.version.deleted {
            self.drops_from = self.drops_from.min(newest.version.main.saturating_add(1));
        }
    }

    /// Adds a new version of key `at`. Returns the previous newest version.
    pub(super) fn update(&mut self, at: usize, newest: Newest) -> Newest {
        let before = self.newest[at];
        assert!(
            before.version.order() < newest.version.order(),
            "a change is newer than every change of its key: {:?} after {:?}",
            newest.version.order(),
            before.version.order(),
        );
        self.newest[at] = newest;
        let older = self.older_at(at);
        if !self.is_updated(at) {
            self.updated |= 1 << at;
            make_room(&mut self.older, 1);
            self.older.insert(older, Vec::new());
        }
        push_exactly_at_first(&mut self.older[older], before.version);
        self.drops_from = self.drops_from.min(newest.version.main);
        self.dead = self.dead & !(1 << at) | u64::from(newest.version.deleted) << at;
        before
    }

    /// The version of key `at` with this revision.
    pub(super) fn version_mut(&mut self, at: usize, main: i64, sub: u32) -> Option<&mut Version> {
        if self.newest[at].version.order() == (main, sub) {
            return Some(&mut self.newest[at].version);
        }
        if !self.is_updated(at) {
            return None;
        }
        let older = self.older_at(at);
        let older = &mut self.older[older];
        let found = older.binary_search_by_key(&(main, sub), Version::order).ok()?;
        Some(&mut older[found])
    }

    /// Where to split a full leaf if the next key goes to `inserting`. A key at
    /// either end gets its own leaf: ascending and descending inserts leave full
    /// leaves behind, and the leaf keeps a prefix that the key does not share.
    pub(super) fn split_point(&self, inserting: usize) -> usize {
        if inserting == 0 || inserting == self.len() {
            inserting
        } else if self.len() < LEAF_KEYS_MAX {
            self.keys.half_of_bytes()
        } else {
            self.len() / 2
        }
    }

    /// Moves the keys from `at` to the end into a new leaf.
    pub(super) fn split_off(&mut self, at: usize) -> Leaf {
        let older = self.older_at(at);
        let right = Leaf {
            keys: self.keys.split_off(at),
            newest: self.newest.split_off(at),
            dead: high_bits(self.dead, at),
            updated: high_bits(self.updated, at),
            older: self.older.split_off(older),
            drops_from: self.drops_from,
        };
        self.newest.shrink_to_fit();
        self.older.shrink_to_fit();
        self.dead &= low_bits(at);
        self.updated &= low_bits(at);
        right
    }

    /// Appends a leaf whose keys follow these; both must fit into one.
    pub(super) fn append(&mut self, mut right: Leaf) {
        let at = self.len();
        self.drops_from = self.drops_from.min(right.drops_from);
        self.keys.append(&right.keys);
        self.newest.reserve_exact(right.newest.len());
        self.newest.append(&mut right.newest);
        self.older.reserve_exact(right.older.len());
        self.older.append(&mut right.older);
        if at < LEAF_KEYS_MAX {
            self.dead |= right.dead << at;
            self.updated |= right.updated << at;
        }
    }

    /// Drops what a compaction at `c` drops (see `Index::compact`) and reports
    /// each version. The count of live keys does not change: an entry is
    /// removed only if its newest version is a delete. `key` is a buffer for
    /// building keys.
    pub(super) fn compact(
        &mut self,
        c: i64,
        key: &mut Vec<u8>,
        dropped: &mut impl FnMut(&[u8], Version),
    ) {
        let mut gone: u64 = 0;
        for at in bits(self.dead | self.updated) {
            let newest = self.newest[at].version;
            let cut = obsolete(self.older(at), &newest, c);
            let remove = newest.deleted && newest.main < c;
            if cut == 0 && !remove {
                continue;
            }
            self.keys.copy_key(at, key);
            self.drop_older(at, cut, |version| dropped(key, version));
            if remove {
                dropped(key, newest);
                gone |= 1 << at;
            }
        }
        if gone != 0 {
            self.remove(gone);
        }
        self.drops_from = self.find_drops_from();
    }

    /// Drops the first `cut` older versions of key `at`.
    fn drop_older(&mut self, at: usize, cut: usize, dropped: impl FnMut(Version)) {
        if cut == 0 {
            return;
        }
        let place = self.older_at(at);
        let older = &mut self.older[place];
        older.drain(..cut).for_each(dropped);
        if older.is_empty() {
            self.older.remove(place);
            self.updated &= !(1 << at);
        } else {
            older.shrink_to_fit();
        }
    }

    /// Removes the keys whose bits are set. They must have no older versions.
    fn remove(&mut self, gone: u64) {
        let stays = |at: usize| gone >> at & 1 == 0;
        let mut at = 0;
        self.keys = self.keys.filtered(stays);
        self.newest.retain(|_| {
            at += 1;
            stays(at - 1)
        });
        self.newest.shrink_to_fit();
        self.dead = remove_bits(self.dead, gone);
        self.updated = remove_bits(self.updated, gone);
    }

    /// Bytes allocated on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let older: usize = self.older.iter().map(super::accounting::of_vec).sum();
        self.keys.heap_bytes()
            + super::accounting::of_vec(&self.newest)
            + super::accounting::of_vec(&self.older)
            + older
    }

    /// Panics unless the lists are consistent.
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.keys.check();
        assert_eq!(self.keys.len(), self.len());
        assert_eq!(self.updated.count_ones() as usize, self.older.len());
        assert_eq!((self.dead | self.updated) & !low_bits(self.len()), 0);
        for at in 0..self.len() {
            let older = self.older(at);
            assert_eq!(self.dead >> at & 1 == 1, self.newest[at].version.deleted);
            assert_eq!(self.is_updated(at), !older.is_empty());
            let versions = older.iter().chain([&self.newest[at].version]);
            assert!(versions.is_sorted_by(|a, b| a.order() < b.order()));
        }
        assert!(self.drops_from <= self.find_drops_from());
    }
}

/// The number of `older` that a compaction at `c` drops: those that a version
/// at or below `c` supersedes, and then a first one that is a delete below `c`.
fn obsolete(older: &[Version], newest: &Version, c: i64) -> usize {
    let known = older.partition_point(|version| version.main <= c);
    if newest.main <= c {
        return older.len();
    }
    match known.checked_sub(1) {
        Some(last) if older[last].deleted && older[last].main < c => known,
        Some(last) => last,
        None => 0,
    }
}

/// The lowest revision at which a compaction drops a version of a key that has
/// older versions or is deleted.
fn drops_from(older: &[Version], newest: &Version) -> i64 {
    let second = match older {
        [] => return newest.main.saturating_add(1),
        [_] => newest,
        [_, second, ..] => second,
    };
    // A delete that is the first version is dropped as soon as the compaction passes it.
    if older[0].deleted { second.main.min(older[0].main.saturating_add(1)) } else { second.main }
}

/// Adds a version to those of a key. Most keys have few, so capacity doubles
/// from one, not from four as in a plain `Vec`.
fn push_exactly_at_first(older: &mut Vec<Version>, version: Version) {
    if older.len() == older.capacity() {
        older.reserve_exact(older.len().max(1));
    }
    older.push(version);
}

/// The positions of the set bits, lowest first.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = word.trailing_zeros() as usize;
        word &= word.wrapping_sub(1);
        (at < 64).then_some(at)
    })
}

/// The lowest `count` bits, at most 64.
fn low_bits(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// The bits from `at` up, shifted down to bit 0.
fn high_bits(bits: u64, at: usize) -> u64 {
    if at >= 64 { 0 } else { bits >> at }
}

/// Shifts the bits from `at` up by one and puts `bit` there.
fn insert_bit(bits: u64, at: usize, bit: bool) -> u64 {
    let low = low_bits(at);
    (bits & !low) << 1 | bits & low | u64::from(bit) << at
}

/// Removes the positions set in `gone` and closes the gaps.
fn remove_bits(bits: u64, gone: u64) -> u64 {
    let mut kept = 0;
    let mut next = 0;
    for at in 0..64 {
        if gone >> at & 1 == 0 {
            kept |= (bits >> at & 1) << next;
            next += 1;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_move_with_their_keys() {
        assert_eq!(low_bits(0), 0);
        assert_eq!(low_bits(64), u64::MAX);
        assert_eq!(high_bits(u64::MAX, 64), 0);
        assert_eq!(insert_bit(0b1011, 2, false), 0b1_0011);
        assert_eq!(insert_bit(0b1011, 2, true), 0b1_0111);
        assert_eq!(insert_bit(0, 63, true), 1 << 63);
        assert_eq!(remove_bits(0b1_0111, 0b0_0101), 0b101);
        assert_eq!(remove_bits(u64::MAX, u64::MAX), 0);
        assert_eq!(bits(1 << 63 | 0b101).collect::<Vec<_>>(), [0, 2, 63]);
    }
}
