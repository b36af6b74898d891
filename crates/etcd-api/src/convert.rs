//! Between etcd's messages and the plain data of the node.
//!
//! What a request keeps in the store is copied here: the bytes of a message
//! are a slice of the connection's read buffer, which one small value would
//! keep in memory as a whole. What is only looked at is not copied, and what
//! comes from the store goes into a response as it is.

use bytes::{Bytes, BytesMut};
use t4_kv_types as kv;
use t4_kv_types::{KeyRange, LeaseId, RangeEnd, Revision};
use t4_proto::etcdserverpb as pb;
use t4_proto::mvccpb;

/// Keys and values of this size and more are left where they are: no HTTP/2
/// frame holds them, so that they lie in a buffer of their own already.
const COPIED_BYTES_MAX: usize = 16 * 1024;

/// A key and a value in memory that holds nothing else.
pub(crate) fn owned_pair(key: Bytes, value: Bytes) -> (Bytes, Bytes) {
    let length = key.len() + value.len();
    if length >= COPIED_BYTES_MAX {
        return (key, value);
    }
    let mut both = BytesMut::with_capacity(length);
    both.extend_from_slice(&key);
    both.extend_from_slice(&value);
    let mut key_copy = both.freeze();
    let value_copy = key_copy.split_off(key.len());
    (key_copy, value_copy)
}

/// A key that is to be kept, in memory that holds nothing else.
pub(crate) fn owned(key: &Bytes) -> Bytes {
    Bytes::copy_from_slice(key)
}

/// The same for both ends of a range.
pub(crate) fn owned_range(range: &KeyRange) -> KeyRange {
    let end = match &range.end {
        RangeEnd::Before(end) => RangeEnd::Before(owned(end)),
        RangeEnd::Single => RangeEnd::Single,
        RangeEnd::Open => RangeEnd::Open,
    };
    KeyRange { start: owned(&range.start), end }
}

/// A range read that was validated.
pub(crate) fn range_request(request: pb::RangeRequest) -> kv::RangeRequest {
    let (sort_target, sort_order) = (request.sort_target(), request.sort_order());
    kv::RangeRequest {
        range: KeyRange::from_wire(request.key, request.range_end),
        limit: request.limit,
        revision: Revision(request.revision),
        sort_target: match sort_target {
            pb::range_request::SortTarget::Key => kv::SortTarget::Key,
            pb::range_request::SortTarget::Version => kv::SortTarget::Version,
            pb::range_request::SortTarget::Create => kv::SortTarget::Create,
            pb::range_request::SortTarget::Mod => kv::SortTarget::Mod,
            pb::range_request::SortTarget::Value => kv::SortTarget::Value,
        },
        sort_order: match sort_order {
            pb::range_request::SortOrder::None => kv::SortOrder::None,
            pb::range_request::SortOrder::Ascend => kv::SortOrder::Ascend,
            pb::range_request::SortOrder::Descend => kv::SortOrder::Descend,
        },
        serializable: request.serializable,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: Revision(request.min_mod_revision),
        max_mod_revision: Revision(request.max_mod_revision),
        min_create_revision: Revision(request.min_create_revision),
        max_create_revision: Revision(request.max_create_revision),
    }
}

/// A put that was validated.
pub(crate) fn put_request(request: pb::PutRequest) -> kv::PutRequest {
    let (key, value) = owned_pair(request.key, request.value);
    kv::PutRequest {
        key,
        value,
        lease: LeaseId(request.lease),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

/// A delete that was validated.
pub(crate) fn delete_range_request(request: pb::DeleteRangeRequest) -> kv::DeleteRangeRequest {
    kv::DeleteRangeRequest {
        range: KeyRange::from_wire(request.key, request.range_end),
        prev_kv: request.prev_kv,
    }
}

/// A transaction that was validated.
pub(crate) fn txn_request(request: pb::TxnRequest) -> kv::TxnRequest {
    kv::TxnRequest {
        compares: request.compare.into_iter().map(compare).collect(),
        success: request.success.into_iter().filter_map(txn_op).collect(),
        failure: request.failure.into_iter().filter_map(txn_op).collect(),
    }
}

/// `None` is an operation that is none; validation refuses it.
fn txn_op(op: pb::RequestOp) -> Option<kv::TxnOp> {
    use pb::request_op::Request;
    Some(match op.request? {
        Request::RequestRange(request) => kv::TxnOp::Range(range_request(request)),
        Request::RequestPut(request) => kv::TxnOp::Put(put_request(request)),
        Request::RequestDeleteRange(request) => {
            kv::TxnOp::DeleteRange(delete_range_request(request))
        }
        Request::RequestTxn(request) => kv::TxnOp::Txn(txn_request(request)),
    })
}

fn compare(compare: pb::Compare) -> kv::Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};

    // A value of the wrong kind counts as none, and none as zero or empty.
    let given = compare.target_union;
    let target = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => kv::CompareTarget::Version(match given {
            Some(TargetUnion::Version(version)) => version,
            _ => 0,
        }),
        Ok(CompareTarget::Create) => kv::CompareTarget::Create(Revision(match given {
            Some(TargetUnion::CreateRevision(revision)) => revision,
            _ => 0,
        })),
        Ok(CompareTarget::Mod) => kv::CompareTarget::Mod(Revision(match given {
            Some(TargetUnion::ModRevision(revision)) => revision,
            _ => 0,
        })),
        Ok(CompareTarget::Value) => kv::CompareTarget::Value(match given {
            Some(TargetUnion::Value(value)) => value,
            _ => Bytes::new(),
        }),
        Ok(CompareTarget::Lease) => kv::CompareTarget::Lease(LeaseId(match given {
            Some(TargetUnion::Lease(lease)) => lease,
            _ => 0,
        })),
        Err(_) => kv::CompareTarget::Unknown,
    };
    let result = match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => kv::CompareResult::Equal,
        Ok(CompareResult::Greater) => kv::CompareResult::Greater,
        Ok(CompareResult::Less) => kv::CompareResult::Less,
        Ok(CompareResult::NotEqual) => kv::CompareResult::NotEqual,
        Err(_) => kv::CompareResult::Unknown,
    };
    kv::Compare { range: KeyRange::from_wire(compare.key, compare.range_end), target, result }
}

/// A key-value of a response.
pub(crate) fn key_value(kv: kv::KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.0,
    }
}

/// An event of a watch response, with what was before it if that is asked for
/// and known.
pub(crate) fn event(event: &kv::Event, prev_kv: Option<kv::KeyValue>) -> mvccpb::Event {
    let kind = match event.kind {
        kv::EventKind::Put => mvccpb::event::EventType::Put,
        kv::EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(key_value(event.kv.clone())),
        prev_kv: prev_kv.map(key_value),
    }
}

/// The response to a range read.
pub(crate) fn range_response(
    header: pb::ResponseHeader,
    result: kv::RangeResult,
) -> pb::RangeResponse {
    pb::RangeResponse {
        header: Some(header),
        kvs: result.kvs.into_iter().map(key_value).collect(),
        more: result.more,
        count: result.count,
    }
}

/// The response to a put.
pub(crate) fn put_response(header: pb::ResponseHeader, result: kv::PutResult) -> pb::PutResponse {
    pb::PutResponse { header: Some(header), prev_kv: result.prev_kv.map(key_value) }
}

/// The response to a delete.
pub(crate) fn delete_range_response(
    header: pb::ResponseHeader,
    result: kv::DeleteRangeResult,
) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse {
        header: Some(header),
        deleted: result.deleted,
        prev_kvs: result.prev_kvs.into_iter().map(key_value).collect(),
    }
}

/// The response to a transaction.
pub(crate) fn txn_response(header: pb::ResponseHeader, result: kv::TxnResult) -> pb::TxnResponse {
    pb::TxnResponse {
        header: Some(header),
        succeeded: result.succeeded,
        responses: result.responses.into_iter().map(response_op).collect(),
    }
}

/// What one operation did. Its header has the revision only; that of a
/// transaction inside is there and empty.
fn response_op(result: kv::TxnOpResult) -> pb::ResponseOp {
    use pb::response_op::Response;

    let at = |revision: Revision| pb::ResponseHeader { revision: revision.0, ..Default::default() };
    pb::ResponseOp {
        response: Some(match result {
            kv::TxnOpResult::Range(result) => {
                Response::ResponseRange(range_response(at(result.revision), result))
            }
            kv::TxnOpResult::Put(result) => {
                Response::ResponsePut(put_response(at(result.revision), result))
            }
            kv::TxnOpResult::DeleteRange(result) => {
                Response::ResponseDeleteRange(delete_range_response(at(result.revision), result))
            }
            kv::TxnOpResult::Txn(result) => {
                Response::ResponseTxn(txn_response(pb::ResponseHeader::default(), result))
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pb::compare::TargetUnion;

    #[test]
    fn what_is_kept_does_not_hold_the_message() {
        let message = Bytes::from(vec![7; 1 << 16]);
        let (key, value) = owned_pair(message.slice(10..13), message.slice(20..120));
        assert_eq!((key.len(), value.len()), (3, 100));
        assert!(!message.as_ptr_range().contains(&key.as_ptr()));
        assert!(!message.as_ptr_range().contains(&value.as_ptr()));
        drop((key, value));
        assert!(message.is_unique());

        let (_, large) = owned_pair(message.slice(..1), message.slice(1..20_000));
        assert!(message.as_ptr_range().contains(&large.as_ptr()));
    }

    #[test]
    fn compares_of_the_wrong_kind_are_with_nothing() {
        let wrong = pb::Compare {
            key: "k".into(),
            target: pb::compare::CompareTarget::Value.into(),
            target_union: Some(TargetUnion::Version(3)),
            ..Default::default()
        };
        let found = compare(wrong);
        assert_eq!(found.target, kv::CompareTarget::Value(Bytes::new()));
        assert_eq!(found.result, kv::CompareResult::Equal);

        let unknown = pb::Compare { key: "k".into(), target: 9, result: 9, ..Default::default() };
        let found = compare(unknown);
        assert_eq!(found.target, kv::CompareTarget::Unknown);
        assert_eq!(found.result, kv::CompareResult::Unknown);
    }

    #[test]
    fn headers_inside_a_transaction() {
        let put = kv::PutResult { revision: Revision(8), prev_kv: None };
        let inside = kv::TxnResult {
            revision: Revision(8),
            succeeded: true,
            responses: vec![kv::TxnOpResult::Put(put)],
        };
        let outside = kv::TxnResult {
            revision: Revision(8),
            succeeded: true,
            responses: vec![kv::TxnOpResult::Txn(inside)],
        };
        let header = pb::ResponseHeader { cluster_id: 1, revision: 8, ..Default::default() };
        let response = txn_response(header, outside);
        let Some(pb::response_op::Response::ResponseTxn(inside)) = &response.responses[0].response
        else {
            panic!("{response:?}");
        };
        assert_eq!(inside.header, Some(pb::ResponseHeader::default()));
        let Some(pb::response_op::Response::ResponsePut(put)) = &inside.responses[0].response
        else {
            panic!("{response:?}");
        };
        assert_eq!(put.header, Some(pb::ResponseHeader { revision: 8, ..Default::default() }));
    }
}
