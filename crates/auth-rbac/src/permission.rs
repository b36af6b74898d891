//! A permission: what may be done with which keys, as it was granted.
//!
//! Kept in etcd's wire form, because that is what lists show and what a
//! revocation must name; what it covers is in [`intervals`](crate::intervals).

use bytes::Bytes;
use t4_kv_types::KeyRange;

use crate::record::RECORD_BYTES;

/// What may be done with the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PermissionKind {
    /// Read and watch.
    Read,
    /// Put, delete, attach to leases.
    Write,
    /// Both.
    ReadWrite,
}

impl PermissionKind {
    /// Whether it lets read.
    #[must_use]
    pub fn reads(self) -> bool {
        self != PermissionKind::Write
    }

    /// Whether it lets write.
    #[must_use]
    pub fn writes(self) -> bool {
        self != PermissionKind::Read
    }
}

/// A permission on a range of keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Permission {
    /// What may be done.
    pub kind: PermissionKind,
    /// The first key.
    pub key: Bytes,
    /// etcd's `range_end`: empty for the key alone, one zero byte for no end,
    /// else the first key outside.
    pub range_end: Bytes,
}

impl Permission {
    /// A permission in etcd's wire form.
    #[must_use]
    pub fn new(
        kind: PermissionKind,
        key: impl Into<Bytes>,
        range_end: impl Into<Bytes>,
    ) -> Permission {
        Permission { kind, key: key.into(), range_end: range_end.into() }
    }

    /// What it takes of a role that has it, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        RECORD_BYTES + self.key.len() as u64 + self.range_end.len() as u64
    }

    /// What etcd shows for the role `root`: every key, read and write.
    #[must_use]
    pub fn root() -> Permission {
        Permission::new(PermissionKind::ReadWrite, Bytes::new(), &b"\0"[..])
    }

    /// Whether it can be granted: a key that is not empty, and keys between it
    /// and the end (etcd's `isValidPermissionRange`).
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let has_keys = match self.range_end.as_ref() {
            [] | [0] => true,
            end => self.key.as_ref() < end,
        };
        has_keys && !self.key.is_empty()
    }

    /// The keys it is about.
    #[must_use]
    pub fn range(&self) -> KeyRange {
        KeyRange::from_wire(self.key.clone(), self.range_end.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_granted() {
        let valid = |key: &'static str, end: &'static str| {
            Permission::new(PermissionKind::Read, key, end).is_valid()
        };
        assert!(valid("a", "") && valid("a", "b") && valid("a", "\0") && valid("\0", "\0"));
        assert!(valid("a", "a\0"));
        assert!(!valid("", "") && !valid("", "b") && !valid("", "\0"));
        assert!(!valid("b", "a") && !valid("a", "a"));
    }
}
