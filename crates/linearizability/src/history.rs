//! Client observations: calls, watches, and the server's own history.

use bytes::Bytes;
use t4_kv_types::{
    DeleteRangeRequest, DeleteRangeResult, EventKind, KeyRange, KeyValue, LeaseId, PutRequest,
    PutResult, RangeRequest, RangeResult, Revision, TxnRequest, TxnResult,
};

/// Everything between two moments at which no call is in flight.
///
/// A suite that kills servers records one history per life of the server: a
/// call without an answer can have no effect after that life has ended.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The calls, in any order.
    pub calls: Vec<Call>,
    /// The watches, in any order.
    pub watches: Vec<Watch>,
    /// Every event of the history's revisions, in order: what a watch of all
    /// keys since its first revision has delivered by the end.
    pub log: Vec<WatchEvent>,
}

/// One call: its request, times and outcome.
#[derive(Clone, Debug)]
pub struct Call {
    /// The client.
    pub client: u32,
    /// When it was sent, in nanoseconds of a monotonic clock.
    pub invoked: u64,
    /// When the answer arrived; without one, until when the call can have had an effect.
    pub returned: u64,
    /// The request.
    pub request: Request,
    /// The outcome.
    pub outcome: Outcome,
}

/// What the client knows about a call's result.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was answered.
    Done {
        /// The revision of the response's header.
        revision: Revision,
        /// The rest of the response.
        response: Response,
    },
    /// It was rejected and definitely had no effect.
    Failed(Failure),
    /// It may or may not have been executed.
    Unknown,
}

/// Why a call was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The lease does not exist.
    LeaseNotFound,
    /// The lease exists.
    LeaseExists,
    /// The key does not exist.
    KeyNotFound,
    /// The revision was compacted away.
    Compacted,
    /// The revision does not exist yet.
    FutureRevision,
    /// The user exists.
    UserExists,
    /// The user does not exist.
    UserNotFound,
    /// The role exists.
    RoleExists,
    /// The role does not exist.
    RoleNotFound,
    /// The user does not have the role.
    RoleNotGranted,
    /// The role does not have the permission.
    PermissionNotGranted,
    /// Rejected for a reason that says nothing about the state, such as an
    /// invalid request or overload.
    Rejected(String),
}

/// A request. Ranges are linearizable; `serializable` is ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A put.
    Put(PutRequest),
    /// A delete.
    Delete(DeleteRangeRequest),
    /// A range.
    Range(Box<RangeRequest>),
    /// A transaction.
    Txn(Box<TxnRequest>),
    /// A compaction up to the revision.
    Compact(Revision),
    /// A grant of a lease with this id.
    LeaseGrant {
        /// The id, which the client chooses.
        id: LeaseId,
        /// The requested time to live, in seconds.
        ttl_s: i64,
    },
    /// A revocation.
    LeaseRevoke(LeaseId),
    /// A renewal.
    LeaseKeepAlive(LeaseId),
    /// A query for a lease.
    LeaseTimeToLive {
        /// The lease.
        id: LeaseId,
        /// Whether its keys are requested.
        keys: bool,
    },
    /// A query for all leases.
    LeaseList,
    /// A call about users and roles.
    Auth(AuthRequest),
}

/// A call about users and roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthRequest {
    /// Adds a user.
    UserAdd(String),
    /// Deletes a user.
    UserDelete(String),
    /// Asks for a user's roles.
    UserGet(String),
    /// Asks for all users.
    UserList,
    /// Grants the user, named first, a role.
    UserGrantRole(String, String),
    /// Revokes a role from the user, named first.
    UserRevokeRole(String, String),
    /// Adds a role.
    RoleAdd(String),
    /// Deletes a role, and revokes it from every user.
    RoleDelete(String),
    /// Asks for the keys that a role may read and write.
    RoleGet(String),
    /// Asks for all roles.
    RoleList,
    /// Permits a role to read and write a key.
    RoleGrant(String, Bytes),
    /// Revokes that permission.
    RoleRevoke(String, Bytes),
}

/// An answer. The revisions inside results are those of the header and are ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// To a put.
    Put(PutResult),
    /// To a delete.
    Delete(DeleteRangeResult),
    /// To a range.
    Range(RangeResult),
    /// To a transaction.
    Txn(TxnResult),
    /// To a grant: the granted time to live, in seconds.
    LeaseGranted(i64),
    /// To a renewal: the time to live, or 0 if there is no such lease.
    LeaseKept(i64),
    /// To a query for a lease.
    LeaseTimeToLive {
        /// The time left, in seconds.
        ttl_s: i64,
        /// The granted time to live; 0 if there is no such lease.
        granted_ttl_s: i64,
        /// Its keys, in any order, if requested.
        keys: Vec<Bytes>,
    },
    /// To a query for all leases.
    Leases(Vec<LeaseId>),
    /// Names of users or roles, or keys.
    Names(Vec<Bytes>),
    /// Success without further content.
    Empty,
}

/// An event as a watch delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// Put or delete.
    pub kind: EventKind,
    /// The key-value; for a delete, only the key and the revision.
    pub kv: KeyValue,
    /// The previous key-value, if requested.
    pub prev_kv: Option<KeyValue>,
}

impl WatchEvent {
    /// Its revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.kv.mod_revision
    }
}

/// One watch, from its creation to its end.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The client.
    pub client: u32,
    /// The watched range.
    pub range: KeyRange,
    /// The first revision to deliver; `None`: start now.
    pub start: Option<Revision>,
    /// Whether previous key-values were requested.
    pub prev_kv: bool,
    /// Whether puts are filtered out.
    pub no_put: bool,
    /// Whether deletes are filtered out.
    pub no_delete: bool,
    /// When the creation request was sent.
    pub invoked: u64,
    /// When the answer to it arrived, and the revision of its header.
    pub created: Option<(u64, Revision)>,
    /// The later responses, in order.
    pub responses: Vec<WatchResponse>,
}

/// One response of a watch.
#[derive(Clone, Debug)]
pub struct WatchResponse {
    /// When it arrived.
    pub at: u64,
    /// The revision of its header.
    pub revision: Revision,
    /// Its content.
    pub news: WatchNews,
}

/// The content of a watch response.
#[derive(Clone, Debug)]
pub enum WatchNews {
    /// Events.
    Events {
        /// The events.
        events: Vec<WatchEvent>,
        /// Whether the rest of the last revision follows in the next response.
        fragment: bool,
    },
    /// Everything up to the header's revision was delivered.
    Progress,
    /// The watch ended: the revisions that it needs were compacted, up to this one.
    Compacted(Revision),
}
