//! Each rule lets pass what it should, and nothing beside it.

use t4_proto::etcdserverpb::WatchCreateRequest;

use super::*;
use crate::differential::compare;

fn kv(key: usize, version: i64) -> KeyValue {
    KeyValue { key: format!("{key:02}").into(), version, lease: 3, ..KeyValue::default() }
}

fn by_version(limit: i64) -> Op {
    Op::Range(RangeRequest {
        key: "a".into(),
        sort_order: 1,
        sort_target: 1,
        limit,
        ..RangeRequest::default()
    })
}

fn ranged(kvs: Vec<KeyValue>, count: i64, more: bool) -> Answer {
    Answer::Range(RangeResponse { kvs, count, more, header: None })
}

#[test]
fn ties_of_a_long_sort_may_come_in_any_order() {
    let want: Vec<KeyValue> = (0..20).map(|n| kv(n, n as i64 / 5)).collect();
    let mut got = want.clone();
    got.swap(0, 4);
    got.swap(15, 19);
    let op = by_version(0);
    let answer = |kvs: &[KeyValue], count| ranged(kvs.to_vec(), count, false);
    assert_eq!(compare(&op, &answer(&want, 20), &answer(&got, 20)), None);
    // Not across ties, and not in a sort that Go does stably.
    got.swap(0, 10);
    assert!(compare(&op, &answer(&want, 20), &answer(&got, 20)).is_some());
    let (short, mut other) = (want[..6].to_vec(), want[..6].to_vec());
    other.swap(0, 4);
    assert!(compare(&op, &answer(&short, 6), &answer(&other, 6)).is_some());
}

#[test]
fn a_limit_may_cut_the_last_tie_anywhere_but_no_other() {
    let want: Vec<KeyValue> = (0..7).map(|n| kv(n, n as i64 / 5)).collect();
    let mut got = want.clone();
    got[6] = kv(9, 1);
    let op = by_version(7);
    let answer = |kvs: &[KeyValue], more| ranged(kvs.to_vec(), 20, more);
    assert_eq!(compare(&op, &answer(&want, true), &answer(&got, true)), None);
    assert!(compare(&op, &answer(&want, false), &answer(&got, false)).is_some());
    // A key that both have must be the same in both.
    got[5].lease = 9;
    assert!(compare(&op, &answer(&want, true), &answer(&got, true)).is_some());
    got[5] = want[5].clone();
    got[1] = kv(8, 0);
    assert!(compare(&op, &answer(&want, true), &answer(&got, true)).is_some());
}

#[test]
fn the_rules_reach_ranges_in_nested_transactions() {
    let range = |sort_target| RangeRequest {
        key: "a".into(),
        range_end: "b".into(),
        sort_order: 1,
        sort_target,
        ..RangeRequest::default()
    };
    let request = |sort_target| {
        let inner = RequestOp { request: Some(Request::RequestRange(range(sort_target))) };
        let nested = TxnRequest { success: vec![inner], ..TxnRequest::default() };
        let outer = RequestOp { request: Some(Request::RequestTxn(nested)) };
        Op::Txn(TxnRequest { failure: vec![outer], ..TxnRequest::default() })
    };
    // They tie by version.
    let kvs: Vec<_> = (1..=8).map(|key| kv(key, 1)).collect();
    let answer = |kvs: Vec<KeyValue>| {
        let count = kvs.len() as i64;
        let range = RangeResponse { kvs, count, ..RangeResponse::default() };
        let op = |response| t4_proto::etcdserverpb::ResponseOp { response: Some(response) };
        let responses = vec![op(Response::ResponseRange(range))];
        let nested = TxnResponse { succeeded: true, responses, ..TxnResponse::default() };
        let responses = vec![op(Response::ResponseTxn(nested))];
        Answer::Txn(TxnResponse { responses, ..TxnResponse::default() })
    };
    let (want, got) = (answer(kvs.clone()), answer(kvs.into_iter().rev().collect()));
    assert_eq!(compare(&request(1), &want, &got), None);
    assert!(compare(&request(0), &want, &got).is_some());
}

#[test]
fn remaining_seconds_may_differ_but_not_exceed_the_grant() {
    let op =
        Op::LeaseTimeToLive(t4_proto::etcdserverpb::LeaseTimeToLiveRequest { id: 1, keys: false });
    let answer = |ttl, granted_ttl| {
        Answer::LeaseTimeToLive(t4_proto::etcdserverpb::LeaseTimeToLiveResponse {
            id: 1,
            ttl,
            granted_ttl,
            ..Default::default()
        })
    };
    assert_eq!(compare(&op, &answer(19_990, 20_000), &answer(20_000, 20_000)), None);
    assert!(compare(&op, &answer(19_990, 20_000), &answer(20_001, 20_000)).is_some());
    assert!(compare(&op, &answer(19_990, 20_000), &answer(19_990, 20_001)).is_some());
    assert!(compare(&op, &answer(-1, 0), &answer(0, 0)).is_some());
}

#[test]
fn only_a_tombstone_at_the_start_may_come_on_top() {
    let event = |kind: EventType, mod_revision| Event {
        r#type: kind as i32,
        kv: Some(KeyValue { mod_revision, ..KeyValue::default() }),
        prev_kv: None,
    };
    let op = Op::WatchJoin { stream: 0, id: 0, upto: 9, from: 5 };
    let want = Answer::Events(vec![event(EventType::Put, 9)]);
    let got =
        |kind, revision| Answer::Events(vec![event(kind, revision), event(EventType::Put, 9)]);
    assert_eq!(compare(&op, &want, &got(EventType::Delete, 5)), None);
    assert!(compare(&op, &want, &got(EventType::Put, 5)).is_some());
    assert!(compare(&op, &want, &got(EventType::Delete, 6)).is_some());
}

#[test]
fn a_negative_start_must_be_refused_at_once() {
    let request = WatchCreateRequest { start_revision: -1, ..WatchCreateRequest::default() };
    let op = Op::WatchCreate { stream: NEGATIVE_START_STREAM, request, controls: 1 };
    let created = WatchResponse { created: true, watch_id: 7, ..WatchResponse::default() };
    let reason = "etcdserver: mvcc: required revision has been compacted".to_owned();
    let refused =
        WatchResponse { watch_id: -1, canceled: true, cancel_reason: reason, ..created.clone() };
    let want = Answer::Watched(vec![created.clone()]);
    assert_eq!(compare(&op, &want, &Answer::Watched(vec![refused.clone()])), None);
    assert!(compare(&op, &want, &want).is_some());
    let keeps_the_id = WatchResponse { watch_id: 7, ..refused };
    assert!(compare(&op, &want, &Answer::Watched(vec![keeps_the_id])).is_some());
}

#[test]
fn a_lock_may_keep_the_code_of_an_error_but_not_change_its_text() {
    let refused = |code: &str, text: &str| {
        Answer::Refused(Refusal { code: code.to_owned(), text: text.to_owned() })
    };
    let text = "etcdserver: requested lease not found";
    let op = Op::Lock { name: "a".into(), lease: 9 };
    let want = refused("Unknown", text);
    assert_eq!(compare(&op, &want, &refused("NotFound", text)), None);
    assert_eq!(compare(&op, &want, &want), None);
    assert!(compare(&op, &want, &refused("Internal", text)).is_some());
    assert!(compare(&op, &want, &refused("NotFound", "lease not found")).is_some());
    // Elsewhere the code is exact.
    assert!(compare(&Op::LeaseRevoke { id: 9 }, &want, &refused("NotFound", text)).is_some());
}

#[test]
fn to_cancel_no_downgrade_may_be_no_error_but_is_no_other() {
    let op = Op::Downgrade { action: CANCEL, version: String::new() };
    let refused = |text: &str| {
        let (code, text) = ("FailedPrecondition".to_owned(), text.to_owned());
        Answer::Refused(Refusal { code, text })
    };
    let header = |revision| {
        let header = t4_proto::etcdserverpb::ResponseHeader { revision, ..Default::default() };
        Answer::Header(Some(header))
    };
    let want = refused("etcdserver: no inflight downgrade job");
    assert_eq!(compare(&op, &want, &want), None);
    assert_eq!(compare(&op, &want, &header(4)), None);
    assert!(compare(&op, &want, &header(0)).is_some());
    assert!(compare(&op, &want, &Answer::Header(None)).is_some());
    let other = refused("etcdserver: cluster version not found during downgrade");
    assert!(compare(&op, &want, &other).is_some() && compare(&op, &other, &header(4)).is_some());
    let validate = Op::Downgrade { action: 0, version: String::new() };
    assert!(compare(&validate, &want, &header(4)).is_some());
}

#[test]
fn an_unknown_sort_is_refused_by_the_contract() {
    let mut request = RangeRequest { key: "a".into(), sort_order: 3, ..RangeRequest::default() };
    assert!(contract_answer(&Op::Range(request.clone())).is_some());
    request.sort_order = 2;
    assert!(contract_answer(&Op::Range(request.clone())).is_none());
    request.sort_target = -1;
    let op = RequestOp { request: Some(Request::RequestRange(request)) };
    let txn = TxnRequest { success: vec![op], ..TxnRequest::default() };
    assert!(contract_answer(&Op::Txn(txn)).is_some());
}

#[test]
fn a_status_must_be_plausible() {
    let status = |size, index, term| {
        Answer::Status(Box::new(StatusResponse {
            version: "3.6.0".to_owned(),
            db_size: size,
            raft_index: index,
            raft_applied_index: 5,
            raft_term: term,
            leader: 1,
            ..StatusResponse::default()
        }))
    };
    let want = status(4096, 9, 2);
    assert_eq!(compare(&Op::Status, &want, &status(100, 7, 3)), None);
    assert!(compare(&Op::Status, &want, &status(-1, 7, 3)).is_some());
    assert!(compare(&Op::Status, &want, &status(100, 4, 3)).is_some());
}

#[test]
fn silence_is_wrong_even_when_both_are_silent() {
    let silence = Answer::Silence("nothing".to_owned());
    assert!(compare(&Op::LeaseLeases, &silence, &silence).is_some());
}
