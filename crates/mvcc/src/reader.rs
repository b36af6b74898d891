//! The readers' side of the store.

use t4_kv_types::{KeyRange, KeyValue, LeaseId, Revision};

use crate::{HashKv, Io, KeyMeta, Page, Projection, ReadError, Revisions, Stats};

/// A handle for reading; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Reader {}

#[expect(unused_variables, reason = "signatures first")]
impl Reader {
    /// The newest visible revision.
    pub fn revision(&self) -> Revision {
        unreachable!()
    }
    /// The last compaction; none: there was none.
    pub fn compacted(&self) -> Option<Revision> {
        unreachable!()
    }
    /// The newest visible state of `key`, from memory alone; none when it
    /// does not exist.
    pub fn newest(&self, key: &[u8]) -> Option<KeyMeta> {
        unreachable!()
    }
    /// One key at a revision.
    pub fn get(&self, key: &[u8], at: Revision, io: Io) -> Result<Option<KeyValue>, ReadError> {
        unreachable!()
    }
    /// A range of keys at a revision; a `limit` of 0 is none.
    pub fn range(
        &self,
        range: &KeyRange,
        at: Revision,
        limit: usize,
        projection: Projection,
        io: Io,
    ) -> Result<Page, ReadError> {
        unreachable!()
    }
    /// Whole revisions from `from` to `to` (both inclusive), ascending.
    pub fn events(
        &self,
        from: Revision,
        to: Revision,
        max_revisions: usize,
        max_bytes: usize,
        io: Io,
    ) -> Result<Revisions, ReadError> {
        unreachable!()
    }
    /// etcd's HashKV at a revision.
    pub fn hash(&self, at: Revision) -> Result<HashKv, ReadError> {
        unreachable!()
    }
    /// Visits the newest live keys that have a lease, in key order.
    pub fn leased_keys(&self, visit: impl FnMut(&[u8], LeaseId)) {
        unreachable!()
    }
    /// Sizes and counts.
    pub fn stats(&self) -> Stats {
        unreachable!()
    }
}
