//! Stored data, and the events that watchers see.

use bytes::Bytes;

use crate::{LeaseId, Revision};

/// A key with its value and the metadata of its history (etcd `mvccpb.KeyValue`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; may be empty.
    pub value: Bytes,
    /// The revision of the put that created this generation of the key.
    pub create_revision: Revision,
    /// The revision of the last change.
    pub mod_revision: Revision,
    /// 1 at creation, one more per put.
    pub version: i64,
    /// The lease it is attached to, or [`LeaseId::NONE`].
    pub lease: LeaseId,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It was put.
    Put,
    /// It was deleted.
    Delete,
}

/// One change of one key at `kv.mod_revision`. The events of one revision stay
/// together, in the order in which the request made them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// After a put, the whole key-value; after a delete, only `key` and
    /// `mod_revision` are set.
    pub kv: KeyValue,
}

/// One change requested by a write, before it has a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Set a key.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// The lease to attach the key to, or none.
        lease: LeaseId,
    },
    /// Remove a key, which must exist (checked during evaluation).
    Delete {
        /// The key.
        key: Bytes,
    },
}

impl Write {
    /// The changed key.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        match self {
            Write::Put { key, .. } | Write::Delete { key } => key,
        }
    }
}
