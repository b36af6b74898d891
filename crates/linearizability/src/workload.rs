//! The requests of random clients: few keys, few leases, few names, and every
//! kind of call that is answered without having an effect.

use std::collections::VecDeque;

use bytes::Bytes;
use t4_kv_types::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyRange, LeaseId, PutRequest,
    RangeRequest, Revision, TxnOp, TxnRequest,
};
use t4_testkit::Rng;

use crate::{AuthRequest, Outcome, Request};

/// The number of each kind of object. Low, so that clients contend.
#[derive(Clone, Copy, Debug)]
pub struct WorkloadOptions {
    /// Keys that all clients write. Default: 40.
    pub keys: u64,
    /// Leases that outlive the test. Default: 12.
    pub long_leases: u64,
    /// Leases that expire. Default: 6.
    pub short_leases: u64,
    /// The requested time to live of these, in seconds. Default: 1.
    pub short_ttl_s: i64,
}

impl Default for WorkloadOptions {
    fn default() -> WorkloadOptions {
        WorkloadOptions { keys: 40, long_leases: 12, short_leases: 6, short_ttl_s: 1 }
    }
}

/// The sequence of one client's requests. The same generator and the same
/// outcomes produce the same requests.
#[derive(Clone, Debug)]
pub struct Workload {
    options: WorkloadOptions,
    client: u32,
    // Counts values, as each value is written only once.
    written: u64,
    rng: Rng,
    // The highest revision that an answer has shown.
    seen: Revision,
    // The next requests of a sequence that belongs together.
    next: VecDeque<Request>,
}

const LONG_TTL_S: i64 = 3600;
const USERS: u64 = 4;
const ROLES: u64 = 3;

impl Workload {
    /// The requests of a client. Each pair of `client` and `after` must be
    /// unique; `after` is the number of values that earlier clients with the
    /// same number have put.
    #[must_use]
    pub fn new(options: WorkloadOptions, client: u32, after: u64, rng: Rng) -> Workload {
        let seen = Revision::EMPTY_STORE;
        Workload { options, client, written: after, rng, seen, next: VecDeque::new() }
    }

    /// The number of values put so far, including earlier ones.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Records an answer.
    pub fn saw(&mut self, outcome: &Outcome) {
        if let Outcome::Done { revision, .. } = outcome {
            self.seen = self.seen.max(*revision);
        }
    }

    /// The next request. No compaction goes beyond `compactable`.
    pub fn next(&mut self, compactable: Revision) -> Request {
        if let Some(next) = self.next.pop_front() {
            return next;
        }
        match self.rng.below(1000) {
            0..230 => self.put(),
            230..430 => self.get(),
            430..480 => self.list(),
            480..560 => self.read_back(),
            560..620 => self.delete(),
            620..740 => self.failing_compare(),
            740..840 => self.txn(),
            840..945 => self.lease(),
            945..950 => self.compact(compactable),
            950..960 => self.put_kept(),
            _ => self.auth(),
        }
    }

    fn key(&mut self) -> Bytes {
        let number = self.rng.below(self.options.keys);
        Bytes::from(format!("k/{number:03}"))
    }

    // Keys of a separate group, most of which are deleted.
    fn rare_key(&mut self) -> Bytes {
        let number = self.rng.below(self.options.keys);
        Bytes::from(format!("rare/{number:03}"))
    }

    fn lease_id(&mut self) -> LeaseId {
        let all = self.options.long_leases + self.options.short_leases;
        LeaseId(1 + self.rng.below(all) as i64)
    }

    fn is_short(&self, id: LeaseId) -> bool {
        id.0 as u64 > self.options.long_leases
    }

    // Few, so that a lease often has keys and often has none.
    fn leased_key(&mut self, id: LeaseId) -> Bytes {
        let number = self.rng.below(3);
        Bytes::from(format!("lease/{}/{number}", id.0))
    }

    fn value(&mut self) -> Bytes {
        self.written += 1;
        Bytes::from(format!("{}.{}", self.client, self.written))
    }

    fn put_of(&mut self, key: Bytes, lease: LeaseId) -> PutRequest {
        let prev_kv = self.rng.chance(1, 4);
        PutRequest { key, value: self.value(), lease, prev_kv, ..PutRequest::default() }
    }

    fn put(&mut self) -> Request {
        let key = if self.rng.chance(1, 10) { self.rare_key() } else { self.key() };
        Request::Put(self.put_of(key, LeaseId::NONE))
    }

    fn put_kept(&mut self) -> Request {
        let key = self.rare_key();
        let mut put = self.put_of(key, LeaseId::NONE);
        put.ignore_lease = true;
        if self.rng.chance(1, 2) {
            put.ignore_value = true;
            put.value = Bytes::new();
        }
        Request::Put(put)
    }

    fn get(&mut self) -> Request {
        let key = self.key();
        range(RangeRequest::new(KeyRange::single(key)))
    }

    fn some_range(&mut self) -> KeyRange {
        match self.rng.below(5) {
            0 => KeyRange::prefix("lease/"),
            1 => KeyRange::prefix("rare/"),
            2 => KeyRange::prefix("k/"),
            _ => KeyRange::prefix(format!("k/{:02}", self.rng.below(1 + self.options.keys / 10))),
        }
    }

    fn list(&mut self) -> Request {
        let mut list = RangeRequest::new(self.some_range());
        match self.rng.below(4) {
            0 => list.limit = self.rng.between(1, 10),
            1 => list.count_only = true,
            2 => list.keys_only = true,
            _ => {}
        }
        range(list)
    }

    /// A read at a revision: a few back, far back, or one that does not exist yet.
    fn read_back(&mut self) -> Request {
        let mut read = match self.rng.chance(1, 4) {
            true => RangeRequest::new(self.some_range()),
            false => RangeRequest::new(KeyRange::single(self.key())),
        };
        let back = match self.rng.below(20) {
            0 => -1_000_000,
            1..4 => self.rng.between(1, 5000),
            _ => self.rng.between(0, 20),
        };
        read.revision = Revision((self.seen.0 - back).max(1));
        range(read)
    }

    fn delete(&mut self) -> Request {
        let range = match self.rng.below(10) {
            0 => KeyRange::prefix(format!("rare/{:02}", self.rng.below(4))),
            1..4 => KeyRange::single("nothing"),
            4..7 => KeyRange::single(self.rare_key()),
            _ => KeyRange::single(self.key()),
        };
        Request::Delete(DeleteRangeRequest { range, prev_kv: self.rng.chance(1, 4) })
    }

    /// A transaction that returns a key because its compare fails, followed by
    /// a get of that key.
    fn failing_compare(&mut self) -> Request {
        let key = self.key();
        self.next.push_back(range(RangeRequest::new(KeyRange::single(key.clone()))));
        let put = self.put_of(key.clone(), LeaseId::NONE);
        let never = compare(&key, CompareTarget::Version(-1), CompareResult::Equal);
        let get = TxnOp::Range(RangeRequest::new(KeyRange::single(key)));
        txn(vec![never], vec![TxnOp::Put(put)], vec![get])
    }

    fn txn(&mut self) -> Request {
        let (a, b, c) = (self.key(), self.key(), self.rare_key());
        let condition = self.condition(&a);
        let get = TxnOp::Range(RangeRequest::new(KeyRange::single(b.clone())));
        let put = TxnOp::Put(self.put_of(a.clone(), LeaseId::NONE));
        let remove = |range| TxnOp::DeleteRange(DeleteRangeRequest { range, prev_kv: true });
        match self.rng.below(5) {
            0 => txn(vec![condition], vec![put, get], Vec::new()),
            1 => {
                let other = TxnOp::Put(self.put_of(c, LeaseId::NONE));
                let list = TxnOp::Range(RangeRequest::new(KeyRange::prefix("rare/00")));
                txn(vec![condition], vec![put, other, list.clone()], vec![list, get])
            }
            2 => txn(vec![condition], vec![put, remove(KeyRange::single(c))], vec![get]),
            3 => {
                let inner = TxnRequest {
                    compares: vec![self.condition(&b)],
                    success: vec![TxnOp::Put(self.put_of(c.clone(), LeaseId::NONE))],
                    failure: vec![remove(KeyRange::single(c)), get],
                };
                txn(vec![condition], vec![put, TxnOp::Txn(inner.clone())], vec![TxnOp::Txn(inner)])
            }
            _ => txn(Vec::new(), vec![remove(KeyRange::single("nothing")), get], Vec::new()),
        }
    }

    fn condition(&mut self, key: &Bytes) -> Compare {
        let near = Revision((self.seen.0 - self.rng.between(0, 200)).max(0));
        let target = match self.rng.below(5) {
            0 => CompareTarget::Version(self.rng.between(0, 20)),
            1 => CompareTarget::Create(near),
            2 => CompareTarget::Mod(near),
            3 => CompareTarget::Value(Bytes::from_static(b"5")),
            _ => CompareTarget::Lease(LeaseId(self.rng.between(0, 1))),
        };
        let result = *self.rng.pick(&[
            CompareResult::Equal,
            CompareResult::NotEqual,
            CompareResult::Greater,
            CompareResult::Less,
        ]);
        compare(key, target, result)
    }

    fn lease(&mut self) -> Request {
        let id = self.lease_id();
        let key = self.leased_key(id);
        match self.rng.below(20) {
            0..3 => {
                let ttl_s = if self.is_short(id) { self.options.short_ttl_s } else { LONG_TTL_S };
                Request::LeaseGrant { id, ttl_s }
            }
            3..5 => {
                self.next.push_back(range(RangeRequest::new(KeyRange::single(key))));
                Request::LeaseRevoke(id)
            }
            5..7 => Request::LeaseKeepAlive(id),
            7..11 => {
                // A key that the lease shows must be visible to a get too.
                self.next.push_back(range(RangeRequest::new(KeyRange::single(key))));
                Request::LeaseTimeToLive { id, keys: true }
            }
            11 => Request::LeaseTimeToLive { id, keys: false },
            12 => Request::LeaseList,
            13..17 => Request::Put(self.put_of(key, id)),
            17 => Request::Put(self.put_of(key, LeaseId::NONE)),
            18 => {
                let range = KeyRange::single(key);
                Request::Delete(DeleteRangeRequest { range, prev_kv: false })
            }
            _ => {
                let get = TxnOp::Range(RangeRequest::new(KeyRange::prefix("lease/")));
                let condition = self.condition(&key);
                let put = TxnOp::Put(self.put_of(key, id));
                txn(vec![condition], vec![put], vec![get])
            }
        }
    }

    fn compact(&mut self, compactable: Revision) -> Request {
        let to = match self.rng.below(10) {
            0 => self.seen.0 + 1_000_000,
            1 => 1,
            _ => self.seen.0 - self.rng.between(100, 4000),
        };
        let to = if to > self.seen.0 { to } else { to.min(compactable.0) };
        Request::Compact(Revision(to.max(1)))
    }

    fn auth(&mut self) -> Request {
        let user = format!("user{}", self.rng.below(USERS));
        let role = format!("role{}", self.rng.below(ROLES));
        let key = Bytes::from(format!("k/{}", self.rng.below(2)));
        Request::Auth(match self.rng.below(14) {
            0 => AuthRequest::UserAdd(user),
            1 => AuthRequest::UserDelete(user),
            2..5 => AuthRequest::UserGet(user),
            5 => AuthRequest::UserList,
            6 => AuthRequest::UserGrantRole(user, role),
            7 => AuthRequest::UserRevokeRole(user, role),
            8 => AuthRequest::RoleAdd(role),
            9 => AuthRequest::RoleDelete(role),
            10 => AuthRequest::RoleGet(role),
            11 => AuthRequest::RoleList,
            12 => AuthRequest::RoleGrant(role, key),
            _ => AuthRequest::RoleRevoke(role, key),
        })
    }
}

fn range(range: RangeRequest) -> Request {
    Request::Range(Box::new(range))
}

fn txn(compares: Vec<Compare>, success: Vec<TxnOp>, failure: Vec<TxnOp>) -> Request {
    Request::Txn(Box::new(TxnRequest { compares, success, failure }))
}

fn compare(key: &Bytes, target: CompareTarget, result: CompareResult) -> Compare {
    Compare { range: KeyRange::single(key.clone()), target, result }
}
