//! Quantities that must not be confused with one another, each with its own type.

use std::fmt;

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($repr:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

quantity! {
    /// A point in the history of the key space. An empty store is at 1 and the
    /// first write creates 2; each write request that changes a key adds
    /// exactly one. Signed 64-bit because etcd's wire format is. In a request,
    /// 0 means "the newest".
    Revision(i64)
}
quantity! {
    /// A term of leadership. A restart of a leader starts a new epoch. Clients
    /// see it as `raft_term`.
    Epoch(u64)
}
quantity! {
    /// A position in the replicated log: contiguous, starting at 1. It is not a
    /// revision: leases, compactions and barriers have an index too.
    LogIndex(u64)
}
quantity! {
    /// A member as clients see it (`member_id`). Never 0.
    NodeId(u64)
}
quantity! {
    /// A cluster as clients see it (`cluster_id`). Never 0.
    ClusterId(u64)
}
quantity! {
    /// A lease. 0 means "no lease"; negative ids are valid.
    LeaseId(i64)
}

impl Revision {
    /// The revision of a store without writes.
    pub const EMPTY_STORE: Revision = Revision(1);

    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

impl LogIndex {
    /// The index after this one.
    #[must_use]
    pub fn next(self) -> LogIndex {
        LogIndex(self.0 + 1)
    }
}

impl LeaseId {
    /// No lease.
    pub const NONE: LeaseId = LeaseId(0);

    /// Whether this names a lease.
    #[must_use]
    pub fn is_some(self) -> bool {
        self != LeaseId::NONE
    }
}
