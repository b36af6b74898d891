//! Histories that a correct server never produces, one of each kind, and tricky
//! ones that it may produce.

use bytes::Bytes;
use t4_kv_types::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResult, EventKind,
    KeyRange, KeyValue, LeaseId, PutRequest, PutResult, RangeRequest, RangeResult, Revision, TxnOp,
    TxnOpResult, TxnRequest, TxnResult,
};
use t4_linearizability::{
    AuthRequest, Call, Checker, Failure, Fault, History, Outcome, Request, Response, Verdict,
    Watch, WatchEvent, WatchNews, WatchResponse,
};

const SECOND: u64 = 1_000_000_000;
const LEASE: LeaseId = LeaseId(7);

/// A history that is written down step by step. Revisions start at 2.
#[derive(Default)]
struct Script {
    history: History,
}

fn kv(key: &str, value: &str, at: i64) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        create_revision: Revision(at),
        mod_revision: Revision(at),
        version: 1,
        lease: LeaseId::NONE,
    }
}

fn leased(key: &str, value: &str, at: i64) -> KeyValue {
    KeyValue { lease: LEASE, ..kv(key, value, at) }
}

/// The same key after another put.
fn over(old: &KeyValue, value: &str, at: i64) -> KeyValue {
    let value = Bytes::copy_from_slice(value.as_bytes());
    KeyValue { value, mod_revision: Revision(at), version: old.version + 1, ..old.clone() }
}

fn done(revision: i64, response: Response) -> Outcome {
    Outcome::Done { revision: Revision(revision), response }
}

fn put_event(kv: &KeyValue, before: Option<&KeyValue>) -> WatchEvent {
    WatchEvent { kind: EventKind::Put, kv: kv.clone(), prev_kv: before.cloned() }
}

fn delete_event(before: &KeyValue, at: i64) -> WatchEvent {
    let kv =
        KeyValue { key: before.key.clone(), mod_revision: Revision(at), ..KeyValue::default() };
    WatchEvent { kind: EventKind::Delete, kv, prev_kv: Some(before.clone()) }
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() }
}

fn found(kvs: &[KeyValue]) -> RangeResult {
    RangeResult { kvs: kvs.to_vec(), count: kvs.len() as i64, ..RangeResult::default() }
}

impl Script {
    /// A call from `at.0` to `at.1`. Only times matter, not clients.
    fn call(&mut self, at: (u64, u64), request: Request, outcome: Outcome) -> &mut Self {
        let (invoked, returned) = at;
        self.history.calls.push(Call { client: 1, invoked, returned, request, outcome });
        self
    }

    fn put(&mut self, at: (u64, u64), key: &str, value: &str, revision: i64) -> &mut Self {
        let outcome = done(revision, Response::Put(PutResult::default()));
        self.call(at, Request::Put(put(key, value)), outcome)
    }

    fn get(&mut self, at: (u64, u64), key: &str, kvs: &[KeyValue], revision: i64) -> &mut Self {
        let range = RangeRequest::new(KeyRange::single(key.to_owned()));
        let outcome = done(revision, Response::Range(found(kvs)));
        self.call(at, Request::Range(Box::new(range)), outcome)
    }

    fn log(&mut self, event: WatchEvent) -> &mut Self {
        self.history.log.push(event);
        self
    }

    fn watch(&mut self, start: Option<i64>, created: (u64, i64)) -> &mut Watch {
        self.history.watches.push(Watch {
            client: 2,
            range: KeyRange::all(),
            start: start.map(Revision),
            prev_kv: true,
            no_put: false,
            no_delete: false,
            invoked: created.0 - 1,
            created: Some((created.0, Revision(created.1))),
            responses: Vec::new(),
        });
        self.history.watches.last_mut().expect("pushed")
    }

    fn grant(&mut self, at: (u64, u64), ttl_s: i64, revision: i64) -> &mut Self {
        let request = Request::LeaseGrant { id: LEASE, ttl_s };
        self.call(at, request, done(revision, Response::LeaseGranted(ttl_s)))
    }

    fn put_leased(&mut self, at: (u64, u64), key: &str, revision: i64) -> &mut Self {
        let request = Request::Put(PutRequest { lease: LEASE, ..put(key, "v") });
        self.call(at, request, done(revision, Response::Put(PutResult::default())))
    }

    fn look(&mut self, at: (u64, u64), keys: &[&str], revision: i64) -> &mut Self {
        let keys = keys.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect();
        let response = Response::LeaseTimeToLive { ttl_s: 1, granted_ttl_s: 2, keys };
        self.call(at, Request::LeaseTimeToLive { id: LEASE, keys: true }, done(revision, response))
    }

    fn look_in_vain(&mut self, at: (u64, u64), revision: i64) -> &mut Self {
        let response = Response::LeaseTimeToLive { ttl_s: -1, granted_ttl_s: 0, keys: Vec::new() };
        self.call(at, Request::LeaseTimeToLive { id: LEASE, keys: true }, done(revision, response))
    }

    fn verdict(&self) -> Verdict {
        Checker::new().check(&self.history)
    }

    #[track_caller]
    fn is(&self, fault: Fault) {
        let verdict = self.verdict();
        assert!(
            verdict.has(fault),
            "{fault:?} was not found: {}",
            verdict.report(&self.history, 9)
        );
    }

    #[track_caller]
    fn is_fine(&self) {
        let verdict = self.verdict();
        assert!(verdict.is_clean(), "{}", verdict.report(&self.history, 9));
    }
}

fn news(watch: &mut Watch, at: u64, revision: i64, events: Vec<WatchEvent>) {
    let news = WatchNews::Events { events, fragment: false };
    watch.responses.push(WatchResponse { at, revision: Revision(revision), news });
}

fn progress(watch: &mut Watch, at: u64, revision: i64) {
    let (revision, news) = (Revision(revision), WatchNews::Progress);
    watch.responses.push(WatchResponse { at, revision, news });
}

/// Two puts of `k`, at 2 and 3, done at 40.
fn two_puts() -> (Script, KeyValue, KeyValue) {
    let one = kv("k", "one", 2);
    let two = over(&one, "two", 3);
    let mut script = Script::default();
    script.put((10, 20), "k", "one", 2).put((30, 40), "k", "two", 3);
    script.log(put_event(&one, None)).log(put_event(&two, Some(&one)));
    (script, one, two)
}

#[test]
fn the_scripts_are_fine_before_anything_is_wrong() {
    let (mut script, one, two) = two_puts();
    script.get((21, 29), "k", std::slice::from_ref(&one), 2);
    script.get((31, 39), "k", std::slice::from_ref(&one), 2);
    script.get((31, 39), "k", std::slice::from_ref(&two), 3);
    script.get((50, 60), "k", &[two], 3).is_fine();
}

#[test]
fn a_stale_read() {
    let (mut script, one, _) = two_puts();
    script.get((50, 60), "k", &[one], 2).is(Fault::WentBack);
}

#[test]
fn a_stale_value_under_a_fresh_header() {
    let (mut script, one, _) = two_puts();
    script.get((50, 60), "k", &[one], 3).is(Fault::WrongResponse);
}

#[test]
fn a_failed_compare_that_shows_newer_than_a_later_get() {
    let (mut script, one, two) = two_puts();
    // The put of `two` is still in flight; the transaction sees its effect.
    script.history.calls[1].returned = 100;
    let never = Compare {
        range: KeyRange::single("k"),
        target: CompareTarget::Version(-1),
        result: CompareResult::Equal,
    };
    let txn = TxnRequest {
        compares: vec![never],
        success: vec![TxnOp::Put(put("k", "never"))],
        failure: vec![TxnOp::Range(RangeRequest::new(KeyRange::single("k")))],
    };
    let shown = TxnResult {
        succeeded: false,
        responses: vec![TxnOpResult::Range(found(&[two]))],
        ..TxnResult::default()
    };
    script.call((31, 50), Request::Txn(Box::new(txn)), done(3, Response::Txn(shown)));
    script.is_fine();
    script.get((51, 60), "k", &[one], 2).is(Fault::WentBack);
}

#[test]
fn a_lost_write() {
    let (mut script, _, _) = two_puts();
    script.put((50, 60), "other", "lost", 4).is(Fault::LostWrite);
}

#[test]
fn a_write_in_the_middle_that_is_lost() {
    let (mut script, ..) = two_puts();
    script.history.log.remove(0);
    script.is(Fault::LogOrder);
}

#[test]
fn a_write_that_was_refused_and_counts() {
    let (mut script, _, two) = two_puts();
    let three = over(&two, "three", 4);
    script.log(put_event(&three, Some(&two)));
    let refused = Outcome::Failed(Failure::Rejected("too many requests".to_owned()));
    script.call((50, 60), Request::Put(put("k", "three")), refused).is(Fault::FailedWriteCounts);
}

#[test]
fn half_a_transaction() {
    let txn = TxnRequest {
        success: vec![TxnOp::Put(put("a", "1")), TxnOp::Put(put("b", "2"))],
        ..TxnRequest::default()
    };
    let result = TxnResult {
        succeeded: true,
        responses: vec![TxnOpResult::Put(PutResult::default()); 2],
        ..TxnResult::default()
    };
    let mut script = Script::default();
    script.call((10, 20), Request::Txn(Box::new(txn.clone())), done(2, Response::Txn(result)));
    script.log(put_event(&kv("a", "1", 2), None)).is(Fault::WrongEffect);
    // The same without an answer.
    let mut script = Script::default();
    script.call((10, 20), Request::Txn(Box::new(txn)), Outcome::Unknown).is_fine();
    script.log(put_event(&kv("a", "1", 2), None)).is(Fault::Foreign);
    script.log(put_event(&kv("b", "2", 2), None)).is_fine();
}

#[test]
fn a_write_without_an_answer_that_is_applied_twice() {
    let one = kv("k", "once", 2);
    let mut script = Script::default();
    script.call((10, 20), Request::Put(put("k", "once")), Outcome::Unknown).is_fine();
    script.log(put_event(&one, None)).is_fine();
    script.log(put_event(&over(&one, "once", 3), Some(&one))).is(Fault::AppliedTwice);
}

#[test]
fn a_revision_of_nobody() {
    let (mut script, _, two) = two_puts();
    script.log(put_event(&over(&two, "whose", 4), Some(&two))).is(Fault::Foreign);
}

#[test]
fn a_revision_that_is_used_twice() {
    let (mut script, ..) = two_puts();
    script.put((50, 60), "other", "v", 3).is(Fault::RevisionReused);
}

#[test]
fn a_write_before_one_that_had_ended() {
    let (mut script, ..) = two_puts();
    // Acknowledged at 3 before the put at 2 was sent.
    script.history.calls[0].invoked = 45;
    script.history.calls[0].returned = 50;
    script.is(Fault::WentBack);
}

#[test]
fn a_record_that_does_not_follow() {
    let (mut script, ..) = two_puts();
    script.history.log[1].kv.version = 3;
    script.is(Fault::Record);
    let (mut script, ..) = two_puts();
    script.history.log[1].prev_kv = None;
    script.is(Fault::Record);
}

#[test]
fn watches_that_break_their_word() {
    let (script, one, two) = two_puts();
    let all = vec![put_event(&one, None), put_event(&two, Some(&one))];
    let with = |spoil: &dyn Fn(&mut Watch)| {
        let mut script = Script { history: script.history.clone() };
        spoil(script.watch(Some(1), (5, 1)));
        script
    };
    with(&|watch| news(watch, 50, 3, all.clone())).is_fine();
    with(&|watch| news(watch, 50, 3, all[1..].to_vec())).is(Fault::WatchMissed);
    with(&|watch| news(watch, 50, 3, vec![all[0].clone(), all[0].clone()])).is(Fault::WatchExtra);
    with(&|watch| news(watch, 50, 3, vec![all[1].clone(), all[0].clone()])).is(Fault::WatchMissed);
    with(&|watch| {
        news(watch, 50, 3, all[..1].to_vec());
        progress(watch, 51, 3);
    })
    .is(Fault::WatchMissed);
    with(&|watch| news(watch, 50, 2, all.clone())).is(Fault::WatchHeader);
    with(&|watch| {
        let mut wrong = all.clone();
        wrong[1].prev_kv = Some(two.clone());
        news(watch, 50, 3, wrong);
    })
    .is(Fault::WatchEvent);
    with(&|watch| {
        let never = over(&two, "never", 4);
        news(watch, 50, 4, [all.clone(), vec![put_event(&never, Some(&two))]].concat());
    })
    .is(Fault::WatchExtra);
    // It arrived before the put that caused it was sent.
    with(&|watch| news(watch, 25, 3, all.clone())).is(Fault::WentBack);
}

#[test]
fn a_revision_that_a_watch_tears_apart() {
    let txn = TxnRequest {
        success: vec![TxnOp::Put(put("a", "1")), TxnOp::Put(put("b", "2"))],
        ..TxnRequest::default()
    };
    let result = TxnResult {
        succeeded: true,
        responses: vec![TxnOpResult::Put(PutResult::default()); 2],
        ..TxnResult::default()
    };
    let events = [put_event(&kv("a", "1", 2), None), put_event(&kv("b", "2", 2), None)];
    let script = |fragment| {
        let mut script = Script::default();
        let outcome = done(2, Response::Txn(result.clone()));
        script.call((10, 20), Request::Txn(Box::new(txn.clone())), outcome);
        script.log(events[0].clone()).log(events[1].clone());
        let watch = script.watch(Some(1), (5, 1));
        let (events, at, revision) = (events[..1].to_vec(), 30, Revision(2));
        let news = WatchNews::Events { events, fragment };
        watch.responses.push(WatchResponse { at, revision, news });
        script
    };
    script(false).is(Fault::WatchSplit);
    let mut whole = script(true);
    let watch = whole.history.watches.last_mut().expect("a watch");
    news(watch, 31, 2, events[1..].to_vec());
    whole.is_fine();
}

#[test]
fn a_watch_from_now_on_that_delivers_the_past() {
    // Opened after the put at 3 was acknowledged: it starts after that.
    let (mut script, one, two) = two_puts();
    news(script.watch(None, (51, 3)), 60, 3, vec![put_event(&two, Some(&one))]);
    script.is(Fault::WatchExtra);
    // As in the bug: the answer to its creation lags too.
    let (mut script, one, two) = two_puts();
    news(script.watch(None, (51, 2)), 60, 3, vec![put_event(&two, Some(&one))]);
    script.is(Fault::WentBack);
    // Opened while the put was in flight: either is correct.
    let (mut script, one, two) = two_puts();
    news(script.watch(None, (35, 2)), 60, 3, vec![put_event(&two, Some(&one))]);
    script.is_fine();
}

#[test]
fn a_lease_that_shows_a_key_before_a_get_does() {
    let key = leased("k", "v", 2);
    let mut script = Script::default();
    script.grant((1, 2), 2, 1).put_leased((10, 100), "k", 2).log(put_event(&key, None));
    script.look((20, 30), &["k"], 2);
    script.get((40, 50), "k", std::slice::from_ref(&key), 2).is_fine();
    // Its header may be from before its read, as long as no later call sees less.
    script.history.calls.truncate(2);
    script.look((20, 30), &["k"], 1);
    script.get((40, 50), "k", std::slice::from_ref(&key), 2).is_fine();
    // As in the bug: a later get does not find the key.
    script.history.calls.truncate(2);
    script.look((20, 30), &["k"], 1).get((40, 50), "k", &[], 1).is(Fault::LeaseKeys);
    // If the header is correct, the get goes back.
    script.history.calls.truncate(2);
    script.look((20, 30), &["k"], 2).get((40, 50), "k", &[], 1).is(Fault::WentBack);
}

#[test]
fn a_lease_that_still_shows_a_key_that_was_seen_to_be_gone() {
    let key = leased("k", "v", 2);
    let mut script = Script::default();
    script.grant((1, 2), 2, 1).put_leased((10, 20), "k", 2).log(put_event(&key, None));
    let delete = DeleteRangeRequest { range: KeyRange::single("k"), prev_kv: false };
    let result = DeleteRangeResult { deleted: 1, ..DeleteRangeResult::default() };
    script.call((30, 40), Request::Delete(delete), done(3, Response::Delete(result)));
    script.log(delete_event(&key, 3));
    script.look((35, 50), &["k"], 3).is_fine();
    script.history.calls.pop();
    script.look((41, 50), &["k"], 3).is(Fault::LeaseKeys);
}

#[test]
fn a_lease_that_expires_early() {
    let key = leased("k", "v", 2);
    let script = |gone_at: u64| {
        let mut script = Script::default();
        script.grant((1, 5), 2, 1).put_leased((10, 20), "k", 2);
        script.log(put_event(&key, None)).log(delete_event(&key, 3));
        script.get((gone_at - 2, gone_at), "k", &[], 3);
        script
    };
    script(SECOND).is(Fault::Lease);
    script(2 * SECOND + 1).is_fine();
    // A renewal postpones it.
    let mut renewed = script(2 * SECOND + 1);
    let keep = Request::LeaseKeepAlive(LEASE);
    renewed.call((SECOND, SECOND + 9), keep, done(2, Response::LeaseKept(2))).is(Fault::Lease);
    // Without keys, only a query can show its end.
    let mut bare = Script::default();
    bare.grant((1, 5), 2, 1).look_in_vain((SECOND, SECOND + 9), 1).is(Fault::Lease);
    let mut bare = Script::default();
    bare.grant((1, 5), 2, 1).look_in_vain((SECOND * 2, SECOND * 2 + 9), 1).is_fine();
}

#[test]
fn a_lease_that_is_gone_while_its_keys_are_there() {
    let key = leased("k", "v", 2);
    let mut script = Script::default();
    script.grant((1, 5), 2, 1).put_leased((10, 20), "k", 2).log(put_event(&key, None));
    script.look_in_vain((9 * SECOND, 9 * SECOND + 5), 2);
    script.get((9 * SECOND + 6, 9 * SECOND + 7), "k", &[key], 2).is(Fault::Lease);
}

#[test]
fn leases_that_nobody_orders() {
    let revoked = || done(1, Response::Empty);
    let exists = || Outcome::Failed(Failure::LeaseExists);
    let mut script = Script::default();
    script.grant((1, 5), 60, 1).call((6, 9), Request::LeaseRevoke(LEASE), revoked());
    let again = Request::LeaseGrant { id: LEASE, ttl_s: 60 };
    script.call((7, 20), again.clone(), exists()).is_fine();
    script.history.calls.pop();
    script.call((10, 20), again, exists()).is(Fault::Lease);
    // A put with a lease that was never granted.
    let mut script = Script::default();
    script.put_leased((10, 20), "k", 2).log(put_event(&leased("k", "v", 2), None));
    script.is(Fault::Lease);
    // A list that omits a lease.
    let mut script = Script::default();
    script.grant((1, 5), 60, 1);
    script.call((6, 9), Request::LeaseList, done(1, Response::Leases(vec![LEASE]))).is_fine();
    script.call((10, 19), Request::LeaseList, done(1, Response::Leases(vec![]))).is(Fault::Lease);
    // A put that was rejected although the lease existed all the time.
    let mut script = Script::default();
    script.grant((1, 5), 60, 1);
    let with = Request::Put(PutRequest { lease: LEASE, ..put("k", "v") });
    script.call((6, 9), with, Outcome::Failed(Failure::LeaseNotFound)).is(Fault::Lease);
}

#[test]
fn a_revocation_that_leaves_a_key() {
    let (one, two) = (leased("a", "v", 2), leased("b", "v", 3));
    let mut script = Script::default();
    script.grant((1, 5), 60, 1).put_leased((10, 20), "a", 2).put_leased((21, 29), "b", 3);
    script.log(put_event(&one, None)).log(put_event(&two, None));
    script.call((30, 40), Request::LeaseRevoke(LEASE), done(4, Response::Empty));
    script.log(delete_event(&one, 4)).is(Fault::Foreign);
    script.log(delete_event(&two, 4)).is_fine();
}

#[test]
fn compactions_that_nobody_orders() {
    let read = |revision| {
        let mut range = RangeRequest::new(KeyRange::single("k"));
        range.revision = Revision(revision);
        Request::Range(Box::new(range))
    };
    let compacted = || Outcome::Failed(Failure::Compacted);
    let compact = Request::Compact(Revision(3));
    let (mut script, one, _) = two_puts();
    script.call((50, 60), compact.clone(), done(3, Response::Empty));
    script.call((61, 70), read(2), compacted()).is_fine();
    script.call((71, 80), read(2), done(3, Response::Range(found(&[one])))).is(Fault::Compaction);
    let (mut script, ..) = two_puts();
    script.call((61, 70), read(2), compacted()).is(Fault::Compaction);
    let (mut script, ..) = two_puts();
    script.call((50, 60), compact, compacted()).is(Fault::Compaction);
    let (mut script, ..) = two_puts();
    let future = Outcome::Failed(Failure::FutureRevision);
    script.call((61, 70), read(4), future.clone()).is_fine();
    script.call((71, 80), read(3), future).is(Fault::WrongError);
}

#[test]
fn users_that_nobody_orders() {
    let add = || Request::Auth(AuthRequest::UserAdd("u".to_owned()));
    let list = || Request::Auth(AuthRequest::UserList);
    let named = |names: &[&'static str]| {
        let names = names.iter().map(|name| Bytes::from_static(name.as_bytes())).collect();
        done(1, Response::Names(names))
    };
    let mut script = Script::default();
    script.call((1, 5), add(), done(1, Response::Empty)).call((6, 9), list(), named(&["u"]));
    script.call((10, 12), add(), Outcome::Failed(Failure::UserExists)).is_fine();
    script.call((13, 19), list(), named(&[])).is(Fault::Auth);
    // Two clients that see two additions in different orders.
    let other = Request::Auth(AuthRequest::UserAdd("w".to_owned()));
    let mut script = Script::default();
    script.call((1, 50), add(), done(1, Response::Empty));
    script.call((1, 50), other, done(1, Response::Empty));
    script.call((10, 20), list(), named(&["u"])).is_fine();
    script.call((21, 30), list(), named(&["w"])).is(Fault::Auth);
}

#[test]
fn a_write_without_an_answer_may_come_late_or_never() {
    let (mut script, _, two) = two_puts();
    // Sent first, it takes effect last; and its delete of nothing leaves no trace.
    script.call((1, 90), Request::Put(put("k", "late")), Outcome::Unknown);
    let nothing = DeleteRangeRequest { range: KeyRange::single("nothing"), prev_kv: false };
    script.call((1, 90), Request::Delete(nothing), Outcome::Unknown).is_fine();
    let late = over(&two, "late", 4);
    script.log(put_event(&late, Some(&two)));
    script.get((80, 95), "k", &[late], 4).is_fine();
    // Not before it was sent.
    let call = script.history.calls.iter_mut().find(|call| call.outcome == Outcome::Unknown);
    call.expect("the put").invoked = 99;
    script.is(Fault::Foreign);
}

#[test]
fn a_delete_without_an_answer_and_a_lease_that_ends_explain_the_same() {
    let key = leased("k", "v", 2);
    let mut script = Script::default();
    script.grant((1, 5), 2, 1).put_leased((10, 20), "k", 2).log(put_event(&key, None));
    script.log(delete_event(&key, 3)).get((50, 60), "k", &[], 3).is(Fault::Lease);
    let delete = DeleteRangeRequest { range: KeyRange::single("k"), prev_kv: false };
    script.call((30, 90), Request::Delete(delete), Outcome::Unknown).is_fine();
}

#[test]
fn states_go_on_from_one_history_to_the_next() {
    let (first, _, two) = two_puts();
    let mut checker = Checker::new();
    assert!(checker.check(&first.history).is_clean());
    let mut stale = Script::default();
    stale.get((110, 120), "k", &[two], 2);
    assert!(checker.clone().check(&stale.history).has(Fault::WentBack));
    let mut reused = Script::default();
    reused.put((110, 120), "k", "three", 3);
    assert!(checker.check(&reused.history).has(Fault::RevisionReused));
}
