//! The plain values that callers hand in and get back: configuration, the
//! position in the log, side tables, and what a reader's methods return.

use std::path::PathBuf;

use bytes::Bytes;
use t4_kv_types::{Epoch, Event, KeyValue, LeaseId, LogIndex, Revision};

/// Where a store lives and how it trades memory for disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory; created when missing. It belongs to one store alone.
    pub dir: PathBuf,
    /// [`Store::wants_seal`](crate::Store::wants_seal) says yes from this many
    /// bytes of unsealed records on. Default 32 MiB.
    pub seal_bytes: usize,
    /// What the cache of values read from disk may hold, in bytes. Default
    /// 64 MiB; 0 switches it off.
    pub cache_bytes: u64,
    /// The size at which a block of a segment file is cut, in bytes before
    /// compression. Default 16 KiB; kept between 1 KiB and 48 KiB.
    pub block_bytes: usize,
}

impl Config {
    /// The defaults, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Config {
            dir: dir.into(),
            seal_bytes: 32 << 20,
            cache_bytes: 64 << 20,
            block_bytes: 16 << 10,
        }
    }
}

/// A place in the replicated log. (0, 0) is before its first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The epoch of the entry.
    pub epoch: Epoch,
    /// The index of the entry.
    pub index: LogIndex,
}

/// Small side tables of the state machine by name (leases, auth, …). Their
/// bytes mean nothing here; they are kept with the manifest.
pub type Tables = Vec<(String, Bytes)>;

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Only what memory and the page cache have; anything else is
    /// [`ReadError::WouldBlock`](crate::ReadError::WouldBlock), and the call
    /// is to be repeated with [`Io::Blocking`] on a thread that may wait.
    NoWait,
    /// Wait for the disk.
    Blocking,
}

/// How much of each key a range read returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// Everything.
    Full,
    /// Everything but the value, which is empty.
    KeysOnly,
    /// Nothing; only the count.
    CountOnly,
}

/// What a range read found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys in order, at most the limit.
    pub kvs: Vec<KeyValue>,
    /// How many keys the whole range has at that revision.
    pub count: u64,
}

/// A key-value without key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyMeta {
    /// The revision of the put that created this generation of the key.
    pub create_revision: Revision,
    /// The revision of the last put.
    pub mod_revision: Revision,
    /// 1 at creation, one more per put.
    pub version: i64,
    /// The lease it is attached to, or [`LeaseId::NONE`].
    pub lease: LeaseId,
}

/// etcd's hash over the stored key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C.
    pub hash: u32,
    /// The compaction that it assumes; -1 when there was none.
    pub compact_revision: i64,
    /// The revision up to which it goes.
    pub hash_revision: i64,
}

/// Whole revisions with their events, ascending.
pub type Revisions = Vec<(Revision, Vec<Event>)>;

/// What the store holds, at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys that exist (not deleted) in the newest state.
    pub keys: u64,
    /// The size of all segment files and the manifest.
    pub bytes_on_disk: u64,
    /// The bytes of the records that a reader can still reach, on disk or not.
    pub bytes_in_use: u64,
    /// The bytes of all records, on disk or not: those in use, and those that
    /// no collection has dropped yet. Before compression, as those in use.
    pub record_bytes: u64,
    /// The bytes of the records that are in no segment file yet.
    pub tail_bytes: u64,
    /// How many segment files there are.
    pub segments: u64,
    /// What the cache of values holds, in bytes.
    pub cache_bytes: u64,
}

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectStats {
    /// Segment files that were replaced and removed.
    pub segments_removed: u64,
    /// Segment files that took their place.
    pub segments_written: u64,
    /// The size of the files removed, in bytes.
    pub bytes_removed: u64,
    /// The size of the files written, in bytes.
    pub bytes_written: u64,
    /// Records that were dropped.
    pub records_dropped: u64,
}
