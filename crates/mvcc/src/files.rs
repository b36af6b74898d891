//! The file table: maps the local file numbers in locations to the files'
//! records, and counts how much of each file readers can still reach.
//!
//! A number does not change when its tail is closed or when the segment is
//! written, so sealing a tail never changes the index.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::index::{Index, Location, Version};
use crate::record::Record;
use crate::segment::SegmentFile;
use crate::tail::{Records, Tail};

/// Where the records of a file are.
#[derive(Debug)]
pub(crate) enum Data {
    /// In the tail that the writer appends to.
    Tail(Tail),
    /// In a closed tail.
    Closed(Arc<Records>),
    /// In a segment file.
    Segment(Arc<SegmentFile>),
}

/// One file.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) data: Data,
    /// The bytes of all its records.
    pub(crate) total: u64,
    /// The bytes of the records that the index names.
    pub(crate) live: u64,
    /// The bytes of deletes that the index does not name but that must stay
    /// because an older file still has puts of their keys.
    pub(crate) pinned: u64,
}

/// A record, or where to read it.
pub(crate) enum Place<'a> {
    Memory(&'a Record),
    Disk(&'a Arc<SegmentFile>),
}

/// A snapshot of the files for a reader that continues without the lock. It
/// finds every record that the index named at that time, even if it has moved since.
#[derive(Default)]
pub(crate) struct FileSnapshot {
    files: BTreeMap<u32, Handle>,
}

enum Handle {
    Memory(Records),
    Disk(Arc<SegmentFile>),
}

impl FileSnapshot {
    /// Adds the files that were created since.
    pub(crate) fn extend(&mut self, table: &FileTable) {
        for (number, slot) in table.iter() {
            self.files.entry(number).or_insert_with(|| match &slot.data {
                Data::Tail(tail) => Handle::Memory(tail.snapshot()),
                Data::Closed(records) => Handle::Memory(Records::clone(records)),
                Data::Segment(file) => Handle::Disk(Arc::clone(file)),
            });
        }
    }

    /// A record, or where to read it.
    pub(crate) fn place(&self, at: Location) -> Option<Place<'_>> {
        match self.files.get(&at.file)? {
            Handle::Memory(records) => records.get(at.offset).map(Place::Memory),
            Handle::Disk(file) => Some(Place::Disk(file)),
        }
    }
}

/// All files.
#[derive(Debug, Default)]
pub(crate) struct FileTable {
    /// By number. Numbers are never reused.
    slots: Vec<Option<Slot>>,
    /// The segments and closed tails in manifest order, as event readers walk
    /// them. The tail follows them.
    listed: Vec<u32>,
    /// The number of the tail.
    active: u32,
}

impl FileTable {
    /// A table with only an empty tail.
    pub(crate) fn new() -> Self {
        let mut files = FileTable::default();
        files.start_tail();
        files
    }

    fn start_tail(&mut self) {
        let tail = Data::Tail(Tail::default());
        self.slots.push(Some(Slot { data: tail, total: 0, live: 0, pinned: 0 }));
        self.active = self.newest_number();
    }

    /// Reserves a number for a future file.
    pub(crate) fn reserve(&mut self) -> u32 {
        self.slots.push(None);
        self.newest_number()
    }

    fn newest_number(&self) -> u32 {
        u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 files in one run")
    }

    /// Adds a segment file under a reserved number, without listing it. None of
    /// it is live yet.
    pub(crate) fn add_segment(&mut self, file: Arc<SegmentFile>) {
        let (number, total) = (file.number(), file.record_bytes());
        let slot = self.slots.get_mut(number as usize).expect("the number was reserved");
        assert!(slot.is_none(), "a number is used once");
        *slot = Some(Slot { data: Data::Segment(file), total, live: 0, pinned: 0 });
    }

    /// Appends a file to the list.
    pub(crate) fn list(&mut self, number: u32) {
        self.listed.push(number);
    }

    /// Removes files from the list and inserts others at its front.
    pub(crate) fn relist(&mut self, gone: &[u32], instead: &[u32]) {
        let kept = self.listed.iter().copied().filter(|number| !gone.contains(number));
        self.listed = instead.iter().copied().chain(kept).collect();
    }

    /// Forgets a file that nothing names any more.
    pub(crate) fn remove(&mut self, number: u32) -> Option<Slot> {
        self.slots.get_mut(number as usize)?.take()
    }

    /// A file.
    pub(crate) fn get(&self, number: u32) -> Option<&Slot> {
        self.slots.get(number as usize)?.as_ref()
    }

    /// A file, for updating its counts.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Slot> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    /// All files with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..).zip(&self.slots).filter_map(|(number, slot)| Some((number, slot.as_ref()?)))
    }

    /// The listed files in order.
    pub(crate) fn listed(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.listed.iter().filter_map(|&number| Some((number, self.get(number)?)))
    }

    /// The number of listed files.
    pub(crate) fn listed_count(&self) -> usize {
        self.listed.len()
    }

    /// The tail.
    pub(crate) fn tail(&self) -> &Tail {
        match self.get(self.active) {
            Some(Slot { data: Data::Tail(tail), .. }) => tail,
            _ => unreachable!("the active number is that of a tail"),
        }
    }

    /// Appends a record to the tail; returns its location.
    pub(crate) fn append(&mut self, record: Record) -> Location {
        let number = self.active;
        let length = record.len() as u64;
        let Some(Slot { data: Data::Tail(tail), total, live, .. }) = self.get_mut(number) else {
            unreachable!("the active number is that of a tail");
        };
        let offset = tail.push(record);
        *total += length;
        *live += length;
        Location { file: number, offset }
    }

    /// Closes the tail and starts a new one; returns `None` if it is empty.
    pub(crate) fn close_tail(&mut self) -> Option<(u32, Arc<Records>)> {
        let number = self.active;
        let Slot { data, .. } = self.get_mut(number)?;
        let Data::Tail(tail) = data else { return None };
        if tail.bytes() == 0 {
            return None;
        }
        let records = Arc::new(std::mem::take(tail).close());
        *data = Data::Closed(Arc::clone(&records));
        self.list(number);
        self.start_tail();
        Some((number, records))
    }

    /// Replaces a closed tail with its segment file of the same number.
    pub(crate) fn sealed(&mut self, file: Arc<SegmentFile>) {
        if let Some(slot) = self.get_mut(file.number()) {
            slot.data = Data::Segment(file);
        }
    }

    /// The record of a version, or where to read it. `None` only if the index
    /// named a missing file, which is a bug.
    pub(crate) fn place(&self, at: Location) -> Option<Place<'_>> {
        match &self.get(at.file)?.data {
            Data::Tail(tail) => tail.get(at.offset).map(Place::Memory),
            Data::Closed(records) => records.get(at.offset).map(Place::Memory),
            Data::Segment(file) => Some(Place::Disk(file)),
        }
    }

    /// The bytes of the record of a version.
    fn record_bytes(&self, version: &Version) -> u64 {
        if version.size < Version::SIZE_MAX {
            return version.size.into();
        }
        let at = version.at;
        let length = match self.get(at.file).map(|slot| &slot.data) {
            Some(Data::Tail(tail)) => tail.get(at.offset).map(|record| record.len() as u64),
            Some(Data::Closed(all)) => all.get(at.offset).map(|record| record.len() as u64),
            Some(Data::Segment(file)) => file.big_record_length(at.offset).map(u64::from),
            None => None,
        };
        length.unwrap_or_default()
    }

    /// Called when the index no longer names this version.
    pub(crate) fn release(&mut self, version: &Version) {
        let bytes = self.record_bytes(version);
        if let Some(slot) = self.get_mut(version.at.file) {
            slot.live = slot.live.saturating_sub(bytes);
        }
    }

    /// Called when a collection wrote a version to `to`, a record of `length`
    /// bytes. If the index has the version, it now names the new location;
    /// otherwise the record is a delete that must stay.
    pub(crate) fn moved(&mut self, index: &mut Index, key: &[u8], to: &Version, length: u32) {
        let named = index.get(key).and_then(|entry| entry.find(to.order()).copied());
        if let Some(named) = named {
            self.release(&named);
            index.relocate(key, to.main, to.sub, to.at);
        }
        if let Some(slot) = self.get_mut(to.at.file) {
            let counter = if named.is_some() { &mut slot.live } else { &mut slot.pinned };
            *counter += u64::from(length);
        }
    }

    /// Unpins all deletes that had to stay: the puts that they hid may be gone.
    pub(crate) fn unpin(&mut self) {
        self.slots.iter_mut().flatten().for_each(|slot| slot.pinned = 0);
    }
}
