//! The nodes of the tree, and the inner node: children, the separators between
//! them, and the number of live keys below each child.

use super::keys::{PackedKeys, make_room};
use super::leaf::Leaf;

/// The most children of an inner node.
pub(super) const CHILDREN_MAX: usize = 128;

/// An inner node with more bytes of separators than this is split, unless it
/// has only few children.
const SEPARATOR_BYTES_MAX: usize = 64 << 10;

/// An inner node with fewer children than this is joined with a neighbour if possible.
const CHILDREN_SMALL: usize = CHILDREN_MAX / 4;

/// A node and its subtree. All leaves have the same depth, and no node but the
/// root is empty.
#[derive(Debug)]
pub(super) enum Node {
    Leaf(Leaf),
    Inner(Inner),
}

/// Child `i` holds the keys from separator `i - 1` (inclusive) up to separator
/// `i` (exclusive).
#[derive(Debug)]
pub(super) struct Inner {
    /// One fewer than the children.
    pub(super) separators: PackedKeys,
    /// The number of live keys below each child.
    pub(super) live: Vec<u64>,
    /// At least one.
    pub(super) children: Vec<Node>,
}

/// The right part of a split node, and the key that separates the two.
#[derive(Debug)]
pub(super) struct Split {
    pub(super) separator: Box<[u8]>,
    pub(super) right: Node,
}

impl Node {
    /// The number of live keys in the subtree.
    pub(super) fn live(&self) -> u64 {
        match self {
            Node::Leaf(leaf) => leaf.live(),
            Node::Inner(inner) => inner.live.iter().sum(),
        }
    }

    /// Whether the subtree has no keys.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.len() == 0,
            Node::Inner(inner) => inner.children.iter().all(Node::is_empty),
        }
    }

    fn is_small(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.is_small(),
            Node::Inner(inner) => inner.children.len() < CHILDREN_SMALL,
        }
    }

    fn has_room_for(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::Leaf(left), Node::Leaf(right)) => left.has_room_for(right),
            (Node::Inner(left), Node::Inner(right)) => left.has_room_for(right),
            _ => false,
        }
    }

    /// Appends the next node on its level; `separator` separated them.
    fn append(&mut self, separator: &[u8], right: Node) {
        match (self, right) {
            (Node::Leaf(left), Node::Leaf(right)) => left.append(right),
            (Node::Inner(left), Node::Inner(right)) => left.append(separator, right),
            _ => unreachable!("the children of a node are all leaves or all inner nodes"),
        }
    }
}

impl Inner {
    /// Builds a node from nodes in key order and the separators between them.
    pub(super) fn new<K: AsRef<[u8]>>(children: Vec<Node>, separators: &[K]) -> Self {
        let live = children.iter().map(Node::live).collect();
        Inner { separators: PackedKeys::from_sorted(separators), live, children }
    }

    /// The child that would hold `key`.
    pub(super) fn child_of(&self, key: &[u8]) -> usize {
        match self.separators.search(key) {
            Ok(at) => at + 1,
            Err(at) => at,
        }
    }

    /// Inserts the right part of child `at`, which was split. Returns this
    /// node's own right part if it became too big.
    pub(super) fn adopt(&mut self, at: usize, split: Split) -> Option<Split> {
        self.live[at] = self.children[at].live();
        make_room(&mut self.live, 1);
        self.live.insert(at + 1, split.right.live());
        make_room(&mut self.children, 1);
        self.children.insert(at + 1, split.right);
        self.separators.insert(at, &split.separator);
        self.is_too_big().then(|| self.split(at + 1))
    }

    fn is_too_big(&self) -> bool {
        self.children.len() > CHILDREN_MAX
            || self.children.len() > 4 && self.separators.stored_bytes() > SEPARATOR_BYTES_MAX
    }

    /// Splits after the child `adopted` was inserted; ascending inserts leave
    /// full nodes behind.
    fn split(&mut self, adopted: usize) -> Split {
        let last = self.children.len() - 1;
        let at = if adopted == last { last } else { self.children.len() / 2 };
        let children = self.children.split_off(at);
        let live = self.live.split_off(at);
        let separators = self.separators.split_off(at);
        let separator = self.separators.key(at - 1);
        self.separators = self.separators.filtered(|key| key < at - 1);
        self.children.shrink_to_fit();
        self.live.shrink_to_fit();
        Split { separator, right: Node::Inner(Inner { separators, live, children }) }
    }

    fn has_room_for(&self, other: &Inner) -> bool {
        self.children.len() + other.children.len() <= CHILDREN_MAX * 3 / 4
            && self.separators.stored_bytes() + other.separators.stored_bytes()
                <= SEPARATOR_BYTES_MAX / 2
    }

    fn append(&mut self, separator: &[u8], mut right: Inner) {
        self.separators.insert(self.separators.len(), separator);
        self.separators.append(&right.separators);
        self.live.append(&mut right.live);
        self.children.append(&mut right.children);
    }

    /// Removes empty children and joins small ones with a neighbour, from the
    /// one before child `first` to the one after child `last`. If all are
    /// empty, one is kept.
    pub(super) fn tidy(&mut self, first: usize, last: usize) {
        let mut at = first.saturating_sub(1);
        let mut last = (last + 1).min(self.children.len() - 1);
        while at < last {
            if self.children[at].is_empty() {
                self.remove_child(at, at);
            } else if self.children[at + 1].is_empty() {
                self.remove_child(at + 1, at);
            } else if self.should_join(at) {
                self.join(at);
            } else {
                at += 1;
                continue;
            }
            last -= 1;
        }
    }

    /// Removes an empty `child`; its neighbour beyond `separator` takes over
    /// its key range.
    fn remove_child(&mut self, child: usize, separator: usize) {
        self.children.remove(child);
        self.live.remove(child);
        self.separators = self.separators.filtered(|key| key != separator);
    }

    /// Whether the children `at` and `at + 1` should be joined.
    pub(super) fn should_join(&self, at: usize) -> bool {
        let (left, right) = (&self.children[at], &self.children[at + 1]);
        (left.is_small() || right.is_small()) && left.has_room_for(right)
    }

    fn join(&mut self, at: usize) {
        let separator = self.separators.key(at);
        let right = self.children.remove(at + 1);
        self.children[at].append(&separator, right);
        self.live[at] += self.live.remove(at + 1);
        self.separators = self.separators.filtered(|key| key != at);
    }
}
