//! Visits entries in key order, and counts without visiting.

use std::ops::ControlFlow;

use super::inner::{Inner, Node};
use super::leaf::Leaf;
use super::version::Entry;

impl Node {
    /// Visits the entries from `start` (inclusive) to `end` (exclusive), until
    /// the visitor stops or there are no more. `key` is a buffer for building keys.
    pub(super) fn scan(
        &self,
        start: Option<&[u8]>,
        end: Option<&[u8]>,
        key: &mut Vec<u8>,
        visit: &mut impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self {
            Node::Leaf(leaf) => scan_leaf(leaf, start, end, key, visit),
            Node::Inner(inner) => {
                let first = start.map_or(0, |start| inner.child_of(start));
                inner.children[first].scan(start, end, key, visit)?;
                for child in &inner.children[first + 1..] {
                    child.scan(None, end, key, visit)?;
                }
                ControlFlow::Continue(())
            }
        }
    }

    /// The number of live keys below `key`.
    pub(super) fn rank(&self, key: &[u8]) -> u64 {
        match self {
            Node::Leaf(leaf) => leaf.live_before(place(leaf, key)),
            Node::Inner(inner) => rank_below(inner, key),
        }
    }

    /// The leaf that would hold `key`.
    pub(super) fn leaf_of(&self, key: &[u8]) -> &Leaf {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf,
                Node::Inner(inner) => node = &inner.children[inner.child_of(key)],
            }
        }
    }

    /// Like `leaf_of`, for updating a location. The number of keys must not change.
    pub(super) fn leaf_of_mut(&mut self, key: &[u8]) -> &mut Leaf {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf,
                Node::Inner(inner) => {
                    let at = inner.child_of(key);
                    node = &mut inner.children[at];
                }
            }
        }
    }
}

fn rank_below(inner: &Inner, key: &[u8]) -> u64 {
    let at = inner.child_of(key);
    inner.live[..at].iter().sum::<u64>() + inner.children[at].rank(key)
}

/// The number of keys in the leaf below `key`.
fn place(leaf: &Leaf, key: &[u8]) -> usize {
    leaf.keys.search(key).unwrap_or_else(|at| at)
}

fn scan_leaf(
    leaf: &Leaf,
    start: Option<&[u8]>,
    end: Option<&[u8]>,
    key: &mut Vec<u8>,
    visit: &mut impl FnMut(Entry<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let first = start.map_or(0, |start| place(leaf, start));
    let last = end.map_or(leaf.len(), |end| place(leaf, end));
    let through =
        leaf.keys.each(first..last, key, |at, key| visit(leaf.entry(at, key)).is_continue());
    // A key in this leaf is at or above the end: later leaves have no more matches.
    if through && last == leaf.len() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}
