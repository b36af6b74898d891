//! Reads many records from segment files through the cache, in as few reads as
//! is reasonable.

use std::sync::Arc;

use crate::cache::RecordCache;
use crate::index::{Location, Version};
use crate::record::Record;
use crate::segment::{Hold, SegmentFile};
use crate::{Budget, Io, ReadError};

/// The number of records above which adjacent ones are read together. Low in
/// tests, so that the model's small key spaces exercise this path too.
const BULK: usize = if cfg!(test) { 4 } else { 256 };

/// Records to read, each for a slot of the caller's result.
#[derive(Default)]
pub(crate) struct Fetch {
    /// Usually few; the last one is the most likely match.
    files: Vec<OfFile>,
}

/// The records wanted from a file.
struct OfFile {
    file: Arc<SegmentFile>,
    wanted: Vec<Wanted>,
}

/// A wanted record, with its fields packed in sort order into one number, which
/// sorts several times as fast as a struct.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted(u128);

impl Wanted {
    fn new(version: &Version, slot: usize) -> Self {
        let (offset, size) = (u128::from(version.at.offset), u128::from(version.size));
        Wanted(offset << 96 | (slot as u128) << 32 | size)
    }

    fn offset(self) -> u32 {
        (self.0 >> 96) as u32
    }

    fn slot(self) -> usize {
        (self.0 >> 32) as u64 as usize
    }

    fn size(self) -> u16 {
        self.0 as u16
    }
}

impl Fetch {
    /// Requests the record of a version in `file`, for `slot`.
    pub(crate) fn want(&mut self, version: &Version, slot: usize, file: &Arc<SegmentFile>) {
        debug_assert_eq!(version.at.file, file.number());
        let known = self.files.iter().rposition(|known| known.file.number() == file.number());
        let place = known.unwrap_or_else(|| {
            self.files.push(OfFile { file: Arc::clone(file), wanted: Vec::new() });
            self.files.len() - 1
        });
        self.files[place].wanted.push(Wanted::new(version, slot));
    }

    /// Reads the requested records. `found` gets each with its slot, in no
    /// particular order, and returns whether it is the record wanted for that
    /// slot: revision and place within the revision identify a record.
    pub(crate) fn read(
        mut self,
        cache: Option<&RecordCache>,
        io: Io,
        budget: &Budget<'_>,
        mut found: impl FnMut(usize, Record) -> bool,
    ) -> Result<(), ReadError> {
        let count: usize = self.files.iter().map(|of_file| of_file.wanted.len()).sum();
        for of_file in &mut self.files {
            of_file.wanted.sort_unstable();
            if let Some(cache) = cache {
                if count >= BULK {
                    of_file.read_bulk(io, budget, &mut found)?;
                }
                of_file.look_up(cache, &mut found)?;
            }
            of_file.read_rest(cache, io, budget, &mut found)?;
        }
        Ok(())
    }
}

impl OfFile {
    /// Reads adjacent records past the cache: reading a stretch of a file costs
    /// less than a cache lookup per record, and a long list does not evict hot records.
    fn read_bulk(
        &mut self,
        io: Io,
        budget: &Budget<'_>,
        found: &mut impl FnMut(usize, Record) -> bool,
    ) -> Result<(), ReadError> {
        let mut rest = Vec::new();
        for stretch in self.wanted.chunks(BULK) {
            if is_dense(stretch) {
                self.read(stretch, Hold::Together, io, budget, |wanted, record| {
                    found(wanted.slot(), record)
                })?;
            } else {
                rest.extend_from_slice(stretch);
            }
        }
        self.wanted = rest;
        Ok(())
    }

    /// Takes the records that the cache has.
    fn look_up(
        &mut self,
        cache: &RecordCache,
        found: &mut impl FnMut(usize, Record) -> bool,
    ) -> Result<(), ReadError> {
        let file = self.file.number();
        let mut right = true;
        self.wanted.retain(|wanted| match cache.get(Location { file, offset: wanted.offset() }) {
            Some(record) => {
                right &= found(wanted.slot(), record);
                false
            }
            None => true,
        });
        if right { Ok(()) } else { Err(self.file.misplaced()) }
    }

    fn read_rest(
        &self,
        cache: Option<&RecordCache>,
        io: Io,
        budget: &Budget<'_>,
        found: &mut impl FnMut(usize, Record) -> bool,
    ) -> Result<(), ReadError> {
        self.read(&self.wanted, Hold::Alone, io, budget, |wanted, record| {
            let right = found(wanted.slot(), record.clone());
            if let (true, Some(cache)) = (right, cache) {
                let at = Location { file: self.file.number(), offset: wanted.offset() };
                cache.insert(at, record);
            }
            right
        })
    }

    fn read(
        &self,
        wanted: &[Wanted],
        hold: Hold,
        io: Io,
        budget: &Budget<'_>,
        mut found: impl FnMut(Wanted, Record) -> bool,
    ) -> Result<(), ReadError> {
        let places: Vec<(u32, u16)> =
            wanted.iter().map(|wanted| (wanted.offset(), wanted.size())).collect();
        self.file.records(&places, hold, io, budget, |place, record| {
            if found(wanted[place], record) { Ok(()) } else { Err(self.file.misplaced()) }
        })
    }
}

/// Whether records at ascending offsets fill at least half of the stretch that
/// they span, so that holding the whole stretch takes at most twice the memory.
fn is_dense(stretch: &[Wanted]) -> bool {
    let [first, .., last] = stretch else { return false };
    let span = u64::from(last.offset() - first.offset()) + u64::from(last.size());
    let wanted: u64 = stretch.iter().map(|wanted| u64::from(wanted.size())).sum();
    wanted * 2 >= span
}
