//! A naive etcd in memory, for tests of checkers: each call is executed at one
//! moment, on maps, and the whole state of every revision is kept. It shares no
//! code with the checker, except for users and roles.

use std::collections::BTreeMap;

use bytes::Bytes;
use t4_kv_types::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResult, EventKind,
    KeyRange, KeyValue, LeaseId, PutRequest, PutResult, RangeRequest, RangeResult, Revision, TxnOp,
    TxnOpResult, TxnRequest, TxnResult,
};

use crate::auth::Accounts;
use crate::{Failure, Outcome, Request, Response, WatchEvent};

type State = BTreeMap<Bytes, KeyValue>;

/// A server that executes one call at a time.
#[derive(Clone, Debug)]
pub struct Reference {
    // The state of each revision; index 0 and 1 both hold revision 1.
    states: Vec<State>,
    log: Vec<WatchEvent>,
    // The time to live, and the start of it in nanoseconds.
    leases: BTreeMap<LeaseId, (i64, u64)>,
    accounts: Accounts,
    compacted: i64,
}

impl Default for Reference {
    fn default() -> Reference {
        Reference::new()
    }
}

impl Reference {
    /// An empty server.
    #[must_use]
    pub fn new() -> Reference {
        Reference {
            states: vec![State::new(), State::new()],
            log: Vec::new(),
            leases: BTreeMap::new(),
            accounts: Accounts::default(),
            compacted: -1,
        }
    }

    /// Its revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.states.len() as i64 - 1)
    }

    /// Every event so far.
    #[must_use]
    pub fn log(&self) -> &[WatchEvent] {
        &self.log
    }

    /// Executes a request at a given time.
    pub fn carry_out(&mut self, now: u64, request: &Request) -> Outcome {
        match self.answer(now, request) {
            Ok(response) => Outcome::Done { revision: self.revision(), response },
            Err(failure) => Outcome::Failed(failure),
        }
    }

    /// Removes expired leases, each with its keys.
    pub fn expire(&mut self, now: u64) {
        let over = |ttl: i64, since: u64| now >= since + ttl as u64 * 1_000_000_000;
        let ids: Vec<LeaseId> = self
            .leases
            .iter()
            .filter(|(_, (ttl, since))| over(*ttl, *since))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.remove_lease(id);
        }
    }

    fn answer(&mut self, now: u64, request: &Request) -> Result<Response, Failure> {
        match request {
            Request::Put(_) | Request::Delete(_) | Request::Txn(_) => self.write(request),
            Request::Range(range) => {
                if range.revision.0 > 0 && range.revision.0 < self.compacted {
                    return Err(Failure::Compacted);
                }
                let state = self.states.last().cloned().unwrap_or_default();
                self.read(&state, range).map(Response::Range)
            }
            Request::Compact(to) if to.0 <= self.compacted => Err(Failure::Compacted),
            Request::Compact(to) if *to > self.revision() => Err(Failure::FutureRevision),
            Request::Compact(to) => {
                self.compacted = to.0;
                Ok(Response::Empty)
            }
            Request::LeaseGrant { id, .. } if self.leases.contains_key(id) => {
                Err(Failure::LeaseExists)
            }
            Request::LeaseGrant { id, ttl_s } => {
                self.leases.insert(*id, (*ttl_s, now));
                Ok(Response::LeaseGranted(*ttl_s))
            }
            Request::LeaseRevoke(id) if !self.leases.contains_key(id) => {
                Err(Failure::LeaseNotFound)
            }
            Request::LeaseRevoke(id) => {
                self.remove_lease(*id);
                Ok(Response::Empty)
            }
            Request::LeaseKeepAlive(id) => Ok(match self.leases.get_mut(id) {
                Some((ttl, since)) => {
                    *since = now;
                    Response::LeaseKept(*ttl)
                }
                None => Response::LeaseKept(0),
            }),
            Request::LeaseTimeToLive { id, keys } => Ok(self.time_to_live(now, *id, *keys)),
            Request::LeaseList => Ok(Response::Leases(self.leases.keys().copied().collect())),
            Request::Auth(request) => self.accounts.apply(request),
        }
    }

    fn time_to_live(&self, now: u64, id: LeaseId, keys: bool) -> Response {
        let Some(&(granted_ttl_s, since)) = self.leases.get(&id) else {
            return Response::LeaseTimeToLive { ttl_s: -1, granted_ttl_s: 0, keys: Vec::new() };
        };
        let ttl_s = granted_ttl_s - ((now - since) / 1_000_000_000) as i64;
        let keys = if keys { self.keys_of(id) } else { Vec::new() };
        Response::LeaseTimeToLive { ttl_s, granted_ttl_s, keys }
    }

    fn keys_of(&self, id: LeaseId) -> Vec<Bytes> {
        let state = self.states.last().into_iter().flatten();
        state.filter(|(_, kv)| kv.lease == id).map(|(key, _)| key.clone()).collect()
    }

    fn remove_lease(&mut self, id: LeaseId) {
        self.leases.remove(&id);
        let mut state = self.states.last().cloned().unwrap_or_default();
        let mut events = Vec::new();
        for key in self.keys_of(id) {
            self.remove(&mut state, key, &mut events);
        }
        self.commit(state, events);
    }

    fn write(&mut self, request: &Request) -> Result<Response, Failure> {
        let mut state = self.states.last().cloned().unwrap_or_default();
        let mut events = Vec::new();
        let response = match request {
            Request::Put(put) => Response::Put(self.put(&mut state, put, &mut events)?),
            Request::Delete(delete) => {
                Response::Delete(self.delete(&mut state, delete, &mut events))
            }
            Request::Txn(txn) => {
                let before = state.clone();
                Response::Txn(self.txn(&before, &mut state, txn, &mut events)?)
            }
            _ => Response::Empty,
        };
        self.commit(state, events);
        Ok(response)
    }

    fn commit(&mut self, state: State, events: Vec<WatchEvent>) {
        if !events.is_empty() {
            self.states.push(state);
            self.log.extend(events);
        }
    }

    fn put(
        &self,
        state: &mut State,
        put: &PutRequest,
        events: &mut Vec<WatchEvent>,
    ) -> Result<PutResult, Failure> {
        if put.lease.is_some() && !self.leases.contains_key(&put.lease) {
            return Err(Failure::LeaseNotFound);
        }
        let old = state.get(&put.key).cloned();
        let mut kv = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            create_revision: self.revision().next(),
            mod_revision: self.revision().next(),
            version: 1,
            lease: put.lease,
        };
        match &old {
            Some(old) => {
                kv.create_revision = old.create_revision;
                kv.version = old.version + 1;
                if put.ignore_value {
                    kv.value = old.value.clone();
                }
                if put.ignore_lease {
                    kv.lease = old.lease;
                }
            }
            None if put.ignore_value || put.ignore_lease => return Err(Failure::KeyNotFound),
            None => {}
        }
        let prev_kv = self.states.last().and_then(|before| before.get(&put.key)).cloned();
        events.push(WatchEvent { kind: EventKind::Put, kv: kv.clone(), prev_kv });
        state.insert(put.key.clone(), kv);
        let prev_kv = if put.prev_kv { old } else { None };
        Ok(PutResult { revision: Revision(0), prev_kv })
    }

    fn delete(
        &self,
        state: &mut State,
        delete: &DeleteRangeRequest,
        events: &mut Vec<WatchEvent>,
    ) -> DeleteRangeResult {
        let mut prev_kvs: Vec<KeyValue> =
            state.values().filter(|kv| delete.range.contains(&kv.key)).cloned().collect();
        for kv in &prev_kvs {
            self.remove(state, kv.key.clone(), events);
        }
        let deleted = prev_kvs.len() as i64;
        if !delete.prev_kv {
            prev_kvs.clear();
        }
        DeleteRangeResult { revision: Revision(0), deleted, prev_kvs }
    }

    fn remove(&self, state: &mut State, key: Bytes, events: &mut Vec<WatchEvent>) {
        state.remove(&key);
        let prev_kv = self.states.last().and_then(|before| before.get(&key)).cloned();
        let mod_revision = self.revision().next();
        let kv = KeyValue { key, mod_revision, ..KeyValue::default() };
        events.push(WatchEvent { kind: EventKind::Delete, kv, prev_kv });
    }

    fn read(&self, state: &State, range: &RangeRequest) -> Result<RangeResult, Failure> {
        if range.revision > self.revision() {
            return Err(Failure::FutureRevision);
        }
        let state = match range.revision.0 {
            0 => state,
            at => &self.states[at as usize],
        };
        let within = |range: &KeyRange, kv: &&KeyValue| range.contains(&kv.key);
        let mut kvs: Vec<KeyValue> =
            state.values().filter(|kv| within(&range.range, kv)).cloned().collect();
        let count = kvs.len() as i64;
        let more = range.limit > 0 && count > range.limit;
        if more {
            kvs.truncate(range.limit as usize);
        }
        if range.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        if range.count_only {
            return Ok(RangeResult { count, ..RangeResult::default() });
        }
        Ok(RangeResult { revision: Revision(0), kvs, more, count })
    }

    fn txn(
        &self,
        before: &State,
        state: &mut State,
        txn: &TxnRequest,
        events: &mut Vec<WatchEvent>,
    ) -> Result<TxnResult, Failure> {
        let succeeded = txn.compares.iter().all(|compare| holds(before, compare));
        let mut responses = Vec::new();
        for op in if succeeded { &txn.success } else { &txn.failure } {
            responses.push(match op {
                TxnOp::Range(range) => TxnOpResult::Range(self.read(state, range)?),
                TxnOp::Put(put) => TxnOpResult::Put(self.put(state, put, events)?),
                TxnOp::DeleteRange(delete) => {
                    TxnOpResult::DeleteRange(self.delete(state, delete, events))
                }
                TxnOp::Txn(txn) => TxnOpResult::Txn(self.txn(before, state, txn, events)?),
            });
        }
        Ok(TxnResult { revision: Revision(0), succeeded, responses })
    }
}

fn holds(state: &State, compare: &Compare) -> bool {
    let mut found: Vec<KeyValue> =
        state.values().filter(|kv| compare.range.contains(&kv.key)).cloned().collect();
    if found.is_empty() {
        if matches!(compare.target, CompareTarget::Value(_)) {
            return false;
        }
        found.push(KeyValue::default());
    }
    found.iter().all(|kv| {
        let order = match &compare.target {
            CompareTarget::Version(version) => kv.version.cmp(version),
            CompareTarget::Create(revision) => kv.create_revision.cmp(revision),
            CompareTarget::Mod(revision) => kv.mod_revision.cmp(revision),
            CompareTarget::Value(value) => kv.value.cmp(value),
            CompareTarget::Lease(lease) => kv.lease.cmp(lease),
            CompareTarget::Unknown => std::cmp::Ordering::Equal,
        };
        match compare.result {
            CompareResult::Equal => order.is_eq(),
            CompareResult::NotEqual => order.is_ne(),
            CompareResult::Greater => order.is_gt(),
            CompareResult::Less => order.is_lt(),
            CompareResult::Unknown => true,
        }
    })
}
