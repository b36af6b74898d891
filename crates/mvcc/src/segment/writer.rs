//! Creates segment files.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::keys::KeysEncoder;
use super::{Block, Codec, FORMAT, Footer, MAGIC, SegmentId, SegmentKind, encode_table};
use crate::StoreError;
use crate::disk::{Disk, NewFile};
use crate::manifest::SegmentMeta;
use crate::preamble;
use crate::record::Record;

/// The name of a segment while it is written. A directory has one writer, which
/// writes one file at a time.
pub(crate) const TEMPORARY: &str = "segment.tmp";

/// A block is stored compressed if that saves at least one part in this many.
const WORTH_COMPRESSING: usize = 8;

/// A segment file that is being written. Dropping it removes the file.
pub(crate) struct SegmentWriter {
    out: Hashed,
    kind: SegmentKind,
    block_bytes: usize,
    /// The records of the current block.
    filling: Vec<u8>,
    /// The newest revision among them.
    filling_newest: i64,
    blocks: Vec<Block>,
    /// The logical offset of the current block.
    logical: u32,
    /// All records with their logical offsets, for the key section.
    records: Vec<(Record, u32)>,
    oldest: i64,
    newest: i64,
}

impl SegmentWriter {
    /// Starts a file in `dir`. Blocks are cut at `block_bytes`.
    pub(crate) fn create(
        disk: &Disk,
        dir: &Path,
        kind: SegmentKind,
        block_bytes: usize,
    ) -> Result<Self, StoreError> {
        let file = disk.create(dir.join(TEMPORARY))?;
        let mut out = Hashed { file, hash: Sha256::new(), written: 0 };
        out.write(&preamble::encode(MAGIC, FORMAT))?;
        Ok(SegmentWriter {
            out,
            kind,
            block_bytes,
            filling: Vec::with_capacity(block_bytes * 2),
            filling_newest: 0,
            blocks: Vec::new(),
            logical: 0,
            records: Vec::new(),
            oldest: i64::MAX,
            newest: 0,
        })
    }

    /// Appends a record; returns its logical offset.
    ///
    /// # Panics
    /// If the records exceed 4 GiB.
    pub(crate) fn push(&mut self, record: Record) -> Result<u32, StoreError> {
        if !self.filling.is_empty() && self.filling.len() + record.len() > self.block_bytes {
            self.close_block()?;
        }
        let main = record.main();
        let offset = self.bytes();
        let offset = u32::try_from(offset).expect("a segment's records are below 4 GiB");
        self.filling.extend_from_slice(record.bytes());
        self.filling_newest = self.filling_newest.max(main);
        (self.oldest, self.newest) = (self.oldest.min(main), self.newest.max(main));
        self.records.push((record, offset));
        Ok(offset)
    }

    /// The bytes of the records so far.
    pub(crate) fn bytes(&self) -> usize {
        self.logical as usize + self.filling.len()
    }

    /// Whether there are no records yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn close_block(&mut self) -> Result<(), StoreError> {
        let length = u32::try_from(self.filling.len()).expect("a block is below 4 GiB");
        let compressed = lz4_flex::block::compress(&self.filling);
        let worth = compressed.len() + self.filling.len() / WORTH_COMPRESSING <= self.filling.len();
        let (codec, stored) =
            if worth { (Codec::Lz4, &compressed) } else { (Codec::Stored, &self.filling) };
        self.blocks.push(Block {
            logical: self.logical,
            length,
            offset: self.out.written,
            stored: stored.len() as u32,
            codec,
            crc: crc32c::crc32c(stored),
            newest: self.filling_newest,
        });
        self.out.write(stored)?;
        self.logical =
            self.logical.checked_add(length).expect("a segment's records are below 4 GiB");
        self.filling.clear();
        self.filling_newest = 0;
        Ok(())
    }

    /// Writes the rest and renames the file into place in `dir`. There must be
    /// at least one record.
    pub(crate) fn finish(mut self, dir: &Path) -> Result<SegmentMeta, StoreError> {
        assert!(!self.is_empty(), "a segment has at least one record");
        self.close_block()?;
        let keys_offset = self.out.written;
        let keys = self.key_section();
        self.out.write(&keys)?;
        let table_offset = self.out.written;
        let table = encode_table(&self.blocks);
        self.out.write(&table)?;
        let footer = Footer {
            kind: self.kind,
            oldest: self.oldest,
            newest: self.newest,
            records: self.records.len() as u64,
            record_bytes: self.logical.into(),
            keys_offset,
            table_offset,
            blocks: self.blocks.len() as u32,
            table_crc: crc32c::crc32c(&table),
            file_length: self.out.written + super::FOOTER_LEN as u64,
        };
        self.out.write(&footer.encode())?;
        let id = self.out.finish(dir)?;
        Ok(SegmentMeta::new(id, &footer))
    }

    fn key_section(&mut self) -> Vec<u8> {
        // Stable, and fast if the records came in key order.
        self.records.sort_by(|(a, _), (b, _)| (a.key(), a.order()).cmp(&(b.key(), b.order())));
        let mut keys = KeysEncoder::new(self.oldest);
        for (record, offset) in &self.records {
            keys.push(&record.change(), *offset, record.len() as u32);
        }
        keys.finish()
    }
}

/// A new file and the hash of the bytes written to it.
struct Hashed {
    file: NewFile,
    hash: Sha256,
    written: u64,
}

impl Hashed {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        self.file.write(bytes)
    }

    fn finish(self, dir: &Path) -> Result<SegmentId, StoreError> {
        let id = SegmentId(self.hash.finalize().into());
        self.file.finish(&dir.join(id.file_name()))?;
        Ok(id)
    }
}
