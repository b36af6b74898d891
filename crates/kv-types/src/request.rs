//! Requests and results as plain data: etcd's semantics without its protobuf.

use bytes::Bytes;

use crate::{KeyRange, KeyValue, LeaseId, Revision};

/// The field by which a range is sorted.
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

/// The direction in which a range is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Not specified: key order; with a target other than the key, ascending
    /// (etcd's quirk: only the first `limit + 1` keys are sorted).
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
    /// The range to read.
    pub range: KeyRange,
    /// The most keys to return; 0 or less: no limit.
    pub limit: i64,
    /// The revision to read at; 0 or less: the newest.
    pub revision: Revision,
    /// The field to sort by.
    pub sort_target: SortTarget,
    /// The direction to sort in.
    pub sort_order: SortOrder,
    /// Answer from this replica's own state, which may be behind.
    pub serializable: bool,
    /// Omit the values.
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

/// The result of a range read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResult {
    /// The store's revision at the time of the read (not the requested one).
    pub revision: Revision,
    /// The keys found, at most `limit`.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut the list.
    pub more: bool,
    /// The number of keys in the range, regardless of limit and filters.
    pub count: i64,
}

/// Set a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutRequest {
    /// The key; not empty.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The lease to attach to, or none, which detaches the key.
    pub lease: LeaseId,
    /// Return the previous state of the key.
    pub prev_kv: bool,
    /// Keep the existing value.
    pub ignore_value: bool,
    /// Keep the existing lease.
    pub ignore_lease: bool,
}

/// The result of a put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutResult {
    /// The revision of this put.
    pub revision: Revision,
    /// The previous state of the key, if requested and if the key existed.
    pub prev_kv: Option<KeyValue>,
}

/// Remove a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRangeRequest {
    /// The range to delete.
    pub range: KeyRange,
    /// Return the previous state of the keys.
    pub prev_kv: bool,
}

/// The result of a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRangeResult {
    /// The revision of this delete; if nothing was deleted, the current one.
    pub revision: Revision,
    /// How many keys were deleted.
    pub deleted: i64,
    /// The previous state of the keys, in key order, if requested.
    pub prev_kvs: Vec<KeyValue>,
}

/// How a compare relates the stored to the given operand.
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
    /// A value unknown to this version of the protocol; always true, as in etcd.
    Unknown,
}

/// The stored field that a compare reads, and the given operand.
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
    /// A target unknown to this version of the protocol: for every key it
    /// compares as equal to the given operand.
    Unknown,
}

/// One condition of a transaction. If it has a range, every existing key in it
/// must satisfy the condition; an empty range behaves as a missing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The keys to compare.
    pub range: KeyRange,
    /// The stored field and the given operand.
    pub target: CompareTarget,
    /// The required relation.
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
    /// A nested transaction.
    Txn(TxnRequest),
}

/// Compare, then run one of two lists of operations, all at one revision.
/// Nested compares also see the state before the whole transaction.
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
    /// Whether all operations of both branches are plain ranges, without
    /// nesting: such a transaction needs no log entry.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| matches!(op, TxnOp::Range(_)))
    }

    /// Whether every range in it is serializable. True if there are no operations.
    #[must_use]
    pub fn is_serializable(&self) -> bool {
        self.success
            .iter()
            .chain(&self.failure)
            .all(|op| matches!(op, TxnOp::Range(range) if range.serializable))
    }

    /// Whether any operation of either branch is a put. Puts in nested
    /// transactions do not count: etcd's quota does not see them, and such a
    /// transaction also passes the alarm NOSPACE there.
    #[must_use]
    pub fn has_put(&self) -> bool {
        self.success.iter().chain(&self.failure).any(|op| matches!(op, TxnOp::Put(_)))
    }
}

/// The result of one operation of a transaction. Its `revision` is the revision
/// that the transaction had reached when the operation ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOpResult {
    /// The result of a range.
    Range(RangeResult),
    /// The result of a put.
    Put(PutResult),
    /// The result of a delete.
    DeleteRange(DeleteRangeResult),
    /// The result of a nested transaction.
    Txn(TxnResult),
}

/// The result of a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnResult {
    /// The revision after it: the one before it if nothing changed.
    pub revision: Revision,
    /// Whether the `success` branch ran.
    pub succeeded: bool,
    /// One result per operation of that branch.
    pub responses: Vec<TxnOpResult>,
}

/// A granted lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGranted {
    /// The store's revision.
    pub revision: Revision,
    /// Its id.
    pub id: LeaseId,
    /// Its time to live in seconds, raised to the minimum if it was below.
    pub ttl_s: i64,
}

/// The state of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseTimeToLive {
    /// The lease.
    pub id: LeaseId,
    /// Whole seconds left, rounded down; may be 0 or less while it is being
    /// revoked. -1 with `granted_ttl_s` 0 means that there is no such lease.
    pub ttl_s: i64,
    /// The time to live that it was granted with, in seconds.
    pub granted_ttl_s: i64,
    /// The attached keys, in key order, if requested.
    pub keys: Vec<Bytes>,
}

/// The kinds of alarm known to etcd's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// The quota is used up: puts, transactions with puts and grants fail.
    NoSpace,
    /// Data is corrupt: all writes fail.
    Corrupt,
}
