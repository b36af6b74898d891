//! Builds a tree from sorted entries, level by level.

use super::inner::{CHILDREN_MAX, Inner, Node};
use super::insert::separator;
use super::leaf::{LEAF_BYTES_MAX, LEAF_KEYS_MAX, Leaf};
use super::version::{Newest, Version};

/// Leaves and inner nodes are filled to nine tenths, so that the first inserts
/// after an open do not split every one of them.
const LEAF_KEYS: usize = LEAF_KEYS_MAX * 9 / 10;
const LEAF_BYTES: usize = LEAF_BYTES_MAX * 9 / 10;
const CHILDREN: usize = CHILDREN_MAX * 9 / 10;

/// The nodes of one level, and the separators between them.
#[derive(Default)]
struct Level {
    nodes: Vec<Node>,
    separators: Vec<Box<[u8]>>,
}

/// The leaf that is being filled.
#[derive(Default)]
struct Filling {
    keys: Vec<Box<[u8]>>,
    newest: Vec<Newest>,
    older: Vec<Vec<Version>>,
    bytes: usize,
}

impl Filling {
    fn has_room_for(&self, key: &[u8]) -> bool {
        self.keys.is_empty() || self.keys.len() < LEAF_KEYS && self.bytes + key.len() <= LEAF_BYTES
    }

    fn push(&mut self, key: Box<[u8]>, newest: Newest, older: Vec<Version>) {
        self.bytes += key.len();
        self.keys.push(key);
        self.newest.push(newest);
        self.older.push(older);
    }

    /// Builds a leaf from the pushed entries and returns its last key.
    fn finish(&mut self) -> (Leaf, Option<Box<[u8]>>) {
        let newest = std::mem::replace(&mut self.newest, Vec::with_capacity(LEAF_KEYS));
        let older = std::mem::take(&mut self.older);
        let leaf = Leaf::from_sorted(&self.keys, newest, older);
        let last = self.keys.pop();
        self.keys.clear();
        self.bytes = 0;
        (leaf, last)
    }
}

/// Builds a tree from these entries and returns its root.
pub(super) fn build(sorted: impl Iterator<Item = (Box<[u8]>, Newest, Vec<Version>)>) -> Node {
    let mut level = leaves(sorted);
    while level.nodes.len() > 1 {
        level = level_above(level);
    }
    level.nodes.pop().unwrap_or_else(|| Node::Leaf(Leaf::default()))
}

fn leaves(sorted: impl Iterator<Item = (Box<[u8]>, Newest, Vec<Version>)>) -> Level {
    let mut level = Level::default();
    let mut filling = Filling::default();
    for (key, newest, older) in sorted {
        let in_order = filling.keys.last().is_none_or(|last| *last < key);
        assert!(in_order, "the entries of a bulk build ascend");
        if !filling.has_room_for(&key) {
            let (leaf, last) = filling.finish();
            level.nodes.push(Node::Leaf(leaf));
            level.separators.extend(last.map(|last| separator(&last, &key)));
        }
        filling.push(key, newest, older);
    }
    if !filling.keys.is_empty() {
        level.nodes.push(Node::Leaf(filling.finish().0));
    }
    level
}

fn level_above(below: Level) -> Level {
    let mut above = Level::default();
    let mut separators = below.separators.into_iter();
    let mut nodes = below.nodes.into_iter();
    while nodes.len() > 0 {
        let children: Vec<Node> = nodes.by_ref().take(CHILDREN).collect();
        let between: Vec<Box<[u8]>> = separators.by_ref().take(children.len() - 1).collect();
        above.nodes.push(Node::Inner(Inner::new(children, &between)));
        above.separators.extend(separators.next());
    }
    above
}
