//! Keys: read, written, compared, watched.

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::compare::TargetUnion;
use t4_proto::etcdserverpb::request_op::Request;

use super::super::LEASES;
use super::super::ask::{Actor, Ask, Episode, any, delete_txn, put_txn};
use super::super::known::Known;
use super::super::rights::Who;
use super::Generator;

const KEYS: [&str; 10] = ["a", "a1", "a2", "b", "b1", "c", "c5", "d", "e", "\0"];
const ENDS: [&str; 10] = ["b", "c", "d", "e", "\0", "\0", "a1", "a2", "b5", "c5"];

/// One more than a transaction may have.
const TOO_MANY: usize = 129;

const DEPTH_MAX: u32 = 2;

impl Generator {
    fn key(&mut self) -> Bytes {
        self.rng.pick(&KEYS).as_bytes().into()
    }

    /// Half of the ranges that a user draws are about what the user may touch.
    fn keys(&mut self, known: &Known, actor: Actor) -> (Bytes, Bytes) {
        if let Who::User(name) = known.who(actor)
            && self.rng.chance(1, 2)
        {
            let held: Vec<_> = known.rights.permissions(&name).collect();
            if !held.is_empty() {
                let held = *self.rng.pick(&held);
                let whole = self.rng.chance(1, 2);
                let end = if whole { held.range_end.clone() } else { Bytes::new() };
                return (held.key.clone(), end);
            }
        }
        let key = self.key();
        if self.rng.chance(1, 2) {
            return (key, Bytes::new());
        }
        let end = Bytes::from_static(self.rng.pick(&ENDS).as_bytes());
        // Seldom one without keys in it.
        let end =
            if end <= key && end != "\0" && self.rng.chance(1, 2) { "\0".into() } else { end };
        (key, end)
    }

    fn no_key(&mut self, key: Bytes) -> Bytes {
        if self.rng.chance(1, 80) { Bytes::new() } else { key }
    }

    fn range_request(&mut self, known: &Known, actor: Actor) -> pb::RangeRequest {
        let (key, range_end) = self.keys(known, actor);
        let mut request =
            pb::RangeRequest { key: self.no_key(key), range_end, ..Default::default() };
        request.serializable = self.rng.chance(1, 4);
        request.count_only = self.rng.chance(1, 8);
        if self.rng.chance(1, 6) {
            request.limit = self.rng.between(1, 3);
        }
        if self.rng.chance(1, 6) {
            // By their keys: other orders may tie.
            request.sort_order = self.rng.between(0, 2) as i32;
        }
        request
    }

    fn read_revision(&mut self, known: &Known) -> i64 {
        match self.rng.below(6) {
            0 => known.compacted - 1,
            1 => known.revision + 1,
            _ => self.rng.between(known.compacted.max(1), known.revision),
        }
    }

    pub(super) fn range(&mut self, known: &Known, actor: Actor) -> Ask {
        let mut request = self.range_request(known, actor);
        request.keys_only = self.rng.chance(1, 8);
        if self.rng.chance(1, 8) {
            request.revision = self.read_revision(known);
        }
        Ask::Range(request)
    }

    fn some_lease(&mut self) -> i64 {
        if self.rng.chance(1, 8) { 99 } else { *self.rng.pick(&LEASES) }
    }

    fn put_request(&mut self, known: &Known, actor: Actor) -> pb::PutRequest {
        let (key, _) = self.keys(known, actor);
        let mut request = pb::PutRequest { key, ..Default::default() };
        request.value = self.rng.bytes(3).into();
        request.prev_kv = self.rng.chance(1, 4);
        match self.rng.below(20) {
            0..5 => request.lease = self.some_lease(),
            5 => request.ignore_lease = true,
            6 => (request.ignore_value, request.value) = (true, Bytes::new()),
            _ => {}
        }
        request
    }

    pub(super) fn put(&mut self, known: &Known, actor: Actor) -> Ask {
        let mut request = self.put_request(known, actor);
        match self.rng.below(100) {
            0 => request.key = Bytes::new(),
            1 => request.ignore_value = true,
            2 => request.ignore_lease = true,
            _ => {}
        }
        Ask::Put(request)
    }

    fn delete_request(&mut self, known: &Known, actor: Actor) -> pb::DeleteRangeRequest {
        let (key, range_end) = self.keys(known, actor);
        let key = self.no_key(key);
        pb::DeleteRangeRequest { key, range_end, prev_kv: self.rng.chance(1, 3) }
    }

    pub(super) fn delete(&mut self, known: &Known, actor: Actor) -> Ask {
        Ask::Delete(self.delete_request(known, actor))
    }

    pub(super) fn txn(&mut self, known: &Known, actor: Actor) -> Ask {
        // Keys to put, without repetition: most are to pass the rule on that.
        let mut free: Vec<Bytes> = KEYS.iter().map(|key| key.as_bytes().into()).collect();
        free.sort_by_cached_key(|_| self.rng.next_u64());
        let mut txn = self.txn_request(known, actor, &mut free, 0);
        // 3.5.1 panics where a put wants what the same transaction deletes, and
        // does so again at every restart.
        if any(&txn, &mut |op| matches!(op, Request::RequestDeleteRange(_))) {
            want_nothing_old(&mut txn);
        }
        if self.rng.chance(1, 150) {
            txn.success.resize(TOO_MANY, pb::RequestOp::default());
        }
        Ask::Txn(txn)
    }

    fn txn_request(
        &mut self,
        known: &Known,
        actor: Actor,
        free: &mut Vec<Bytes>,
        depth: u32,
    ) -> pb::TxnRequest {
        pb::TxnRequest {
            compare: (0..self.rng.below(3)).map(|_| self.compare(known, actor)).collect(),
            success: self.operations(known, actor, free, depth),
            failure: self.operations(known, actor, free, depth),
        }
    }

    fn operations(
        &mut self,
        known: &Known,
        actor: Actor,
        free: &mut Vec<Bytes>,
        depth: u32,
    ) -> Vec<pb::RequestOp> {
        let count = self.rng.below(3);
        (0..count)
            .map(|_| pb::RequestOp { request: self.operation(known, actor, free, depth) })
            .collect()
    }

    fn operation(
        &mut self,
        known: &Known,
        actor: Actor,
        free: &mut Vec<Bytes>,
        depth: u32,
    ) -> Option<Request> {
        Some(match self.rng.below(100) {
            0..35 => {
                let mut range = self.range_request(known, actor);
                if self.rng.chance(1, 20) {
                    range.revision = self.read_revision(known);
                }
                Request::RequestRange(range)
            }
            35..50 => Request::RequestDeleteRange(self.delete_request(known, actor)),
            50..70 if depth < DEPTH_MAX => {
                Request::RequestTxn(self.txn_request(known, actor, free, depth + 1))
            }
            99 => return None,
            _ => Request::RequestPut(self.put_in_txn(known, actor, free)),
        })
    }

    fn put_in_txn(&mut self, known: &Known, actor: Actor, free: &mut Vec<Bytes>) -> pb::PutRequest {
        let mut put = self.put_request(known, actor);
        // Mostly a key that this transaction does not put yet.
        match free.iter().position(|key| *key == put.key) {
            Some(place) => put.key = free.remove(place),
            None if self.rng.chance(3, 4) => put.key = free.pop().unwrap_or(put.key),
            None => {}
        }
        // A lease that is not there fails the whole transaction: seldom.
        if !LEASES.contains(&put.lease) || self.rng.chance(1, 2) {
            put.lease = 0;
        }
        put
    }

    fn compare(&mut self, known: &Known, actor: Actor) -> pb::Compare {
        let (key, range_end) = self.keys(known, actor);
        let target = self.rng.between(0, 4);
        let target_union = match target {
            0 => TargetUnion::Version(self.rng.between(0, 2)),
            1 => TargetUnion::CreateRevision(self.rng.between(0, known.revision)),
            2 => TargetUnion::ModRevision(self.rng.between(0, known.revision)),
            3 => TargetUnion::Value(self.rng.bytes(1).into()),
            _ => TargetUnion::Lease(self.some_lease()),
        };
        pb::Compare {
            result: self.rng.between(0, 3) as i32,
            target: target as i32,
            key: self.no_key(key),
            range_end,
            target_union: Some(target_union),
        }
    }

    pub(super) fn watch(&mut self, known: &Known, actor: Actor) -> Ask {
        let creates = (0..1 + self.rng.below(4)).map(|_| self.create(known, actor)).collect();
        // The first makes sure of a revision, whatever the others find.
        let mut writes = vec![put_txn(self.key(), "watched"), put_txn(self.key(), "watched")];
        for _ in 0..self.rng.below(4) {
            let key = self.key();
            let write = match self.rng.below(3) {
                0 => delete_txn(key),
                1 => put_txn(key, "again"),
                _ => {
                    let other = self.key();
                    let mut both = put_txn(key, "both");
                    both.success.append(&mut put_txn(other, "both").success);
                    // A key twice is refused.
                    both.success.dedup();
                    both
                }
            };
            writes.push(write);
        }
        let cancelled = self.rng.below(3) as usize;
        Ask::Watch(Episode { creates, writes, cancelled })
    }

    fn create(&mut self, known: &Known, actor: Actor) -> pb::WatchCreateRequest {
        let (mut key, mut range_end) = self.keys(known, actor);
        match self.rng.below(20) {
            0 => key = Bytes::new(),
            // From a key on that the user may read, for all that is known.
            1..6 => range_end = "\0".into(),
            _ => {}
        }
        // Past ones take 3.5.1 a tenth of a second.
        let start_revision = match self.rng.below(8) {
            0 => known.revision + self.rng.between(0, 2),
            1 => (known.revision - self.rng.between(0, 8)).max(known.compacted + 2),
            _ => 0,
        };
        pb::WatchCreateRequest {
            key,
            range_end,
            start_revision,
            filters: if self.rng.chance(1, 6) {
                vec![self.rng.between(0, 1) as i32]
            } else {
                vec![]
            },
            prev_kv: self.rng.chance(1, 3),
            watch_id: if self.rng.chance(1, 6) { self.rng.between(5, 6) } else { 0 },
            ..Default::default()
        }
    }
}

fn want_nothing_old(txn: &mut pb::TxnRequest) {
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
