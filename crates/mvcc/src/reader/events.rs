//! Events of a range of revisions, for watchers that catch up.

use std::sync::Arc;

use t4_kv_types::Revision;

use super::Reader;
use crate::files::{Data, FileTable};
use crate::record::Record;
use crate::segment::{Block, SegmentFile, SegmentKind};
use crate::tail::Records;
use crate::{Io, ReadError, Revisions};

impl Reader {
    /// The events of the revisions from `from` to `to` (both inclusive, capped
    /// at the visible revision), ascending and in the order in which the
    /// requests made them. Revisions are whole. Stops before a revision once it
    /// has `max_revisions` or `max_bytes` of records, but always returns the
    /// first revision.
    ///
    /// At exactly the compacted revision, a put that was superseded within that
    /// revision may be missing.
    ///
    /// # Errors
    /// `Compacted` if `from` is below the last compaction; otherwise as for
    /// [`Reader::get`].
    pub fn events(
        &self,
        from: Revision,
        to: Revision,
        max_revisions: usize,
        max_bytes: usize,
        io: Io,
    ) -> Result<Revisions, ReadError> {
        let core = self.shared.core.read();
        if from.0 < self.shared.compacted() {
            return Err(ReadError::Compacted);
        }
        let to = to.0.min(self.shared.visible());
        let sources = sources(&core.files, from.0, to);
        drop(core);
        let mut found = Found { from: from.0, to, max_revisions, max_bytes, ..Found::default() };
        for source in &sources {
            if !source.read(&mut found, io)? {
                break;
            }
        }
        Ok(found.finish())
    }
}

/// Where records of the requested revisions may be.
enum Source {
    Segment(Arc<SegmentFile>),
    Memory(Records),
}

/// The sources in revision order. Base segments come first; they can only have
/// records of the first revision, as they are at or below the compaction.
fn sources(files: &FileTable, from: i64, to: i64) -> Vec<Source> {
    if from > to {
        return Vec::new();
    }
    let meets = |oldest: i64, newest: i64| oldest <= to && from <= newest;
    let mut sources: Vec<Source> = files
        .listed()
        .filter_map(|(_, slot)| match &slot.data {
            Data::Segment(file) if meets(file.meta().oldest, file.meta().newest_kept()) => {
                Some(Source::Segment(Arc::clone(file)))
            }
            Data::Closed(records) => {
                let (oldest, newest) = records.revisions()?;
                meets(oldest, newest).then(|| Source::Memory(Records::clone(records)))
            }
            Data::Segment(_) | Data::Tail(_) => None,
        })
        .collect();
    sources.push(Source::Memory(files.tail().since(from)));
    sources
}

impl Source {
    /// Passes its records to `found`; returns false if no more are wanted.
    fn read(&self, found: &mut Found, io: Io) -> Result<bool, ReadError> {
        let file = match self {
            Source::Memory(records) => {
                return Ok(records.since(found.from).all(|record| found.push(record.clone())));
            }
            Source::Segment(file) => file,
        };
        let (blocks, from) = (file.blocks(), found.from);
        if file.meta().kind == SegmentKind::Base {
            let meeting = blocks.iter().filter(|block| block.newest >= from);
            return read_blocks(file, meeting, found, io).map(|_| true);
        }
        let first = blocks.partition_point(|block| block.newest < from);
        read_blocks(file, blocks[first..].iter(), found, io)
    }
}

fn read_blocks<'a>(
    file: &SegmentFile,
    blocks: impl Iterator<Item = &'a Block>,
    found: &mut Found,
    io: Io,
) -> Result<bool, ReadError> {
    let newest = file.meta().newest_kept();
    for block in blocks {
        let bytes = file.block(block, io)?;
        let mut within = 0;
        while within < bytes.len() {
            let record = Record::slice_of_block(&bytes, within);
            let record = record.map_err(|what| file.corrupt(what))?;
            within += record.len();
            let main = record.main();
            if main < found.from || main > newest {
                continue;
            }
            if !found.push(record) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The records found so far, by revision.
#[derive(Default)]
struct Found {
    from: i64,
    to: i64,
    max_revisions: usize,
    max_bytes: usize,
    revisions: Vec<(i64, Vec<Record>)>,
    bytes: usize,
}

impl Found {
    /// Adds a record; returns false if neither it nor any later one is wanted.
    fn push(&mut self, record: Record) -> bool {
        let main = record.main();
        if main > self.to {
            return false;
        }
        let length = record.len();
        let full = self.revisions.len() >= self.max_revisions || self.bytes >= self.max_bytes;
        match self.revisions.last_mut() {
            Some((last, records)) if *last == main => records.push(record),
            Some(_) if full => return false,
            _ => self.revisions.push((main, vec![record])),
        }
        self.bytes += length;
        true
    }

    fn finish(self) -> Revisions {
        let of_revision = |(main, mut records): (i64, Vec<Record>)| {
            // Already sorted, except the first revision, whose records may come
            // from several base segments.
            records.sort_by_key(Record::order);
            (Revision(main), records.into_iter().map(Record::into_event).collect())
        };
        self.revisions.into_iter().map(of_revision).collect()
    }
}
