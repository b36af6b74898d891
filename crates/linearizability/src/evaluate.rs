//! Evaluates calls on keys against the state at a revision.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use t4_kv_types::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResult, EventKind,
    KeyRange, KeyValue, LeaseId, PutRequest, PutResult, RangeRequest, RangeResult, Revision,
    SortOrder, SortTarget, TxnOp, TxnOpResult, TxnRequest, TxnResult,
};

use crate::store::Store;
use crate::{Failure, Request, Response};

/// The effects and answer of a call.
#[derive(Debug)]
pub(crate) struct Evaluated {
    pub(crate) events: Vec<(EventKind, KeyValue)>,
    pub(crate) response: Response,
    /// The leases that must exist for it.
    pub(crate) leases: BTreeSet<LeaseId>,
}

/// Evaluates a call on keys; `None` for all others.
pub(crate) fn evaluate(
    store: &Store,
    request: &Request,
    at: i64,
) -> Option<Result<Evaluated, Failure>> {
    let mut on = Evaluation {
        store,
        at,
        over: BTreeMap::new(),
        events: Vec::new(),
        leases: BTreeSet::new(),
    };
    let response = match request {
        Request::Put(put) => on.put(put).map(Response::Put),
        Request::Delete(delete) => Ok(Response::Delete(on.delete(delete))),
        Request::Range(range) => on.range(range).map(Response::Range),
        Request::Txn(txn) => on.txn(txn).map(Response::Txn),
        _ => return None,
    };
    Some(response.map(|response| Evaluated { events: on.events, response, leases: on.leases }))
}

/// Whether a response reports a change of keys.
pub(crate) fn changed(response: &Response) -> bool {
    match response {
        Response::Put(_) => true,
        Response::Delete(result) => result.deleted > 0,
        Response::Txn(result) => result.responses.iter().any(op_changed),
        _ => false,
    }
}

fn op_changed(result: &TxnOpResult) -> bool {
    match result {
        TxnOpResult::Put(_) => true,
        TxnOpResult::DeleteRange(result) => result.deleted > 0,
        TxnOpResult::Txn(result) => result.responses.iter().any(op_changed),
        TxnOpResult::Range(_) => false,
    }
}

/// The values that a call would put, in any branch.
pub(crate) fn values(request: &Request) -> Vec<&Bytes> {
    fn of_ops<'a>(txn: &'a TxnRequest, into: &mut Vec<&'a Bytes>) {
        for op in txn.success.iter().chain(&txn.failure) {
            match op {
                TxnOp::Put(put) => into.push(&put.value),
                TxnOp::Txn(txn) => of_ops(txn, into),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    match request {
        Request::Put(put) => found.push(&put.value),
        Request::Txn(txn) => of_ops(txn, &mut found),
        _ => {}
    }
    found.retain(|value| !value.is_empty());
    found
}

struct Evaluation<'a> {
    store: &'a Store,
    at: i64,
    // The changes of this call so far.
    over: BTreeMap<Bytes, Option<KeyValue>>,
    events: Vec<(EventKind, KeyValue)>,
    leases: BTreeSet<LeaseId>,
}

impl Evaluation<'_> {
    fn get(&self, key: &Bytes) -> Option<&KeyValue> {
        match self.over.get(key) {
            Some(over) => over.as_ref(),
            None => self.store.get(key, self.at),
        }
    }

    fn list(&self, range: &KeyRange) -> Vec<KeyValue> {
        let mut found: BTreeMap<Bytes, KeyValue> =
            self.store.range(range, self.at).map(|kv| (kv.key.clone(), kv.clone())).collect();
        for (key, over) in self.over.iter().filter(|(key, _)| range.contains(key)) {
            match over {
                Some(kv) => found.insert(key.clone(), kv.clone()),
                None => found.remove(key),
            };
        }
        found.into_values().collect()
    }

    fn put(&mut self, put: &PutRequest) -> Result<PutResult, Failure> {
        let before = self.get(&put.key).cloned();
        if before.is_none() && (put.ignore_value || put.ignore_lease) {
            return Err(Failure::KeyNotFound);
        }
        let kept = before.clone().unwrap_or_default();
        let lease = if put.ignore_lease { kept.lease } else { put.lease };
        if put.lease.is_some() {
            self.leases.insert(put.lease);
        }
        let now = Revision(self.at + 1);
        let kv = KeyValue {
            key: put.key.clone(),
            value: if put.ignore_value { kept.value } else { put.value.clone() },
            create_revision: before.as_ref().map_or(now, |kv| kv.create_revision),
            mod_revision: now,
            version: before.as_ref().map_or(1, |kv| kv.version + 1),
            lease,
        };
        self.over.insert(kv.key.clone(), Some(kv.clone()));
        self.events.push((EventKind::Put, kv));
        let prev_kv = before.filter(|_| put.prev_kv);
        Ok(PutResult { revision: Revision(0), prev_kv })
    }

    fn delete(&mut self, delete: &DeleteRangeRequest) -> DeleteRangeResult {
        let gone = self.list(&delete.range);
        for KeyValue { key, .. } in &gone {
            self.over.insert(key.clone(), None);
            let mod_revision = Revision(self.at + 1);
            let kv = KeyValue { key: key.clone(), mod_revision, ..KeyValue::default() };
            self.events.push((EventKind::Delete, kv));
        }
        let deleted = gone.len() as i64;
        let prev_kvs = if delete.prev_kv { gone } else { Vec::new() };
        DeleteRangeResult { revision: Revision(0), deleted, prev_kvs }
    }

    fn range(&self, range: &RangeRequest) -> Result<RangeResult, Failure> {
        let asked = range.revision.0;
        if asked > self.at {
            return Err(Failure::FutureRevision);
        }
        let mut kvs = if asked > 0 {
            self.store.range(&range.range, asked).cloned().collect()
        } else {
            self.list(&range.range)
        };
        let count = kvs.len() as i64;
        if range.count_only {
            return Ok(RangeResult { count, ..RangeResult::default() });
        }
        kvs.retain(|kv| filtered(range, kv));
        sort(range, &mut kvs);
        let limit = usize::try_from(range.limit).ok().filter(|limit| *limit > 0);
        let more = limit.is_some_and(|limit| kvs.len() > limit);
        kvs.truncate(limit.unwrap_or(usize::MAX));
        if range.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeResult { revision: Revision(0), kvs, more, count })
    }

    fn txn(&mut self, txn: &TxnRequest) -> Result<TxnResult, Failure> {
        let path = self.path(txn);
        self.run(txn, &path)
    }

    /// All compares, including those of nested transactions, see the state
    /// before the transaction.
    fn path(&self, txn: &TxnRequest) -> Path {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let nested = ops.iter().filter_map(|op| match op {
            TxnOp::Txn(txn) => Some(self.path(txn)),
            _ => None,
        });
        Path { succeeded, nested: nested.collect() }
    }

    fn run(&mut self, txn: &TxnRequest, path: &Path) -> Result<TxnResult, Failure> {
        let mut nested = path.nested.iter();
        let ops = if path.succeeded { &txn.success } else { &txn.failure };
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(match op {
                TxnOp::Range(range) => TxnOpResult::Range(self.range(range)?),
                TxnOp::Put(put) => TxnOpResult::Put(self.put(put)?),
                TxnOp::DeleteRange(delete) => TxnOpResult::DeleteRange(self.delete(delete)),
                TxnOp::Txn(txn) => match nested.next() {
                    Some(path) => TxnOpResult::Txn(self.run(txn, path)?),
                    None => continue,
                },
            });
        }
        Ok(TxnResult { revision: Revision(0), succeeded: path.succeeded, responses })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let found = self.list(&compare.range);
        if found.is_empty() {
            let none = KeyValue::default();
            return !matches!(compare.target, CompareTarget::Value(_)) && holds_for(compare, &none);
        }
        found.iter().all(|kv| holds_for(compare, kv))
    }
}

struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    let order = match &compare.target {
        CompareTarget::Version(version) => kv.version.cmp(version),
        CompareTarget::Create(revision) => kv.create_revision.cmp(revision),
        CompareTarget::Mod(revision) => kv.mod_revision.cmp(revision),
        CompareTarget::Value(value) => kv.value.cmp(value),
        CompareTarget::Lease(lease) => kv.lease.cmp(lease),
        CompareTarget::Unknown => return true,
    };
    match compare.result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
        CompareResult::Unknown => true,
    }
}

fn filtered(range: &RangeRequest, kv: &KeyValue) -> bool {
    let within = |low: Revision, high: Revision, at: Revision| {
        (low.0 == 0 || low <= at) && (high.0 == 0 || at <= high)
    };
    within(range.min_mod_revision, range.max_mod_revision, kv.mod_revision)
        && within(range.min_create_revision, range.max_create_revision, kv.create_revision)
}

fn sort(range: &RangeRequest, kvs: &mut [KeyValue]) {
    if range.sort_order == SortOrder::None && range.sort_target == SortTarget::Key {
        return;
    }
    match range.sort_target {
        SortTarget::Key => {}
        SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
        SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
        SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
        SortTarget::Value => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
    }
    if range.sort_order == SortOrder::Descend {
        kvs.reverse();
    }
}
