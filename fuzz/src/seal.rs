//! Corrects checksums, following the diagrams of `docs/formats`.
//!
//! Written from the diagrams and without the crates' own encoders, because
//! bytes that are no longer a valid file must be sealed too. Missing or
//! implausible parts are left unchanged.

use std::ops::Range;

use crc32c::{crc32c, crc32c_append};

/// For formats without checksums of their own.
pub(crate) fn nothing(_: &mut [u8]) {}

/// `docs/formats/lease-table.md`: over everything before it.
pub(crate) fn lease_table(bytes: &mut [u8]) {
    if let Some(end) = bytes.len().checked_sub(4) {
        put(bytes, end, 0..end);
    }
}

/// `docs/formats/wal.md`: two in the header page, one in a closing mark, two per
/// frame.
pub(crate) fn wal_segment(bytes: &mut [u8]) {
    put(bytes, 12, 0..12);
    put(bytes, 60, 0..60);
    let Some(salt) = bytes.get(16..24).map(crc32c) else { return };
    if let (Some(0x9d | 0x6e), Some(mark)) = (bytes.get(532), bytes.get(512..528)) {
        let crc = crc32c_append(salt, mark);
        put_value(bytes, 528, crc);
    }
    for payload in wal_payloads(bytes) {
        let frame = payload.start - WAL_FRAME_HEADER;
        put(bytes, frame + 30, payload);
        let Some(header) = bytes.get(frame..frame + 34) else { return };
        let crc = crc32c_append(crc32c_append(salt, &(frame as u64).to_le_bytes()), header);
        put_value(bytes, frame + 34, crc);
    }
}

const WAL_FRAME_HEADER: usize = 39;

/// The ranges of the payloads in a segment of the log, up to the first position
/// that does not begin like a frame.
pub(crate) fn wal_payloads(bytes: &[u8]) -> Vec<Range<usize>> {
    const PAGE: usize = 4096;
    const SECTOR: usize = 512;
    let mut payloads = Vec::new();
    let mut at = PAGE;
    loop {
        if at % SECTOR + WAL_FRAME_HEADER > SECTOR {
            at = at.next_multiple_of(SECTOR);
        }
        let frame = bytes.get(at..).filter(|rest| rest.first() == Some(&0xb5));
        let Some(length) = frame.and_then(|frame| u32_at(frame, 2)) else { return payloads };
        let start = at + WAL_FRAME_HEADER;
        let Some(end) = start.checked_add(length as usize) else { return payloads };
        payloads.push(start..end);
        at = end + 1;
    }
}

/// `docs/formats/manifest.md`: of the preamble, and of length and body.
pub(crate) fn mvcc_manifest(bytes: &mut [u8]) {
    const HEADER: usize = 24;
    put(bytes, 12, 0..12);
    let Some(body) = bytes.get(HEADER..) else { return };
    let length = body.len() as u32;
    let crc = crc32c_append(crc32c(&length.to_le_bytes()), body);
    put_value(bytes, 16, length);
    put_value(bytes, 20, crc);
}

/// `docs/formats/segment.md`: of the preamble, each record, each block, each
/// chunk of the key section, the block table, the footer.
pub(crate) fn mvcc_segment(bytes: &mut [u8]) {
    const PREAMBLE: usize = 16;
    const FOOTER: usize = 84;
    const BLOCK: usize = 24;
    put(bytes, 12, 0..12);
    let Some(footer) = bytes.len().checked_sub(FOOTER) else { return };
    let (keys, table) = (u64_at(bytes, footer), u64_at(bytes, footer + 8));
    if let (Some(keys), Some(table)) = (keys, table) {
        let mut block = PREAMBLE;
        for entry in (table..footer).step_by(BLOCK) {
            let (stored, codec) = (u32_at(bytes, entry + 4), u32_at(bytes, entry + 8));
            let Some(end) = stored.and_then(|stored| block.checked_add(stored as usize)) else {
                break;
            };
            if codec == Some(0) {
                seal_records(bytes, block, end);
            }
            put(bytes, entry + 12, block..end);
            block = end;
        }
        seal_chunks(bytes, keys, table);
        put(bytes, footer + 28, table..footer);
    }
    put(bytes, footer + 80, footer..footer + 80);
}

/// The records of an uncompressed block.
fn seal_records(bytes: &mut [u8], mut at: usize, end: usize) {
    while at < end {
        let Some(length) = u32_at(bytes, at).filter(|length| *length > 8) else { return };
        let Some(record) = at.checked_add(length as usize).filter(|next| *next <= end) else {
            return;
        };
        let (Some(first), Some(rest)) = (bytes.get(at..at + 4), bytes.get(at + 8..record)) else {
            return;
        };
        let crc = crc32c_append(crc32c(first), rest);
        put_value(bytes, at + 4, crc);
        at = record;
    }
}

/// The chunks of the key section.
fn seal_chunks(bytes: &mut [u8], mut at: usize, end: usize) {
    while at < end {
        let Some(length) = u32_at(bytes, at) else { return };
        let Some(next) = (at + 12).checked_add(length as usize).filter(|next| *next <= end) else {
            return;
        };
        let (Some(head), Some(payload)) = (bytes.get(at..at + 8), bytes.get(at + 12..next)) else {
            return;
        };
        let crc = crc32c_append(crc32c(head), payload);
        put_value(bytes, at + 8, crc);
        at = next;
    }
}

/// A file of text (an identity, the end of a log): its last line is the checksum
/// of those before it.
pub(crate) fn checksum_line(bytes: &mut [u8]) {
    const LINE: usize = "crc32c 00000000\n".len();
    let Some(body) = bytes.len().checked_sub(LINE) else { return };
    let line = format!("crc32c {:08x}\n", crc32c(&bytes[..body]));
    bytes[body..].copy_from_slice(line.as_bytes());
}

/// Writes the checksum of a range at `at`, if both are within `bytes`.
fn put(bytes: &mut [u8], at: usize, of: Range<usize>) {
    if let Some(crc) = bytes.get(of).map(crc32c) {
        put_value(bytes, at, crc);
    }
}

fn put_value(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = at.checked_add(4).and_then(|end| bytes.get_mut(at..end)) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<usize> {
    let eight = bytes.get(at..)?.first_chunk()?;
    // An offset beyond the end of the file is invalid.
    usize::try_from(u64::from_le_bytes(*eight)).ok().filter(|offset| *offset <= bytes.len())
}
