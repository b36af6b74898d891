//! The requests that the sequencer accepts, and its responses.

use t4_auth_rbac::Command;
use t4_kv_types::{
    AlarmKind, DeleteRangeRequest, DeleteRangeResult, LeaseId, NodeId, PutRequest, PutResult,
    Revision, TxnRequest, TxnResult,
};

use crate::batch::MemberAttributes;

/// A request that may change the state.
#[derive(Clone, Debug)]
pub enum Request {
    /// Set a key.
    Put(PutRequest),
    /// Remove a range of keys.
    DeleteRange(DeleteRangeRequest),
    /// Compare, then run a branch.
    Txn(TxnRequest),
    /// Drop history.
    Compact(Revision),
    /// Start a lease with this id and time to live in seconds.
    LeaseGrant(LeaseId, i64),
    /// End a lease.
    LeaseRevoke(LeaseId),
    /// Switch an alarm on or off.
    SetAlarm(NodeId, AlarmKind, bool),
    /// Start an epoch.
    Barrier(u64),
    /// Record how much time each lease has left, in milliseconds.
    LeasesLeft(Vec<(LeaseId, u64)>),
    /// Publish a member's attributes.
    Member(NodeId, MemberAttributes),
    /// Change users, roles, permissions or tokens.
    Auth(Command),
}

/// The result of a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The result of a put.
    Put(PutResult),
    /// The result of a delete.
    DeleteRange(DeleteRangeResult),
    /// The result of a transaction.
    Txn(TxnResult),
    /// The result of a grant: the time to live in seconds, after the minimum was applied.
    LeaseGrant(i64),
    /// The result of an alarm: the requested alarms that existed.
    Alarms(Vec<(NodeId, AlarmKind)>),
    /// The result of a change of authentication: the auth revision after it.
    Auth(u64),
    /// The result of everything else: the store's revision.
    Done(Revision),
}
