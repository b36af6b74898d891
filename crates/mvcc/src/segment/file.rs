//! Reads segment files.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{Block, Codec, FOOTER_LEN, FORMAT, Footer, KeyCursor, MAGIC, decode_table};
use crate::index::Version;
use crate::manifest::SegmentMeta;
use crate::record::Record;
use crate::{Budget, Io, ReadError, StoreError, positioned, preamble};

/// Consecutive reads are joined if the gap between them is at most this.
const JOIN_GAP: u64 = 4 << 10;
/// A joined read is at most this long.
const JOIN_MAX: u64 = 256 << 10;

/// An open segment file.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    file: File,
    path: PathBuf,
    number: u32,
    meta: SegmentMeta,
    footer: Footer,
    blocks: Vec<Block>,
}

impl SegmentFile {
    /// Opens the file that `meta` names in `dir`, under a local number. Checks
    /// everything but blocks and keys, which are checked when they are read.
    pub(crate) fn open(dir: &Path, number: u32, meta: SegmentMeta) -> Result<Self, StoreError> {
        let path = dir.join(meta.id.file_name());
        let corrupt = |what: &str| StoreError::Corrupt { file: path.clone(), what: what.into() };
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing {
                file: path.clone(),
                remedy: "the manifest needs it; restore the whole data directory from a backup \
                         copy",
            },
            io::ErrorKind::UnexpectedEof => corrupt("it is cut short"),
            _ => StoreError::io(&path, "opening", source),
        };
        let file = positioned::open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut head = [0; preamble::LEN];
        file.read_exact_at(&mut head, 0).map_err(failed)?;
        preamble::check(&head, MAGIC, FORMAT).map_err(|error| error.in_file(&path))?;
        let mut tail = [0; FOOTER_LEN];
        let footer_offset = length.checked_sub(FOOTER_LEN as u64);
        let footer_offset = footer_offset.ok_or_else(|| corrupt("it is cut short"))?;
        file.read_exact_at(&mut tail, footer_offset).map_err(failed)?;
        let footer = Footer::decode(&tail, length).map_err(corrupt)?;
        if !meta.describes(&footer) {
            return Err(corrupt("it is not the file that the manifest describes"));
        }
        let mut table = vec![0; footer.table_length()];
        file.read_exact_at(&mut table, footer.table_offset).map_err(failed)?;
        let blocks = decode_table(&table, &footer).map_err(corrupt)?;
        Ok(SegmentFile { file, path, number, meta, footer, blocks })
    }

    /// The path that it was opened with.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its local number.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Its entry in the manifest.
    pub(crate) fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// The bytes of all its records.
    pub(crate) fn record_bytes(&self) -> u64 {
        self.footer.record_bytes
    }

    pub(super) fn footer(&self) -> &Footer {
        &self.footer
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Its blocks.
    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Walks its key section.
    pub(crate) fn keys(self: &Arc<Self>) -> KeyCursor {
        KeyCursor::of_file(Arc::clone(self))
    }

    /// The block that holds a logical offset, and the offset within it.
    fn block_of(&self, offset: u32) -> Result<(&Block, usize), ReadError> {
        let after = self.blocks.partition_point(|block| block.logical <= offset);
        let block = after.checked_sub(1).and_then(|at| self.blocks.get(at));
        let found = block.and_then(|block| Some((block, within(block, offset)?)));
        found.ok_or_else(|| self.corrupt("a record is in no block"))
    }

    /// The same, if the block is likely to be `last`.
    fn block_near<'a>(
        &'a self,
        last: &'a Block,
        offset: u32,
    ) -> Result<(&'a Block, usize), ReadError> {
        match within(last, offset) {
            Some(within) => Ok((last, within)),
            None => self.block_of(offset),
        }
    }

    /// The length of the record at a logical offset if it does not fit into
    /// [`Version::size`]: such a record fills its block.
    pub(crate) fn big_record_length(&self, offset: u32) -> Option<u32> {
        let (block, within) = self.block_of(offset).ok()?;
        (within == 0).then_some(block.length)
    }

    /// Reads one record.
    pub(crate) fn record(&self, offset: u32, size: u16, io: Io) -> Result<Record, ReadError> {
        let (block, within) = self.block_of(offset)?;
        if block.codec == Codec::Lz4 {
            let bytes = self.block(block, io)?;
            return Record::copy_of_block(&bytes, within).map_err(|what| self.corrupt(what));
        }
        let length = record_length(block, size);
        let bytes = self.read(block.offset + within as u64, length, io)?;
        Record::verify(bytes.into()).map_err(|what| self.corrupt(what))
    }

    /// Reads several records at ascending logical offsets, in as few reads as
    /// is reasonable. `found` gets the index in `wanted` and the record; an
    /// error from it stops the reading.
    pub(crate) fn records(
        &self,
        wanted: &[(u32, u16)],
        hold: Hold,
        io: Io,
        budget: &Budget<'_>,
        mut found: impl FnMut(usize, Record) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut at = 0;
        while at < wanted.len() {
            budget.still_wanted()?;
            let run = self.run(&wanted[at..])?;
            if run.count == 1 {
                let (offset, size) = wanted[at];
                found(at, self.record(offset, size, io)?)?;
            } else {
                self.records_of_run(
                    &run,
                    &wanted[at..at + run.count],
                    hold,
                    io,
                    |place, record| found(at + place, record),
                )?;
            }
            at += run.count;
        }
        Ok(())
    }

    fn records_of_run(
        &self,
        run: &Run<'_>,
        wanted: &[(u32, u16)],
        hold: Hold,
        io: Io,
        mut found: impl FnMut(usize, Record) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let bytes: Bytes = match run.compressed {
            Some(block) => self.block(block, io)?,
            None => self.read(run.start, (run.end - run.start) as usize, io)?.into(),
        };
        let mut block = run.first;
        for (place, &(offset, _)) in wanted.iter().enumerate() {
            let within;
            (block, within) = self.block_near(block, offset)?;
            let in_run = || (block.offset + within as u64 - run.start) as usize;
            let record = match (run.compressed, hold) {
                (Some(_), Hold::Alone) => Record::copy_of_block(&bytes, within),
                (Some(_), Hold::Together) => Record::slice_of_block(&bytes, within),
                (None, Hold::Alone) => {
                    Record::copy_first(bytes.get(in_run()..).unwrap_or_default())
                }
                (None, Hold::Together) => Record::slice_at(&bytes, in_run()),
            };
            found(place, record.map_err(|what| self.corrupt(what))?)?;
        }
        Ok(())
    }

    /// How many of the first `wanted` records are read at once, and from where.
    fn run(&self, wanted: &[(u32, u16)]) -> Result<Run<'_>, ReadError> {
        let (first, within) = self.block_of(wanted[0].0)?;
        if first.codec == Codec::Lz4 {
            let end = first.logical + first.length;
            let count = wanted.partition_point(|&(offset, _)| offset < end);
            return Ok(Run { first, count, start: 0, end: 0, compressed: Some(first) });
        }
        let start = first.offset + within as u64;
        let end = start + record_length(first, wanted[0].1) as u64;
        let mut run = Run { first, count: 1, start, end, compressed: None };
        let mut block = first;
        for &(offset, size) in &wanted[1..] {
            let within;
            (block, within) = self.block_near(block, offset)?;
            let from = block.offset + within as u64;
            let to = from + record_length(block, size) as u64;
            if block.codec == Codec::Lz4 || from > run.end + JOIN_GAP || to > start + JOIN_MAX {
                break;
            }
            run.end = run.end.max(to);
            run.count += 1;
        }
        Ok(run)
    }

    /// The records of a block, verified as a whole (each record also has its
    /// own checksum).
    pub(crate) fn block(&self, block: &Block, io: Io) -> Result<Bytes, ReadError> {
        let stored = self.read(block.offset, block.stored as usize, io)?;
        decode_block(block, stored).map_err(|what| self.corrupt(what))
    }

    fn read(&self, offset: u64, length: usize, io: Io) -> Result<Vec<u8>, ReadError> {
        positioned::read(&self.file, &self.path, offset, length, io)
    }

    /// The error for an intact record that is not the one the index names: its
    /// checksum does not cover its location.
    pub(crate) fn misplaced(&self) -> ReadError {
        self.corrupt("a record lies where the index has another one")
    }

    /// The error for damage in this file.
    pub(crate) fn corrupt(&self, what: &str) -> ReadError {
        ReadError::Corrupt { file: self.path.clone(), what: what.into() }
    }
}

/// The memory that holds a record that was read along with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Its own allocation: it may be long-lived.
    Alone,
    /// The buffer of the read, shared with the others.
    Together,
}

/// The unit of one read: a compressed block, or a stretch of the file.
struct Run<'a> {
    /// The block of the first record.
    first: &'a Block,
    count: usize,
    start: u64,
    end: u64,
    compressed: Option<&'a Block>,
}

/// The offset of a logical offset within a block, if the block contains it.
fn within(block: &Block, offset: u32) -> Option<usize> {
    let within = offset.checked_sub(block.logical)?;
    (within < block.length).then_some(within as usize)
}

fn record_length(block: &Block, size: u16) -> usize {
    if size == Version::SIZE_MAX { block.length as usize } else { size.into() }
}

/// Decodes the stored bytes of a block into its records.
pub(crate) fn decode_block(block: &Block, stored: Vec<u8>) -> Result<Bytes, &'static str> {
    if crc32c::crc32c(&stored) != block.crc {
        return Err("a block's checksum does not hold");
    }
    match block.codec {
        Codec::Stored => Ok(stored.into()),
        Codec::Lz4 => {
            let records = lz4_flex::block::decompress(&stored, block.length as usize)
                .map_err(|_| "a block cannot be decompressed")?;
            if records.len() == block.length as usize {
                Ok(records.into())
            } else {
                Err("a block is not as long as the block table says")
            }
        }
    }
}
