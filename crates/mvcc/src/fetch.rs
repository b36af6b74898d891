//! Reads many records from segment files, through the cache, with as few reads
//! as makes sense.

use std::sync::Arc;

use crate::cache::RecordCache;
use crate::index::{Location, Version};
use crate::record::Record;
use crate::segment::SegmentFile;
use crate::{Io, ReadError};

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
        if let Some(cache) = cache {
            self.wanted.retain(|wanted| match cache.get(wanted.at) {
                Some(record) => {
                    found(wanted.slot, record);
                    false
                }
                None => true,
            });
        }
        self.wanted.sort_unstable_by_key(|wanted| (wanted.file, wanted.at.offset));
        for of_file in self.wanted.chunk_by(|a, b| a.file == b.file) {
            let file = &self.files[of_file[0].file as usize];
            let offsets: Vec<(u32, u16)> =
                of_file.iter().map(|wanted| (wanted.at.offset, wanted.size)).collect();
            file.records(&offsets, io, |place, record| {
                let wanted = of_file[place];
                if let Some(cache) = cache {
                    cache.insert(wanted.at, record.clone());
                }
                found(wanted.slot, record);
            })?;
        }
        Ok(())
    }
}
