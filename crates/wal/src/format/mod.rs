//! The bytes of a segment file: pure functions, no IO.
//!
//! `docs/formats/wal.md` has the diagrams. A segment is a header page, then
//! frames, then zeros to the end of the file.
//!
//! Everything here serves one distinction: after a power cut, the unsynced
//! writes may be missing in any subset of their 512-byte sectors, or from some
//! byte onwards; missing bytes read as zeros, because a segment is filled with
//! zeros before it is used. So a damaged frame is a *tear* only if a part of it
//! that a power cut can lose reads as zeros. Frames are laid out so that no
//! such part is ever one bit away from zeros, which is why no flipped bit looks
//! like a tear and no tear like a flipped bit.

mod closing;
mod end_mark;
mod frame;
mod scan;
mod segment_header;
mod sparse;
mod tail;

pub use closing::Closing;
pub use end_mark::EndMark;
pub use scan::{SegmentContents, decode_segment};
pub use segment_header::{SegmentHeader, Unreadable};
pub use tail::Tail;

pub(crate) use closing::MARK_OFFSET;
pub(crate) use end_mark::{END_MARK_BYTES, END_MARK_VERSION};
pub(crate) use frame::{Fault, Frames, encode_frame, frame_end};
pub(crate) use scan::{Next, Scan, check_length, check_order, scan_segment};

use t4_kv_types::LogIndex;

/// The newest format version that is read, and the one that is written.
///
/// Version 1 is the same without the obligation to close a segment before the
/// next one has entries.
pub const FORMAT_VERSION: u32 = 2;

/// The first version whose segments are closed before the next one has entries.
pub(crate) const CLOSED_FROM_VERSION: u32 = 2;

/// The longest payload of an entry, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 20;

/// The header's page. The frames begin after it, so that writing them never
/// rewrites it.
pub(crate) const HEADER_PAGE: u64 = 4096;

/// The unit that a disk writes whole or not at all, in bytes. Disks with larger
/// sectors lose several of these together, which is covered too.
pub(crate) const SECTOR: u64 = 512;

/// The name of the segment that begins with `first`.
pub(crate) fn segment_name(first: LogIndex) -> String {
    format!("{:020}.wal", first.0)
}

/// The inverse; `None` if it is not the name of a segment.
pub(crate) fn parse_segment_name(name: &str) -> Option<LogIndex> {
    let digits = name.strip_suffix(".wal")?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(LogIndex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(segment_name(LogIndex(7)), "00000000000000000007.wal");
        for index in [1, 7, u64::MAX] {
            assert_eq!(parse_segment_name(&segment_name(LogIndex(index))), Some(LogIndex(index)));
        }
        for name in ["7.wal", "0000000000000000000a.wal", "99999999999999999999.wal", "next.tmp"] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
        assert_eq!(parse_segment_name("+0000000000000000007.wal"), None);
    }
}
