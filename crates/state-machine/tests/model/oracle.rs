//! etcd's semantics, written as naively as possible: one request after the
//! other, on a map that keeps all history.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use t4_auth_rbac::Identity;
use t4_kv_types::*;
use t4_state_machine::{Request, Response};

use crate::rights::Rights;

#[derive(Clone, Default, Debug)]
pub(crate) struct Oracle {
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    /// Every past state of each key: (revision, state).
    history: BTreeMap<Bytes, Vec<(i64, Option<KeyValue>)>>,
    pub(crate) leases: BTreeMap<i64, i64>,
    pub(crate) alarms: BTreeSet<(NodeId, AlarmKind)>,
    pub(crate) rights: Rights,
    /// Every event, by revision.
    pub(crate) events: Vec<(i64, Vec<Event>)>,
    /// Events of the current request.
    now: Vec<Event>,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Oracle { revision: 1, compacted: -1, ..Default::default() }
    }

    pub(crate) fn get(&self, key: &Bytes, at: i64) -> Option<KeyValue> {
        let states = self.history.get(key)?;
        states.iter().rev().find(|(revision, _)| *revision <= at)?.1.clone()
    }

    fn select(&self, range: &KeyRange, at: i64) -> Vec<KeyValue> {
        let keys = self.history.keys().filter(|key| range.contains(key));
        keys.filter_map(|key| self.get(key, at)).collect()
    }

    pub(crate) fn live(&self) -> Vec<KeyValue> {
        self.select(&KeyRange::all(), i64::MAX)
    }

    fn has(&self, kind: AlarmKind) -> bool {
        self.alarms.iter().any(|alarm| alarm.1 == kind)
    }

    pub(crate) fn run(&mut self, who: &Identity, request: &Request) -> Result<Response, OpError> {
        let attached = |lease: LeaseId| {
            let held = self.live().into_iter().filter(|kv| kv.lease == lease);
            held.map(|kv| kv.key).collect::<Vec<Bytes>>()
        };
        self.rights.may(who, request, &attached)?;
        let before = self.clone();
        let result = self.step(request);
        if result.is_err() {
            *self = before;
        } else if !self.now.is_empty() {
            self.revision += 1;
            let events = std::mem::take(&mut self.now);
            self.events.push((self.revision, events));
        }
        result
    }

    fn step(&mut self, request: &Request) -> Result<Response, OpError> {
        let administrative =
            matches!(request, Request::SetAlarm(..) | Request::Barrier(_) | Request::Auth(_));
        if self.has(AlarmKind::Corrupt) && !administrative {
            return Err(OpError::Corrupt);
        }
        match request {
            Request::Put(put) => {
                self.refuse_if_full()?;
                self.check_lease(put.lease)?;
                let prev_kv = self.put(put)?;
                Ok(Response::Put(PutResult { revision: Revision(self.revision + 1), prev_kv }))
            }
            Request::DeleteRange(delete) => Ok(Response::DeleteRange(self.delete(delete))),
            Request::Txn(txn) => {
                if txn.has_put() {
                    self.refuse_if_full()?;
                }
                let begin = self.clone();
                let plan = Plan::of(&begin, txn);
                plan.check_puts(&begin)?;
                plan.check_ranges(&begin)?;
                Ok(Response::Txn(self.txn(&plan)?))
            }
            Request::Compact(at) if at.0 <= self.compacted => Err(OpError::Compacted),
            Request::Compact(at) if at.0 > self.revision => Err(OpError::FutureRevision),
            Request::Compact(at) => {
                self.compacted = at.0;
                Ok(self.done())
            }
            Request::LeaseGrant(id, ttl_s) => {
                self.refuse_if_full()?;
                if *ttl_s > 9_000_000_000 {
                    return Err(OpError::LeaseTtlTooLarge);
                }
                if self.leases.contains_key(&id.0) {
                    return Err(OpError::LeaseExists);
                }
                self.leases.insert(id.0, (*ttl_s).max(2));
                Ok(Response::LeaseGrant((*ttl_s).max(2)))
            }
            Request::LeaseRevoke(id) => {
                self.leases.remove(&id.0).ok_or(OpError::LeaseNotFound)?;
                for kv in self.live().into_iter().filter(|kv| kv.lease == *id) {
                    self.change(&kv.key, None);
                }
                Ok(Response::Done(Revision(self.revision + i64::from(!self.now.is_empty()))))
            }
            Request::SetAlarm(member, kind, on) => {
                let alarm = (*member, *kind);
                let known = self.alarms.contains(&alarm);
                if *on {
                    self.alarms.insert(alarm);
                } else {
                    self.alarms.remove(&alarm);
                }
                Ok(Response::Alarms(if known || *on { vec![alarm] } else { vec![] }))
            }
            Request::Auth(command) => {
                self.rights.run(command)?;
                Ok(Response::Auth(self.rights.revision))
            }
            _ => Ok(self.done()),
        }
    }

    fn done(&self) -> Response {
        Response::Done(Revision(self.revision))
    }

    fn refuse_if_full(&self) -> Result<(), OpError> {
        if self.has(AlarmKind::NoSpace) { Err(OpError::NoSpace) } else { Ok(()) }
    }

    fn check_lease(&self, lease: LeaseId) -> Result<(), OpError> {
        if lease.0 != 0 && !self.leases.contains_key(&lease.0) {
            return Err(OpError::LeaseNotFound);
        }
        Ok(())
    }

    fn change(&mut self, key: &Bytes, to: Option<KeyValue>) {
        let main = self.revision + 1;
        self.history.entry(key.clone()).or_default().push((main, to.clone()));
        self.now.push(match to {
            Some(kv) => Event { kind: EventKind::Put, kv },
            None => Event {
                kind: EventKind::Delete,
                kv: KeyValue {
                    key: key.clone(),
                    mod_revision: Revision(main),
                    ..Default::default()
                },
            },
        });
    }

    fn put(&mut self, put: &PutRequest) -> Result<Option<KeyValue>, OpError> {
        let before = self.get(&put.key, i64::MAX);
        if (put.ignore_value || put.ignore_lease) && before.is_none() {
            return Err(OpError::KeyNotFound);
        }
        let old = before.clone().unwrap_or_default();
        let main = Revision(self.revision + 1);
        let after = KeyValue {
            key: put.key.clone(),
            value: if put.ignore_value { old.value } else { put.value.clone() },
            create_revision: if before.is_some() { old.create_revision } else { main },
            mod_revision: main,
            version: old.version + 1,
            lease: if put.ignore_lease { old.lease } else { put.lease },
        };
        self.change(&put.key, Some(after));
        Ok(before.filter(|_| put.prev_kv))
    }

    fn delete(&mut self, delete: &DeleteRangeRequest) -> DeleteRangeResult {
        let found = self.select(&delete.range, i64::MAX);
        for kv in &found {
            self.change(&kv.key, None);
        }
        DeleteRangeResult {
            revision: self.reached(),
            deleted: found.len() as i64,
            prev_kvs: if delete.prev_kv { found } else { vec![] },
        }
    }

    fn reached(&self) -> Revision {
        Revision(self.revision + i64::from(!self.now.is_empty()))
    }

    fn range(&self, request: &RangeRequest, newest: i64) -> RangeResult {
        let at = if request.revision.0 > 0 { request.revision.0 } else { newest };
        let mut kvs = self.select(&request.range, at);
        let count = kvs.len() as i64;
        if request.count_only {
            return RangeResult { revision: Revision(newest), count, ..Default::default() };
        }
        let limit = if request.limit > 0 { request.limit as usize } else { usize::MAX };
        let (bounds, order) = (
            [
                (request.min_mod_revision.0, request.max_mod_revision.0),
                (request.min_create_revision.0, request.max_create_revision.0),
            ],
            request.sort_order,
        );
        if order == SortOrder::None && bounds.iter().all(|bound| *bound == (0, 0)) {
            kvs.truncate(limit.saturating_add(1));
        }
        let inside = |value: i64, (min, max): (i64, i64)| {
            (min == 0 || value >= min) && (max == 0 || value <= max)
        };
        kvs.retain(|kv| {
            inside(kv.mod_revision.0, bounds[0]) && inside(kv.create_revision.0, bounds[1])
        });
        // A stable sort on the negated order: ties stay in key order.
        let by = |kv: &KeyValue| match request.sort_target {
            SortTarget::Key => (0, kv.key.clone()),
            SortTarget::Version => (kv.version, Bytes::new()),
            SortTarget::Create => (kv.create_revision.0, Bytes::new()),
            SortTarget::Mod => (kv.mod_revision.0, Bytes::new()),
            SortTarget::Value => (0, kv.value.clone()),
        };
        if order == SortOrder::Descend {
            kvs.sort_by_key(|kv| std::cmp::Reverse(by(kv)));
        } else {
            kvs.sort_by_key(by);
        }
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        RangeResult { revision: Revision(newest), kvs, more, count }
    }

    fn txn(&mut self, plan: &Plan<'_>) -> Result<TxnResult, OpError> {
        let mut responses = vec![];
        for step in &plan.steps {
            responses.push(match step {
                Step::Txn(inner) => TxnOpResult::Txn(self.txn(inner)?),
                Step::Op(TxnOp::Range(range)) => {
                    TxnOpResult::Range(self.range(range, self.reached().0))
                }
                Step::Op(TxnOp::Put(put)) => {
                    let prev_kv = self.put(put)?;
                    TxnOpResult::Put(PutResult { revision: self.reached(), prev_kv })
                }
                Step::Op(TxnOp::DeleteRange(delete)) => {
                    TxnOpResult::DeleteRange(self.delete(delete))
                }
                Step::Op(TxnOp::Txn(_)) => unreachable!("planned as a step of its own"),
            });
        }
        Ok(TxnResult { revision: self.reached(), succeeded: plan.succeeded, responses })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let found = self.select(&compare.range, i64::MAX);
        let is_value = matches!(compare.target, CompareTarget::Value(_));
        if found.is_empty() {
            return !is_value && relates(&KeyValue::default(), compare);
        }
        found.iter().all(|kv| relates(kv, compare))
    }
}

fn relates(kv: &KeyValue, compare: &Compare) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(given) => kv.version.cmp(given),
        CompareTarget::Create(given) => kv.create_revision.cmp(given),
        CompareTarget::Mod(given) => kv.mod_revision.cmp(given),
        CompareTarget::Value(given) => kv.value.cmp(given),
        CompareTarget::Lease(given) => kv.lease.cmp(given),
        CompareTarget::Unknown => std::cmp::Ordering::Equal,
    };
    match compare.result {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::NotEqual => ordering.is_ne(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
        CompareResult::Unknown => true,
    }
}

/// The operations that will run, decided before any of them runs.
struct Plan<'a> {
    succeeded: bool,
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    Op(&'a TxnOp),
    Txn(Plan<'a>),
}

impl<'a> Plan<'a> {
    fn of(begin: &Oracle, txn: &'a TxnRequest) -> Self {
        let succeeded = txn.compares.iter().all(|compare| begin.holds(compare));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let step = |op: &'a TxnOp| match op {
            TxnOp::Txn(inner) => Step::Txn(Plan::of(begin, inner)),
            op => Step::Op(op),
        };
        Plan { succeeded, steps: ops.iter().map(step).collect() }
    }

    fn check_puts(&self, begin: &Oracle) -> Result<(), OpError> {
        self.steps.iter().try_for_each(|step| match step {
            Step::Txn(inner) => inner.check_puts(begin),
            Step::Op(TxnOp::Put(put)) => {
                let missing = begin.get(&put.key, i64::MAX).is_none();
                if (put.ignore_value || put.ignore_lease) && missing {
                    return Err(OpError::KeyNotFound);
                }
                begin.check_lease(put.lease)
            }
            Step::Op(_) => Ok(()),
        })
    }

    fn check_ranges(&self, begin: &Oracle) -> Result<(), OpError> {
        self.steps.iter().try_for_each(|step| match step {
            Step::Txn(inner) => inner.check_ranges(begin),
            Step::Op(TxnOp::Range(range)) if range.revision.0 > begin.revision => {
                Err(OpError::FutureRevision)
            }
            Step::Op(TxnOp::Range(range))
                if range.revision.0 != 0 && range.revision.0 < begin.compacted =>
            {
                Err(OpError::Compacted)
            }
            Step::Op(_) => Ok(()),
        })
    }
}
