//! What clients did and saw: calls, watches, and the server's own history.

use bytes::Bytes;
use t4_kv_types::{
    DeleteRangeRequest, DeleteRangeResult, EventKind, KeyRange, KeyValue, LeaseId, PutRequest,
    PutResult, RangeRequest, RangeResult, Revision, TxnRequest, TxnResult,
};

/// Everything between two moments at which no call is in flight.
///
/// A suite that kills servers makes one of each life of the server: a call that
/// got no answer can have no effect after that life has ended.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The calls, in any order.
    pub calls: Vec<Call>,
    /// The watches, in any order.
    pub watches: Vec<Watch>,
    /// Every event of the history's revisions, in order: what a watch of all
    /// keys from its first revision on has delivered in the end.
    pub log: Vec<WatchEvent>,
}

/// One call: what was asked, when, and what came of it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The client.
    pub client: u32,
    /// When it was sent, in nanoseconds of a monotonic clock.
    pub invoked: u64,
    /// When the answer came; without one, until when it can have had an effect.
    pub returned: u64,
    /// What was asked.
    pub request: Request,
    /// What came of it.
    pub outcome: Outcome,
}

/// What the client knows of a call's result.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was answered.
    Done {
        /// The revision of the response's header.
        revision: Revision,
        /// The rest of the response.
        response: Response,
    },
    /// It was refused, and certainly had no effect.
    Failed(Failure),
    /// It may have happened, or not.
    Unknown,
}

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The lease is not there.
    LeaseNotFound,
    /// The lease is there.
    LeaseExists,
    /// The key is not there.
    KeyNotFound,
    /// The revision was compacted away.
    Compacted,
    /// The revision is not there yet.
    FutureRevision,
    /// The user is there.
    UserExists,
    /// The user is not there.
    UserNotFound,
    /// The role is there.
    RoleExists,
    /// The role is not there.
    RoleNotFound,
    /// The user does not have the role.
    RoleNotGranted,
    /// The role does not have the permission.
    PermissionNotGranted,
    /// For a reason that says nothing of the state, such as an invalid request
    /// or an overload.
    Rejected(String),
}

/// What was asked. Ranges are linearizable; `serializable` is not looked at.
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
        /// The time to live that it asks for, in seconds.
        ttl_s: i64,
    },
    /// A revocation.
    LeaseRevoke(LeaseId),
    /// A renewal.
    LeaseKeepAlive(LeaseId),
    /// A look at a lease.
    LeaseTimeToLive {
        /// The lease.
        id: LeaseId,
        /// Whether its keys are asked for.
        keys: bool,
    },
    /// A look at all leases.
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
    /// Gives the user, named first, a role.
    UserGrantRole(String, String),
    /// Takes a role from the user, named first.
    UserRevokeRole(String, String),
    /// Adds a role.
    RoleAdd(String),
    /// Deletes a role, and takes it from every user.
    RoleDelete(String),
    /// Asks for the keys that a role may read and write.
    RoleGet(String),
    /// Asks for all roles.
    RoleList,
    /// Permits a role to read and write a key.
    RoleGrant(String, Bytes),
    /// Takes that back.
    RoleRevoke(String, Bytes),
}

/// What was answered. The revisions inside results are those of the header and
/// are not looked at.
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
    /// To a grant: the time to live that was given, in seconds.
    LeaseGranted(i64),
    /// To a renewal: the time to live, or 0 if there is no such lease.
    LeaseKept(i64),
    /// To a look at a lease.
    LeaseTimeToLive {
        /// What is left, in seconds.
        ttl_s: i64,
        /// What was given; 0 if there is no such lease.
        granted_ttl_s: i64,
        /// Its keys, in any order, if they were asked for.
        keys: Vec<Bytes>,
    },
    /// To a look at all leases.
    Leases(Vec<LeaseId>),
    /// Names of users or roles, or keys.
    Names(Vec<Bytes>),
    /// It is done, and there is nothing to say.
    Empty,
}

/// An event as a watch delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// Put or delete.
    pub kind: EventKind,
    /// The key-value; of a delete, the key and the revision.
    pub kv: KeyValue,
    /// What was there before, if it was asked for.
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
    /// What it watches.
    pub range: KeyRange,
    /// From which revision on; `None`: from now.
    pub start: Option<Revision>,
    /// Whether previous key-values were asked for.
    pub prev_kv: bool,
    /// Whether puts are left out.
    pub no_put: bool,
    /// Whether deletes are left out.
    pub no_delete: bool,
    /// When the creation was sent.
    pub invoked: u64,
    /// When its answer came, and the revision of its header.
    pub created: Option<(u64, Revision)>,
    /// What came afterwards, in order.
    pub responses: Vec<WatchResponse>,
}

/// What a watch delivered at once.
#[derive(Clone, Debug)]
pub struct WatchResponse {
    /// When it came.
    pub at: u64,
    /// The revision of its header.
    pub revision: Revision,
    /// What it says.
    pub news: WatchNews,
}

/// What a response of a watch says.
#[derive(Clone, Debug)]
pub enum WatchNews {
    /// Something happened.
    Events {
        /// The events.
        events: Vec<WatchEvent>,
        /// Whether the rest of the last revision comes in the next response.
        fragment: bool,
    },
    /// Everything up to the header's revision was delivered.
    Progress,
    /// The watch ended: what it needs was compacted up to this revision.
    Compacted(Revision),
}
