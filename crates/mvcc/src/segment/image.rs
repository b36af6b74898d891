//! Verifies the bytes of a whole segment file.

use super::file::decode_block;
use super::{Codec, FOOTER_LEN, FORMAT, Footer, KeyCursor, MAGIC, decode_table};
use crate::record::Record;
use crate::segment::Block;
use crate::{FormatError, preamble};

/// The contents of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// The number of records.
    pub records: u64,
    /// The oldest revision.
    pub oldest: i64,
    /// The newest revision.
    pub newest: i64,
}

/// Decodes a segment file in memory and checks every byte of it: for fuzzing
/// and for verifying copies.
pub fn decode_segment(bytes: &[u8]) -> Result<SegmentSummary, FormatError> {
    preamble::check(bytes, MAGIC, FORMAT)?;
    let footer = check(bytes).map_err(FormatError::Damaged)?;
    Ok(SegmentSummary { records: footer.records, oldest: footer.oldest, newest: footer.newest })
}

fn check(bytes: &[u8]) -> Result<Footer, &'static str> {
    let tail = bytes.last_chunk::<FOOTER_LEN>().ok_or("it is cut short")?;
    let footer = Footer::decode(tail, bytes.len() as u64)?;
    // The footer was checked against the length of the file.
    let (keys, table) = (footer.keys_offset as usize, footer.table_offset as usize);
    let blocks = decode_table(&bytes[table..table + footer.table_length()], &footer)?;
    let records = check_blocks(bytes, &blocks)?;
    if records.len() as u64 != footer.records {
        return Err("the footer counts other records");
    }
    check_keys(bytes[keys..table].to_vec(), footer, &records)?;
    Ok(footer)
}

/// All records with their logical offsets.
fn check_blocks(bytes: &[u8], blocks: &[Block]) -> Result<Vec<(u32, Record)>, &'static str> {
    let mut records = Vec::new();
    for block in blocks {
        let from = block.offset as usize;
        let stored = bytes.get(from..from + block.stored as usize).ok_or("a block is cut short")?;
        // The table entry bounds how much a crafted block can make us allocate;
        // our writers never put more than this into one block.
        if block.codec == Codec::Lz4 && block.length > 1 << 30 {
            return Err("a block is too long");
        }
        let bytes = decode_block(block, stored.to_vec())?;
        let mut within = 0;
        let mut newest = 0;
        while within < bytes.len() {
            // Every record must be readable without its block too.
            Record::copy_first(&bytes[within..])?;
            let record = Record::slice_of_block(&bytes, within)?;
            newest = newest.max(record.main());
            let offset = block.logical + within as u32;
            within += record.len();
            records.push((offset, record));
        }
        if newest != block.newest {
            return Err("a block has other revisions than the block table says");
        }
    }
    Ok(records)
}

fn check_keys(
    section: Vec<u8>,
    footer: Footer,
    records: &[(u32, Record)],
) -> Result<(), &'static str> {
    let mut cursor = KeyCursor::of_bytes(section, footer);
    while cursor.advance().map_err(|_| "the key section is damaged")? {
        let entry = cursor.entry();
        let at = records.binary_search_by_key(&entry.offset, |(offset, _)| *offset);
        let (_, record) = &records[at.map_err(|_| "a key has no record")?];
        let change = record.change();
        let same = change.key == cursor.key()
            && (change.main, change.sub, change.deleted) == (entry.main, entry.sub, entry.deleted)
            && (change.create, change.version, change.lease)
                == (entry.create, entry.version, entry.lease)
            && record.len() == entry.length as usize;
        if !same {
            return Err("a key contradicts its record");
        }
    }
    Ok(())
}
