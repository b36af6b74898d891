//! The sequencer and the state machine against a naive oracle: random requests
//! from random callers, batches in flight while the next is evaluated, rejected
//! batches, seals, and the log replayed into a second state.
//!
//! `T4_SEED=<seed>` replays one run.

mod oracle;
mod people;
mod rights;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use oracle::Oracle;
use t4_auth_rbac::Identity;
use t4_kv_types::*;
use t4_mvcc::{Background, Budget, Config, Io, LogPosition, Store};
use t4_state_machine::{Batch, Request, Response, Sequencer, StateMachine};

const RUNS: u64 = 24;
const STEPS: usize = 1_500;
const NOW: Duration = Duration::ZERO;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(format!("k{}", self.below(12)))
    }

    fn value(&mut self) -> Bytes {
        Bytes::from(format!("v{}", self.below(5)))
    }

    fn range(&mut self) -> KeyRange {
        match self.below(6) {
            0 => KeyRange::all(),
            1 => KeyRange::prefix("k1"),
            2 => KeyRange::from_wire(self.key(), self.key()),
            3 => KeyRange::from_wire(self.key(), Bytes::from_static(&[0])),
            _ => KeyRange::single(self.key()),
        }
    }

    fn lease(&mut self) -> LeaseId {
        LeaseId(self.below(4) as i64)
    }

    fn revision(&mut self, newest: i64) -> Revision {
        Revision(match self.below(8) {
            0 => newest + 1 + self.below(2) as i64,
            1 => -(self.below(3) as i64),
            2 | 3 => (newest - self.below(8) as i64).max(0),
            _ => 0,
        })
    }

    fn bound(&mut self, newest: i64) -> Revision {
        Revision(if self.one_in(4) { self.below(newest as u64 + 2) as i64 } else { 0 })
    }

    fn range_request(&mut self, newest: i64) -> RangeRequest {
        RangeRequest {
            range: self.range(),
            limit: self.below(5) as i64 - 1,
            revision: self.revision(newest),
            sort_target: self.pick(&[
                SortTarget::Key,
                SortTarget::Version,
                SortTarget::Create,
                SortTarget::Mod,
                SortTarget::Value,
            ]),
            sort_order: self.pick(&[SortOrder::None, SortOrder::Ascend, SortOrder::Descend]),
            serializable: self.one_in(2),
            keys_only: self.one_in(4),
            count_only: self.one_in(6),
            min_mod_revision: self.bound(newest),
            max_mod_revision: self.bound(newest),
            min_create_revision: self.bound(newest),
            max_create_revision: self.bound(newest),
        }
    }

    fn put(&mut self) -> PutRequest {
        PutRequest {
            key: self.key(),
            value: self.value(),
            lease: self.lease(),
            prev_kv: self.one_in(3),
            ignore_value: self.one_in(6),
            ignore_lease: self.one_in(6),
        }
    }

    fn compare(&mut self, newest: i64) -> Compare {
        let number = self.below(newest as u64 + 2) as i64;
        Compare {
            range: self.range(),
            target: match self.below(6) {
                0 => CompareTarget::Version(self.below(4) as i64),
                1 => CompareTarget::Create(Revision(number)),
                2 => CompareTarget::Mod(Revision(number)),
                3 => CompareTarget::Value(self.value()),
                4 => CompareTarget::Lease(self.lease()),
                _ => CompareTarget::Unknown,
            },
            result: self.pick(&[
                CompareResult::Equal,
                CompareResult::NotEqual,
                CompareResult::Greater,
                CompareResult::Less,
                CompareResult::Unknown,
            ]),
        }
    }

    fn txn(&mut self, newest: i64, depth: u32) -> TxnRequest {
        let ops = |rng: &mut Self| {
            (0..rng.below(4))
                .map(|_| match rng.below(if depth < 2 { 5 } else { 4 }) {
                    0 => TxnOp::Range(rng.range_request(newest)),
                    1 | 2 => TxnOp::Put(rng.put()),
                    3 => TxnOp::DeleteRange(DeleteRangeRequest {
                        range: rng.range(),
                        prev_kv: rng.one_in(2),
                    }),
                    _ => TxnOp::Txn(rng.txn(newest, depth + 1)),
                })
                .collect()
        };
        TxnRequest {
            compares: (0..self.below(3)).map(|_| self.compare(newest)).collect(),
            success: ops(self),
            failure: ops(self),
        }
    }

    fn request(&mut self, oracle: &Oracle) -> Request {
        let newest = oracle.revision;
        if self.one_in(4) {
            return Request::Auth(self.command(&oracle.rights));
        }
        match self.below(40) {
            0..=13 => Request::Put(self.put()),
            14..=19 => Request::DeleteRange(DeleteRangeRequest {
                range: self.range(),
                prev_kv: self.one_in(2),
            }),
            20..=30 => Request::Txn(self.txn(newest, 0)),
            31 => Request::Compact(Revision(newest + 2 - self.below(12) as i64)),
            32..=34 => Request::LeaseGrant(
                LeaseId(1 + self.below(3) as i64),
                self.pick(&[-1, 0, 60, 9_000_000_001]),
            ),
            35 | 36 => Request::LeaseRevoke(LeaseId(1 + self.below(3) as i64)),
            37 => Request::SetAlarm(NodeId(1), AlarmKind::NoSpace, self.one_in(3)),
            38 => Request::SetAlarm(NodeId(1), AlarmKind::Corrupt, self.one_in(5)),
            _ => Request::Barrier(self.next()),
        }
    }
}

/// One replica: its applied state, its batches in flight, and the log so far.
struct Replica {
    _dir: tempfile::TempDir,
    state: StateMachine,
    background: Background,
    sequencer: Sequencer,
    in_flight: VecDeque<(LogPosition, Batch, Oracle)>,
    log: Vec<(LogPosition, Bytes)>,
    next_index: u64,
}

impl Replica {
    fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap())
    }

    fn open(dir: tempfile::TempDir) -> Self {
        let (store, background) = Store::open(Config::new(dir.path())).unwrap();
        let state = StateMachine::restore(store, NOW).unwrap();
        let sequencer = Sequencer::new(&state, 2);
        Replica {
            _dir: dir,
            state,
            background,
            sequencer,
            in_flight: VecDeque::new(),
            log: vec![],
            next_index: 1,
        }
    }

    /// Closes the open batch; `after` is the oracle after it.
    fn close_batch(&mut self, after: &Oracle) {
        if self.sequencer.batch().is_empty() {
            return;
        }
        let batch = self.sequencer.take_batch();
        let at = LogPosition { epoch: Epoch(1), index: LogIndex(self.next_index) };
        self.next_index += 1;
        self.in_flight.push_back((at, batch, after.clone()));
    }

    /// Applies the oldest batch in flight and compares the results.
    fn commit(&mut self, applied: &mut Oracle) {
        let Some((at, batch, after)) = self.in_flight.pop_front() else { return };
        let payload = batch.encode();
        assert_eq!(Batch::decode(&payload).as_ref(), Ok(&batch));
        self.log.push((at, payload));
        let outcome = self.state.apply(at, &batch, NOW);
        self.sequencer.applied(&self.state, &batch);
        let news: Vec<_> =
            outcome.revisions.iter().map(|(at, events)| (at.0, events.to_vec())).collect();
        assert_eq!(news, after.events[applied.events.len()..]);
        *applied = after;
        self.compare(applied);
    }

    /// The log rejects a batch: everything unapplied never happened.
    fn refuse(&mut self, applied: &Oracle) -> Oracle {
        self.in_flight.clear();
        self.sequencer.discard(&self.state);
        self.next_index = self.state.position().index.0 + 1;
        applied.clone()
    }

    fn compare(&self, oracle: &Oracle) {
        assert_eq!(self.state.revision().0, oracle.revision);
        assert_eq!(self.state.compacted().map_or(-1, |at| at.0), oracle.compacted);
        assert_eq!(*self.state.alarms().read(), oracle.alarms);
        oracle.rights.compare(self.state.auth());
        let (mark, published) = self.state.published_auth().state();
        assert_eq!(published.encode(), self.state.auth().encode());
        assert_eq!(mark.is_on(), oracle.rights.enabled);
        let leases: Vec<i64> = self.state.leases().lock().ids().map(|id| id.0).collect();
        assert_eq!(leases, oracle.leases.keys().copied().collect::<Vec<_>>());
        let request = RangeRequest::new(KeyRange::all());
        let found = t4_state_machine::range(
            self.state.reader(),
            &request,
            Io::Blocking,
            &Budget::unlimited(),
        )
        .unwrap();
        assert_eq!(found.kvs, oracle.live());
        for id in oracle.leases.keys() {
            let attached: Vec<Bytes> =
                self.state.leases().lock().keys(LeaseId(*id)).cloned().collect();
            let held = oracle.live().into_iter().filter(|kv| kv.lease.0 == *id);
            assert_eq!(attached, held.map(|kv| kv.key).collect::<Vec<_>>());
        }
    }
}

fn check_read_only(replica: &Replica, applied: &Oracle, rng: &mut Rng) {
    let range = rng.range_request(applied.revision);
    let txn = TxnRequest {
        compares: vec![rng.compare(applied.revision)],
        success: vec![TxnOp::Range(range.clone())],
        failure: vec![],
    };
    let reader = replica.state.reader();
    let found = t4_state_machine::read_only_txn(reader, &txn, Io::Blocking, &Budget::unlimited());
    let mut clear = applied.clone();
    clear.alarms.clear();
    match (found, clear.run(&Identity::Server, &Request::Txn(txn))) {
        (Ok(found), Ok(Response::Txn(expected))) => assert_eq!(found, expected),
        (Err(t4_mvcc::ReadError::Compacted), Err(OpError::Compacted)) => {}
        (Err(t4_mvcc::ReadError::Future), Err(OpError::FutureRevision)) => {}
        (found, expected) => panic!("{found:?} is not {expected:?}"),
    }
}

/// Counts of outcomes, to check that each kind occurs.
#[derive(Default)]
struct Seen {
    /// While authentication was on.
    done: u64,
    denied: u64,
    old: u64,
}

impl Seen {
    fn count(&mut self, on: bool, outcome: &Result<Response, OpError>) {
        match outcome {
            Ok(_) => self.done += u64::from(on),
            Err(OpError::Auth(AuthError::PermissionDenied)) => self.denied += 1,
            Err(OpError::Auth(AuthError::AuthOldRevision)) => self.old += 1,
            Err(_) => {}
        }
    }
}

fn run(seed: u64, seen: &mut Seen) {
    let mut rng = Rng(seed);
    let mut replica = Replica::new();
    let mut newest = Oracle::new();
    let mut applied = Oracle::new();
    for _ in 0..STEPS {
        match rng.below(20) {
            0..=11 => {
                let (who, request) = (rng.who(&newest.rights), rng.request(&newest));
                let expected = newest.run(&who, &request);
                seen.count(newest.rights.enabled, &expected);
                let shown = format!("{who:?}: {request:?}");
                let found = replica.sequencer.evaluate(&replica.state, &who, request);
                assert_eq!(found, expected, "{shown}");
            }
            12..=14 if replica.in_flight.len() < 2 => replica.close_batch(&newest),
            15..=17 => replica.commit(&mut applied),
            18 if rng.one_in(8) => newest = replica.refuse(&applied),
            18 if rng.one_in(4) => {
                let ticket = replica.state.seal();
                replica.background.seal(ticket).unwrap();
            }
            _ => check_read_only(&replica, &applied, &mut rng),
        }
    }
    replica.close_batch(&newest);
    while !replica.in_flight.is_empty() {
        replica.commit(&mut applied);
    }
    replayed_log_gives_the_same(&replica, &applied);
    sealed_state_comes_back(replica, &applied);
}

fn replayed_log_gives_the_same(replica: &Replica, oracle: &Oracle) {
    let mut second = Replica::new();
    for (at, payload) in &replica.log {
        second.state.replay(*at, payload, NOW).unwrap();
    }
    second.state.replayed(NOW);
    second.compare(oracle);
    let at = Revision(oracle.revision);
    let hash = |replica: &Replica| replica.state.reader().hash(at).unwrap();
    assert_eq!(hash(&second), hash(replica));
    assert_eq!(second.state.auth().encode(), replica.state.auth().encode());
}

fn sealed_state_comes_back(mut replica: Replica, oracle: &Oracle) {
    let ticket = replica.state.seal();
    replica.background.seal(ticket).unwrap();
    let Replica { _dir: dir, state, background, .. } = replica;
    let auth = state.auth().encode();
    drop((state, background));
    let reopened = Replica::open(dir);
    reopened.compare(oracle);
    assert_eq!(reopened.state.auth().encode(), auth);
}

#[test]
fn agrees_with_the_oracle() {
    let replayed = std::env::var("T4_SEED").ok().map(|seed| seed.parse().expect("T4_SEED"));
    let first = replayed
        .unwrap_or_else(|| std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
    let mut seen = Seen::default();
    for seed in first..first + if replayed.is_some() { 1 } else { RUNS } {
        println!("T4_SEED={seed}");
        run(seed, &mut seen);
    }
    let Seen { done, denied, old } = seen;
    println!("with authentication on: {done} done, {denied} denied, {old} too old");
    let enough = done > 2_000 && denied > 500 && old > 100;
    assert!(replayed.is_some() || enough, "{done} {denied} {old}");
}

/// A log entry that cannot follow the state before it is an error, and no part
/// of it is applied.
#[test]
fn a_foreign_log_is_refused() {
    let mut replica = Replica::new();
    let batches = [
        Batch {
            effects: vec![t4_state_machine::Effect::Revision { writes: 1 }],
            writes: vec![Write::Delete { key: Bytes::from_static(b"missing") }],
        },
        Batch {
            effects: vec![t4_state_machine::Effect::LeaseRevoke { id: LeaseId(7), writes: 0 }],
            writes: vec![],
        },
        Batch {
            effects: vec![t4_state_machine::Effect::LeaseGrant { id: LeaseId(7), ttl_s: -1 }],
            writes: vec![],
        },
        Batch {
            effects: vec![t4_state_machine::Effect::Revision { writes: 1 }],
            writes: vec![Write::Put {
                key: Bytes::from_static(b"k"),
                value: Bytes::new(),
                lease: LeaseId(9),
            }],
        },
        Batch {
            effects: vec![t4_state_machine::Effect::Auth(t4_auth_rbac::Effect::Enable)],
            writes: vec![],
        },
    ];
    let at = LogPosition { epoch: Epoch(1), index: LogIndex(1) };
    for batch in batches {
        assert!(replica.state.replay(at, &batch.encode(), NOW).is_err(), "{batch:?}");
        assert_eq!(replica.state.revision(), Revision(1));
    }
    let gap = LogPosition { epoch: Epoch(1), index: LogIndex(2) };
    assert!(replica.state.replay(gap, &Batch::default().encode(), NOW).is_err());
}
