//! Transactions: compares of every kind, nested branches, and every way to be
//! refused.

use bytes::Bytes;
use t4_proto::etcdserverpb::compare::TargetUnion;
use t4_proto::etcdserverpb::request_op::Request;
use t4_proto::etcdserverpb::{Compare, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest};

use super::super::op::Op;
use super::{Generator, keys};

const DEPTH_MAX: u32 = 3;

impl Generator {
    pub(super) fn plan_txn(&mut self) {
        let mut txn = match self.rng.below(100) {
            0..92 => self.txn(0),
            92 => self.txn_with_many_ops(),
            93 => self.txn_over_the_budget(),
            94 => self.txn_with_an_empty_op(),
            95 if self.contract => self.txn_with_an_unknown_sort(),
            96 => TxnRequest::default(),
            97 => self.txn_with_the_hole(),
            _ => self.txn_of_duplicates(),
        };
        // The hole lets a put follow a delete of its key. If the put wants the
        // old value or lease, 3.5.1 finds none, panics, and does so again at
        // every restart.
        if any(
            &txn,
            &|request| matches!(request, Request::RequestDeleteRange(delete) if delete.range_end == "\0"),
        ) {
            want_nothing_old(&mut txn);
        }
        self.push(Op::Txn(txn));
    }

    fn txn(&mut self, depth: u32) -> TxnRequest {
        let compares = self.rng.below(4) as usize;
        // Keys that this transaction may put: without repetition, so that most
        // transactions pass the duplicate rule.
        let mut free = self.distinct_keys();
        TxnRequest {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: self.branch(depth, &mut free),
            failure: self.branch(depth, &mut free),
        }
    }

    fn distinct_keys(&mut self) -> Vec<Bytes> {
        let mut keys: Vec<Bytes> = (0..8).map(|_| keys::key(&mut self.rng)).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    fn branch(&mut self, depth: u32, free: &mut Vec<Bytes>) -> Vec<RequestOp> {
        let count = self.rng.below(5);
        (0..count).map(|_| self.request_op(depth, free)).collect()
    }

    fn request_op(&mut self, depth: u32, free: &mut Vec<Bytes>) -> RequestOp {
        let request = match self.rng.below(20) {
            0..8 => Request::RequestPut(self.put_in_txn(free)),
            8..14 => {
                let mut range = self.range();
                // An old or future revision fails the whole transaction: seldom.
                if self.rng.chance(3, 4) {
                    range.revision = 0;
                }
                Request::RequestRange(range)
            }
            14..18 => {
                let mut delete = self.delete();
                if self.rng.chance(2, 3) {
                    delete.range_end = Bytes::new();
                    delete.key = free.pop().unwrap_or_else(|| Bytes::from_static(b"q"));
                }
                Request::RequestDeleteRange(delete)
            }
            _ if depth < DEPTH_MAX => Request::RequestTxn(self.txn(depth + 1)),
            _ => Request::RequestRange(self.range()),
        };
        RequestOp { request: Some(request) }
    }

    fn put_in_txn(&mut self, free: &mut Vec<Bytes>) -> PutRequest {
        let mut put = self.put();
        if put.value.len() > 100_000 {
            put.value.truncate(100);
        }
        // A missing key or lease fails the whole transaction: seldom.
        if self.rng.chance(2, 3) && !put.key.is_empty() {
            put = PutRequest { ignore_value: false, ignore_lease: false, ..put };
            if put.lease != 0 && !self.world.leases.contains_key(&put.lease) {
                put.lease = 0;
            }
        }
        if let Some(key) = free.pop()
            && !put.key.is_empty()
        {
            put.key = key;
        }
        put
    }

    fn compare(&mut self) -> Compare {
        let (mut key, mut range_end) = keys::range(&mut self.rng);
        if self.rng.chance(2, 3) {
            range_end = Bytes::new();
        }
        if self.rng.chance(1, 80) {
            key = Bytes::new();
        }
        let result = match self.rng.below(40) {
            0 => *self.rng.pick(&[4, 17, -1]),
            _ => *self.rng.pick(&[0, 1, 2, 3]),
        };
        let target = match self.rng.below(40) {
            0 => *self.rng.pick(&[5, 17, -1]),
            _ => *self.rng.pick(&[0, 1, 2, 3, 4]),
        };
        let target_union = self.target_union(target);
        Compare { result, target, key, range_end, target_union }
    }

    // Mostly what the target asks for, sometimes that of another target or none.
    fn target_union(&mut self, target: i32) -> Option<TargetUnion> {
        let target = if self.rng.chance(1, 20) { self.rng.between(0, 5) as i32 } else { target };
        match target {
            0 => Some(TargetUnion::Version(self.rng.between(0, 4))),
            1 => Some(TargetUnion::CreateRevision(self.revision_or_zero())),
            2 => Some(TargetUnion::ModRevision(self.revision_or_zero())),
            3 => Some(TargetUnion::Value(keys::value(&mut self.rng))),
            4 => Some(TargetUnion::Lease(self.some_lease())),
            _ => None,
        }
    }

    fn revision_or_zero(&mut self) -> i64 {
        if self.rng.chance(1, 4) { 0 } else { self.kept_revision() }
    }

    // Around the limit of 128, on either side, in one of the three lists.
    fn txn_with_many_ops(&mut self) -> TxnRequest {
        let count = *self.rng.pick(&[127, 128, 129, 200]);
        let mut txn = TxnRequest::default();
        if self.rng.chance(1, 3) {
            txn.compare = (0..count).map(|_| self.compare()).collect();
        } else {
            let put = |n: i64| PutRequest {
                key: Bytes::from(format!("many/{n:03}")),
                value: Bytes::from_static(b"m"),
                ..PutRequest::default()
            };
            txn.success = (0..count)
                .map(|n| RequestOp { request: Some(Request::RequestPut(put(n))) })
                .collect();
        }
        txn
    }

    // A nested transaction gets what its parent leaves of the budget.
    fn txn_over_the_budget(&mut self) -> TxnRequest {
        let outer = self.rng.between(60, 66);
        let inner = 128 - outer + self.rng.between(-1, 1);
        let range = || Request::RequestRange(range_of(b"a"));
        let ops = |n: i64| -> Vec<RequestOp> {
            (0..n).map(|_| RequestOp { request: Some(range()) }).collect()
        };
        let nested = TxnRequest { success: ops(inner), ..TxnRequest::default() };
        let mut success = ops(outer - 1);
        success.push(RequestOp { request: Some(Request::RequestTxn(nested)) });
        TxnRequest { success, ..TxnRequest::default() }
    }

    fn txn_with_an_empty_op(&mut self) -> TxnRequest {
        let mut txn = self.txn(0);
        txn.failure.push(RequestOp { request: None });
        txn
    }

    fn txn_with_an_unknown_sort(&mut self) -> TxnRequest {
        let mut range = range_of(b"a");
        range.sort_target = *self.rng.pick(&[5, 1000]);
        let op = RequestOp { request: Some(Request::RequestRange(range)) };
        TxnRequest { success: vec![op], ..TxnRequest::default() }
    }

    // A put beside a delete with an open end is not recognised as a duplicate.
    fn txn_with_the_hole(&mut self) -> TxnRequest {
        let put = PutRequest {
            key: keys::key(&mut self.rng),
            value: Bytes::from_static(b"hole"),
            prev_kv: self.rng.chance(1, 2),
            ..PutRequest::default()
        };
        let delete = DeleteRangeRequest {
            key: keys::key(&mut self.rng),
            range_end: Bytes::from_static(b"\0"),
            prev_kv: self.rng.chance(1, 2),
        };
        let mut success = vec![
            RequestOp { request: Some(Request::RequestPut(put)) },
            RequestOp { request: Some(Request::RequestDeleteRange(delete)) },
        ];
        if self.rng.chance(1, 2) {
            success.reverse();
        }
        TxnRequest { success, ..TxnRequest::default() }
    }

    // Two puts of one key, or a put inside a deleted range; in one branch, in
    // two, or in a nested one.
    fn txn_of_duplicates(&mut self) -> TxnRequest {
        let put = RequestOp { request: Some(Request::RequestPut(self.plain_put())) };
        let other = match self.rng.below(3) {
            0 => put.clone(),
            1 => {
                let (key, range_end) = keys::range(&mut self.rng);
                let delete = DeleteRangeRequest { key, range_end, prev_kv: false };
                RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
            }
            _ => {
                let nested = TxnRequest {
                    success: vec![put.clone()],
                    failure: vec![put.clone()],
                    ..TxnRequest::default()
                };
                RequestOp { request: Some(Request::RequestTxn(nested)) }
            }
        };
        match self.rng.below(3) {
            0 => TxnRequest { success: vec![put], failure: vec![other], ..TxnRequest::default() },
            1 => TxnRequest { success: vec![other, put], ..TxnRequest::default() },
            _ => TxnRequest { failure: vec![put, other], ..TxnRequest::default() },
        }
    }

    /// Nothing is put but by a transaction inside. The quota counts the puts of
    /// the outer one alone, so this goes through without space.
    pub(super) fn plan_txn_that_hides_its_put(&mut self) {
        let put = RequestOp { request: Some(Request::RequestPut(self.plain_put())) };
        let inside = TxnRequest {
            compare: vec![self.compare()],
            success: vec![put.clone()],
            failure: vec![put],
        };
        let inside = RequestOp { request: Some(Request::RequestTxn(inside)) };
        self.push(Op::Txn(TxnRequest { success: vec![inside], ..TxnRequest::default() }));
    }

    fn plain_put(&mut self) -> PutRequest {
        PutRequest {
            key: keys::key(&mut self.rng),
            value: keys::value(&mut self.rng),
            ..PutRequest::default()
        }
    }
}

/// Whether an operation of the transaction, or of one nested in it, is like that.
fn any(txn: &TxnRequest, holds: &impl Fn(&Request) -> bool) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestTxn(nested)) => any(nested, holds),
        Some(request) => holds(request),
        None => false,
    })
}

fn want_nothing_old(txn: &mut TxnRequest) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Request::RequestPut(put)) => {
                put.ignore_value = false;
                put.ignore_lease = false;
            }
            Some(Request::RequestTxn(nested)) => want_nothing_old(nested),
            _ => {}
        }
    }
}

fn range_of(key: &'static [u8]) -> t4_proto::etcdserverpb::RangeRequest {
    t4_proto::etcdserverpb::RangeRequest {
        key: Bytes::from_static(key),
        ..t4_proto::etcdserverpb::RangeRequest::default()
    }
}
