//! The segment file: immutable records with a key section, named by its hash
//! (`docs/formats/segment.md`).
//!
//! This file has the fixed parts: name, footer, block table. `keys` has the key
//! section, `writer` creates files, `file` reads them, `image` verifies a whole
//! file in memory.

mod file;
pub(crate) mod image;
mod keys;
mod varint;
mod writer;

pub(crate) use file::{Hold, SegmentFile, decode_block};
pub(crate) use keys::{KeyCursor, KeyEntry};
pub(crate) use writer::{SegmentWriter, TEMPORARY};

use std::fmt;

/// The newest format that this version knows.
pub(crate) const FORMAT: u32 = 1;
/// The magic at the start of a segment file.
pub(crate) const MAGIC: &[u8; 8] = b"T4SEGM\r\n";
/// The magic at the end of its footer, before the checksum.
const FOOTER_MAGIC: &[u8; 8] = b"T4SEGEND";
/// The length of the footer in bytes.
pub(crate) const FOOTER_LEN: usize = 84;
/// The length of an entry of the block table in bytes.
const BLOCK_ENTRY: usize = 24;

/// The name of a segment: the SHA-256 of its file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub [u8; 32]);

impl SegmentId {
    /// Its file name.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{self}.seg")
    }

    /// The id encoded in a file name; `None` if it is not one of our names.
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<SegmentId> {
        let hex = name.strip_suffix(".seg")?;
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut id = [0; 32];
        for (byte, pair) in id.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(SegmentId(id))
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The order of the records in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// By revision: a sealed tail.
    Log,
    /// By key, then revision: records that a collection kept. All revisions are
    /// at or below the compaction that it was made for.
    Base,
}

impl SegmentKind {
    /// Its code in files.
    pub(crate) fn code(self) -> u32 {
        match self {
            SegmentKind::Log => 1,
            SegmentKind::Base => 2,
        }
    }

    /// Decodes a code in a file.
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(SegmentKind::Log),
            2 => Some(SegmentKind::Base),
            _ => None,
        }
    }
}

/// The contents of the footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) kind: SegmentKind,
    /// The oldest and the newest revision.
    pub(crate) oldest: i64,
    pub(crate) newest: i64,
    /// The number of records, and their bytes before compression.
    pub(crate) records: u64,
    pub(crate) record_bytes: u64,
    /// The start of the key section and end of the blocks.
    pub(crate) keys_offset: u64,
    /// The start of the block table and end of the key section.
    pub(crate) table_offset: u64,
    pub(crate) blocks: u32,
    pub(crate) table_crc: u32,
    /// The length of the whole file.
    pub(crate) file_length: u64,
}

impl Footer {
    pub(crate) fn encode(&self) -> [u8; FOOTER_LEN] {
        let mut bytes = Vec::with_capacity(FOOTER_LEN);
        for word in [self.keys_offset, self.table_offset, self.file_length] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for word in [self.blocks, self.table_crc, self.kind.code(), 0] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for word in [self.oldest, self.newest] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for word in [self.records, self.record_bytes] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(FOOTER_MAGIC);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let mut footer = [0; FOOTER_LEN];
        footer.copy_from_slice(&bytes);
        footer
    }

    /// Decodes the last bytes of a file of `file_length` bytes.
    pub(crate) fn decode(
        bytes: &[u8; FOOTER_LEN],
        file_length: u64,
    ) -> Result<Footer, &'static str> {
        let u32_at = |at: usize| bytes[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
        let u64_at = |at: usize| bytes[at..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        let i64_at = |at: usize| bytes[at..].first_chunk().map_or(0, |b| i64::from_le_bytes(*b));
        if bytes[72..80] != *FOOTER_MAGIC {
            return Err("the file does not end as a segment does; it may be cut short");
        }
        if crc32c::crc32c(&bytes[..80]) != u32_at(80) {
            return Err("the footer's checksum does not hold");
        }
        let footer = Footer {
            keys_offset: u64_at(0),
            table_offset: u64_at(8),
            file_length: u64_at(16),
            blocks: u32_at(24),
            table_crc: u32_at(28),
            kind: SegmentKind::from_code(u32_at(32)).ok_or("the kind of segment is unknown")?,
            oldest: i64_at(40),
            newest: i64_at(48),
            records: u64_at(56),
            record_bytes: u64_at(64),
        };
        footer.check(file_length)?;
        Ok(footer)
    }

    fn check(&self, file_length: u64) -> Result<(), &'static str> {
        if self.file_length != file_length {
            return Err("the file is not as long as its footer says");
        }
        let table_length = u64::from(self.blocks) * BLOCK_ENTRY as u64;
        let table_end = self.table_offset.checked_add(table_length);
        let in_order = crate::preamble::LEN as u64 <= self.keys_offset
            && self.keys_offset <= self.table_offset
            && table_end.and_then(|end| end.checked_add(FOOTER_LEN as u64)) == Some(file_length);
        let sensible = 1 <= self.oldest
            && self.oldest <= self.newest
            && self.records > 0
            && self.record_bytes <= u64::from(u32::MAX);
        if in_order && sensible { Ok(()) } else { Err("the footer contradicts itself") }
    }

    /// The length of the block table in bytes.
    pub(crate) fn table_length(&self) -> usize {
        self.blocks as usize * BLOCK_ENTRY
    }
}

/// How a block is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// Uncompressed.
    Stored,
    /// LZ4's block format.
    Lz4,
}

/// One block: consecutive records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The logical offset of its first record.
    pub(crate) logical: u32,
    /// The bytes of its records, uncompressed.
    pub(crate) length: u32,
    /// Its offset in the file.
    pub(crate) offset: u64,
    /// Its length in the file.
    pub(crate) stored: u32,
    pub(crate) codec: Codec,
    /// The checksum of the stored bytes.
    pub(crate) crc: u32,
    /// The newest revision in it.
    pub(crate) newest: i64,
}

/// Encodes a block table.
pub(crate) fn encode_table(blocks: &[Block]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(blocks.len() * BLOCK_ENTRY);
    for block in blocks {
        let codec = match block.codec {
            Codec::Stored => 0u32,
            Codec::Lz4 => 1,
        };
        for word in [block.length, block.stored, codec, block.crc] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&block.newest.to_le_bytes());
    }
    bytes
}

/// Decodes a block table; `footer` was decoded from the same file.
pub(crate) fn decode_table(bytes: &[u8], footer: &Footer) -> Result<Vec<Block>, &'static str> {
    if bytes.len() != footer.table_length() || crc32c::crc32c(bytes) != footer.table_crc {
        return Err("the block table's checksum does not hold");
    }
    let mut blocks = Vec::with_capacity(footer.blocks as usize);
    let (mut logical, mut offset) = (0u32, crate::preamble::LEN as u64);
    for entry in bytes.chunks_exact(BLOCK_ENTRY) {
        let block = decode_entry(entry, logical, offset).ok_or("a block's entry is impossible")?;
        logical = logical.checked_add(block.length).ok_or("the blocks are too long")?;
        offset += u64::from(block.stored);
        blocks.push(block);
    }
    if offset != footer.keys_offset || u64::from(logical) != footer.record_bytes {
        return Err("the block table contradicts the footer");
    }
    Ok(blocks)
}

fn decode_entry(entry: &[u8], logical: u32, offset: u64) -> Option<Block> {
    let word = |at: usize| entry.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
    let (length, stored) = (word(0)?, word(4)?);
    let codec = match word(8)? {
        0 if stored == length => Codec::Stored,
        // LZ4 expands a byte to at most 255; this bounds how much a crafted
        // block can make a reader allocate.
        1 if u64::from(length) <= 255 * u64::from(stored) => Codec::Lz4,
        _ => return None,
    };
    let newest = entry.get(16..)?.first_chunk().map(|b| i64::from_le_bytes(*b))?;
    (length > 0).then_some(Block { logical, length, offset, stored, codec, crc: word(12)?, newest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        let id = SegmentId(std::array::from_fn(|i| i as u8 * 7));
        let name = id.file_name();
        assert_eq!(SegmentId::from_file_name(&name), Some(id));
        assert_eq!(SegmentId::from_file_name(&name.to_uppercase()), None);
        assert_eq!(SegmentId::from_file_name(&name[1..]), None);
        assert_eq!(SegmentId::from_file_name("+1.seg"), None);
    }

    fn footer() -> Footer {
        Footer {
            kind: SegmentKind::Base,
            oldest: 2,
            newest: 9,
            records: 3,
            record_bytes: 300,
            keys_offset: 316,
            table_offset: 400,
            blocks: 2,
            table_crc: 5,
            file_length: 400 + 48 + FOOTER_LEN as u64,
        }
    }

    #[test]
    fn a_footer_is_read_as_written_and_every_flipped_bit_is_seen() {
        let bytes = footer().encode();
        let length = footer().file_length;
        assert_eq!(Footer::decode(&bytes, length), Ok(footer()));
        assert!(Footer::decode(&bytes, length + 1).is_err());
        for bit in 0..FOOTER_LEN * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Footer::decode(&bytes, length).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_table_must_agree_with_the_footer() {
        let first = Block {
            logical: 0,
            length: 200,
            offset: 16,
            stored: 200,
            codec: Codec::Stored,
            crc: 1,
            newest: 4,
        };
        let second = Block {
            logical: 200,
            length: 100,
            offset: 216,
            stored: 100 / 2,
            codec: Codec::Lz4,
            ..first
        };
        let bytes = encode_table(&[first, second]);
        let footer =
            Footer { table_crc: crc32c::crc32c(&bytes), keys_offset: 16 + 250, ..footer() };
        assert_eq!(decode_table(&bytes, &footer), Ok(vec![first, second]));
        assert!(decode_table(&bytes, &Footer { record_bytes: 299, ..footer }).is_err());
        assert!(decode_table(&bytes, &Footer { keys_offset: 267, ..footer }).is_err());
        assert!(decode_table(&bytes[..24], &footer).is_err());
    }
}
