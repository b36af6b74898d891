//! Requests as messages, and messages as what the checker reads.

use bytes::Bytes;
use t4_kv_types::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResult, EventKind,
    KeyRange, KeyValue, LeaseId, PutRequest, PutResult, RangeEnd, RangeRequest, RangeResult,
    Revision, TxnOp, TxnOpResult, TxnRequest, TxnResult,
};
use t4_linearizability::{Failure, WatchEvent};
use t4_proto::etcdserverpb as pb;
use t4_proto::mvccpb;
use tonic::Status;

/// A range as etcd writes it.
pub(super) fn wire_range(range: &KeyRange) -> (Bytes, Bytes) {
    let open = || Bytes::from_static(b"\0");
    let start = if range.start.is_empty() { open() } else { range.start.clone() };
    let end = match &range.end {
        RangeEnd::Single => Bytes::new(),
        RangeEnd::Before(end) => end.clone(),
        RangeEnd::Open => open(),
    };
    (start, end)
}

pub(super) fn put(put: &PutRequest) -> pb::PutRequest {
    pb::PutRequest {
        key: put.key.clone(),
        value: put.value.clone(),
        lease: put.lease.0,
        prev_kv: put.prev_kv,
        ignore_value: put.ignore_value,
        ignore_lease: put.ignore_lease,
    }
}

pub(super) fn delete(delete: &DeleteRangeRequest) -> pb::DeleteRangeRequest {
    let (key, range_end) = wire_range(&delete.range);
    pb::DeleteRangeRequest { key, range_end, prev_kv: delete.prev_kv }
}

/// What the workload asks of ranges; it sorts and filters nothing.
pub(super) fn range(range: &RangeRequest) -> pb::RangeRequest {
    let (key, range_end) = wire_range(&range.range);
    pb::RangeRequest {
        key,
        range_end,
        limit: range.limit,
        revision: range.revision.0,
        keys_only: range.keys_only,
        count_only: range.count_only,
        ..pb::RangeRequest::default()
    }
}

pub(super) fn txn(txn: &TxnRequest) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: txn.compares.iter().map(compare).collect(),
        success: txn.success.iter().map(op).collect(),
        failure: txn.failure.iter().map(op).collect(),
    }
}

fn op(op: &TxnOp) -> pb::RequestOp {
    use pb::request_op::Request;
    let request = match op {
        TxnOp::Range(inner) => Request::RequestRange(range(inner)),
        TxnOp::Put(inner) => Request::RequestPut(put(inner)),
        TxnOp::DeleteRange(inner) => Request::RequestDeleteRange(delete(inner)),
        TxnOp::Txn(inner) => Request::RequestTxn(txn(inner)),
    };
    pb::RequestOp { request: Some(request) }
}

fn compare(compare: &Compare) -> pb::Compare {
    use pb::compare::{CompareResult as Result, CompareTarget as Target, TargetUnion};
    let (key, range_end) = wire_range(&compare.range);
    let (target, union) = match &compare.target {
        CompareTarget::Version(version) => (Target::Version, TargetUnion::Version(*version)),
        CompareTarget::Create(at) => (Target::Create, TargetUnion::CreateRevision(at.0)),
        CompareTarget::Mod(at) => (Target::Mod, TargetUnion::ModRevision(at.0)),
        CompareTarget::Value(value) => (Target::Value, TargetUnion::Value(value.clone())),
        CompareTarget::Lease(lease) => (Target::Lease, TargetUnion::Lease(lease.0)),
        CompareTarget::Unknown => (Target::Version, TargetUnion::Version(0)),
    };
    let result = match compare.result {
        CompareResult::Equal | CompareResult::Unknown => Result::Equal,
        CompareResult::Greater => Result::Greater,
        CompareResult::Less => Result::Less,
        CompareResult::NotEqual => Result::NotEqual,
    };
    pb::Compare {
        result: result.into(),
        target: target.into(),
        key,
        range_end,
        target_union: Some(union),
    }
}

pub(super) fn key_value(kv: mvccpb::KeyValue) -> KeyValue {
    // The bytes of an answer share its buffer; a few must not keep all of it.
    KeyValue {
        key: Bytes::copy_from_slice(&kv.key),
        value: Bytes::copy_from_slice(&kv.value),
        create_revision: Revision(kv.create_revision),
        mod_revision: Revision(kv.mod_revision),
        version: kv.version,
        lease: LeaseId(kv.lease),
    }
}

pub(super) fn put_result(response: pb::PutResponse) -> PutResult {
    PutResult { revision: Revision(0), prev_kv: response.prev_kv.map(key_value) }
}

pub(super) fn delete_result(response: pb::DeleteRangeResponse) -> DeleteRangeResult {
    let prev_kvs = response.prev_kvs.into_iter().map(key_value).collect();
    DeleteRangeResult { revision: Revision(0), deleted: response.deleted, prev_kvs }
}

pub(super) fn range_result(response: pb::RangeResponse) -> RangeResult {
    let kvs = response.kvs.into_iter().map(key_value).collect();
    RangeResult { revision: Revision(0), kvs, more: response.more, count: response.count }
}

pub(super) fn txn_result(response: pb::TxnResponse) -> TxnResult {
    use pb::response_op::Response;
    let results = response.responses.into_iter().filter_map(|op| {
        Some(match op.response? {
            Response::ResponseRange(inner) => TxnOpResult::Range(range_result(inner)),
            Response::ResponsePut(inner) => TxnOpResult::Put(put_result(inner)),
            Response::ResponseDeleteRange(inner) => TxnOpResult::DeleteRange(delete_result(inner)),
            Response::ResponseTxn(inner) => TxnOpResult::Txn(txn_result(inner)),
        })
    });
    let responses = results.collect();
    TxnResult { revision: Revision(0), succeeded: response.succeeded, responses }
}

pub(super) fn event(event: mvccpb::Event) -> WatchEvent {
    let kind = match event.r#type() {
        mvccpb::event::EventType::Put => EventKind::Put,
        mvccpb::event::EventType::Delete => EventKind::Delete,
    };
    let kv = event.kv.map(key_value).unwrap_or_default();
    WatchEvent { kind, kv, prev_kv: event.prev_kv.map(key_value) }
}

/// What an error says of a call's effect: `None`, nothing.
pub(super) fn failure(status: &Status) -> Option<Failure> {
    Some(match status.message() {
        "etcdserver: requested lease not found" => Failure::LeaseNotFound,
        "etcdserver: lease already exists" => Failure::LeaseExists,
        "etcdserver: key not found" => Failure::KeyNotFound,
        "etcdserver: mvcc: required revision has been compacted" => Failure::Compacted,
        "etcdserver: mvcc: required revision is a future revision" => Failure::FutureRevision,
        "etcdserver: user name already exists" => Failure::UserExists,
        "etcdserver: user name not found" => Failure::UserNotFound,
        "etcdserver: role name already exists" => Failure::RoleExists,
        "etcdserver: role name not found" => Failure::RoleNotFound,
        "etcdserver: role is not granted to the user" => Failure::RoleNotGranted,
        "etcdserver: permission is not granted to the role" => Failure::PermissionNotGranted,
        text @ ("etcdserver: too many requests"
        | "etcdserver: duplicate key given in txn request"
        | "etcdserver: mvcc: database space exceeded") => Failure::Rejected(text.to_owned()),
        _ => return None,
    })
}
