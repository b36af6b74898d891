//! Records that are not in a segment file yet, in memory, in order.
//!
//! Records are stored in chunks of [`CHUNK`]; full chunks are shared, so that a
//! snapshot of a long tail costs little under the lock, and closing a tail
//! costs nothing.

use std::ops::Range;
use std::sync::Arc;

use crate::record::Record;

/// Records per chunk.
const CHUNK: usize = 512;

/// How far around its expected place a record is searched first.
const NEAR: usize = 6;

/// A run of records with their logical offsets.
#[derive(Clone, Debug, Default)]
struct Chunk {
    offsets: Vec<u32>,
    records: Vec<Record>,
}

impl Chunk {
    fn with_room() -> Self {
        Chunk { offsets: Vec::with_capacity(CHUNK), records: Vec::with_capacity(CHUNK) }
    }

    fn get(&self, offset: u32) -> Option<&Record> {
        let near = self.near(offset);
        let at = self.offsets[near.clone()].binary_search(&offset).ok()?;
        self.records.get(near.start + at)
    }

    /// Where to search for an offset. Most records are of similar size, so a
    /// few places around the expected one usually suffice: one cache line
    /// instead of several.
    fn near(&self, offset: u32) -> Range<usize> {
        let all = 0..self.offsets.len();
        let (Some(&first), Some(&last)) = (self.offsets.first(), self.offsets.last()) else {
            return all;
        };
        let into = u64::from(offset.saturating_sub(first)) * (all.end as u64 - 1);
        let guess = (into / u64::from(last - first).max(1)) as usize;
        let near = guess.saturating_sub(NEAR)..(guess + NEAR).min(all.end);
        match self.offsets.get(near.clone()) {
            Some([low, .., high]) if (*low..=*high).contains(&offset) => near,
            _ => all,
        }
    }

    /// Its records since a revision.
    fn since(&self, main: i64) -> Chunk {
        let first = self.records.partition_point(|record| record.main() < main);
        Chunk { offsets: self.offsets[first..].to_vec(), records: self.records[first..].to_vec() }
    }

    /// The offset of the first record.
    fn start(&self) -> u32 {
        self.offsets.first().copied().unwrap_or(u32::MAX)
    }

    /// The revision of the last record.
    fn newest(&self) -> i64 {
        self.records.last().map_or(0, Record::main)
    }
}

/// Full chunks.
#[derive(Clone, Debug, Default)]
struct Chunks {
    /// The first offset of each chunk, contiguous: a search must not follow a
    /// pointer per step.
    starts: Vec<u32>,
    chunks: Vec<Arc<Chunk>>,
}

impl Chunks {
    fn push(&mut self, chunk: Chunk) {
        if !chunk.records.is_empty() {
            self.starts.push(chunk.start());
            self.chunks.push(Arc::new(chunk));
        }
    }

    fn get(&self, offset: u32) -> Option<&Record> {
        let after = self.starts.partition_point(|&start| start <= offset);
        self.chunks.get(after.checked_sub(1)?)?.get(offset)
    }

    /// The first chunk that has a revision of `main` or later.
    fn since(&self, main: i64) -> usize {
        self.chunks.partition_point(|chunk| chunk.newest() < main)
    }
}

/// The tail that the writer appends to.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    full: Chunks,
    open: Chunk,
    bytes: u32,
}

impl Tail {
    /// Appends a record; returns its logical offset.
    ///
    /// # Panics
    /// If the tail exceeds 4 GiB; the store starts a new one long before.
    pub(crate) fn push(&mut self, record: Record) -> u32 {
        let offset = self.bytes;
        let length = u32::try_from(record.len()).expect("a record is below 4 GiB");
        self.bytes = offset.checked_add(length).expect("a tail is below 4 GiB");
        self.open.offsets.push(offset);
        self.open.records.push(record);
        if self.open.records.len() == CHUNK {
            self.full.push(std::mem::replace(&mut self.open, Chunk::with_room()));
        }
        offset
    }

    /// The record at a logical offset.
    pub(crate) fn get(&self, offset: u32) -> Option<&Record> {
        if offset >= self.open.start() {
            return self.open.get(offset);
        }
        self.full.get(offset)
    }

    /// The bytes of all records.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// A snapshot of the tail.
    pub(crate) fn snapshot(&self) -> Records {
        self.since(i64::MIN)
    }

    /// A snapshot of the tail since revision `main`, possibly with a few older records.
    pub(crate) fn since(&self, main: i64) -> Records {
        let first = self.full.since(main);
        let mut chunks = Chunks {
            starts: self.full.starts[first..].to_vec(),
            chunks: self.full.chunks[first..].to_vec(),
        };
        chunks.push(self.open.since(main));
        Records { chunks, bytes: self.bytes }
    }

    /// Freezes the tail.
    pub(crate) fn close(mut self) -> Records {
        self.full.push(self.open);
        Records { chunks: self.full, bytes: self.bytes }
    }
}

/// Records that no longer change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    chunks: Chunks,
    bytes: u32,
}

impl Records {
    /// The record at a logical offset.
    pub(crate) fn get(&self, offset: u32) -> Option<&Record> {
        self.chunks.get(offset)
    }

    /// The bytes of all records.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// All records in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.chunks.chunks.iter().flat_map(|chunk| &chunk.records)
    }

    /// The records since a revision, in order.
    pub(crate) fn since(&self, main: i64) -> impl Iterator<Item = &Record> {
        let mut rest = self.chunks.chunks[self.chunks.since(main)..].iter();
        let first = rest.next().map_or(&[][..], |chunk| {
            let skip = chunk.records.partition_point(|record| record.main() < main);
            &chunk.records[skip..]
        });
        first.iter().chain(rest.flat_map(|chunk| &chunk.records))
    }

    /// The oldest and the newest revision; `None` if empty.
    pub(crate) fn revisions(&self) -> Option<(i64, i64)> {
        let chunks = &self.chunks.chunks;
        Some((chunks.first()?.records.first()?.main(), chunks.last()?.newest()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Change;

    fn record(main: i64) -> Record {
        let change =
            Change { main, sub: 0, deleted: false, create: 1, version: 1, lease: 0, key: b"k" };
        Record::encode(&change, &vec![0; main as usize % 7])
    }

    #[test]
    fn records_are_found_by_offset_and_by_revision() {
        for count in [0, 1, CHUNK as i64 - 1, CHUNK as i64, CHUNK as i64 * 2 + 3] {
            let mut tail = Tail::default();
            let offsets: Vec<u32> = (1..=count).map(|n| tail.push(record(2 * n))).collect();
            let early = tail.snapshot();
            for (n, &offset) in (1..).zip(&offsets) {
                assert_eq!(tail.get(offset).map(Record::main), Some(2 * n));
                assert_eq!(early.get(offset).map(Record::main), Some(2 * n));
                assert_eq!(tail.get(offset + 1), None);
            }
            tail.push(record(2 * count + 2));
            let records = tail.close();
            assert_eq!(early.iter().count() as i64, count);
            assert_eq!(records.iter().count() as i64, count + 1);
            assert_eq!(records.revisions(), Some((2, 2 * count + 2)));
            assert_eq!(records.bytes(), records.iter().map(Record::len).sum::<usize>());
            for from in 0..2 * count + 4 {
                let first = ((from + 1) / 2).max(1);
                assert_eq!(records.since(from).count() as i64, count + 2 - first, "{from}");
            }
        }
    }
}
