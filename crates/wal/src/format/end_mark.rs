//! The mark of a clean close: how far the log certainly reached.
//!
//! It is in a file of its own, beside the segments, so that losing the end of a
//! segment does not lose the mark. It is a lower bound: appending makes it
//! outdated, never wrong. It is text, so that a person can read it.

use std::fmt;

use t4_kv_types::LogIndex;

use super::Unreadable;
use crate::error::{Damage, Found};

/// The newest version of the mark, and the one that is written.
pub(crate) const END_MARK_VERSION: u32 = 1;

/// Its length in bytes.
pub(crate) const END_MARK_BYTES: usize = 64;

const TITLE: &str = "t4 log end, format ";
const CHECKSUM: &str = "crc32c ";
/// The length of the last line: its name, eight digits, a line feed.
const CHECKSUM_LINE: usize = CHECKSUM.len() + 9;

/// Every entry up to this one was durable when the log was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMark {
    /// The last entry of the log at that time.
    pub entry: LogIndex,
}

impl EndMark {
    /// Reads what `to_string` writes. All formats end with the checksum line,
    /// so that a damaged version is damage and not a newer version.
    ///
    /// # Errors
    /// [`Unreadable::Newer`] if it is sound and of a later version;
    /// [`Unreadable::Damaged`] otherwise.
    pub fn decode(bytes: &[u8]) -> Result<EndMark, Unreadable> {
        let damaged = || Unreadable::Damaged(Found::new(0, Damage::EndMark));
        let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
        let body = text.len().checked_sub(CHECKSUM_LINE).and_then(|at| text.get(..at));
        let body = body.ok_or_else(damaged)?;
        if text[body.len()..] != checksum_line(body) {
            return Err(damaged());
        }
        let mut lines = body.lines();
        let version = lines.next().and_then(|line| line.strip_prefix(TITLE)?.parse::<u32>().ok());
        match version {
            Some(version) if version > END_MARK_VERSION => {
                return Err(Unreadable::Newer { version });
            }
            _ => {}
        }
        let entry = lines.next().and_then(|line| line.strip_prefix("entry ")?.parse().ok());
        let mark = EndMark { entry: LogIndex(entry.ok_or_else(damaged)?) };
        if mark.to_string() == text { Ok(mark) } else { Err(damaged()) }
    }
}

fn checksum_line(body: &str) -> String {
    format!("{CHECKSUM}{:08x}\n", crc32c::crc32c(body.as_bytes()))
}

impl fmt::Display for EndMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = format!("{TITLE}{END_MARK_VERSION}\nentry {:020}\n", self.entry.0);
        write!(f, "{body}{}", checksum_line(&body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> String {
        EndMark { entry: LogIndex(4711) }.to_string()
    }

    #[test]
    fn it_is_read_as_written_and_every_changed_bit_is_seen() {
        for entry in [1, 4711, u64::MAX].map(LogIndex) {
            let text = EndMark { entry }.to_string();
            assert_eq!(text.len(), END_MARK_BYTES);
            assert_eq!(EndMark::decode(text.as_bytes()), Ok(EndMark { entry }));
        }
        for bit in 0..END_MARK_BYTES * 8 {
            let mut bytes = mark().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = EndMark::decode(&bytes);
            assert!(matches!(read, Err(Unreadable::Damaged(_))), "bit {bit}: {read:?}");
        }
    }

    #[test]
    fn a_part_of_it_and_more_than_it_are_damage() {
        for cut in 0..END_MARK_BYTES {
            assert!(EndMark::decode(&mark().as_bytes()[..cut]).is_err(), "{cut}");
        }
        let more = mark() + "\n";
        assert!(EndMark::decode(more.as_bytes()).is_err());
        assert!(EndMark::decode(&[0; END_MARK_BYTES]).is_err());
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let body = "t4 log end, format 2\nwhatever it says\n";
        let later = format!("{body}{}", checksum_line(body));
        let read = EndMark::decode(later.as_bytes());
        assert_eq!(read, Err(Unreadable::Newer { version: 2 }));
        // An equivalent spelling is not what was written.
        let body = format!("t4 log end, format 1\nentry {:021}\n", 4711);
        let long = format!("{body}{}", checksum_line(&body));
        assert!(matches!(EndMark::decode(long.as_bytes()), Err(Unreadable::Damaged(_))));
    }
}
