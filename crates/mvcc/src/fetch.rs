//! Reads many records from segment files, through the cache, with as few reads
//! as makes sense.

use std::sync::Arc;

use crate::cache::RecordCache;
use crate::index::{Location, Version};
use crate::record::Record;
use crate::segment::{Hold, SegmentFile};
use crate::{Io, ReadError};

/// From so many records on it is worth a look which of them lie together. Few
/// in tests, so that the model's small key spaces go that way too.
const BULK: usize = if cfg!(test) { 4 } else { 256 };

/// Records to be read, each for a slot of the caller's result.
#[derive(Default)]
pub(crate) struct Fetch {
    /// The files that are needed. Few; the last one is the likeliest.
    files: Vec<Arc<SegmentFile>>,
    wanted: Vec<Wanted>,
}

#[derive(Clone, Copy)]
struct Wanted {
    at: Location,
    size: u16,
    /// The place in `files`.
    file: u32,
    slot: usize,
}

impl Fetch {
    /// Asks for the record of a version that lies in `file`, for `slot`.
    pub(crate) fn want(&mut self, version: &Version, slot: usize, file: &Arc<SegmentFile>) {
        let known = self.files.iter().rposition(|known| known.number() == file.number());
        let file = known.unwrap_or_else(|| {
            self.files.push(Arc::clone(file));
            self.files.len() - 1
        });
        let (at, size) = (version.at, version.size);
        self.wanted.push(Wanted { at, size, file: file as u32, slot });
    }

    /// Reads them. `found` gets each with its slot, in no particular order.
    pub(crate) fn read(
        mut self,
        cache: Option<&RecordCache>,
        io: Io,
        mut found: impl FnMut(usize, Record),
    ) -> Result<(), ReadError> {
        if cache.is_some() && self.wanted.len() >= BULK {
            self.read_bulk(io, &mut found)?;
        }
        if let Some(cache) = cache {
            self.wanted.retain(|wanted| match cache.get(wanted.at) {
                Some(record) => {
                    found(wanted.slot, record);
                    false
                }
                None => true,
            });
        }
        self.sort();
        for of_file in self.wanted.chunk_by(same_file) {
            self.read_of_file(of_file, Hold::Alone, io, |wanted, record| {
                if let Some(cache) = cache {
                    cache.insert(wanted.at, record.clone());
                }
                found(wanted.slot, record);
            })?;
        }
        Ok(())
    }

    /// Reads what lies close together past the cache: a stretch of a file costs
    /// less than a look for each of its records, and a long list does not push
    /// out what is read again and again.
    fn read_bulk(
        &mut self,
        io: Io,
        found: &mut impl FnMut(usize, Record),
    ) -> Result<(), ReadError> {
        self.sort();
        let mut rest = Vec::new();
        for of_file in self.wanted.chunk_by(same_file) {
            for stretch in of_file.chunks(BULK) {
                if is_dense(stretch) {
                    self.read_of_file(stretch, Hold::Together, io, |wanted, record| {
                        found(wanted.slot, record);
                    })?;
                } else {
                    rest.extend_from_slice(stretch);
                }
            }
        }
        self.wanted = rest;
        Ok(())
    }

    fn read_of_file(
        &self,
        of_file: &[Wanted],
        hold: Hold,
        io: Io,
        mut found: impl FnMut(&Wanted, Record),
    ) -> Result<(), ReadError> {
        let file = &self.files[of_file[0].file as usize];
        let offsets: Vec<(u32, u16)> =
            of_file.iter().map(|wanted| (wanted.at.offset, wanted.size)).collect();
        file.records(&offsets, hold, io, |place, record| found(&of_file[place], record))
    }

    fn sort(&mut self) {
        self.wanted.sort_unstable_by_key(|wanted| (wanted.file, wanted.at.offset));
    }
}

fn same_file(a: &Wanted, b: &Wanted) -> bool {
    a.file == b.file
}

/// Whether records at ascending places fill at least half of the stretch that
/// they span, so that holding it together holds at most twice what is wanted.
fn is_dense(stretch: &[Wanted]) -> bool {
    let [first, .., last] = stretch else { return false };
    let span = u64::from(last.at.offset - first.at.offset) + u64::from(last.size);
    let wanted: u64 = stretch.iter().map(|wanted| u64::from(wanted.size)).sum();
    wanted * 2 >= span
}
