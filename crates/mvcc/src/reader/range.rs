//! Ranges: the index is walked in short lock holds, then the values are read
//! without the lock.

use std::ops::ControlFlow;

use bytes::Bytes;
use t4_kv_types::{KeyRange, KeyValue, LeaseId, Revision};

use super::{Reader, live_at};
use crate::fetch::Fetch;
use crate::files::{FileTable, Place};
use crate::index::{Entry, Version};
use crate::record::{HEADER, Record};
use crate::segment::SegmentFile;
use crate::shared::{Core, READ_HOLD};
use crate::{Budget, Io, Page, Projection, ReadError};

impl Reader {
    /// A range of keys in key order at a revision, at most `limit` of them (0:
    /// all), with the number of all keys in the range at that revision.
    ///
    /// # Errors
    /// As for [`Reader::get`].
    pub fn range(
        &self,
        range: &KeyRange,
        at: Revision,
        limit: usize,
        projection: Projection,
        io: Io,
    ) -> Result<Page, ReadError> {
        self.range_within(range, at, limit, projection, io, &Budget::unlimited())
    }

    /// The same, within a budget. An answer that is too large is rejected
    /// before any value is read.
    ///
    /// # Errors
    /// As for [`Reader::get`]; [`ReadError::OverBudget`];
    /// [`ReadError::Cancelled`].
    pub fn range_within(
        &self,
        range: &KeyRange,
        at: Revision,
        limit: usize,
        projection: Projection,
        io: Io,
        budget: &Budget<'_>,
    ) -> Result<Page, ReadError> {
        let limit = match (projection, limit) {
            (Projection::CountOnly, _) => 0,
            (_, 0) => usize::MAX,
            (_, limit) => limit,
        };
        let mut gathered = Gathered::new(at.0, limit, projection);
        self.gather(range, &mut gathered, budget)?;
        gathered.into_page(self, io, budget)
    }

    /// Only the keys of a range at the newest visible revision, in order: a
    /// million of them take a third of the memory of pairs without values. For
    /// the writer only: while it is active, other callers would see a mix of revisions.
    ///
    /// # Errors
    /// [`ReadError::OverBudget`]; [`ReadError::Cancelled`].
    pub fn newest_keys(
        &self,
        range: &KeyRange,
        budget: &Budget<'_>,
    ) -> Result<Vec<Bytes>, ReadError> {
        let at = self.shared.visible();
        let (mut joined, mut lengths) = (Vec::new(), Vec::new());
        let mut spent = Ok(());
        // A compaction never drops the newest versions.
        self.walk(
            range,
            |_| budget.entries(READ_HOLD),
            |entry| {
                if live_at(entry, at).is_some() {
                    spent = budget.bytes(Budget::PAIR_OVERHEAD_BYTES + entry.key.len());
                    joined.extend_from_slice(entry.key);
                    lengths.push(entry.key.len() as u32);
                }
                if spent.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        )?;
        spent?;
        let mut joined = Bytes::from(joined);
        Ok(lengths.into_iter().map(|length| joined.split_to(length as usize)).collect())
    }

    /// Walks the index until the page is full and the count is known.
    fn gather(
        &self,
        range: &KeyRange,
        gathered: &mut Gathered,
        budget: &Budget<'_>,
    ) -> Result<(), ReadError> {
        let mut rest = range.clone();
        // Pinned only if one lock hold is not enough.
        let mut pin = None;
        loop {
            let core = self.shared.core.read();
            if pin.is_none() {
                self.shared.check_readable(gathered.at)?;
                gathered.count = core.liveness.count(&core.index, range, gathered.at);
                budget.has_room_for(gathered.known())?;
                gathered.reserve();
            }
            let Some(next) = gathered.hold(&core, &rest, budget)? else { return Ok(()) };
            if pin.is_none() {
                pin = Some(self.shared.pins.pin(&self.shared, gathered.at));
            }
            drop(core);
            rest.start = next;
        }
    }
}

/// Records in memory up to this size are copied into one buffer for the whole
/// page: cheaper than one reference count each, and freed with the page. Bigger
/// ones are shared.
const COPIED_MAX: usize = 1 << 10;

/// The most keys for which room is reserved in advance.
const RESERVED_MAX: usize = 1 << 20;

/// The results of a walk so far.
struct Gathered {
    at: i64,
    limit: usize,
    projection: Projection,
    /// In key order; left empty where `wanted`, `copied` or `fetch` will fill them in.
    kvs: Vec<KeyValue>,
    /// The records to look up in this hold, with their places in `kvs`.
    wanted: Vec<(Version, usize)>,
    /// Concatenated copies of records, and for each its place in `kvs` and its length.
    copies: Vec<u8>,
    copied: Vec<(usize, usize)>,
    /// The same for pairs of which only the key is wanted.
    keys: Vec<u8>,
    copied_keys: Vec<(usize, usize)>,
    fetch: Fetch,
    /// The number of keys, if it is known without counting.
    count: Option<u64>,
    counted: u64,
}

impl Gathered {
    fn new(at: i64, limit: usize, projection: Projection) -> Self {
        Gathered {
            at,
            limit,
            projection,
            kvs: Vec::with_capacity(limit.min(READ_HOLD * 2)),
            wanted: Vec::new(),
            copies: Vec::new(),
            copied: Vec::new(),
            keys: Vec::new(),
            copied_keys: Vec::new(),
            fetch: Fetch::default(),
            count: None,
            counted: 0,
        }
    }

    /// The number of pairs that are known to follow.
    fn known(&self) -> usize {
        let known = self.count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        known.min(self.limit)
    }

    /// Reserves room for those.
    fn reserve(&mut self) {
        self.kvs.reserve(self.known().min(RESERVED_MAX));
    }

    /// Whether the walk is complete.
    fn is_done(&self) -> bool {
        self.kvs.len() >= self.limit && self.count.is_some()
    }

    /// Walks for one lock hold. Returns where to continue, if necessary.
    fn hold(
        &mut self,
        core: &Core,
        rest: &KeyRange,
        budget: &Budget<'_>,
    ) -> Result<Option<Bytes>, ReadError> {
        let mut visited = 0;
        let mut next = None;
        if self.is_done() {
            return Ok(None);
        }
        let mut taken = Ok(());
        core.index.scan(rest, |entry| {
            visited += 1;
            taken = self.take(&entry, budget);
            if taken.is_err() {
                return ControlFlow::Break(());
            }
            if self.is_done() {
                return ControlFlow::Break(());
            }
            if visited < READ_HOLD {
                return ControlFlow::Continue(());
            }
            next = Some([entry.key, &[0]].concat().into());
            ControlFlow::Break(())
        });
        taken?;
        budget.entries(visited)?;
        self.look_up(&core.files, budget)?;
        Ok(next.filter(|_| !rest.is_single()))
    }

    fn take(&mut self, entry: &Entry<'_>, budget: &Budget<'_>) -> Result<(), ReadError> {
        let Some(version) = live_at(entry, self.at) else { return Ok(()) };
        self.counted += 1;
        if self.kvs.len() >= self.limit {
            return Ok(());
        }
        if self.projection == Projection::KeysOnly && version == entry.newest.version {
            budget.bytes(Budget::PAIR_OVERHEAD_BYTES + entry.key.len())?;
            self.keys.extend_from_slice(entry.key);
            self.copied_keys.push((self.kvs.len(), entry.key.len()));
            self.kvs.push(all_but_key(entry));
        } else {
            self.wanted.push((version, self.kvs.len()));
            self.kvs.push(awaited(&version));
        }
        Ok(())
    }

    /// Takes the records that are in memory, and requests the others. Uses two
    /// loops, so that the processor can overlap several memory accesses.
    fn look_up(&mut self, files: &FileTable, budget: &Budget<'_>) -> Result<(), ReadError> {
        let place = |(version, slot): (Version, usize)| {
            let place = files.place(version.at);
            let place = place.unwrap_or_else(|| {
                unreachable!("the index names a record that is nowhere: {version:?}")
            });
            (version, slot, place)
        };
        let places: Vec<(Version, usize, Place<'_>)> = self.wanted.drain(..).map(place).collect();
        for (version, slot, place) in places {
            let length = match &place {
                Place::Memory(record) => record.len(),
                Place::Disk(file) => length_on_disk(&version, file),
            };
            budget.bytes(Budget::PAIR_OVERHEAD_BYTES + length.saturating_sub(HEADER))?;
            match place {
                Place::Memory(record) if record.len() <= COPIED_MAX => {
                    self.copies.extend_from_slice(record.bytes());
                    self.copied.push((slot, record.len()));
                }
                Place::Memory(record) => {
                    self.kvs[slot] = project(record.clone(), self.projection);
                }
                Place::Disk(file) => self.fetch.want(&version, slot, file),
            }
        }
        Ok(())
    }

    fn into_page(self, reader: &Reader, io: Io, budget: &Budget<'_>) -> Result<Page, ReadError> {
        let Gathered { mut kvs, fetch, projection, .. } = self;
        let mut copies = Bytes::from(self.copies);
        let mut keys = Bytes::from(self.keys);
        for (slot, length) in self.copied_keys {
            kvs[slot].key = keys.split_to(length);
        }
        for (slot, length) in self.copied {
            kvs[slot] = project(Record::split_copy(&mut copies, length), projection);
        }
        let cache = reader.shared.cache.as_ref();
        fetch.read(cache, io, budget, |slot, record| {
            let right = is_awaited(&kvs[slot], &record);
            kvs[slot] = project(record, projection);
            right
        })?;
        Ok(Page { kvs, count: self.count.unwrap_or(self.counted) })
    }
}

/// The length of the record of a version in a file, without reading it.
fn length_on_disk(version: &Version, file: &SegmentFile) -> usize {
    match version.size {
        Version::SIZE_MAX => {
            let known = file.big_record_length(version.at.offset);
            known.map_or(Version::SIZE_MAX.into(), |length| length as usize)
        }
        size => size.into(),
    }
}

/// A placeholder that identifies a record to be read: the place is written to
/// anyway, so the later comparison is free.
fn awaited(version: &Version) -> KeyValue {
    let (main, sub) = version.order();
    KeyValue { mod_revision: Revision(main), version: i64::from(sub), ..KeyValue::default() }
}

/// Whether `record` is the one that `place` awaits.
fn is_awaited(place: &KeyValue, record: &Record) -> bool {
    (place.mod_revision.0, place.version) == (record.main(), i64::from(record.order().1))
}

/// From memory only: the newest version's metadata are in the index.
fn all_but_key(entry: &Entry<'_>) -> KeyValue {
    KeyValue {
        key: Bytes::new(),
        value: Bytes::new(),
        create_revision: Revision(entry.newest.create),
        mod_revision: Revision(entry.newest.version.main),
        version: entry.newest.count,
        lease: LeaseId(entry.newest.lease),
    }
}

fn project(record: Record, projection: Projection) -> KeyValue {
    let mut kv = record.into_key_value();
    if projection == Projection::KeysOnly {
        kv.value = Bytes::new();
    }
    kv
}
