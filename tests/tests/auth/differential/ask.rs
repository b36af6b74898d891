//! What the servers are asked, and on whose behalf.

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::request_op::Request;
use t4_proto::v3electionpb::LeaderRequest;
use t4_proto::v3lockpb::{LockRequest, UnlockRequest};

/// On whose behalf a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Actor {
    /// Shows no token.
    Nobody,
    /// Shows a token that nobody was given.
    Forger,
    /// Shows the token of this login, by its number; it may have ended.
    Login(usize),
}

/// Whom the first login was for.
pub(super) const ROOT: Actor = Actor::Login(0);

/// A request that both servers are sent.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    HashKv,
    MemberList,
    Status,
    Alarm(pb::alarm_request::AlarmAction),
    LeaseGrant(pb::LeaseGrantRequest),
    LeaseRevoke(i64),
    LeaseKeepAlive(i64),
    LeaseTimeToLive(pb::LeaseTimeToLiveRequest),
    LeaseLeases,
    Watch(Episode),
    Lock(LockRequest),
    Unlock(UnlockRequest),
    Leader(LeaderRequest),
    UserAdd(pb::AuthUserAddRequest),
    UserGet(String),
    UserList,
    UserDelete(String),
    UserChangePassword(pb::AuthUserChangePasswordRequest),
    UserGrantRole(pb::AuthUserGrantRoleRequest),
    UserRevokeRole(pb::AuthUserRevokeRoleRequest),
    RoleAdd(String),
    RoleGet(String),
    RoleList,
    RoleDelete(String),
    RoleGrantPermission(pb::AuthRoleGrantPermissionRequest),
    RoleRevokePermission(pb::AuthRoleRevokePermissionRequest),
    AuthStatus,
    Authenticate(pb::AuthenticateRequest),
}

/// Watchers on one stream, what root writes then, and the end of some of them.
#[derive(Clone, Debug)]
pub(super) struct Episode {
    pub(super) creates: Vec<pb::WatchCreateRequest>,
    /// By root, once the watchers are there; each makes a revision.
    pub(super) writes: Vec<pb::TxnRequest>,
    /// How many of the watchers, the first ones, are cancelled at the end.
    pub(super) cancelled: usize,
}

impl Ask {
    /// The kind alone, for statistics.
    pub(super) fn kind(&self) -> String {
        let text = format!("{self:?}");
        text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
    }

    /// Whether it is checked by itself before anything else.
    pub(super) fn is_of_keys(&self) -> bool {
        matches!(self, Ask::Range(_) | Ask::Put(_) | Ask::Delete(_) | Ask::Txn(_))
    }

    /// Whether who may do it depends on the keys of a lease.
    pub(super) fn names_leases(&self) -> bool {
        match self {
            Ask::Put(put) => put.lease != 0,
            Ask::Txn(txn) => {
                any(txn, &mut |op| matches!(op, Request::RequestPut(put) if put.lease != 0))
            }
            Ask::LeaseRevoke(_)
            | Ask::LeaseKeepAlive(_)
            | Ask::LeaseTimeToLive(_)
            | Ask::LeaseLeases
            | Ask::Lock(_) => true,
            _ => false,
        }
    }
}

/// Whether an operation of the transaction, or of one nested in it, is such.
/// What is nested is asked about as well.
pub(super) fn any(txn: &pb::TxnRequest, holds: &mut dyn FnMut(&Request) -> bool) -> bool {
    txn.success
        .iter()
        .chain(&txn.failure)
        .filter_map(|op| op.request.as_ref())
        .any(|op| holds(op) || matches!(op, Request::RequestTxn(nested) if any(nested, holds)))
}

/// Whether there is no key in a range.
pub(super) fn is_keyless(key: &[u8], range_end: &[u8]) -> bool {
    !range_end.is_empty() && range_end != b"\0" && range_end <= key
}

/// The keys of those who hold or wait for a lock or an election, as a range.
pub(super) fn queue(name: &Bytes) -> (Bytes, Bytes) {
    // The byte after the slash.
    let with = |last: &[u8]| Bytes::from([name.as_ref(), last].concat());
    (with(b"/"), with(b"0"))
}

/// The key of a lease among those.
pub(super) fn place(name: &Bytes, lease: i64) -> Bytes {
    [name.as_ref(), format!("/{lease:x}").as_bytes()].concat().into()
}

/// A write that makes a revision.
pub(super) fn put_txn(key: Bytes, value: &'static str) -> pb::TxnRequest {
    let put = pb::PutRequest { key, value: value.into(), ..Default::default() };
    txn_of(Request::RequestPut(put))
}

/// A write that makes a revision if there is the key.
pub(super) fn delete_txn(key: Bytes) -> pb::TxnRequest {
    let delete = pb::DeleteRangeRequest { key, ..Default::default() };
    txn_of(Request::RequestDeleteRange(delete))
}

fn txn_of(request: Request) -> pb::TxnRequest {
    let success = vec![pb::RequestOp { request: Some(request) }];
    pb::TxnRequest { success, ..Default::default() }
}
