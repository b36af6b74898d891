//! The plain values that callers pass in and get back: configuration, log
//! position, side tables, and results of reads.

use std::path::PathBuf;

use bytes::Bytes;
use t4_kv_types::{Epoch, Event, KeyValue, LeaseId, LogIndex, Revision};

/// Where a store lives and how it trades memory for disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory; created if missing. It belongs to one store only.
    pub dir: PathBuf,
    /// The bytes of unsealed records at which
    /// [`Store::wants_seal`](crate::Store::wants_seal) becomes true. Default 32 MiB.
    pub seal_bytes: usize,
    /// The most that the cache of values read from disk may hold, in bytes.
    /// Default 64 MiB; 0 disables it.
    pub cache_bytes: u64,
    /// The size at which a block of a segment file is cut, in bytes before
    /// compression. Default 16 KiB; kept between 1 KiB and 48 KiB.
    pub block_bytes: usize,
}

impl Config {
    /// The default configuration, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Config {
            dir: dir.into(),
            seal_bytes: 32 << 20,
            cache_bytes: 64 << 20,
            block_bytes: 16 << 10,
        }
    }
}

/// A position in the replicated log. (0, 0) is before its first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The epoch of the entry.
    pub epoch: Epoch,
    /// The index of the entry.
    pub index: LogIndex,
}

/// Small side tables of the state machine by name (leases, auth, …). This crate
/// does not interpret their bytes; they are stored with the manifest.
pub type Tables = Vec<(String, Bytes)>;

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Reads memory and the page cache only; anything else fails with
    /// [`ReadError::WouldBlock`](crate::ReadError::WouldBlock), and the call
    /// must be repeated with [`Io::Blocking`] on a thread that may wait.
    NoWait,
    /// Waits for the disk.
    Blocking,
}

/// How much of each key a range read returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// Everything.
    Full,
    /// Everything but the value, which is left empty.
    KeysOnly,
    /// Only the count.
    CountOnly,
}

/// The result of a range read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys in order, up to the limit.
    pub kvs: Vec<KeyValue>,
    /// The number of keys in the whole range at that revision.
    pub count: u64,
}

/// The metadata of a key, without key and value.
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
    /// The compacted revision that it assumes; -1 if there was no compaction.
    pub compact_revision: i64,
    /// The revision that it covers up to.
    pub hash_revision: i64,
}

/// Whole revisions with their events, ascending.
pub type Revisions = Vec<(Revision, Vec<Event>)>;

/// The current contents of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys that exist (not deleted) in the newest state.
    pub keys: u64,
    /// The size of all segment files and the manifest.
    pub bytes_on_disk: u64,
    /// The bytes of the records that a reader can still reach, on disk or in memory.
    pub bytes_in_use: u64,
    /// The bytes of all records, on disk or in memory: those in use and those
    /// that no collection has dropped yet. Before compression, like
    /// `bytes_in_use`.
    pub record_bytes: u64,
    /// The bytes of the records that are not in a segment file yet.
    pub tail_bytes: u64,
    /// The number of segment files.
    pub segments: u64,
    /// The current size of the cache of values, in bytes.
    pub cache_bytes: u64,
}

/// The result of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectStats {
    /// Segment files that were replaced and removed.
    pub segments_removed: u64,
    /// Segment files that replaced them.
    pub segments_written: u64,
    /// The size of the files removed, in bytes.
    pub bytes_removed: u64,
    /// The size of the files written, in bytes.
    pub bytes_written: u64,
    /// Records dropped.
    pub records_dropped: u64,
}
