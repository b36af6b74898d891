//! Inserts into the tree: descends to the leaf, and splits on the way back.

use super::inner::{Inner, Node, Split};
use super::keys::common;
use super::leaf::Leaf;
use super::version::Newest;

/// The result of an insert into a subtree.
pub(super) struct Inserted {
    /// The key's previous newest version.
    pub(super) before: Option<Newest>,
    /// The subtree's right part, if it was split.
    pub(super) split: Option<Split>,
}

impl Inserted {
    /// The change in the number of live keys: -1, 0 or 1.
    pub(super) fn live_change(&self, newest: &Newest) -> i64 {
        let was = self.before.is_some_and(|before| !before.version.deleted);
        i64::from(!newest.version.deleted) - i64::from(was)
    }
}

impl Node {
    pub(super) fn insert(&mut self, key: &[u8], newest: Newest) -> Inserted {
        match self {
            Node::Leaf(leaf) => insert_in_leaf(leaf, key, newest),
            Node::Inner(inner) => insert_below(inner, key, newest),
        }
    }
}

fn insert_below(inner: &mut Inner, key: &[u8], newest: Newest) -> Inserted {
    let at = inner.child_of(key);
    let mut inserted = inner.children[at].insert(key, newest);
    match inserted.split.take() {
        Some(split) => inserted.split = inner.adopt(at, split),
        None => {
            let change = inserted.live_change(&newest);
            inner.live[at] = inner.live[at].wrapping_add_signed(change);
        }
    }
    inserted
}

fn insert_in_leaf(leaf: &mut Leaf, key: &[u8], newest: Newest) -> Inserted {
    match leaf.keys.search(key) {
        Ok(at) => Inserted { before: Some(leaf.update(at, newest)), split: None },
        Err(at) if leaf.is_full_for(key) => {
            Inserted { before: None, split: Some(split_and_insert(leaf, at, key, newest)) }
        }
        Err(at) => {
            leaf.insert(at, key, newest);
            Inserted { before: None, split: None }
        }
    }
}

fn split_and_insert(leaf: &mut Leaf, at: usize, key: &[u8], newest: Newest) -> Split {
    let middle = leaf.split_point(at);
    let mut right = leaf.split_off(middle);
    // At 0, the left part is empty and gets only the key.
    if at < middle || middle == 0 {
        leaf.insert(at, key, newest);
    } else {
        right.insert(at - middle, key, newest);
    }
    let last = leaf.keys.key(leaf.len() - 1);
    let first = right.keys.key(0);
    Split { separator: separator(&last, &first), right: Node::Leaf(right) }
}

/// The shortest key that is above `left` and not above `right`.
pub(super) fn separator(left: &[u8], right: &[u8]) -> Box<[u8]> {
    right[..=common(left, right)].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_short_and_divide() {
        assert_eq!(*separator(b"apple", b"banana"), *b"b");
        assert_eq!(*separator(b"pods/a-1", b"pods/b-1"), *b"pods/b");
        assert_eq!(*separator(b"a", b"a\0"), *b"a\0");
        assert_eq!(*separator(b"", b"x"), *b"x");
    }
}
