//! Checks the shape of the tree and measures its memory, for tests.

use super::Index;
use super::inner::{CHILDREN_MAX, Node};
use super::leaf::LEAF_KEYS_MAX;

/// An allocator's overhead per allocation, including rounding.
const PER_ALLOCATION: usize = 16;

/// The heap bytes of a list.
pub(super) fn of_vec<T>(list: &Vec<T>) -> usize {
    match list.capacity() * size_of::<T>() {
        0 => 0,
        bytes => bytes + PER_ALLOCATION,
    }
}

impl Node {
    fn heap_bytes(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.heap_bytes(),
            Node::Inner(inner) => {
                inner.separators.heap_bytes()
                    + of_vec(&inner.live)
                    + of_vec(&inner.children)
                    + inner.children.iter().map(Node::heap_bytes).sum::<usize>()
            }
        }
    }
}

impl Index {
    /// All memory of the index, including spare capacity.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.root.heap_bytes()
    }
}

impl Index {
    /// Panics unless the tree is valid: see the fields of its nodes.
    pub(super) fn check(&self) {
        self.root.check(None, None, true);
        assert_eq!(self.live, self.root.live());
    }
}

impl Index {
    /// The number of leaves.
    pub(super) fn leaves(&self) -> usize {
        self.root.leaves()
    }

    /// Whether any two neighbours should have been joined.
    pub(super) fn is_untidy(&self) -> bool {
        self.root.is_untidy()
    }
}

impl Node {
    fn leaves(&self) -> usize {
        match self {
            Node::Leaf(_) => 1,
            Node::Inner(inner) => inner.children.iter().map(Node::leaves).sum(),
        }
    }

    fn is_untidy(&self) -> bool {
        let Node::Inner(inner) = self else { return false };
        (1..inner.children.len()).any(|at| inner.should_join(at - 1))
            || inner.children.iter().any(Node::is_untidy)
    }

    /// Checks the node, whose keys lie between `low` and `high`, and everything
    /// below it. Returns the number of levels.
    fn check(&self, low: Option<&[u8]>, high: Option<&[u8]>, is_root: bool) -> usize {
        let inner = match self {
            Node::Leaf(leaf) => {
                assert!(is_root || leaf.len() > 0, "an empty leaf");
                assert!(leaf.len() <= LEAF_KEYS_MAX);
                leaf.check();
                if leaf.len() > 0 {
                    assert!(low.is_none_or(|low| low <= &*leaf.keys.key(0)));
                    assert!(high.is_none_or(|high| &*leaf.keys.key(leaf.len() - 1) < high));
                }
                return 1;
            }
            Node::Inner(inner) => inner,
        };
        let children = inner.children.len();
        assert!(children >= if is_root { 2 } else { 1 } && children <= CHILDREN_MAX);
        assert_eq!((inner.separators.len() + 1, inner.live.len()), (children, children));
        inner.separators.check();
        let mut levels = None;
        for (at, child) in inner.children.iter().enumerate() {
            let from = at.checked_sub(1).map(|at| inner.separators.key(at));
            let to = (at + 1 < children).then(|| inner.separators.key(at));
            let below = child.check(from.as_deref().or(low), to.as_deref().or(high), false);
            assert_eq!(*levels.get_or_insert(below), below, "leaves are equally deep");
            assert_eq!(inner.live[at], child.live(), "the count of a child is exact");
        }
        levels.unwrap_or(0) + 1
    }
}
