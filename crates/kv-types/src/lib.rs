//! The shared vocabulary of all crates.
//!
//! Revisions, keys, ranges, events, requests and results as plain data, without
//! serialisation, async or IO. Each quantity has its own type, so that an index
//! cannot be passed as a revision.
//!
//! * [`ids`](crate::Revision): quantities and names.
//! * [`KeyRange`]: ranges, with etcd's wire convention translated once.
//! * [`KeyValue`], [`Event`], [`Write`]: stored data, events, and requested changes.
//! * [`RangeRequest`] … [`TxnResult`]: requests and results.
//! * [`OpError`], [`AuthError`]: why an operation was refused.
#![doc = include_str!("../README.md")]

mod auth_error;
mod error;
mod ids;
mod key_range;
mod record;
mod request;

pub use auth_error::AuthError;
pub use error::OpError;
pub use ids::{ClusterId, Epoch, LeaseId, LogIndex, NodeId, Revision};
pub use key_range::{KeyRange, RangeEnd};
pub use record::{Event, EventKind, KeyValue, Write};
pub use request::{
    AlarmKind, Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResult,
    LeaseGranted, LeaseTimeToLive, PutRequest, PutResult, RangeRequest, RangeResult, SortOrder,
    SortTarget, TxnOp, TxnOpResult, TxnRequest, TxnResult,
};
