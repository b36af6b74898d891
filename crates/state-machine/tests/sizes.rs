//! Large inputs: answers that are too large, deletes and leases of many keys,
//! effects that fill an entry.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use t4_auth_rbac::{Command, Identity, Permission, PermissionKind};
use t4_kv_types::{
    DeleteRangeRequest, Epoch, KeyRange, KeyValue, LeaseId, LogIndex, OpError, PutRequest,
    RangeRequest, RangeResult, TxnOp, TxnOpResult, TxnRequest, Write,
};
use t4_mvcc::{Budget, Config, Io, LogPosition, ReadError, Store};
use t4_state_machine::{
    ANSWER_BYTES_MAX, Batch, Effect, Request, Response, Sequencer, StateMachine,
};

const NOW: Duration = Duration::from_secs(100);
const MIB: usize = 1 << 20;

struct Replica {
    _dir: tempfile::TempDir,
    state: StateMachine,
    sequencer: Sequencer,
    in_flight: Vec<Batch>,
    log: Vec<Bytes>,
}

impl Replica {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(Config::new(dir.path())).unwrap();
        let state = StateMachine::restore(store, NOW).unwrap();
        let sequencer = Sequencer::new(&state, 2);
        Replica { _dir: dir, state, sequencer, in_flight: vec![], log: vec![] }
    }

    fn ask(&mut self, request: Request) -> Result<Response, OpError> {
        self.sequencer.evaluate(&self.state, &Identity::Server, request)
    }

    fn put(&mut self, key: &[u8], value: &Bytes, lease: LeaseId) {
        let (key, value) = (Bytes::copy_from_slice(key), value.clone());
        let put = PutRequest { key, value, lease, ..Default::default() };
        self.ask(Request::Put(put)).unwrap();
    }

    /// Closes the open batch.
    fn close(&mut self) {
        if !self.sequencer.batch().is_empty() {
            let bound = self.sequencer.batch_bytes() + 1;
            let batch = self.sequencer.take_batch();
            assert!(batch.encode().len() <= bound, "{} > {bound}", batch.encode().len());
            self.in_flight.push(batch);
        }
    }

    /// Applies the oldest batch in flight.
    fn apply_one(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let batch = self.in_flight.remove(0);
        let payload = batch.encode();
        assert_eq!(Batch::decode(&payload).as_ref(), Ok(&batch));
        self.log.push(payload);
        self.state.apply(at(self.log.len()), &batch, NOW);
        self.sequencer.applied(&self.state, &batch);
    }

    fn apply_all(&mut self) {
        self.close();
        while !self.in_flight.is_empty() {
            self.apply_one();
        }
    }

    /// The committed keys.
    fn committed(&self) -> Vec<KeyValue> {
        let request = RangeRequest::new(KeyRange::all());
        let reader = self.state.reader();
        let budget = Budget::unlimited();
        t4_state_machine::range(reader, &request, Io::Blocking, &budget).unwrap().kvs
    }

    /// A replica after the log was replayed from its start.
    fn replayed(&self) -> Replica {
        let mut again = Replica::new();
        for (place, payload) in self.log.iter().enumerate() {
            again.state.replay(at(place + 1), payload, NOW).unwrap();
        }
        again
    }
}

fn at(index: usize) -> LogPosition {
    LogPosition { epoch: Epoch(1), index: LogIndex(index as u64) }
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("key/{number:05}"))
}

fn between(from: u64, to: u64) -> KeyRange {
    KeyRange::from_wire(key(from), key(to))
}

fn of_txn(response: Result<Response, OpError>) -> Vec<TxnOpResult> {
    match response {
        Ok(Response::Txn(txn)) => txn.responses,
        other => panic!("{other:?}"),
    }
}

/// Lists along with a put, so that the transaction is evaluated with the writes.
fn list_in_flight(replica: &mut Replica, request: RangeRequest) -> RangeResult {
    let put = PutRequest { key: "other".into(), ..Default::default() };
    let success = vec![TxnOp::Range(request), TxnOp::Put(put)];
    let txn = TxnRequest { success, ..Default::default() };
    match of_txn(replica.ask(Request::Txn(txn))).remove(0) {
        TxnOpResult::Range(range) => range,
        other => panic!("{other:?}"),
    }
}

/// Splitmix64.
struct Prng(u64);

impl Prng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

const KEYS: u64 = 3_000;

/// For each key: its value, its version, its lease.
type Oracle = BTreeMap<Bytes, (Bytes, i64, LeaseId)>;

fn put_in_oracle(oracle: &mut Oracle, key: Bytes, value: Bytes, lease: LeaseId) {
    let version = oracle.get(&key).map_or(0, |(_, version, _)| *version);
    oracle.insert(key, (value, version + 1, lease));
}

fn shown(kvs: &[KeyValue]) -> Vec<(Bytes, (Bytes, i64, LeaseId))> {
    let one = |kv: &KeyValue| (kv.key.clone(), (kv.value.clone(), kv.version, kv.lease));
    kvs.iter().filter(|kv| kv.key != "other").map(one).collect()
}

/// Many keys are deleted at once, by ranges and by leases, and some are put
/// again while that is in flight: every answer matches the order of the
/// requests, and the log leads to the same state again.
#[test]
fn deletes_of_many_keys_in_flight_are_seen_by_all_that_comes_after() {
    let given = std::env::var("T4_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = given.map_or((1..=6).collect(), |seed| vec![seed]);
    for seed in seeds {
        println!("T4_SEED={seed}");
        run(seed);
    }
}

fn run(seed: u64) {
    let mut random = Prng(seed);
    let (mut replica, mut oracle) = (Replica::new(), Oracle::new());
    let leases = [LeaseId(1), LeaseId(2)];
    for lease in leases {
        replica.ask(Request::LeaseGrant(lease, 60)).unwrap();
    }
    let (mut bulk_deletes, mut ends) = (0, 0);
    for step in 0..150u64 {
        match random.below(10) {
            0 | 1 => {
                let (from, lease) = (random.below(KEYS), leases[random.below(2) as usize]);
                let lease = if random.below(3) == 0 { LeaseId::NONE } else { lease };
                let value = Bytes::from(step.to_string());
                for number in from..(from + 1_500).min(KEYS) {
                    replica.put(&key(number), &value, lease);
                    put_in_oracle(&mut oracle, key(number), value.clone(), lease);
                }
            }
            2 => {
                let number = random.below(KEYS);
                replica.put(&key(number), &"one".into(), LeaseId::NONE);
                put_in_oracle(&mut oracle, key(number), "one".into(), LeaseId::NONE);
            }
            3 | 4 => {
                let from = random.below(KEYS);
                let range = between(from, from + 20 + random.below(1_500));
                let delete = DeleteRangeRequest { range: range.clone(), prev_kv: step % 2 == 0 };
                let Ok(Response::DeleteRange(found)) = replica.ask(Request::DeleteRange(delete))
                else {
                    panic!("a delete is refused")
                };
                let gone: Vec<_> = oracle.extract_if(.., |key, _| range.contains(key)).collect();
                assert_eq!(found.deleted, gone.len() as i64);
                if step % 2 == 0 {
                    assert_eq!(shown(&found.prev_kvs), gone);
                }
                bulk_deletes += usize::from(gone.len() > 256);
            }
            5 => {
                let lease = leases[random.below(2) as usize];
                replica.ask(Request::LeaseRevoke(lease)).unwrap();
                let ended = |effect: &Effect| *effect == Effect::LeaseEnd { id: lease };
                ends += usize::from(replica.sequencer.batch().effects.last().is_some_and(ended));
                oracle.retain(|_, (_, _, held_by)| *held_by != lease);
                replica.ask(Request::LeaseGrant(lease, 60)).unwrap();
            }
            6 | 7 => {
                let from = random.below(KEYS);
                let range = between(from, from + random.below(KEYS));
                let limit = random.below(3) * 10;
                let request =
                    RangeRequest { limit: limit as i64, ..RangeRequest::new(range.clone()) };
                let found = list_in_flight(&mut replica, request);
                let there: Vec<_> = oracle
                    .iter()
                    .filter(|(key, _)| range.contains(key))
                    .map(|(key, state)| (key.clone(), state.clone()))
                    .collect();
                let kept = if limit == 0 { there.len() } else { there.len().min(limit as usize) };
                assert_eq!((found.count, found.more), (there.len() as i64, kept < there.len()));
                assert_eq!(shown(&found.kvs), there[..kept]);
            }
            8 => replica.close(),
            _ => replica.apply_one(),
        }
    }
    replica.apply_all();
    assert!(bulk_deletes > 5 && ends > 0, "{bulk_deletes} deletes, {ends} ends");
    let there: Vec<_> = oracle.into_iter().collect();
    assert_eq!(shown(&replica.committed()), there);
    assert_eq!(replica.replayed().committed(), replica.committed());
    for lease in leases {
        let held: Vec<_> = there.iter().filter(|(_, state)| state.2 == lease).collect();
        assert_eq!(replica.state.leases().lock().key_count(lease), held.len());
    }
}

/// Ending a lease takes a few bytes of the log however many keys it has: no
/// lease is too large to end.
#[test]
fn a_lease_of_many_keys_ends_in_few_bytes() {
    let mut replica = Replica::new();
    let lease = LeaseId(7);
    replica.ask(Request::LeaseGrant(lease, 60)).unwrap();
    for number in 0..2_000 {
        replica.put(&key(number), &Bytes::new(), lease);
    }
    replica.put(b"kept", &Bytes::new(), LeaseId::NONE);
    replica.apply_all();
    let before = replica.state.revision();

    replica.ask(Request::LeaseRevoke(lease)).unwrap();
    let after = replica.ask(Request::LeaseRevoke(lease));
    assert_eq!(after, Err(OpError::LeaseNotFound));
    replica.close();
    assert_eq!(replica.in_flight[0].encode().as_ref(), [3, 10, 14]);
    replica.apply_all();
    assert_eq!(replica.state.revision(), before.next(), "one revision");
    assert_eq!(replica.committed().len(), 1);
    assert!(!replica.state.leases().lock().exists(lease));
    assert_eq!(replica.replayed().committed(), replica.committed());
}

/// An entry that mentions a key which a lease has already deleted is a
/// contradiction, not a panic.
#[test]
fn a_log_that_deletes_what_a_lease_took_is_refused() {
    let mut replica = Replica::new();
    replica.ask(Request::LeaseGrant(LeaseId(7), 60)).unwrap();
    replica.put(b"k", &Bytes::new(), LeaseId(7));
    replica.apply_all();
    let end = Effect::LeaseEnd { id: LeaseId(7) };
    let put = |key: &str| Write::Put {
        key: key.to_owned().into(),
        value: Bytes::new(),
        lease: LeaseId(7),
    };
    let delete = |key: &str| Write::Delete { key: key.to_owned().into() };
    for (writes, effects) in [
        (vec![delete("k")], vec![end.clone(), Effect::Revision { writes: 1 }]),
        (vec![], vec![end.clone(), end.clone()]),
        (
            vec![put("in the batch"), delete("in the batch")],
            vec![Effect::Revision { writes: 1 }, end, Effect::Revision { writes: 1 }],
        ),
    ] {
        let payload = Batch { effects, writes }.encode();
        let next = at(replica.log.len() + 1);
        replica.state.replay(next, &payload, NOW).unwrap_err();
    }
    assert_eq!(replica.committed().len(), 1);
}

/// 120 copies of the same 20 MiB, which share their memory.
#[test]
fn an_answer_that_is_too_large_is_refused_before_anything_is_done() {
    let mut replica = Replica::new();
    let value = Bytes::from(vec![7; MIB]);
    (0..20).for_each(|number| replica.put(&key(number), &value, LeaseId::NONE));
    replica.apply_all();
    let revision = replica.state.revision();
    let list = || TxnOp::Range(RangeRequest::new(KeyRange::all()));
    let put = || TxnOp::Put(PutRequest { key: "new".into(), ..Default::default() });
    let delete =
        |prev_kv| TxnOp::DeleteRange(DeleteRangeRequest { range: between(0, 20), prev_kv });
    let txn = |success: Vec<TxnOp>| TxnRequest { success, ..Default::default() };

    let lists = || vec![list(); 60];
    let nested = || TxnOp::Txn(txn(lists()));
    for (name, ops) in [
        ("ranges", [vec![put()], vec![list(); 120]].concat()),
        ("nested", vec![put(), nested(), nested()]),
        ("prev_kv at the end", [vec![list(); 102], vec![delete(true)]].concat()),
        ("prev_kv first", [vec![delete(true)], vec![list(); 120], vec![put()]].concat()),
    ] {
        // If the delete runs first, the ranges find nothing.
        let fits = name == "prev_kv first";
        let answer = replica.ask(Request::Txn(txn(ops)));
        if fits {
            answer.unwrap();
            replica.sequencer.discard(&replica.state);
        } else {
            assert_eq!(answer, Err(OpError::AnswerTooLarge), "{name}");
        }
        assert!(replica.sequencer.batch().is_empty(), "{name}");
        assert_eq!(replica.sequencer.batch_bytes(), 0, "{name}");
    }
    // Earlier requests stay in the batch, and so does the revision.
    replica.put(b"before", &Bytes::new(), LeaseId::NONE);
    let refused =
        replica.ask(Request::Txn(txn([vec![delete(false)], vec![put()], lists()].concat())));
    refused.unwrap();
    let refused = replica.ask(Request::Txn(txn([vec![put()], vec![list(); 120]].concat())));
    // The keys are deleted in flight, so the answer fits now.
    refused.unwrap();
    replica.apply_all();
    assert_eq!(replica.state.revision().0, revision.0 + 3);

    let reader = replica.state.reader();
    let old = RangeRequest { revision, ..RangeRequest::new(KeyRange::all()) };
    let reads = txn(vec![TxnOp::Range(old); 120]);
    let budget = Budget::new(ANSWER_BYTES_MAX);
    let refused = t4_state_machine::read_only_txn(reader, &reads, Io::Blocking, &budget);
    assert!(matches!(refused, Err(ReadError::OverBudget)), "{refused:?}");
}

/// 160 grants of 1.9 MB once made an entry that the log rejected.
#[test]
fn every_effect_counts_towards_the_bound_of_an_entry() {
    let mut replica = Replica::new();
    let role = |name: &str| Request::Auth(Command::RoleAdd { name: name.into() });
    replica.ask(role("r")).unwrap();
    let grant = |number: usize| {
        let key = Bytes::from(vec![number as u8; 1_900_000]);
        let permission = Some(Permission::new(PermissionKind::Read, key, ""));
        Request::Auth(Command::RoleGrantPermission { role: "r".into(), permission })
    };
    let granted = (0..160).take_while(|&number| {
        let before = replica.sequencer.batch_bytes();
        let answer = replica.ask(grant(number));
        let grown = replica.sequencer.batch_bytes() - before;
        match answer {
            Ok(_) => assert!(grown >= 1_900_000),
            Err(error) => assert_eq!((error, grown), (OpError::TooLarge, 0)),
        }
        grown > 0
    });
    let granted = granted.count();
    assert!((90..160).contains(&granted), "{granted}");
    // Other requests still fit, and nothing of the rejected one is left.
    replica.ask(role("s")).unwrap();
    replica.apply_all();
    let found = replica.state.auth().role_get(&Identity::Server, "r").unwrap();
    assert_eq!(found.len(), granted);
    assert_eq!(replica.replayed().state.auth().encode(), replica.state.auth().encode());
}
