//! A compaction pass over the tree, a few leaves at a time.

use super::inner::{Inner, Node};
use super::version::Version;

/// One step of a pass.
pub(super) struct Step<F> {
    /// The revision that is compacted to.
    pub(super) c: i64,
    /// How many leaves may still be visited.
    pub(super) leaves: usize,
    /// Where the next step begins; `None` while no end of this step was met,
    /// and when the last leaf was visited.
    pub(super) next: Option<Box<[u8]>>,
    /// Is told each version that goes.
    pub(super) dropped: F,
    /// Room to build keys in.
    pub(super) key: Vec<u8>,
}

impl Node {
    /// Visits leaves from the one that holds `from` on.
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
