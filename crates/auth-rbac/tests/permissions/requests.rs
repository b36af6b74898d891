//! Random requests of every kind.

use bytes::Bytes;
use t4_auth_rbac::Operation;
use t4_kv_types::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyRange, LeaseId, PutRequest,
    RangeRequest, TxnOp, TxnRequest,
};

use crate::prng::Prng;
use crate::universe;

/// An [`Operation`] that owns what it is about.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Watch(KeyRange),
    WriteLease(LeaseId),
    ReadLease(LeaseId),
    Authenticated,
    Admin,
}

impl Request {
    pub(crate) fn operation(&self) -> Operation<'_> {
        match self {
            Request::Range(range) => Operation::Range(range),
            Request::Put(put) => Operation::Put(put),
            Request::Delete(delete) => Operation::DeleteRange(delete),
            Request::Txn(txn) => Operation::Txn(txn),
            Request::Watch(range) => Operation::Watch(range),
            Request::WriteLease(lease) => Operation::WriteLease(*lease),
            Request::ReadLease(lease) => Operation::ReadLease(*lease),
            Request::Authenticated => Operation::Authenticated,
            Request::Admin => Operation::Admin,
        }
    }
}

pub(crate) fn random(prng: &mut Prng) -> Request {
    match prng.below(32) {
        0..6 => Request::Range(RangeRequest::new(universe::range(prng))),
        6..12 => Request::Put(put(prng)),
        12..16 => Request::Delete(delete(prng)),
        16..23 => Request::Txn(txn(prng, 3)),
        23..27 => Request::Watch(universe::range(prng)),
        27..29 => Request::WriteLease(lease(prng)),
        29 => Request::ReadLease(lease(prng)),
        30 => Request::Authenticated,
        _ => Request::Admin,
    }
}

/// 1 to 3 have keys, 4 is gone.
fn lease(prng: &mut Prng) -> LeaseId {
    LeaseId(1 + prng.below(4) as i64)
}

fn put(prng: &mut Prng) -> PutRequest {
    PutRequest {
        key: universe::key(prng),
        value: Bytes::from_static(b"value"),
        lease: if prng.once_in(3) { lease(prng) } else { LeaseId::NONE },
        prev_kv: prng.once_in(4),
        ignore_value: prng.once_in(8),
        ignore_lease: false,
    }
}

fn delete(prng: &mut Prng) -> DeleteRangeRequest {
    DeleteRangeRequest { range: universe::range(prng), prev_kv: prng.once_in(3) }
}

/// Most are small, so that many are allowed, and one thing decides.
fn txn(prng: &mut Prng, depth: u64) -> TxnRequest {
    let most = 1 + prng.below(3);
    let compares = (0..prng.below(most)).map(|_| Compare {
        range: universe::range(prng),
        target: CompareTarget::Version(0),
        result: CompareResult::Equal,
    });
    let compares = compares.collect();
    let branch = |prng: &mut Prng| (0..prng.below(most)).map(|_| op(prng, depth)).collect();
    TxnRequest { compares, success: branch(prng), failure: branch(prng) }
}

fn op(prng: &mut Prng, depth: u64) -> TxnOp {
    match prng.below(4) {
        0 if depth > 0 => TxnOp::Txn(txn(prng, depth - 1)),
        0 | 1 => TxnOp::Range(RangeRequest::new(universe::range(prng))),
        2 => TxnOp::Put(put(prng)),
        _ => TxnOp::DeleteRange(delete(prng)),
    }
}
