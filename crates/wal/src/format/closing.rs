//! The mark that closes a segment: the log continues in another one.
//!
//! It has its own sector in the header page, so that a segment that is full to
//! its last byte can be closed, and it is durable before the first entry of the
//! next segment is written. So a closed segment that is the last one means that
//! a segment is missing.

use t4_kv_types::LogIndex;

use crate::error::{Damage, Found};

/// The offset of the mark, in a sector of its own.
pub(crate) const MARK_OFFSET: u64 = 512;

const MAGIC: &[u8; 8] = b"T4CLOSED";
/// The length of the mark in bytes.
pub(crate) const MARK_BYTES: usize = 21;
/// Its last byte, which a torn write has not reached.
const END: usize = MARK_BYTES - 1;
const CLOSED: u8 = 0x9d;
const WITHDRAWN: u8 = 0x6e;

/// What a segment records about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Nothing: it is the newest, or the next one has no entries yet.
    Open,
    /// The mark only partly reached the disk: equivalent to nothing.
    Torn,
    /// The log continues in the segment that begins with this entry.
    Closed(LogIndex),
    /// The log continued there, and that segment is being removed: it may or
    /// may not exist.
    Withdrawn(LogIndex),
}

impl Closing {
    /// The mark of a segment with this salt, whose successor begins with
    /// `next`.
    pub(crate) fn encode(salt: u64, next: LogIndex) -> [u8; MARK_BYTES] {
        let mut mark = [0; MARK_BYTES];
        mark[..8].copy_from_slice(MAGIC);
        mark[8..16].copy_from_slice(&next.0.to_le_bytes());
        let crc = checksum(salt, &mark[..16]);
        mark[16..20].copy_from_slice(&crc.to_le_bytes());
        mark[END] = CLOSED;
        mark
    }

    /// The one byte that makes a mark withdrawn (or closed again), and its
    /// offset in the file. One byte is written whole or not at all.
    pub(crate) fn last_byte(withdrawn: bool) -> (u64, [u8; 1]) {
        (MARK_OFFSET + END as u64, [if withdrawn { WITHDRAWN } else { CLOSED }])
    }

    /// Reads it from the header page of a segment with this salt.
    pub(crate) fn decode(page: &[u8], salt: u64) -> Result<Closing, Found> {
        let at = MARK_OFFSET as usize;
        let mark = page.get(at..at + MARK_BYTES).unwrap_or_default();
        if mark.iter().all(|&byte| byte == 0) {
            return Ok(Closing::Open);
        }
        let next = LogIndex(u64::from_le_bytes(std::array::from_fn(|i| mark[8 + i])));
        let crc = u32::from_le_bytes(std::array::from_fn(|i| mark[16 + i]));
        let sound = mark[..8] == *MAGIC && crc == checksum(salt, &mark[..16]);
        match mark[END] {
            CLOSED if sound => Ok(Closing::Closed(next)),
            WITHDRAWN if sound => Ok(Closing::Withdrawn(next)),
            // The first byte of a mark is written first, and has three bits
            // set: one flipped bit in a page without a mark is not a mark.
            0 | WITHDRAWN if mark[0] == MAGIC[0] => Ok(Closing::Torn),
            _ => Err(Found::new(MARK_OFFSET, Damage::ClosingMark)),
        }
    }
}

fn checksum(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(mark: &[u8]) -> Vec<u8> {
        let mut page = vec![0; 4096];
        page[512..512 + mark.len()].copy_from_slice(mark);
        page
    }

    #[test]
    fn a_mark_is_read_as_written_and_every_flipped_bit_is_seen() {
        let mark = Closing::encode(7, LogIndex(19));
        assert_eq!(Closing::decode(&page(&mark), 7), Ok(Closing::Closed(LogIndex(19))));
        assert!(Closing::decode(&page(&mark), 8).is_err(), "the mark of another segment");
        for bit in 0..MARK_BYTES * 8 {
            let mut flipped = mark;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Closing::decode(&page(&flipped), 7).is_err(), "bit {bit}");
            let mut stray = [0; MARK_BYTES];
            stray[bit / 8] = 1 << (bit % 8);
            assert!(Closing::decode(&page(&stray), 7).is_err(), "stray bit {bit}");
        }
    }

    #[test]
    fn a_beginning_of_it_is_a_tear() {
        let mark = Closing::encode(7, LogIndex(19));
        assert_eq!(Closing::decode(&page(&[]), 7), Ok(Closing::Open));
        for cut in 1..MARK_BYTES {
            assert_eq!(Closing::decode(&page(&mark[..cut]), 7), Ok(Closing::Torn), "{cut}");
        }
    }

    #[test]
    fn one_that_is_withdrawn_can_be_written_again() {
        let mut mark = Closing::encode(7, LogIndex(19));
        let (at, byte) = Closing::last_byte(true);
        mark[(at - MARK_OFFSET) as usize] = byte[0];
        assert_eq!(Closing::decode(&page(&mark), 7), Ok(Closing::Withdrawn(LogIndex(19))));
        let other = Closing::encode(7, LogIndex(23));
        for cut in 1..MARK_BYTES {
            mark[..cut].copy_from_slice(&other[..cut]);
            let open = matches!(
                Closing::decode(&page(&mark), 7),
                Ok(Closing::Torn | Closing::Withdrawn(_))
            );
            assert!(open, "{cut}");
        }
    }
}
