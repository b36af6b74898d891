//! Finds the key ranges that contain a key: a balanced tree, ordered by start
//! and end, in which each node knows the furthest end below it.
//!
//! This is an AVL tree and not one with random or hashed priorities: clients
//! choose the ranges, and must not be able to unbalance it. Finding the m
//! ranges of n that contain a key visits O(log n) nodes on the key's path and,
//! off it, only nodes that match or have a match below.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::slots::{NONE, Slots};

struct Node {
    start: Bytes,
    // The first key after the range; `None`: unbounded.
    end: Option<Bytes>,
    value: u32,
    left: u32,
    right: u32,
    // 1 for a leaf. The heights of siblings differ by at most one.
    height: u8,
    // The node with the greatest end in this subtree.
    furthest: u32,
}

/// A map from ranges of more than one key to small numbers.
pub(crate) struct IntervalTree {
    nodes: Slots<Node>,
    root: u32,
}

impl IntervalTree {
    pub(crate) fn new() -> Self {
        IntervalTree { nodes: Slots::new(), root: NONE }
    }

    /// The number of ranges.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The value of exactly this range.
    pub(crate) fn get(&self, start: &[u8], end: Option<&[u8]>) -> Option<u32> {
        let mut at = self.root;
        while let Some(node) = self.nodes.get(at) {
            at = match compare(start, end, node) {
                Ordering::Less => node.left,
                Ordering::Greater => node.right,
                Ordering::Equal => return Some(node.value),
            };
        }
        None
    }

    /// Adds a range that is not in the tree yet.
    pub(crate) fn insert(&mut self, start: Bytes, end: Option<Bytes>, value: u32) {
        let node = Node { start, end, value, left: NONE, right: NONE, height: 1, furthest: NONE };
        let new = self.nodes.insert(node);
        self.nodes[new].furthest = new;
        self.root = self.insert_below(self.root, new);
    }

    /// Removes a range and returns its value.
    pub(crate) fn remove(&mut self, start: &[u8], end: Option<&[u8]>) -> Option<u32> {
        let (root, removed) = self.remove_below(self.root, start, end);
        self.root = root;
        self.nodes.remove(removed?).map(|node| node.value)
    }

    /// Calls `found` with the value of each range that contains `key`, ordered
    /// by start and end; returns the number of nodes visited.
    pub(crate) fn containing(&self, key: &[u8], mut found: impl FnMut(u32)) -> usize {
        if self.root == NONE { 0 } else { self.containing_below(self.root, key, &mut found) }
    }

    fn containing_below(&self, at: u32, key: &[u8], found: &mut impl FnMut(u32)) -> usize {
        let Some(node) = self.nodes.get(at) else { return 0 };
        if !reaches_past(&self.nodes[node.furthest], key) {
            return 1;
        }
        let mut visited = 1 + self.containing_below(node.left, key, found);
        if node.start.as_ref() <= key {
            if reaches_past(node, key) {
                found(node.value);
            }
            visited += self.containing_below(node.right, key, found);
        }
        visited
    }

    fn insert_below(&mut self, at: u32, new: u32) -> u32 {
        if at == NONE {
            return new;
        }
        let order = {
            let node = &self.nodes[new];
            compare(&node.start, node.end.as_deref(), &self.nodes[at])
        };
        assert!(order != Ordering::Equal, "a range is inserted once");
        if order == Ordering::Less {
            let left = self.insert_below(self.nodes[at].left, new);
            self.nodes[at].left = left;
        } else {
            let right = self.insert_below(self.nodes[at].right, new);
            self.nodes[at].right = right;
        }
        self.balance(at)
    }

    /// Unlinks a range; returns the subtree's new root and the node.
    fn remove_below(&mut self, at: u32, start: &[u8], end: Option<&[u8]>) -> (u32, Option<u32>) {
        let Some(node) = self.nodes.get(at) else { return (NONE, None) };
        let (left, right) = (node.left, node.right);
        let removed = match compare(start, end, node) {
            Ordering::Less => {
                let (left, removed) = self.remove_below(left, start, end);
                self.nodes[at].left = left;
                removed
            }
            Ordering::Greater => {
                let (right, removed) = self.remove_below(right, start, end);
                self.nodes[at].right = right;
                removed
            }
            Ordering::Equal => return (self.join(left, right), Some(at)),
        };
        (self.balance(at), removed)
    }

    /// Joins two subtrees whose root is gone: the first node of the right
    /// becomes root.
    fn join(&mut self, left: u32, right: u32) -> u32 {
        if right == NONE {
            return left;
        }
        let (rest, first) = self.remove_first(right);
        self.nodes[first].left = left;
        self.nodes[first].right = rest;
        self.balance(first)
    }

    /// Unlinks the first range; returns the subtree's new root and the node.
    fn remove_first(&mut self, at: u32) -> (u32, u32) {
        let left = self.nodes[at].left;
        if left == NONE {
            return (self.nodes[at].right, at);
        }
        let (left, first) = self.remove_first(left);
        self.nodes[at].left = left;
        (self.balance(at), first)
    }

    /// Restores height, furthest end and balance of a node whose subtrees are
    /// in order and differ in height by at most two. Returns the new root.
    fn balance(&mut self, at: u32) -> u32 {
        let (left, right) = (self.nodes[at].left, self.nodes[at].right);
        if self.height(left) > self.height(right) + 1 {
            if self.height(self.nodes[left].left) < self.height(self.nodes[left].right) {
                self.nodes[at].left = self.rotate_left(left);
            }
            self.rotate_right(at)
        } else if self.height(right) > self.height(left) + 1 {
            if self.height(self.nodes[right].right) < self.height(self.nodes[right].left) {
                self.nodes[at].right = self.rotate_right(right);
            }
            self.rotate_left(at)
        } else {
            self.refresh(at);
            at
        }
    }

    fn rotate_left(&mut self, at: u32) -> u32 {
        let right = self.nodes[at].right;
        self.nodes[at].right = self.nodes[right].left;
        self.refresh(at);
        self.nodes[right].left = at;
        self.refresh(right);
        right
    }

    fn rotate_right(&mut self, at: u32) -> u32 {
        let left = self.nodes[at].left;
        self.nodes[at].left = self.nodes[left].right;
        self.refresh(at);
        self.nodes[left].right = at;
        self.refresh(left);
        left
    }

    fn height(&self, at: u32) -> u8 {
        self.nodes.get(at).map_or(0, |node| node.height)
    }

    /// Computes a node's height and furthest end from its children.
    fn refresh(&mut self, at: u32) {
        let (left, right) = (self.nodes[at].left, self.nodes[at].right);
        let mut furthest = at;
        for child in [left, right] {
            if let Some(child) = self.nodes.get(child)
                && compare_ends(self.end(child.furthest), self.end(furthest)) == Ordering::Greater
            {
                furthest = child.furthest;
            }
        }
        let height = 1 + self.height(left).max(self.height(right));
        let node = &mut self.nodes[at];
        node.furthest = furthest;
        node.height = height;
    }

    fn end(&self, at: u32) -> Option<&[u8]> {
        self.nodes[at].end.as_deref()
    }
}

/// Whether `key` is before the node's end.
fn reaches_past(node: &Node, key: &[u8]) -> bool {
    node.end.as_deref().is_none_or(|end| key < end)
}

fn compare(start: &[u8], end: Option<&[u8]>, node: &Node) -> Ordering {
    start.cmp(node.start.as_ref()).then_with(|| compare_ends(end, node.end.as_deref()))
}

/// Unbounded is greater than any end.
fn compare_ends(a: Option<&[u8]>, b: Option<&[u8]>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(b),
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
    }
}

#[cfg(test)]
mod tests;
