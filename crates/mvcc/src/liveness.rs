//! The most recent births and deaths of keys, for exact counts at recent
//! revisions.
//!
//! The index counts the keys that are live after its newest change. To count at
//! an older revision, the births and deaths after it are subtracted; they are
//! kept in a list bounded by changes and by bytes. If the list does not reach
//! back far enough, the caller counts by scanning.

use std::collections::VecDeque;

use t4_kv_types::{KeyRange, RangeEnd};

use crate::index::Index;

/// Default limit on changes.
const CHANGES_MAX: usize = 65_536;

/// Default limit on the bytes of their keys.
const BYTES_MAX: usize = 16 << 20;

/// A chunk is closed at this many changes. Closing sorts it while the writer
/// holds the lock, so it must stay small.
const CHUNK_CHANGES: usize = 512;

/// The most recent births and deaths of keys.
#[derive(Debug)]
pub(crate) struct Liveness {
    /// Oldest first. All but the last are closed.
    chunks: VecDeque<Chunk>,
    /// Every change after this revision is in the list.
    floor: i64,
    /// Changes in all chunks.
    changes: usize,
    /// Bytes of keys in all chunks.
    bytes: usize,
    changes_max: usize,
    bytes_max: usize,
}

impl Liveness {
    /// An empty list; `newest` is the current revision of the index.
    pub(crate) fn new(newest: i64) -> Self {
        Self::with_bounds(newest, CHANGES_MAX, BYTES_MAX)
    }

    /// Like [`Liveness::new`], with limits other than 65,536 changes and 16 MiB
    /// of keys. Each is exceeded by at most one chunk.
    pub(crate) fn with_bounds(newest: i64, changes_max: usize, bytes_max: usize) -> Self {
        let chunks = VecDeque::new();
        Liveness { chunks, floor: newest, changes: 0, bytes: 0, changes_max, bytes_max }
    }

    /// Records that `key` became live, or stopped being live, at revision
    /// `main`. Revisions must not descend between calls.
    pub(crate) fn record(&mut self, main: i64, key: &[u8], live: bool) {
        let chunk_bytes = self.bytes_max / (self.changes_max / CHUNK_CHANGES).max(1);
        match self.chunks.back_mut() {
            Some(chunk)
                if chunk.changes.len() < CHUNK_CHANGES && chunk.keys.len() < chunk_bytes => {}
            Some(chunk) => {
                chunk.close();
                self.chunks.push_back(Chunk::default());
            }
            None => self.chunks.push_back(Chunk::default()),
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.push(main, key, live);
        }
        self.changes += 1;
        self.bytes += key.len();
        self.forget_oldest();
    }

    fn forget_oldest(&mut self) {
        while (self.changes > self.changes_max || self.bytes > self.bytes_max)
            && self.chunks.len() > 1
            && let Some(oldest) = self.chunks.pop_front()
        {
            self.changes -= oldest.changes.len();
            self.bytes -= oldest.keys.len();
            self.floor = oldest.last_main();
        }
    }

    /// The number of keys in `range` that were live at revision `at`; `index`
    /// must reflect all recorded changes. `None` if the list does not reach
    /// back to `at`.
    pub(crate) fn count(&self, index: &Index, range: &KeyRange, at: i64) -> Option<u64> {
        let change = self.change_after(range, at)?;
        Some(index.count(range).saturating_add_signed(-change))
    }

    /// The change in the number of live keys in `range` after `at`.
    fn change_after(&self, range: &KeyRange, at: i64) -> Option<i64> {
        if at < self.floor {
            return None;
        }
        let newer = self.chunks.iter().rev().take_while(|chunk| chunk.last_main() > at);
        Some(newer.map(|chunk| chunk.change_after(range, at)).sum())
    }
}

/// A run of changes.
#[derive(Debug, Default)]
struct Chunk {
    /// In the order in which they happened.
    changes: Vec<Change>,
    /// Their keys, concatenated.
    keys: Vec<u8>,
    /// Once closed: indexes into `changes`, sorted by key.
    by_key: Vec<u16>,
    /// Once closed: the sum of the first `i` of `by_key`, for `i` from 0 up to
    /// and including its length.
    sums: Vec<i16>,
}

#[derive(Debug)]
struct Change {
    main: i64,
    /// The end of its key in `keys`.
    end: u32,
    live: bool,
}

impl Change {
    fn sign(&self) -> i16 {
        if self.live { 1 } else { -1 }
    }
}

impl Chunk {
    fn push(&mut self, main: i64, key: &[u8], live: bool) {
        self.keys.extend_from_slice(key);
        let end = u32::try_from(self.keys.len()).expect("a chunk of keys is far below 4 GiB");
        debug_assert!(self.last_main() <= main);
        self.changes.push(Change { main, end, live });
    }

    fn last_main(&self) -> i64 {
        self.changes.last().map_or(i64::MIN, |change| change.main)
    }

    fn key(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.changes[at - 1].end };
        &self.keys[start as usize..self.changes[at].end as usize]
    }

    fn close(&mut self) {
        let mut by_key: Vec<u16> = (0..).take(self.changes.len()).collect();
        by_key.sort_unstable_by(|&a, &b| self.key(a.into()).cmp(self.key(b.into())));
        let mut sum = 0;
        self.sums = Vec::with_capacity(by_key.len() + 1);
        self.sums.push(0);
        for &at in &by_key {
            sum += self.changes[usize::from(at)].sign();
            self.sums.push(sum);
        }
        self.by_key = by_key;
        self.changes.shrink_to_fit();
        self.keys.shrink_to_fit();
    }

    fn change_after(&self, range: &KeyRange, at: i64) -> i64 {
        let first = self.changes.partition_point(|change| change.main <= at);
        if first == 0 && !self.sums.is_empty() {
            return self.change_in(range);
        }
        (first..self.changes.len())
            .filter(|&at| range.contains(self.key(at)))
            .map(|at| i64::from(self.changes[at].sign()))
            .sum()
    }

    /// The net change of a closed chunk.
    fn change_in(&self, range: &KeyRange) -> i64 {
        let below = |bound: &[u8]| self.by_key.partition_point(|&at| self.key(at.into()) < bound);
        let start = below(&range.start);
        let end = match &range.end {
            RangeEnd::Single => {
                let same =
                    self.by_key[start..].partition_point(|&at| self.key(at.into()) == range.start);
                start + same
            }
            RangeEnd::Before(end) => below(end).max(start),
            RangeEnd::Open => self.by_key.len(),
        };
        i64::from(self.sums[end]) - i64::from(self.sums[start])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::random::{Random, with_seeds};
    use crate::index::{Location, Newest, Version};

    /// A list beside an index, and the sets of live keys at each revision.
    struct Model {
        random: Random,
        liveness: Liveness,
        index: Index,
        /// All changes: revision, key, whether it is live afterwards.
        changes: Vec<(i64, Vec<u8>, bool)>,
        revision: i64,
    }

    impl Model {
        fn key(&mut self) -> Vec<u8> {
            let n = self.random.below(700);
            if n == 0 { Vec::new() } else { format!("{}/{}", n % 5, n).into() }
        }

        fn live_at(&self, key: &[u8], at: i64) -> bool {
            let until = self.changes.iter().rev().filter(|(main, ..)| *main <= at);
            until.into_iter().find(|(_, changed, _)| changed == key).is_some_and(|change| change.2)
        }

        fn write(&mut self) {
            self.revision += 1;
            for sub in 0..1 + self.random.below(4) as u32 {
                let key = self.key();
                let deleted = self.live_at(&key, self.revision);
                let at = Location::default();
                let version = Version { main: self.revision, sub, deleted, size: 0, at };
                self.index.insert(&key, Newest { version, create: 0, count: 0, lease: 0 });
                self.liveness.record(self.revision, &key, !deleted);
                self.changes.push((self.revision, key, !deleted));
            }
        }

        fn range(&mut self) -> KeyRange {
            let (start, end) = (self.key(), self.key());
            match self.random.below(4) {
                0 => KeyRange::single(start),
                1 => KeyRange { start: start.into(), end: RangeEnd::Open },
                _ => KeyRange { start: start.into(), end: RangeEnd::Before(end.into()) },
            }
        }

        /// Returns whether the list reached back.
        fn read(&mut self, back: i64) -> bool {
            let range = self.range();
            let at = (self.revision - back).max(1);
            let Some(count) = self.liveness.count(&self.index, &range, at) else { return false };
            let mut live = std::collections::BTreeSet::new();
            for (_, key, born) in self.changes.iter().take_while(|(main, ..)| *main <= at) {
                if *born {
                    live.insert(key)
                } else {
                    live.remove(key)
                };
            }
            let expected = live.iter().filter(|key| range.contains(key)).count();
            assert_eq!(count, expected as u64, "{range:?} at {at} of {}", self.revision);
            true
        }
    }

    fn model(seed: u64, liveness: Liveness) -> Model {
        let (random, index) = (Random::new(seed), Index::default());
        Model { random, liveness, index, changes: Vec::new(), revision: 1 }
    }

    #[test]
    fn counts_at_recent_revisions_are_exact() {
        with_seeds(3, |seed| {
            let mut model = model(seed, Liveness::with_bounds(1, 1_500, 1 << 20));
            let mut reached = [0; 2];
            for _ in 0..1_500 {
                model.write();
                let back = model.random.below(1_200) as i64;
                let near = model.random.below(3) as i64;
                reached[usize::from(model.read(back))] += 1;
                assert!(model.read(near), "the latest revisions are within reach");
            }
            assert!(reached.iter().all(|&reads| reads > 100), "{reached:?}");
        });
    }

    #[test]
    fn it_reaches_back_to_where_it_began_until_it_is_full() {
        let mut model = model(1, Liveness::with_bounds(1, 2_000, 1 << 20));
        let (range, unknown) = (KeyRange::all(), -1);
        assert_eq!(model.liveness.count(&model.index, &range, unknown), None);
        while model.liveness.changes + 4 <= 2_000 {
            assert_eq!(model.liveness.count(&model.index, &range, 1), Some(0));
            model.write();
        }
        while model.liveness.floor == 1 {
            model.write();
        }
        assert_eq!(model.liveness.count(&model.index, &range, 1), None);
        assert!(model.liveness.changes > 1_000, "only the oldest are forgotten");
        let floor = model.liveness.floor;
        assert!(model.liveness.count(&model.index, &range, floor).is_some());
    }

    #[test]
    fn long_keys_cannot_exceed_the_bound_on_bytes() {
        let mut liveness = Liveness::with_bounds(1, 65_536, 1 << 20);
        let key = vec![b'k'; 100_000];
        for main in 2..100 {
            liveness.record(main, &key, main % 2 == 0);
            let held: usize = liveness.chunks.iter().map(|chunk| chunk.keys.len()).sum();
            assert_eq!(held, liveness.bytes);
            assert!(held <= (1 << 20) + 100_000);
        }
        assert!(liveness.change_after(&KeyRange::all(), 98).is_some());
    }

    #[test]
    fn a_chunk_boundary_inside_a_revision_loses_nothing() {
        let mut liveness = Liveness::with_bounds(1, 1_024, 1 << 20);
        for n in 0..2_000_u32 {
            liveness.record(2, &n.to_be_bytes(), true);
        }
        // Parts of revision 2 were dropped, so 1 is out of reach and 2 is not.
        assert_eq!(liveness.change_after(&KeyRange::all(), 1), None);
        assert_eq!(liveness.change_after(&KeyRange::all(), 2), Some(0));
    }
}
