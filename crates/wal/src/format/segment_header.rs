//! The first page of a segment.

use t4_kv_types::{Epoch, LogIndex};

use super::closing::{MARK_BYTES, MARK_OFFSET};
use super::{FORMAT_VERSION, HEADER_PAGE};
use crate::error::{Damage, Found};

const MAGIC: [u8; 8] = *b"T4WAL\x1a\r\n";

/// The part of the page that is used, in bytes.
const USED: usize = 64;

/// The fields of a segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The format version it was written with.
    pub version: u32,
    /// Random, not 0; part of the checksum of every frame, so that bytes of
    /// another file never pass for frames of this one.
    pub salt: u64,
    /// The index of its first entry.
    pub first: LogIndex,
    /// The epoch of the entry before the first; 0 if not known.
    pub epoch: Epoch,
    /// The salt of the segment before this one; 0 if the log began here.
    pub previous_salt: u64,
    /// The length of the file.
    pub file_bytes: u64,
}

/// Why a segment, or its header, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It was written by a newer version.
    Newer {
        /// The version.
        version: u32,
    },
    /// It is damaged.
    Damaged(Found),
}

impl SegmentHeader {
    /// The page as it is written: without a closing mark.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(HEADER_PAGE as usize);
        page.extend_from_slice(&MAGIC);
        page.extend_from_slice(&self.version.to_le_bytes());
        page.extend_from_slice(&crc32c::crc32c(&page).to_le_bytes());
        for field in [self.salt, self.first.0, self.epoch.0, self.previous_salt, self.file_bytes] {
            page.extend_from_slice(&field.to_le_bytes());
        }
        page.extend_from_slice(&[0; 4]);
        page.extend_from_slice(&crc32c::crc32c(&page).to_le_bytes());
        debug_assert_eq!(page.len(), USED);
        page.resize(HEADER_PAGE as usize, 0);
        page
    }

    /// Decodes the page. The first 16 bytes are the same in every version, and
    /// have a checksum of their own: a flipped bit in the version is damage,
    /// not a newer version. The closing mark is not part of the header and is
    /// ignored.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn decode(page: &[u8]) -> Result<SegmentHeader, Unreadable> {
        let damaged = |offset, what| Unreadable::Damaged(Found::new(offset, what));
        let short = || damaged(0, Damage::ShortFile { bytes: page.len() as u64 });
        let page = page.get(..HEADER_PAGE as usize).ok_or_else(short)?;
        if page[..8] != MAGIC {
            return Err(damaged(0, Damage::Magic));
        }
        if u32_at(page, 12) != crc32c::crc32c(&page[..12]) {
            return Err(damaged(8, Damage::HeaderChecksum));
        }
        let version = u32_at(page, 8);
        if version > FORMAT_VERSION {
            return Err(Unreadable::Newer { version });
        }
        if u32_at(page, 60) != crc32c::crc32c(&page[..60]) {
            return Err(damaged(16, Damage::HeaderChecksum));
        }
        let mark = MARK_OFFSET as usize..MARK_OFFSET as usize + MARK_BYTES;
        let is_reserved = |at: &usize| *at >= USED && !mark.contains(at);
        if let Some(at) = (0..page.len()).filter(is_reserved).find(|&at| page[at] != 0) {
            return Err(damaged(at as u64, Damage::HeaderReserved));
        }
        let header = SegmentHeader {
            version,
            salt: u64_at(page, 16),
            first: LogIndex(u64_at(page, 24)),
            epoch: Epoch(u64_at(page, 32)),
            previous_salt: u64_at(page, 40),
            file_bytes: u64_at(page, 48),
        };
        let possible = version >= 1
            && u32_at(page, 56) == 0
            && header.salt != 0
            && header.first != LogIndex(0)
            && header.first != LogIndex(u64::MAX)
            && header.file_bytes >= HEADER_PAGE;
        if possible { Ok(header) } else { Err(damaged(8, Damage::HeaderValue)) }
    }
}

fn u32_at(page: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| page[at + i]))
}

fn u64_at(page: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| page[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            version: FORMAT_VERSION,
            salt: 0x1234_5678_9abc_def0,
            first: LogIndex(17),
            epoch: Epoch(3),
            previous_salt: 99,
            file_bytes: 8192,
        }
    }

    #[test]
    fn round_trip() {
        assert_eq!(SegmentHeader::decode(&header().encode()), Ok(header()));
    }

    #[test]
    fn every_flipped_bit_is_damage() {
        let page = header().encode();
        let mark = MARK_OFFSET as usize..MARK_OFFSET as usize + MARK_BYTES;
        for bit in (0..page.len() * 8).filter(|bit| !mark.contains(&(bit / 8))) {
            let mut flipped = page.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let got = SegmentHeader::decode(&flipped);
            assert!(matches!(got, Err(Unreadable::Damaged(_))), "bit {bit}: {got:?}");
        }
    }

    #[test]
    fn newer_versions_are_told_apart() {
        let mut page = header().encode();
        page[8] = 3;
        let crc = crc32c::crc32c(&page[..12]).to_le_bytes();
        page[12..16].copy_from_slice(&crc);
        page[16..].fill(0xee);
        assert_eq!(SegmentHeader::decode(&page), Err(Unreadable::Newer { version: 3 }));
    }

    #[test]
    fn short_and_impossible_pages() {
        let short = SegmentHeader::decode(&header().encode()[..4095]);
        assert!(matches!(
            short,
            Err(Unreadable::Damaged(Found { what: Damage::ShortFile { .. }, .. }))
        ));
        let impossible = SegmentHeader { first: LogIndex(0), ..header() }.encode();
        let got = SegmentHeader::decode(&impossible);
        assert!(matches!(got, Err(Unreadable::Damaged(Found { what: Damage::HeaderValue, .. }))));
    }
}
