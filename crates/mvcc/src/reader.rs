//! The reader's side of the store: point reads and small queries here; ranges,
//! events and the hash in submodules.

mod events;
mod hash;
mod range;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use t4_kv_types::{KeyRange, KeyValue, LeaseId, Revision};

use crate::files::{Data, Place};
use crate::index::{Entry, Version};
use crate::record::Record;
use crate::segment::SegmentFile;
use crate::shared::{Core, READ_HOLD, Shared};
use crate::{Io, KeyMeta, ReadError, Stats};

/// A handle for reading; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Reader { shared }
    }

    /// The newest visible revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.shared.visible())
    }

    /// The last compaction, if any. Reading at exactly this revision is allowed.
    #[must_use]
    pub fn compacted(&self) -> Option<Revision> {
        Some(self.shared.compacted()).filter(|&c| c >= 0).map(Revision)
    }

    /// The newest visible state of `key`, from memory only; `None` if it does
    /// not exist.
    #[must_use]
    pub fn newest(&self, key: &[u8]) -> Option<KeyMeta> {
        let core = self.shared.core.read();
        // Under the lock, `unpublished` has everything above this.
        let visible = self.shared.visible();
        let mut newest = *core.index.get(key)?.newest;
        if newest.version.main > visible {
            let unpublished = &core.unpublished;
            let first = unpublished.partition_point(|u| u.record.main() <= visible);
            newest = unpublished[first..].iter().find(|u| u.record.key() == key)?.before?;
        }
        (!newest.version.deleted).then_some(KeyMeta {
            create_revision: Revision(newest.create),
            mod_revision: Revision(newest.version.main),
            version: newest.count,
            lease: LeaseId(newest.lease),
        })
    }

    /// Reads one key at a revision.
    ///
    /// # Errors
    /// As for every read: the revision is compacted or in the future, the read
    /// would have to wait for the disk, or the disk fails.
    pub fn get(&self, key: &[u8], at: Revision, io: Io) -> Result<Option<KeyValue>, ReadError> {
        let core = self.shared.core.read();
        self.shared.check_readable(at.0)?;
        let Some(version) = core.index.get(key).and_then(|entry| live_at(&entry, at.0)) else {
            return Ok(None);
        };
        let file = match core.files.place(version.at) {
            Some(Place::Memory(record)) => {
                let record = record.clone();
                drop(core);
                return Ok(Some(record.into_key_value()));
            }
            Some(Place::Disk(file)) => Arc::clone(file),
            None => unreachable!("the index names a record that is nowhere: {version:?}"),
        };
        drop(core);
        Ok(Some(self.read(&file, &version, key, io)?.into_key_value()))
    }

    fn read(
        &self,
        file: &SegmentFile,
        version: &Version,
        key: &[u8],
        io: Io,
    ) -> Result<Record, ReadError> {
        let cache = self.shared.cache.as_ref();
        if let Some(record) = cache.and_then(|cache| cache.get(version.at)) {
            return Ok(record);
        }
        let record = file.record(version.at.offset, version.size, io)?;
        if record.order() != version.order() || record.key() != key {
            return Err(file.misplaced());
        }
        if let Some(cache) = cache {
            cache.insert(version.at, record.clone());
        }
        Ok(record)
    }

    /// Visits the newest live keys that have a lease, in key order. Keys may
    /// change between visits if the writer is active.
    pub fn leased_keys(&self, mut visit: impl FnMut(&[u8], LeaseId)) {
        let every_hold = |_: &Core| Ok(());
        let walked = self.walk(&KeyRange::all(), every_hold, |entry| {
            if !entry.newest.version.deleted && entry.newest.lease != 0 {
                visit(entry.key, LeaseId(entry.newest.lease));
            }
            ControlFlow::Continue(())
        });
        debug_assert!(walked.is_ok(), "no hold failed");
    }

    /// Current sizes and counts.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let manifest_bytes = self.shared.manifest_bytes.load(Ordering::Relaxed);
        let cache_bytes = self.shared.cache.as_ref().map_or(0, |cache| cache.bytes());
        let core = self.shared.core.read();
        let mut stats = Stats {
            keys: core.index.live_keys(),
            bytes_on_disk: manifest_bytes,
            bytes_in_use: core.files.iter().map(|(_, slot)| slot.live).sum(),
            record_bytes: core.files.iter().map(|(_, slot)| slot.total).sum(),
            tail_bytes: core.files.tail().bytes() as u64,
            segments: 0,
            cache_bytes,
        };
        for (_, slot) in core.files.listed() {
            match &slot.data {
                Data::Segment(file) => {
                    stats.segments += 1;
                    stats.bytes_on_disk += file.meta().file_bytes;
                }
                Data::Closed(records) => stats.tail_bytes += records.bytes() as u64,
                Data::Tail(_) => {}
            }
        }
        stats
    }

    /// The number of files of the store, all of them open. Cheaper than
    /// [`Reader::stats`].
    #[must_use]
    pub fn files(&self) -> u64 {
        self.shared.core.read().files.listed_count() as u64
    }

    /// Visits the entries of a range in key order, a few hundred per lock hold,
    /// until the visitor breaks. `hold` is called at the start of each hold; an
    /// error from it ends the walk.
    fn walk(
        &self,
        range: &KeyRange,
        mut hold: impl FnMut(&Core) -> Result<(), ReadError>,
        mut visit: impl FnMut(&Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut rest = range.clone();
        loop {
            let mut visited = 0;
            let mut resume = None;
            let core = self.shared.core.read();
            hold(&core)?;
            core.index.scan(&rest, |entry| {
                visited += 1;
                visit(&entry)?;
                if visited < READ_HOLD {
                    return ControlFlow::Continue(());
                }
                resume = Some([entry.key, &[0]].concat());
                ControlFlow::Break(())
            });
            drop(core);
            match resume {
                Some(next) if !range.is_single() => rest.start = next.into(),
                _ => return Ok(()),
            }
        }
    }
}

/// The version that a reader at a revision sees, unless it is a delete.
fn live_at(entry: &Entry<'_>, at: i64) -> Option<Version> {
    entry.at(at).copied().filter(|version| !version.deleted)
}
