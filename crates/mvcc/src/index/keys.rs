//! A sorted list of keys in one buffer: the common prefix is stored once,
//! followed by the suffix of each key.
//!
//! A node of the tree holds its keys (a leaf) or its separators (an inner node)
//! in one of these. It only knows about bytes; the nodes decide how many keys
//! they hold.

use std::ops::Range;

/// The suffix of a key after the common prefix.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Its first four bytes, big-endian, padded with zeros. The lower of two
    /// suffixes never has the higher head, so a search reads the bytes of a key
    /// only if heads tie.
    head: u32,
    /// Its end in the buffer; it starts where the previous one ends.
    end: u32,
}

/// Distinct keys in ascending order.
#[derive(Debug, Default)]
pub(super) struct PackedKeys {
    /// The prefix, then the suffix of each key.
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    /// Length of the prefix. Every key starts with it; it is the longest common
    /// prefix after a build, and may be shorter than that after removals.
    prefix: u32,
}

impl PackedKeys {
    /// From keys in ascending order, without spare capacity.
    pub(super) fn from_sorted<K: AsRef<[u8]>>(keys: &[K]) -> Self {
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
            return PackedKeys::default();
        };
        // In a sorted list, a prefix of the first and the last key is a prefix of all.
        let prefix = common(first.as_ref(), last.as_ref());
        let suffixes: usize = keys.iter().map(|key| key.as_ref().len() - prefix).sum();
        let mut packed =
            PackedKeys::with_prefix(&first.as_ref()[..prefix], prefix + suffixes, keys.len());
        for key in keys {
            packed.push_suffix(&key.as_ref()[prefix..], &[]);
        }
        packed
    }

    fn with_prefix(prefix: &[u8], bytes: usize, slots: usize) -> Self {
        let mut packed = PackedKeys {
            bytes: Vec::with_capacity(bytes),
            slots: Vec::with_capacity(slots),
            prefix: offset(prefix.len()),
        };
        packed.bytes.extend_from_slice(prefix);
        packed
    }

    /// The number of keys.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The bytes that the keys take, with the common prefix counted once.
    pub(super) fn stored_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The value of [`PackedKeys::stored_bytes`] after inserting `key`. A key
    /// without the prefix makes every other key longer.
    pub(super) fn stored_bytes_with(&self, key: &[u8]) -> usize {
        let prefix = common(self.prefix(), key);
        self.stored_bytes_after(prefix) + key.len() - prefix
    }

    /// The same after appending all keys of a list that follows this one.
    pub(super) fn stored_bytes_joined(&self, other: &PackedKeys) -> usize {
        let prefix = common(self.prefix(), other.prefix());
        self.stored_bytes_after(prefix) + other.stored_bytes_after(prefix) - prefix
    }

    /// The bytes that the keys take with a prefix of this length.
    fn stored_bytes_after(&self, prefix: usize) -> usize {
        let cut = self.prefix as usize - prefix;
        self.bytes.len() - cut + cut * self.len()
    }

    /// The place that splits the keys into two non-empty parts of similar size
    /// in bytes. There must be at least two keys.
    pub(super) fn half_of_bytes(&self) -> usize {
        let half = self.prefix as usize + (self.bytes.len() - self.prefix as usize) / 2;
        let at = self.slots.partition_point(|slot| (slot.end as usize) <= half);
        at.clamp(1, self.len() - 1)
    }

    fn prefix(&self) -> &[u8] {
        &self.bytes[..self.prefix as usize]
    }

    fn start(&self, at: usize) -> usize {
        match at {
            0 => self.prefix as usize,
            _ => self.slots[at - 1].end as usize,
        }
    }

    fn suffix(&self, at: usize) -> &[u8] {
        &self.bytes[self.start(at)..self.slots[at].end as usize]
    }

    /// Copies the key at `at` into `key`.
    pub(super) fn copy_key(&self, at: usize, key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(self.prefix());
        key.extend_from_slice(self.suffix(at));
    }

    /// The key at `at`.
    pub(super) fn key(&self, at: usize) -> Box<[u8]> {
        [self.prefix(), self.suffix(at)].concat().into()
    }

    /// Calls `visit` with each key of `range` in order, until it returns false.
    /// Returns whether it never did.
    pub(super) fn each(
        &self,
        range: Range<usize>,
        key: &mut Vec<u8>,
        mut visit: impl FnMut(usize, &[u8]) -> bool,
    ) -> bool {
        key.clear();
        key.extend_from_slice(self.prefix());
        for at in range {
            key.truncate(self.prefix as usize);
            key.extend_from_slice(self.suffix(at));
            if !visit(at, key) {
                return false;
            }
        }
        true
    }

    /// The place of `key`, or the place to insert it.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix();
        let Some(suffix) = key.strip_prefix(prefix) else {
            return Err(if key < prefix { 0 } else { self.len() });
        };
        let head = head(suffix);
        let first = self.slots.partition_point(|slot| slot.head < head);
        if self.slots.get(first).is_none_or(|slot| slot.head != head) {
            return Err(first);
        }
        let ties = self.slots[first..].partition_point(|slot| slot.head == head);
        self.search_in(first..first + ties, suffix)
    }

    fn search_in(&self, range: Range<usize>, suffix: &[u8]) -> Result<usize, usize> {
        let Range { start: mut low, end: mut high } = range;
        while low < high {
            let middle = low.midpoint(high);
            match self.suffix(middle).cmp(suffix) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Inserts `key` at `at`, the place that a search returned.
    pub(super) fn insert(&mut self, at: usize, key: &[u8]) {
        if self.slots.is_empty() {
            *self = PackedKeys::from_sorted(&[key]);
            return;
        }
        self.shorten_prefix(common(self.prefix(), key));
        let suffix = &key[self.prefix as usize..];
        let (start, old_end) = (self.start(at), self.bytes.len());
        make_room(&mut self.bytes, suffix.len());
        self.bytes.resize(old_end + suffix.len(), 0);
        self.bytes.copy_within(start..old_end, start + suffix.len());
        self.bytes[start..start + suffix.len()].copy_from_slice(suffix);
        make_room(&mut self.slots, 1);
        self.slots.insert(at, Slot { head: head(suffix), end: offset(start) });
        let grown = offset(suffix.len());
        for slot in &mut self.slots[at..] {
            slot.end += grown;
        }
    }

    fn shorten_prefix(&mut self, prefix: usize) {
        let cut = self.prefix as usize - prefix;
        if cut == 0 {
            return;
        }
        let mut longer = PackedKeys::with_prefix(
            &self.bytes[..prefix],
            self.stored_bytes_after(prefix),
            self.len() + 1,
        );
        longer.absorb(self, 0..self.len());
        *self = longer;
    }

    /// Appends keys of another list. They start with this prefix.
    fn absorb(&mut self, from: &PackedKeys, range: Range<usize>) {
        let mine = self.prefix as usize;
        let theirs = from.prefix as usize;
        for at in range {
            let suffix = from.suffix(at);
            if mine <= theirs {
                self.push_suffix(&from.bytes[mine..theirs], suffix);
            } else {
                self.push_suffix(&suffix[mine - theirs..], &[]);
            }
        }
    }

    fn push_suffix(&mut self, first: &[u8], second: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(first);
        self.bytes.extend_from_slice(second);
        let head = head(&self.bytes[start..]);
        self.slots.push(Slot { head, end: offset(self.bytes.len()) });
    }

    /// The keys that `keep` selects.
    pub(super) fn filtered(&self, keep: impl Fn(usize) -> bool) -> PackedKeys {
        let kept: Vec<usize> = (0..self.len()).filter(|&at| keep(at)).collect();
        let (Some(&first), Some(&last)) = (kept.first(), kept.last()) else {
            return PackedKeys::default();
        };
        let shared = common(self.suffix(first), self.suffix(last));
        let suffixes: usize = kept.iter().map(|&at| self.suffix(at).len() - shared).sum();
        let prefix = [self.prefix(), &self.suffix(first)[..shared]].concat();
        let mut packed = PackedKeys::with_prefix(&prefix, prefix.len() + suffixes, kept.len());
        for at in kept {
            packed.absorb(self, at..at + 1);
        }
        packed
    }

    /// Moves the keys from `at` to the end into a new list. Both lists are repacked.
    pub(super) fn split_off(&mut self, at: usize) -> PackedKeys {
        let right = self.filtered(|key| key >= at);
        *self = self.filtered(|key| key < at);
        right
    }

    /// Appends the keys of a list that follows this one.
    pub(super) fn append(&mut self, other: &PackedKeys) {
        if other.slots.is_empty() {
            return;
        }
        if self.slots.is_empty() {
            *self = other.filtered(|_| true);
            return;
        }
        self.shorten_prefix(common(self.prefix(), other.prefix()));
        self.bytes.reserve_exact(other.bytes.len());
        self.slots.reserve_exact(other.len());
        self.absorb(other, 0..other.len());
    }

    /// Bytes allocated on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        super::accounting::of_vec(&self.bytes) + super::accounting::of_vec(&self.slots)
    }

    /// Panics unless the keys ascend and every head is correct.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let keys: Vec<_> = (0..self.len()).map(|at| self.key(at)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "keys out of order");
        assert!((0..self.len()).all(|at| self.slots[at].head == head(self.suffix(at))));
        assert_eq!(self.bytes.len(), self.start(self.len()));
    }
}

/// The first four bytes of a suffix as a number.
fn head(suffix: &[u8]) -> u32 {
    if let Some(bytes) = suffix.first_chunk() {
        return u32::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 4];
    bytes[..suffix.len()].copy_from_slice(suffix);
    u32::from_be_bytes(bytes)
}

/// The length of the common prefix of two keys.
pub(super) fn common(a: &[u8], b: &[u8]) -> usize {
    const STRIDE: usize = 16;
    let strides = a.chunks_exact(STRIDE).zip(b.chunks_exact(STRIDE));
    let whole = strides.take_while(|(a, b)| a == b).count() * STRIDE;
    whole + a[whole..].iter().zip(&b[whole..]).take_while(|(a, b)| a == b).count()
}

/// An offset in a node. A node is split long before it holds 4 GiB of keys.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a node of the index holds less than 4 GiB of keys")
}

/// Reserves room for `extra` more, with an eighth to spare: doubling would
/// leave a quarter of the index's memory unused, and the nodes are small enough
/// to be copied often.
pub(super) fn make_room<T>(list: &mut Vec<T>, extra: usize) {
    if list.capacity() - list.len() < extra {
        list.reserve_exact(extra.max(list.len() / 8).max(4));
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::{Random, with_seeds};
    use super::*;

    fn key(random: &mut Random) -> Vec<u8> {
        let shared = [&b""[..], b"/registry/", b"/registry/pods/"][random.below(3)];
        let length = random.below(9);
        let rest = (0..length).map(|_| [0, b'a', 0xff][random.below(3)]);
        shared.iter().copied().chain(rest).collect()
    }

    fn assert_same(packed: &PackedKeys, keys: &[Vec<u8>], random: &mut Random) {
        packed.check();
        assert_eq!(packed.len(), keys.len());
        assert!((0..keys.len()).all(|at| *packed.key(at) == keys[at][..]));
        for _ in 0..20 {
            let key = key(random);
            assert_eq!(packed.search(&key), keys.binary_search(&key), "{key:?} in {keys:?}");
        }
    }

    #[test]
    fn behave_as_a_sorted_list() {
        with_seeds(200, |seed| {
            let random = &mut Random::new(seed);
            let (mut packed, mut keys) = (PackedKeys::default(), Vec::new());
            for _ in 0..random.below(120) {
                let key = key(random);
                let Err(at) = packed.search(&key) else { continue };
                let expected = packed.stored_bytes_with(&key);
                packed.insert(at, &key);
                keys.insert(at, key);
                // The first key is all prefix; its size is not predicted.
                assert!(keys.len() == 1 || packed.stored_bytes() == expected);
            }
            assert_same(&packed, &keys, random);
            assert_same(&PackedKeys::from_sorted(&keys), &keys, random);
            let at = random.below(keys.len() + 1);
            let right = packed.split_off(at);
            assert_same(&packed, &keys[..at], random);
            assert_same(&right, &keys[at..], random);
            let expected = packed.stored_bytes_joined(&right);
            packed.append(&right);
            assert_same(&packed, &keys, random);
            assert!(at == 0 || at == keys.len() || packed.stored_bytes() == expected);
            let keep = |at: usize| seed >> (at % 64) & 1 == 1;
            let kept: Vec<_> =
                (0..keys.len()).filter(|&at| keep(at)).map(|at| keys[at].clone()).collect();
            assert_same(&packed.filtered(keep), &kept, random);
        });
    }

    #[test]
    fn shared_bytes_are_found_at_any_length() {
        let long = vec![7; 100];
        for at in 0..100 {
            let mut other = long.clone();
            other[at] = 8;
            assert_eq!(common(&long, &other), at);
            assert_eq!(common(&long, &long[..at]), at);
        }
        assert_eq!(common(&long, &long), 100);
    }
}
