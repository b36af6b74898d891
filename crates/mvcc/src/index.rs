//! The index: every key with its versions, in memory.
//!
//! A B+tree whose inner nodes count the live keys below each child, so that
//! counting the keys in a range costs two descents (etcd's Range returns the
//! count with every page). A node packs its keys into one buffer and stores
//! their common prefix once; a leaf holds up to 64 entries of 48 bytes and keeps
//! older versions only for keys that have some.
//!
//! Pure: no IO, no clock, no randomness. The store decides what a [`Location`]
//! means, which revisions a reader may see, and when a compaction is due;
//! [`crate::liveness`] provides exact counts at recent revisions.

#[cfg(test)]
mod accounting;
mod bulk;
mod compact;
mod inner;
mod insert;
mod keys;
mod leaf;
#[cfg(test)]
mod measure;
#[cfg(test)]
mod model;
#[cfg(test)]
pub(crate) mod random;
mod scan;
mod version;

use std::ops::ControlFlow;

use t4_kv_types::{KeyRange, RangeEnd};

pub(crate) use version::{Entry, Location, Newest, Version};

use inner::{Inner, Node};
use leaf::Leaf;

/// Every key with its versions, in key order.
#[derive(Debug)]
pub(crate) struct Index {
    root: Node,
    /// The number of live keys, as counted by the root.
    live: u64,
}

impl Default for Index {
    /// An empty index.
    fn default() -> Self {
        Index { root: Node::Leaf(Leaf::default()), live: 0 }
    }
}

impl Index {
    /// Builds an index from entries in strictly ascending key order, each with
    /// its older versions in ascending order. Nodes are filled to nine tenths.
    ///
    /// # Panics
    /// If the keys are not ascending.
    pub(crate) fn bulk(sorted: impl Iterator<Item = (Box<[u8]>, Newest, Vec<Version>)>) -> Self {
        let root = bulk::build(sorted);
        let live = root.live();
        Index { root, live }
    }

    /// The entry of `key`, which may be deleted.
    pub(crate) fn get<'a>(&'a self, key: &'a [u8]) -> Option<Entry<'a>> {
        let leaf = self.root.leaf_of(key);
        let at = leaf.keys.search(key).ok()?;
        Some(leaf.entry(at, key))
    }

    /// Adds a change of `key`. Returns the previous newest version: `None` if
    /// the index did not have the key, a delete if the key was deleted.
    ///
    /// # Panics
    /// If the change is not newer than every change of this key.
    pub(crate) fn insert(&mut self, key: &[u8], newest: Newest) -> Option<Newest> {
        let inserted = self.root.insert(key, newest);
        self.live = self.live.wrapping_add_signed(inserted.live_change(&newest));
        if let Some(split) = inserted.split {
            let left = std::mem::replace(&mut self.root, Node::Leaf(Leaf::default()));
            self.root = Node::Inner(Inner::new(vec![left, split.right], &[split.separator]));
        }
        inserted.before
    }

    /// The number of live keys, whose newest version is not a delete.
    pub(crate) fn live_keys(&self) -> u64 {
        self.live
    }

    /// The number of live keys below `key`.
    pub(crate) fn rank(&self, key: &[u8]) -> u64 {
        self.root.rank(key)
    }

    /// The number of live keys in `range`. Costs two descents.
    pub(crate) fn count(&self, range: &KeyRange) -> u64 {
        match &range.end {
            RangeEnd::Single => {
                self.get(&range.start).is_some_and(|entry| !entry.newest.version.deleted).into()
            }
            RangeEnd::Before(end) => self.rank(end).saturating_sub(self.rank(&range.start)),
            RangeEnd::Open => self.live - self.rank(&range.start),
        }
    }

    /// Visits the entries in `range` in key order, including deleted ones,
    /// until the visitor breaks.
    pub(crate) fn scan(
        &self,
        range: &KeyRange,
        mut visit: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) {
        let end = match &range.end {
            RangeEnd::Single => {
                if let Some(entry) = self.get(&range.start) {
                    let _ = visit(entry);
                }
                return;
            }
            RangeEnd::Before(_) if range.is_empty() => return,
            RangeEnd::Before(end) => Some(end.as_ref()),
            RangeEnd::Open => None,
        };
        // It makes no difference whether the visitor broke or the range ended.
        let _ = self.root.scan(Some(&range.start), end, &mut Vec::new(), &mut visit);
    }

    /// One step of a compaction to revision `c`: visits up to `leaves` leaves
    /// (at least one), starting at the leaf that `cursor` lies in or at the first.
    ///
    /// For each key it drops the versions that another version at or below `c`
    /// supersedes, and then the first version if it is a delete below `c` (a
    /// delete at exactly `c` stays, for watchers that start there). `dropped` is
    /// called with each of them. Keys without versions are removed. Live keys do
    /// not change.
    ///
    /// Returns where the next step starts, or `None` if the last leaf was
    /// visited. Changes above `c` may be made between steps.
    pub(crate) fn compact(
        &mut self,
        c: i64,
        cursor: Option<Box<[u8]>>,
        leaves: usize,
        dropped: impl FnMut(&[u8], Version),
    ) -> Option<Box<[u8]>> {
        let mut step =
            compact::Step { c, leaves: leaves.max(1), next: None, dropped, key: Vec::new() };
        self.root.compact(cursor.as_deref(), &mut step);
        self.collapse();
        step.next
    }

    /// Removes levels with a single node from the top.
    fn collapse(&mut self) {
        while let Node::Inner(inner) = &mut self.root
            && inner.children.len() == 1
            && let Some(child) = inner.children.pop()
        {
            self.root = child;
        }
    }

    /// Moves the record of a version to `to`. Returns false if the index does
    /// not have that version (any more).
    pub(crate) fn relocate(&mut self, key: &[u8], main: i64, sub: u32, to: Location) -> bool {
        let leaf = self.root.leaf_of_mut(key);
        let version = leaf.keys.search(key).ok().and_then(|at| leaf.version_mut(at, main, sub));
        match version {
            Some(version) => {
                version.at = to;
                true
            }
            None => false,
        }
    }
}
