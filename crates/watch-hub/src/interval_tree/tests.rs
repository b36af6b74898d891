//! The interval tree against a plain list, and its worst cases.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Naive = BTreeMap<(Vec<u8>, Option<Vec<u8>>), u32>;

impl IntervalTree {
    /// Checks every invariant; returns the ranges in order.
    fn audit(&self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut ranges = Vec::new();
        self.audit_below(self.root, &mut ranges);
        assert_eq!(ranges.len(), self.len());
        ranges
    }

    fn audit_below(&self, at: u32, ranges: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>) -> u8 {
        if at == NONE {
            return 0;
        }
        let node = &self.nodes[at];
        let first = ranges.len();
        let left = self.audit_below(node.left, ranges);
        ranges.push((node.start.to_vec(), node.end.as_ref().map(|end| end.to_vec())));
        let right = self.audit_below(node.right, ranges);
        assert!(left.abs_diff(right) <= 1, "unbalanced");
        assert_eq!(node.height, 1 + left.max(right));
        let furthest = self.end(node.furthest);
        for (_, end) in &ranges[first..] {
            assert_ne!(compare_ends(end.as_deref(), furthest), Ordering::Greater);
        }
        assert!(ranges[first..].iter().any(|(_, end)| end.as_deref() == furthest));
        node.height
    }

    fn found(&self, key: &[u8]) -> Vec<u32> {
        let mut found = Vec::new();
        self.containing(key, |value| found.push(value));
        found
    }
}

fn insert(tree: &mut IntervalTree, start: &[u8], end: Option<&[u8]>, value: u32) {
    tree.insert(Bytes::copy_from_slice(start), end.map(Bytes::copy_from_slice), value);
}

fn naive_found(naive: &Naive, key: &[u8]) -> Vec<u32> {
    let inside = |(start, end): &(Vec<u8>, Option<Vec<u8>>)| {
        start.as_slice() <= key && end.as_ref().is_none_or(|end| key < end.as_slice())
    };
    let mut found: Vec<_> =
        naive.iter().filter(|(range, _)| inside(range)).map(|(_, v)| *v).collect();
    found.sort_unstable();
    found
}

/// Short keys over a small alphabet, so that ranges touch, nest and repeat.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0u8, 1, b'a', 0xff]), 0..4)
}

proptest! {
    #[test]
    fn agrees_with_a_list(
        steps in prop::collection::vec((key(), prop::option::of(key()), any::<bool>()), 0..200),
        probes in prop::collection::vec(key(), 1..30),
    ) {
        let (mut tree, mut naive) = (IntervalTree::new(), Naive::new());
        for (value, (start, end, add)) in (0..).zip(steps) {
            let there = naive.get(&(start.clone(), end.clone())).copied();
            prop_assert_eq!(tree.get(&start, end.as_deref()), there);
            if add && there.is_none() {
                insert(&mut tree, &start, end.as_deref(), value);
                naive.insert((start, end), value);
            } else if !add {
                prop_assert_eq!(tree.remove(&start, end.as_deref()), there);
                naive.remove(&(start, end));
            }
        }
        tree.audit();
        for probe in probes {
            let mut found = tree.found(&probe);
            found.sort_unstable();
            prop_assert_eq!(found, naive_found(&naive, &probe));
        }
        for ((start, end), value) in naive {
            prop_assert_eq!(tree.remove(&start, end.as_deref()), Some(value));
            tree.audit();
        }
    }
}

#[test]
fn ascending_and_descending_inserts_stay_balanced() {
    for descending in [false, true] {
        let mut tree = IntervalTree::new();
        for i in 0..4096u32 {
            let i = if descending { 4095 - i } else { i };
            insert(&mut tree, &i.to_be_bytes(), Some(&(i + 1).to_be_bytes()), i);
        }
        tree.audit();
        assert!(tree.height(tree.root) <= 17, "1.44 log2(4096) is 17.3");
        for i in (0..4096u32).step_by(2) {
            assert_eq!(tree.remove(&i.to_be_bytes(), Some(&(i + 1).to_be_bytes())), Some(i));
        }
        tree.audit();
        assert_eq!(tree.found(&7u32.to_be_bytes()), [7]);
        assert!(tree.found(&8u32.to_be_bytes()).is_empty());
    }
}

#[test]
fn looks_at_few_nodes() {
    let mut tree = IntervalTree::new();
    for i in 0..10_000u32 {
        insert(&mut tree, &i.to_be_bytes(), Some(&(i + 1).to_be_bytes()), i);
    }
    insert(&mut tree, &5_000u32.to_be_bytes(), None, 77_777);
    for i in (0..10_000u32).step_by(97) {
        let mut found = Vec::new();
        let visited = tree.containing(&i.to_be_bytes(), |value| found.push(value));
        let expected: &[u32] = if i > 5_000 { &[77_777, i] } else { &[i] };
        found.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(found, expected);
        assert!(visited <= 80, "{visited} nodes for {} matches", found.len());
    }
}
