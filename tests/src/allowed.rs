//! The differences between etcd 3.5.1 and T4 that are right, each with its reason.
//!
//! 3.5.1 is the oracle because it can be had anywhere with pip, but it is old:
//! where it and the contract of today's etcd differ, the contract wins. A rule
//! here says as exactly as it can what T4 must answer instead; it never lets an
//! answer pass unread. What is listed under "not drawn" is left to tests that
//! ask T4 alone.
//!
//! Not drawn by the generator, because 3.5.1 answers at random times or breaks:
//! * HashKV at exactly the compacted revision (3.5.1: refused; now: answered)
//!   and at a negative one.
//! * A progress request while a watcher of the stream lags (3.5.1 answers at
//!   once, even before the events) or when there is none (3.5.1 answers).
//! * Compaction while a watcher lags: etcd cancels it or not by its timer.
//! * Defragmentation while a watcher lags: 3.5.1 dies of it (SIGBUS).
//! * A put with `ignore_value` or `ignore_lease` after a delete of its key in one
//!   transaction (3.5.1 panics, again at every restart).
//! * The id of a watcher that is gone, for another watcher of its stream: when
//!   compaction cancelled the first, etcd forgets to free the id; when the client
//!   did, events may come after the word that it is gone.
//! * Compaction in the background on the side of 3.5.1, where its outcome is not
//!   certain (HashKV then differs between two runs): it is always made to wait.
//! * A member that is added: a cluster of one that waits for a second one stops.

use std::cmp::Ordering;

use t4_proto::etcdserverpb::request_op::Request;
use t4_proto::etcdserverpb::response_op::Response;
use t4_proto::etcdserverpb::{
    MemberListResponse, RangeRequest, RangeResponse, RequestOp, StatusResponse, TxnRequest,
    TxnResponse, WatchResponse,
};
use t4_proto::mvccpb::{Event, KeyValue, event::EventType};

use crate::differential::{Answer, Op, Refusal};

/// The watch stream that negative start revisions are sent on: 3.5.1 spends a
/// watcher id on them, which must not shift the ids of other watchers.
pub const NEGATIVE_START_STREAM: u32 = 1000;

/// The answer that the contract demands, for operations that 3.5.1 must not be
/// asked: a sort option that it does not know makes it panic, in a transaction
/// again at every restart.
#[must_use]
pub fn contract_answer(op: &Op) -> Option<Answer> {
    let refused = match op {
        Op::Range(request) => !request.key.is_empty() && has_unknown_sort(request),
        Op::Txn(txn) => holds_unknown_sort(txn),
        _ => false,
    };
    refused.then(|| {
        Answer::Refused(Refusal {
            code: "InvalidArgument".to_owned(),
            text: "etcdserver: invalid sort option".to_owned(),
        })
    })
}

fn has_unknown_sort(request: &RangeRequest) -> bool {
    !(0..=2).contains(&request.sort_order) || !(0..=4).contains(&request.sort_target)
}

fn holds_unknown_sort(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestRange(range)) => has_unknown_sort(range),
        Some(Request::RequestTxn(nested)) => holds_unknown_sort(nested),
        _ => false,
    })
}

/// Takes out of both answers what may differ, so that what is left must be equal.
pub fn settle(op: &Op, want: &mut Answer, got: &mut Answer) {
    match (op, want, got) {
        (Op::Range(request), Answer::Range(want), Answer::Range(got)) => range(request, want, got),
        (Op::Txn(request), Answer::Txn(want), Answer::Txn(got)) => txn(request, want, got),
        (Op::LeaseTimeToLive(_), Answer::LeaseTimeToLive(want), Answer::LeaseTimeToLive(got)) => {
            remaining(want.granted_ttl, &mut want.ttl, &mut got.ttl);
            // A lease's keys come in no order.
            want.keys.sort();
            got.keys.sort();
        }
        (Op::LeaseLeases, Answer::Leases(want), Answer::Leases(got)) => {
            // Sorted by expiry in 3.5.1: by the clock.
            want.leases.sort_by_key(|lease| lease.id);
            got.leases.sort_by_key(|lease| lease.id);
        }
        (Op::HashKv { revision }, Answer::Hash(want), Answer::Hash(got)) => {
            // The field is younger than 3.5.1: the revision that was hashed.
            let current = want.header.as_ref().map_or(0, |header| header.revision);
            want.hash_revision = if *revision == 0 { current } else { *revision };
            if got.hash_revision == 0 {
                want.hash_revision = 0;
            }
        }
        (Op::Status, Answer::Status(want), Answer::Status(got)) => status(want, got),
        (Op::MemberList { .. }, Answer::Members(want), Answer::Members(got)) => members(want, got),
        (
            Op::Lock { .. } | Op::LockContended { .. } | Op::Unlock { .. } | Op::Campaign { .. },
            Answer::Refused(want),
            Answer::Refused(got),
        ) => code_of_a_recipe(want, got),
        (Op::Downgrade { action: CANCEL, .. }, want, got) => no_downgrade_to_cancel(want, got),
        (Op::WatchCreate { request, .. }, Answer::Watched(want), _)
            if request.start_revision < 0 =>
        {
            negative_start(want);
        }
        (Op::WatchClose { stream }, Answer::Closed(want, _), Answer::Closed(got, _))
            if *stream == NEGATIVE_START_STREAM =>
        {
            // Compared when it was created.
            want.clear();
            got.clear();
        }
        (Op::WatchJoin { from, .. }, Answer::Events(want), Answer::Events(got)) => {
            tombstones_at_the_compacted_revision(*from, want, got);
        }
        _ => {}
    }
}

fn range(request: &RangeRequest, want: &mut RangeResponse, got: &mut RangeResponse) {
    if want.kvs != got.kvs {
        ties(request, want, got);
    }
}

fn txn(request: &TxnRequest, want: &mut TxnResponse, got: &mut TxnResponse) {
    if want.succeeded != got.succeeded || want.responses.len() != got.responses.len() {
        return;
    }
    let branch: &[RequestOp] = if want.succeeded { &request.success } else { &request.failure };
    let answers = want.responses.iter_mut().zip(&mut got.responses);
    for (op, (want, got)) in branch.iter().zip(answers) {
        match (&op.request, &mut want.response, &mut got.response) {
            (
                Some(Request::RequestRange(request)),
                Some(Response::ResponseRange(want)),
                Some(Response::ResponseRange(got)),
            ) => range(request, want, got),
            (
                Some(Request::RequestTxn(request)),
                Some(Response::ResponseTxn(want)),
                Some(Response::ResponseTxn(got)),
            ) => txn(request, want, got),
            _ => {}
        }
    }
}

// Up to this length, Go's sort (of the release that this etcd was built with)
// is an insertion sort, which keeps ties in order. Up to 12 it is one too, but
// after a pass that swaps elements which are 6 apart.
const GO_STABLE_SORT_LEN_MAX: i64 = 6;

/// Go's sort is not stable for more elements: results that tie may come in any
/// order, and a limit may cut the last tie at any of its members.
fn ties(request: &RangeRequest, want: &mut RangeResponse, got: &mut RangeResponse) {
    let sorts_by_key = request.sort_target == 0;
    if sorts_by_key || want.count <= GO_STABLE_SORT_LEN_MAX || want.kvs.len() != got.kvs.len() {
        return;
    }
    let same_rank = |a: &KeyValue, b: &KeyValue| rank(request, a, b) == Ordering::Equal;
    if !want.kvs.iter().zip(&got.kvs).all(|(a, b)| same_rank(a, b)) {
        return;
    }
    if want.more {
        // What only one of the two has may be the other half of the last tie.
        let only_in_one = |kv: &KeyValue, other: &[KeyValue], last: &KeyValue| {
            same_rank(kv, last) && other.iter().all(|theirs| theirs.key != kv.key)
        };
        let (ours, theirs) = (want.kvs.clone(), got.kvs.clone());
        if let Some(last) = ours.last() {
            want.kvs.retain(|kv| !only_in_one(kv, &theirs, last));
            got.kvs.retain(|kv| !only_in_one(kv, &ours, last));
        }
    }
    let order = |a: &KeyValue, b: &KeyValue| rank(request, a, b).then_with(|| a.key.cmp(&b.key));
    want.kvs.sort_by(order);
    got.kvs.sort_by(order);
}

// By what the request sorts; with keys_only the values are gone, and all tie.
fn rank(request: &RangeRequest, a: &KeyValue, b: &KeyValue) -> Ordering {
    match request.sort_target {
        1 => a.version.cmp(&b.version),
        2 => a.create_revision.cmp(&b.create_revision),
        3 => a.mod_revision.cmp(&b.mod_revision),
        _ => a.value.cmp(&b.value),
    }
}

/// The remaining seconds are the clock's: any that can remain of what was
/// granted, within the hour that a run may take. Missing leases (-1) are exact.
fn remaining(granted: i64, want: &mut i64, got: &mut i64) {
    let possible = granted - 3600..=granted;
    if granted > 0 && possible.contains(want) && possible.contains(got) {
        *want = granted;
        *got = granted;
    }
}

/// Sizes, versions and consensus indices are each server's own; the fields that
/// came after 3.5.1 may be set.
fn status(want: &mut StatusResponse, got: &mut StatusResponse) {
    let plausible = !got.version.is_empty()
        && got.db_size >= got.db_size_in_use
        && got.db_size_in_use >= 0
        && got.raft_index >= got.raft_applied_index
        && got.raft_applied_index > 0
        && got.raft_term > 0;
    if plausible {
        want.version.clone_from(&got.version);
        (want.db_size, want.db_size_in_use) = (got.db_size, got.db_size_in_use);
        (want.raft_index, want.raft_applied_index) = (got.raft_index, got.raft_applied_index);
        want.raft_term = got.raft_term;
        want.storage_version.clone_from(&got.storage_version);
        want.db_size_quota = got.db_size_quota;
        want.downgrade_info.clone_from(&got.downgrade_info);
    }
}

/// Names and URLs are configuration; that there is a client URL is not.
fn members(want: &mut MemberListResponse, got: &mut MemberListResponse) {
    for (want, got) in want.members.iter_mut().zip(&got.members) {
        if !got.client_urls.is_empty() {
            want.name.clone_from(&got.name);
            want.peer_urls.clone_from(&got.peer_urls);
            want.client_urls.clone_from(&got.client_urls);
        }
    }
}

/// Locks and elections are clients inside of 3.5.1, and an error loses its code
/// on the way through them. The contract wants it kept; a server that does not
/// is as good as etcd.
fn code_of_a_recipe(want: &mut Refusal, got: &Refusal) {
    let code = match want.text.as_str() {
        "etcdserver: requested lease not found" => "NotFound",
        "etcdserver: key is not provided" => "InvalidArgument",
        "etcdserver: mvcc: database space exceeded" => "ResourceExhausted",
        _ => return,
    };
    if got.code == code {
        code.clone_into(&mut want.code);
    }
}

// `DowngradeAction::Cancel`; patterns want a number.
const CANCEL: i32 = 2;

/// Since 3.6 it is no error to cancel a downgrade when none is under way; a
/// server to which it is one is as good as etcd.
fn no_downgrade_to_cancel(want: &mut Answer, got: &Answer) {
    let Answer::Refused(refusal) = &*want else { return };
    let is_none_under_way = refusal.code == "FailedPrecondition"
        && refusal.text == "etcdserver: no inflight downgrade job";
    if is_none_under_way && matches!(got, Answer::Header(Some(header)) if header.revision > 0) {
        want.clone_from(got);
    }
}

/// 3.5.1 creates such a watch and cancels it later; today it is refused at once.
fn negative_start(want: &mut [WatchResponse]) {
    let Some(created) = want.first_mut() else { return };
    created.watch_id = -1;
    created.canceled = true;
    created.cancel_reason = "etcdserver: mvcc: required revision has been compacted".to_owned();
}

/// Since 3.5.16 a tombstone at exactly the compacted revision is kept, and a
/// watch from there sees it; 3.5.1 drops it.
fn tombstones_at_the_compacted_revision(from: i64, want: &[Event], got: &mut Vec<Event>) {
    let kept = |event: &Event| {
        event.kv.as_ref().is_some_and(|kv| kv.mod_revision == from)
            && event.r#type == EventType::Delete as i32
    };
    let missing: Vec<Event> =
        got.iter().filter(|event| kept(event) && !want.contains(event)).cloned().collect();
    got.retain(|event| !missing.contains(event));
}

#[cfg(test)]
mod tests;
