//! Requests and results as plain data: etcd's semantics without its protobuf.

use bytes::Bytes;

use crate::{KeyRange, KeyValue, LeaseId, Revision};

/// By what a range is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The create revision.
    Create,
    /// The mod revision.
    Mod,
    /// The value.
    Value,
}

/// In which direction a range is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Not asked for: key order; with another target than the key, ascending
    /// (etcd's quirk: of the first `limit + 1` keys only).
    #[default]
    None,
    /// Lowest first.
    Ascend,
    /// Highest first.
    Descend,
}

/// Read a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// At most so many; 0 or less: no limit.
    pub limit: i64,
    /// At which revision; 0 or less: the newest.
    pub revision: Revision,
    /// By what to sort.
    pub sort_target: SortTarget,
    /// In which direction.
    pub sort_order: SortOrder,
    /// Answer from this replica's own state, which may be behind.
    pub serializable: bool,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Keep only keys changed at this revision or later; 0: no bound.
    pub min_mod_revision: Revision,
    /// Keep only keys changed at this revision or earlier; 0: no bound.
    pub max_mod_revision: Revision,
    /// Keep only keys created at this revision or later; 0: no bound.
    pub min_create_revision: Revision,
    /// Keep only keys created at this revision or earlier; 0: no bound.
    pub max_create_revision: Revision,
}

impl RangeRequest {
    /// The newest state of `range`, linearizable, without limit.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        RangeRequest {
            range,
            limit: 0,
            revision: Revision(0),
            sort_target: SortTarget::Key,
            sort_order: SortOrder::None,
            serializable: false,
            keys_only: false,
            count_only: false,
            min_mod_revision: Revision(0),
            max_mod_revision: Revision(0),
            min_create_revision: Revision(0),
            max_create_revision: Revision(0),
        }
    }
}

/// What a range read found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResult {
    /// The store's revision when it was read (not the requested one).
    pub revision: Revision,
    /// The keys found, at most `limit`.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut the list.
    pub more: bool,
    /// How many keys are in the range, whatever limit and filters say.
    pub count: i64,
}

/// Set a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutRequest {
    /// The key; not empty.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The lease to attach to, or none, which detaches.
    pub lease: LeaseId,
    /// Return the key as it was before.
    pub prev_kv: bool,
    /// Keep the value that is there.
    pub ignore_value: bool,
    /// Keep the lease that is there.
    pub ignore_lease: bool,
}

/// What a put did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutResult {
    /// The revision of this put.
    pub revision: Revision,
    /// The key as it was before, if asked for and if it was there.
    pub prev_kv: Option<KeyValue>,
}

/// Remove a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// Return the keys as they were before.
    pub prev_kv: bool,
}

/// What a delete did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRangeResult {
    /// The revision of this delete; if nothing was deleted, the current one.
    pub revision: Revision,
    /// How many keys were deleted.
    pub deleted: i64,
    /// The keys as they were before, in key order, if asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// How a compare relates what is stored to what is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareResult {
    /// Stored = given.
    Equal,
    /// Stored > given.
    Greater,
    /// Stored < given.
    Less,
    /// Stored ≠ given.
    NotEqual,
    /// A value that this version of the protocol does not know; always true,
    /// as in etcd.
    Unknown,
}

/// What a compare looks at, and what it is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    /// The version; 0 for a missing key.
    Version(i64),
    /// The create revision; 0 for a missing key.
    Create(Revision),
    /// The mod revision; 0 for a missing key.
    Mod(Revision),
    /// The value. False for a missing key, whatever the operator.
    Value(Bytes),
    /// The lease; 0 for a missing key.
    Lease(LeaseId),
    /// A target that this version of the protocol does not know: for every
    /// key it compares as equal to what is given.
    Unknown,
}

/// One condition of a transaction. With a range, every key that is there must
/// satisfy it; an empty range behaves as a missing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Which keys.
    pub range: KeyRange,
    /// What is looked at and the given side.
    pub target: CompareTarget,
    /// The relation asked for.
    pub result: CompareResult,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOp {
    /// Read.
    Range(RangeRequest),
    /// Put.
    Put(PutRequest),
    /// Delete.
    DeleteRange(DeleteRangeRequest),
    /// A transaction inside.
    Txn(TxnRequest),
}

/// Compare, then do one of two lists of operations, all at one revision.
/// Nested compares too see the state before the whole transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnRequest {
    /// All must hold for `success` to run.
    pub compares: Vec<Compare>,
    /// Run if all compares hold.
    pub success: Vec<TxnOp>,
    /// Run otherwise.
    pub failure: Vec<TxnOp>,
}

impl TxnRequest {
    /// Whether all operations of both branches are plain ranges, none nested:
    /// such a transaction needs no log entry.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| matches!(op, TxnOp::Range(_)))
    }

    /// Whether every range in it is serializable. True without operations.
    #[must_use]
    pub fn is_serializable(&self) -> bool {
        self.success
            .iter()
            .chain(&self.failure)
            .all(|op| matches!(op, TxnOp::Range(range) if range.serializable))
    }

    /// Whether any operation of either branch is a put. What transactions inside
    /// put does not count: etcd's quota does not see it, and such a transaction
    /// passes the alarm NOSPACE there too.
    #[must_use]
    pub fn has_put(&self) -> bool {
        self.success.iter().chain(&self.failure).any(|op| matches!(op, TxnOp::Put(_)))
    }
}

/// What one operation of a transaction did. Its `revision` is the revision
/// that the transaction had reached when the operation ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOpResult {
    /// Of a range.
    Range(RangeResult),
    /// Of a put.
    Put(PutResult),
    /// Of a delete.
    DeleteRange(DeleteRangeResult),
    /// Of a nested transaction.
    Txn(TxnResult),
}

/// What a transaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnResult {
    /// The revision after it: the one before it if nothing changed.
    pub revision: Revision,
    /// Which branch ran.
    pub succeeded: bool,
    /// One result per operation of that branch.
    pub responses: Vec<TxnOpResult>,
}

/// A lease as it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGranted {
    /// The store's revision.
    pub revision: Revision,
    /// Its id.
    pub id: LeaseId,
    /// Its time to live in seconds, raised to the minimum if it was below.
    pub ttl_s: i64,
}

/// What is known of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseTimeToLive {
    /// The lease.
    pub id: LeaseId,
    /// Whole seconds left, rounded down; may be 0 or less while it is being
    /// revoked. -1 with `granted_ttl_s` 0 means that there is no such lease.
    pub ttl_s: i64,
    /// The time to live that it was granted with, in seconds.
    pub granted_ttl_s: i64,
    /// The keys attached, if asked for, in key order.
    pub keys: Vec<Bytes>,
}

/// The kinds of alarm that clients of etcd know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// The quota is used up: puts, transactions with puts and grants fail.
    NoSpace,
    /// The data is not what it should be: everything that writes fails.
    Corrupt,
}
