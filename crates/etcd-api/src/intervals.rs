//! Whether a list of a transaction writes a key twice, with etcd's rule and
//! its holes.
//!
//! Within a list, a key may be put once and must not be in a range that is
//! deleted, wherever in the list that stands. What the transactions inside
//! write counts as if it stood in the list, with these exceptions, all of them
//! etcd's, which clients may have come to rely on:
//!
//! * the two branches of one transaction may put the same key, as only one of
//!   them runs;
//! * a delete without end (`range_end` one zero byte) is not seen;
//! * a delete inside a transaction is not held against what transactions
//!   before it in the list put.

use std::collections::{BTreeMap, BTreeSet};

use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::request_op::Request;

use crate::errors::ApiError;

/// Checks one list of a transaction.
///
/// # Errors
/// [`ApiError::DuplicateKey`].
pub(crate) fn check(ops: &[pb::RequestOp]) -> Result<(), ApiError> {
    // Most transactions write one key.
    let writes = |op: &&pb::RequestOp| !matches!(op.request, Some(Request::RequestRange(_)));
    let nested = |op: &pb::RequestOp| matches!(op.request, Some(Request::RequestTxn(_)));
    if ops.iter().filter(writes).nth(1).is_none() && !ops.iter().any(nested) {
        return Ok(());
    }
    Written::by(ops).map(drop)
}

/// What a list writes.
#[derive(Default)]
struct Written<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Deletes<'a>,
}

impl<'a> Written<'a> {
    fn by(ops: &'a [pb::RequestOp]) -> Result<Self, ApiError> {
        let mut written = Written::default();
        for op in ops {
            if let Some(Request::RequestDeleteRange(delete)) = &op.request {
                written.deletes.add(&delete.key, &delete.range_end);
            }
        }
        for op in ops {
            if let Some(Request::RequestTxn(txn)) = &op.request {
                let success = Written::by(&txn.success)?;
                let failure = Written::by(&txn.failure)?;
                written.add_branches(success, failure)?;
            }
        }
        for op in ops {
            if let Some(Request::RequestPut(put)) = &op.request {
                written.put(&put.key)?;
            }
        }
        Ok(written)
    }

    fn put(&mut self, key: &'a [u8]) -> Result<(), ApiError> {
        if self.deletes.contain(key) || !self.puts.insert(key) {
            return Err(ApiError::DuplicateKey);
        }
        Ok(())
    }

    fn add_branches(&mut self, success: Written<'a>, failure: Written<'a>) -> Result<(), ApiError> {
        let only_in_failure = failure.puts.difference(&success.puts);
        for key in success.puts.iter().chain(only_in_failure) {
            self.put(key)?;
        }
        self.deletes.merge(success.deletes);
        self.deletes.merge(failure.deletes);
        Ok(())
    }
}

/// A set of ranges of keys.
#[derive(Default)]
struct Deletes<'a> {
    /// Single keys.
    keys: BTreeSet<&'a [u8]>,
    /// First key inside and first key outside; disjoint, none empty.
    ranges: BTreeMap<&'a [u8], &'a [u8]>,
}

impl<'a> Deletes<'a> {
    fn add(&mut self, key: &'a [u8], range_end: &'a [u8]) {
        if range_end.is_empty() {
            self.keys.insert(key);
        } else if key < range_end {
            self.add_range(key, range_end);
        }
        // Otherwise the range has no key, or has no end: the hole.
    }

    fn add_range(&mut self, mut start: &'a [u8], mut end: &'a [u8]) {
        // What begins at or before the end of the new one and does not stop
        // before its start becomes part of it.
        while let Some((&first, &last)) = self.ranges.range(..=end).next_back() {
            if last < start {
                break;
            }
            self.ranges.remove(first);
            start = start.min(first);
            end = end.max(last);
        }
        self.ranges.insert(start, end);
    }

    fn contain(&self, key: &[u8]) -> bool {
        let covers = |(_, end): (&&[u8], &&'a [u8])| key < *end;
        self.keys.contains(key) || self.ranges.range(..=key).next_back().is_some_and(covers)
    }

    fn merge(&mut self, other: Deletes<'a>) {
        self.keys.extend(other.keys);
        for (start, end) in other.ranges {
            self.add_range(start, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> pb::RequestOp {
        let put = pb::PutRequest { key: key.into(), ..Default::default() };
        pb::RequestOp { request: Some(Request::RequestPut(put)) }
    }

    fn delete(key: &'static str, end: &'static str) -> pb::RequestOp {
        let delete =
            pb::DeleteRangeRequest { key: key.into(), range_end: end.into(), ..Default::default() };
        pb::RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
    }

    fn txn(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
        let txn = pb::TxnRequest { compare: vec![], success, failure };
        pb::RequestOp { request: Some(Request::RequestTxn(txn)) }
    }

    #[track_caller]
    fn accepted(ops: Vec<pb::RequestOp>) {
        assert_eq!(check(&ops), Ok(()));
    }

    #[track_caller]
    fn refused(ops: Vec<pb::RequestOp>) {
        assert_eq!(check(&ops), Err(ApiError::DuplicateKey));
    }

    #[test]
    fn puts_do_not_repeat() {
        accepted(vec![put("a"), put("b")]);
        refused(vec![put("a"), put("b"), put("a")]);
    }

    #[test]
    fn puts_are_not_deleted_in_any_order() {
        refused(vec![put("b"), delete("a", "c")]);
        refused(vec![delete("a", "c"), put("b")]);
        refused(vec![delete("b", ""), put("b")]);
        accepted(vec![delete("a", "b"), put("b"), delete("c", "")]);
        accepted(vec![delete("b", "a"), put("b"), put("a")]);
    }

    #[test]
    fn deletes_may_overlap() {
        accepted(vec![delete("a", "d"), delete("b", "e"), delete("c", "")]);
        refused(vec![delete("a", "c"), delete("e", "g"), delete("b", "f"), put("e")]);
        accepted(vec![delete("a", "c"), delete("e", "g"), delete("b", "f"), put("g")]);
    }

    #[test]
    fn a_delete_without_end_is_not_seen() {
        accepted(vec![put("b"), delete("a", "\0")]);
    }

    #[test]
    fn transactions_inside_count_as_the_list() {
        refused(vec![put("a"), txn(vec![put("a")], vec![])]);
        refused(vec![txn(vec![], vec![put("a")]), put("a")]);
        refused(vec![txn(vec![put("a")], vec![]), txn(vec![put("a")], vec![])]);
        refused(vec![txn(vec![put("a"), put("a")], vec![])]);
        refused(vec![delete("a", "c"), txn(vec![put("b")], vec![])]);
        refused(vec![txn(vec![delete("a", "c")], vec![]), put("b")]);
    }

    #[test]
    fn branches_of_one_transaction_exclude_each_other() {
        accepted(vec![txn(vec![put("a")], vec![put("a")])]);
        accepted(vec![txn(vec![put("a")], vec![delete("a", "")])]);
        refused(vec![txn(vec![put("a")], vec![put("a")]), put("a")]);
    }

    #[test]
    fn a_delete_inside_does_not_look_back_at_siblings() {
        accepted(vec![txn(vec![put("a")], vec![]), txn(vec![delete("a", "")], vec![])]);
        refused(vec![txn(vec![delete("a", "")], vec![]), txn(vec![put("a")], vec![])]);
    }

    /// The merged ranges contain what the ranges one by one contain.
    #[test]
    fn ranges_against_one_by_one() {
        let seed = std::env::var("T4_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
        println!("T4_SEED={seed}");
        let mut state: u64 = seed;
        let mut below = |n: u64| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed ^ (mixed >> 27)) % n
        };
        let keys: Vec<Vec<u8>> = (0..40u8).map(|key| vec![key]).collect();
        for _ in 0..500 {
            let ranges: Vec<_> =
                (0..below(8)).map(|_| (below(40) as usize, below(40) as usize)).collect();
            let mut deletes = Deletes::default();
            for &(start, end) in &ranges {
                deletes.add(&keys[start], &keys[end]);
            }
            for (index, key) in keys.iter().enumerate() {
                // keys[0] is one zero byte: as an end, it is the hole.
                let expected = ranges.iter().any(|&(start, end)| start <= index && index < end);
                assert_eq!(deletes.contain(key), expected, "{ranges:?} {index}");
            }
        }
    }
}
