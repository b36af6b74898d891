//! A compaction pass over the tree, a few leaves at a time.

use super::inner::{Inner, Node};
use super::version::Version;

/// One step of a pass.
pub(super) struct Step<F> {
    /// The revision to compact to.
    pub(super) c: i64,
    /// The number of leaves that may still be visited.
    pub(super) leaves: usize,
    /// Where the next step starts; `None` until this step reaches its limit,
    /// and after the last leaf was visited.
    pub(super) next: Option<Box<[u8]>>,
    /// Called with each dropped version.
    pub(super) dropped: F,
    /// A buffer for building keys.
    pub(super) key: Vec<u8>,
}

impl Node {
    /// Visits leaves, starting with the one that holds `from`.
    pub(super) fn compact(
        &mut self,
        from: Option<&[u8]>,
        step: &mut Step<impl FnMut(&[u8], Version)>,
    ) {
        match self {
            Node::Leaf(leaf) => {
                step.leaves -= 1;
                if leaf.may_drop(step.c) {
                    leaf.compact(step.c, &mut step.key, &mut step.dropped);
                }
            }
            Node::Inner(inner) => compact_below(inner, from, step),
        }
    }
}

fn compact_below(
    inner: &mut Inner,
    from: Option<&[u8]>,
    step: &mut Step<impl FnMut(&[u8], Version)>,
) {
    let first = from.map_or(0, |key| inner.child_of(key));
    inner.children[first].compact(from, step);
    let mut last = first;
    while step.leaves > 0 && last + 1 < inner.children.len() {
        last += 1;
        inner.children[last].compact(None, step);
    }
    if step.next.is_none() && last + 1 < inner.children.len() {
        step.next = Some(inner.separators.key(last));
    }
    inner.tidy(first, last);
}
