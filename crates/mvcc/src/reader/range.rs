//! Ranges: the index is walked in short holds of the lock, then the values are
//! read without it.

use std::ops::ControlFlow;

use bytes::Bytes;
use t4_kv_types::{KeyRange, KeyValue, LeaseId, Revision};

use super::{Reader, live_at};
use crate::fetch::Fetch;
use crate::files::FileTable;
use crate::index::{Entry, Version};
use crate::shared::{Core, READ_HOLD};
use crate::{Io, Page, Projection, ReadError};

impl Reader {
    /// A range of keys in key order at a revision, at most `limit` of them (0:
    /// all), with the number of all keys in the range at that revision.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub fn range(
        &self,
        range: &KeyRange,
        at: Revision,
        limit: usize,
        projection: Projection,
        io: Io,
    ) -> Result<Page, ReadError> {
        let limit = match (projection, limit) {
            (Projection::CountOnly, _) => 0,
            (_, 0) => usize::MAX,
            (_, limit) => limit,
        };
        let mut gathered = Gathered::new(at.0, limit, projection);
        self.gather(range, &mut gathered)?;
        gathered.into_page(self, io)
    }

    /// Walks the index until the page is full and the count is known.
    fn gather(&self, range: &KeyRange, gathered: &mut Gathered) -> Result<(), ReadError> {
        let mut rest = range.clone();
        // Pinned only when one hold of the lock is not enough.
        let mut pin = None;
        loop {
            let core = self.shared.core.read();
            if pin.is_none() {
                self.shared.check_readable(gathered.at)?;
                gathered.count = core.liveness.count(&core.index, range, gathered.at);
            }
            let Some(next) = gathered.hold(&core, &rest) else { return Ok(()) };
            if pin.is_none() {
                pin = Some(self.shared.pins.pin(&self.shared, gathered.at));
            }
            drop(core);
            rest.start = next;
        }
    }
}

/// What a walk has found so far.
struct Gathered {
    at: i64,
    limit: usize,
    projection: Projection,
    /// Complete but for the values that `fetch` will read.
    kvs: Vec<KeyValue>,
    fetch: Fetch,
    /// The number of keys, if it is known without counting.
    count: Option<u64>,
    counted: u64,
}

impl Gathered {
    fn new(at: i64, limit: usize, projection: Projection) -> Self {
        let kvs = Vec::with_capacity(limit.min(READ_HOLD * 2));
        let fetch = Fetch::default();
        Gathered { at, limit, projection, kvs, fetch, count: None, counted: 0 }
    }

    /// Whether there is nothing left to walk for.
    fn is_done(&self) -> bool {
        self.kvs.len() >= self.limit && self.count.is_some()
    }

    /// Walks on for one hold of the lock. Where to go on, if it has to.
    fn hold(&mut self, core: &Core, rest: &KeyRange) -> Option<Bytes> {
        let mut visited = 0;
        let mut next = None;
        if self.is_done() {
            return None;
        }
        core.index.scan(rest, |entry| {
            visited += 1;
            self.take(&core.files, &entry);
            if self.is_done() {
                return ControlFlow::Break(());
            }
            if visited < READ_HOLD {
                return ControlFlow::Continue(());
            }
            next = Some([entry.key, &[0]].concat().into());
            ControlFlow::Break(())
        });
        next.filter(|_| !rest.is_single())
    }

    fn take(&mut self, files: &FileTable, entry: &Entry<'_>) {
        let Some(version) = live_at(entry, self.at) else { return };
        self.counted += 1;
        if self.kvs.len() >= self.limit {
            return;
        }
        let known = match self.projection {
            Projection::KeysOnly if version == entry.newest.version => Some(key_only(entry)),
            _ => self.want(files, &version),
        };
        self.kvs.push(known.unwrap_or_default());
    }

    /// The key-value if its record is in memory; asks for it otherwise.
    fn want(&mut self, files: &FileTable, version: &Version) -> Option<KeyValue> {
        let record = self.fetch.want(version, self.kvs.len(), || files.place(version.at))?;
        Some(project(record.into_key_value(), self.projection))
    }

    fn into_page(self, reader: &Reader, io: Io) -> Result<Page, ReadError> {
        let Gathered { mut kvs, fetch, projection, .. } = self;
        let cache = reader.shared.cache.as_ref();
        fetch.read(cache, io, |slot, record| {
            kvs[slot] = project(record.into_key_value(), projection);
        })?;
        Ok(Page { kvs, count: self.count.unwrap_or(self.counted) })
    }
}

/// From memory alone: the newest version's metadata are in the index.
fn key_only(entry: &Entry<'_>) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(entry.key),
        value: Bytes::new(),
        create_revision: Revision(entry.newest.create),
        mod_revision: Revision(entry.newest.version.main),
        version: entry.newest.count,
        lease: LeaseId(entry.newest.lease),
    }
}

fn project(mut kv: KeyValue, projection: Projection) -> KeyValue {
    if projection == Projection::KeysOnly {
        kv.value = Bytes::new();
    }
    kv
}
