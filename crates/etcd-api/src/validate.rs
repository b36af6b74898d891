//! What is wrong with a request whatever the state of the store: the checks
//! before it goes to the node, in etcd's order.

use prost::Message;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::request_op::Request;

use crate::errors::ApiError;
use crate::intervals;

/// Bytes that etcd's log adds around a request: an envelope with an id.
const ENVELOPE_BYTES: usize = 14;

type Checked = Result<(), ApiError>;

/// Checks a range read.
pub(crate) fn range(request: &pb::RangeRequest) -> Checked {
    key(&request.key)?;
    let order = pb::range_request::SortOrder::try_from(request.sort_order);
    let target = pb::range_request::SortTarget::try_from(request.sort_target);
    if order.is_err() || target.is_err() {
        return Err(ApiError::InvalidSortOption);
    }
    Ok(())
}

/// Checks a range read that is answered in chunks.
pub(crate) fn range_stream(request: &pb::RangeRequest) -> Checked {
    use pb::range_request::{SortOrder, SortTarget};

    range(request)?;
    let ascending_keys =
        request.sort_order() == SortOrder::Ascend && request.sort_target() == SortTarget::Key;
    if request.sort_order() != SortOrder::None && !ascending_keys {
        return Err(ApiError::StreamSort);
    }
    let filters = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    if filters != [0; 4] {
        return Err(ApiError::StreamFilter);
    }
    Ok(())
}

/// Checks a put.
pub(crate) fn put(request: &pb::PutRequest) -> Checked {
    key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(ApiError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(ApiError::LeaseProvided);
    }
    Ok(())
}

/// Checks a delete.
pub(crate) fn delete_range(request: &pb::DeleteRangeRequest) -> Checked {
    key(&request.key)
}

/// Checks a transaction: its counts, its operations, and that no key is
/// written twice. `ops_max` bounds the longest list; what it leaves is the
/// bound of the transactions inside.
pub(crate) fn txn(request: &pb::TxnRequest, ops_max: usize) -> Checked {
    txn_ops(request, ops_max)?;
    intervals::check(&request.success)?;
    intervals::check(&request.failure)
}

fn txn_ops(request: &pb::TxnRequest, ops_max: usize) -> Checked {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let Some(left) = ops_max.checked_sub(longest) else {
        return Err(ApiError::TooManyOps);
    };
    for compare in &request.compare {
        key(&compare.key)?;
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete_range(request)?,
            Some(Request::RequestTxn(request)) => txn_ops(request, left)?,
            None => return Err(ApiError::KeyNotFound),
        }
    }
    Ok(())
}

/// Checks that a write, as etcd's log would hold it, has at most `bytes_max`
/// bytes.
pub(crate) fn size(request: &impl Message, bytes_max: usize) -> Checked {
    let length = request.encoded_len();
    let field = 1 + prost::length_delimiter_len(length);
    if ENVELOPE_BYTES + field + length > bytes_max {
        return Err(ApiError::RequestTooLarge);
    }
    Ok(())
}

fn key(key: &[u8]) -> Checked {
    if key.is_empty() { Err(ApiError::EmptyKey) } else { Ok(()) }
}

/// What a put adds to the space in use, in bytes, as the quota counts it
/// before the put is made.
pub(crate) fn put_cost(request: &pb::PutRequest) -> u64 {
    const RECORD_BYTES: u64 = 256;
    RECORD_BYTES + request.key.len() as u64 + request.value.len() as u64
}

/// The same for a transaction: its costlier branch. As in etcd, what the
/// transactions inside put does not count.
pub(crate) fn txn_cost(request: &pb::TxnRequest) -> u64 {
    let branch = |ops: &[pb::RequestOp]| -> u64 {
        ops.iter()
            .map(|op| match &op.request {
                Some(Request::RequestPut(request)) => put_cost(request),
                _ => 0,
            })
            .sum()
    };
    branch(&request.success).max(branch(&request.failure))
}

/// What a lease adds to the space in use, in bytes.
pub(crate) const LEASE_COST: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn put_op(key: &'static str) -> pb::RequestOp {
        let put = pb::PutRequest { key: key.into(), ..Default::default() };
        pb::RequestOp { request: Some(Request::RequestPut(put)) }
    }

    fn txn_op(txn: pb::TxnRequest) -> pb::RequestOp {
        pb::RequestOp { request: Some(Request::RequestTxn(txn)) }
    }

    fn success(ops: Vec<pb::RequestOp>) -> pb::TxnRequest {
        pb::TxnRequest { success: ops, ..Default::default() }
    }

    #[test]
    fn ranges() {
        let good = pb::RangeRequest { key: "a".into(), ..Default::default() };
        assert_eq!(range(&good), Ok(()));
        let no_key = pb::RangeRequest { key: Bytes::new(), sort_order: 9, ..good.clone() };
        assert_eq!(range(&no_key), Err(ApiError::EmptyKey));
        for (sort_order, sort_target) in [(3, 0), (-1, 0), (0, 5)] {
            let request = pb::RangeRequest { sort_order, sort_target, ..good.clone() };
            assert_eq!(range(&request), Err(ApiError::InvalidSortOption));
        }
    }

    #[test]
    fn streams_of_ranges_come_in_key_order() {
        let good = pb::RangeRequest { key: "a".into(), ..Default::default() };
        assert_eq!(range_stream(&good), Ok(()));
        let check = |sort_order, sort_target| {
            range_stream(&pb::RangeRequest { sort_order, sort_target, ..good.clone() })
        };
        assert_eq!(check(1, 0), Ok(()));
        assert_eq!(check(2, 0), Err(ApiError::StreamSort));
        assert_eq!(check(1, 1), Err(ApiError::StreamSort));
        // etcd sorts nothing that was not ordered.
        assert_eq!(check(0, 1), Ok(()));
        let filtered = pb::RangeRequest { max_create_revision: 1, ..good.clone() };
        assert_eq!(range_stream(&filtered), Err(ApiError::StreamFilter));
    }

    #[test]
    fn puts_that_keep_something_do_not_bring_it() {
        let good =
            pb::PutRequest { key: "k".into(), value: "v".into(), lease: 1, ..Default::default() };
        assert_eq!(put(&good), Ok(()));
        let ignore_value = pb::PutRequest { ignore_value: true, ..good.clone() };
        assert_eq!(put(&ignore_value), Err(ApiError::ValueProvided));
        let ignore_lease = pb::PutRequest { ignore_lease: true, ..good.clone() };
        assert_eq!(put(&ignore_lease), Err(ApiError::LeaseProvided));
        let both = pb::PutRequest { key: Bytes::new(), ..ignore_value };
        assert_eq!(put(&both), Err(ApiError::EmptyKey));
    }

    #[test]
    fn lists_of_a_transaction_are_bounded_by_the_longest() {
        let ops = |n| vec![put_op("a"); n];
        assert_eq!(txn(&success(vec![put_op("a"), put_op("b")]), 2), Ok(()));
        assert_eq!(txn(&success(ops(3)), 2), Err(ApiError::TooManyOps));
        let compares =
            pb::TxnRequest { compare: vec![Default::default(); 3], ..Default::default() };
        assert_eq!(txn(&compares, 2), Err(ApiError::TooManyOps));
        assert_eq!(txn(&compares, 3), Err(ApiError::EmptyKey));
    }

    #[test]
    fn transactions_inside_have_what_is_left() {
        // The outer list takes 2 of 3.
        let inside = |n| {
            let ops = ["a", "b", "c"][..n].iter().map(|key| put_op(key)).collect();
            success(vec![put_op("x"), txn_op(success(ops))])
        };
        assert_eq!(txn(&inside(1), 3), Ok(()));
        assert_eq!(txn(&inside(2), 3), Err(ApiError::TooManyOps));
    }

    #[test]
    fn operations_that_are_none_are_keys_not_found() {
        let empty = success(vec![pb::RequestOp { request: None }]);
        assert_eq!(txn(&empty, 1), Err(ApiError::KeyNotFound));
        let failure = pb::TxnRequest { failure: vec![put_op("")], ..Default::default() };
        assert_eq!(txn(&failure, 1), Err(ApiError::EmptyKey));
    }

    #[test]
    fn operations_are_checked_before_duplicates() {
        let request = success(vec![put_op("a"), put_op("a"), put_op("")]);
        assert_eq!(txn(&request, 9), Err(ApiError::EmptyKey));
        assert_eq!(txn(&success(vec![put_op("a"), put_op("a")]), 9), Err(ApiError::DuplicateKey));
    }

    #[test]
    fn sizes_are_those_of_the_log() {
        let request =
            pb::PutRequest { key: "k".into(), value: vec![0; 1000].into(), ..Default::default() };
        let length = request.encoded_len();
        assert_eq!(size(&request, length + 17), Ok(()));
        assert_eq!(size(&request, length + 16), Err(ApiError::RequestTooLarge));
    }

    #[test]
    fn the_costlier_branch_counts() {
        let inside = success(vec![put_op("abc")]);
        let request = pb::TxnRequest {
            success: vec![put_op("a")],
            failure: vec![txn_op(inside), put_op("ab"), put_op("a")],
            ..Default::default()
        };
        assert_eq!(txn_cost(&request), 256 + 2 + 256 + 1);
        assert_eq!(txn_cost(&success(vec![txn_op(request)])), 0);
    }
}
