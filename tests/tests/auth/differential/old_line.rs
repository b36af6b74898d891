//! What etcd 3.5.1 does not check, or checks otherwise than etcd does now.
//!
//! It is not asked what it would let somebody do who may not: T4 would refuse,
//! and from then on the two would hold different keys. T4 must then answer what
//! the oracle says.

use t4_proto::authpb::permission::Type;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::request_op::Request;

use super::ask::{Ask, any, is_keyless};
use super::rights::Who;

/// Whether 3.5.1 refuses a request that the oracle refuses.
pub(super) fn refuses(who: &Who, ask: &Ask) -> bool {
    match ask {
        Ask::Txn(txn) => !is_let_through(txn) && !has_keyless_range(ask),
        Ask::Range(_) | Ask::Delete(_) => !has_keyless_range(ask),
        // It asks for the right to write its keys, and if it has none, for nothing.
        Ask::LeaseRevoke(_) => matches!(who, Who::User(_)),
        // For anybody; a hash is refused in words of another layer.
        Ask::Compact(_)
        | Ask::HashKv
        | Ask::MemberList
        | Ask::Status
        | Ask::Alarm(_)
        | Ask::LeaseGrant(_)
        | Ask::LeaseKeepAlive(_)
        | Ask::LeaseTimeToLive(_)
        | Ask::LeaseLeases => false,
        // A lock's lease is one of a put in a transaction; and what these refuse
        // loses its code on the way.
        Ask::Lock(_) | Ask::Unlock(_) | Ask::Leader(_) => false,
        _ => true,
    }
}

/// Whether some of it is not checked: transactions inside (GHSA-rfx7-8w68-q57q),
/// `prev_kv` and leases of puts (GHSA-x35m-3gp4-4fh5); of nothing, not even
/// whether somebody asks.
fn is_let_through(txn: &pb::TxnRequest) -> bool {
    let is_empty = txn.compare.is_empty() && txn.success.is_empty() && txn.failure.is_empty();
    let unchecked = |op: &Request| match op {
        Request::RequestPut(put) => put.prev_kv || put.lease != 0,
        Request::RequestTxn(_) => true,
        Request::RequestRange(_) | Request::RequestDeleteRange(_) => false,
    };
    is_empty || any(txn, &mut |op| unchecked(op))
}

/// Whether it has a range without keys in it, which 3.5.1 allows or denies by
/// the shape of its tree of intervals.
pub(super) fn has_keyless_range(ask: &Ask) -> bool {
    match ask {
        Ask::Range(range) => is_keyless(&range.key, &range.range_end),
        Ask::Delete(delete) => is_keyless(&delete.key, &delete.range_end),
        Ask::Txn(txn) => has_keyless(txn),
        _ => false,
    }
}

fn has_keyless(txn: &pb::TxnRequest) -> bool {
    txn.compare.iter().any(|it| is_keyless(&it.key, &it.range_end))
        || any(txn, &mut |op| match op {
            Request::RequestRange(range) => is_keyless(&range.key, &range.range_end),
            Request::RequestDeleteRange(delete) => is_keyless(&delete.key, &delete.range_end),
            Request::RequestTxn(nested) => {
                nested.compare.iter().any(|it| is_keyless(&it.key, &it.range_end))
            }
            Request::RequestPut(_) => false,
        })
}

/// Whether it may create a watcher that the oracle refuses: of a range without an
/// end it checks the first key alone (GHSA-xg4h-6gfc-h4m8).
pub(super) fn lets_watch(create: &pb::WatchCreateRequest) -> bool {
    create.range_end == "\0"
}

/// Whether there is nothing to watch, which it denies or not by the tree.
pub(super) fn is_keyless_watch(create: &pb::WatchCreateRequest) -> bool {
    let key: &[u8] = if create.key.is_empty() { b"\0" } else { &create.key };
    is_keyless(key, &create.range_end)
}

/// Whether 3.5.1 keeps a permission that cannot be granted today.
pub(super) fn keeps_what_is_no_permission(request: &pb::AuthRoleGrantPermissionRequest) -> bool {
    request.perm.as_ref().is_some_and(|perm| {
        perm.key.is_empty()
            || is_keyless(&perm.key, &perm.range_end)
            || Type::try_from(perm.perm_type).is_err()
    })
}
