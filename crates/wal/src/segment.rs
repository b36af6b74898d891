//! An open segment file.

use std::sync::Arc;

use parking_lot::Mutex;
use t4_kv_types::{Epoch, LogIndex};

use crate::dir::{SegmentDir, SegmentFile};
use crate::error::{DIRECTORY, Damage, Found, SYNC, WalError};
use crate::format::{
    CLOSED_FROM_VERSION, Closing, FORMAT_VERSION, HEADER_PAGE, MARK_OFFSET, Next, Scan,
    SegmentHeader, Unreadable, check_length, parse_segment_name, scan_segment, segment_name,
};
use crate::housekeeping::{PREPARED_NAME, Prepared};

/// The distance between remembered positions, in bytes.
const MARK_DISTANCE: u64 = 64 << 10;

/// An open segment file.
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn SegmentFile>,
    /// Some entries, in order, each with the end of the preceding frame:
    /// positions from which to start reading.
    marks: Mutex<Vec<(LogIndex, u64)>>,
    /// What it records about the next segment.
    closing: Mutex<Closing>,
}

impl Segment {
    fn new(header: SegmentHeader, file: Arc<dyn SegmentFile>, closing: Closing) -> Segment {
        let marks = Mutex::new(vec![(header.first, HEADER_PAGE)]);
        let name = segment_name(header.first);
        Segment { name, header, file, marks, closing: Mutex::new(closing) }
    }

    /// Opens a segment and checks what can be checked without reading frames.
    pub(crate) fn open(dir: &dyn SegmentDir, name: &str) -> Result<Segment, WalError> {
        let corrupt = |offset, what| WalError::corrupt(name, Found::new(offset, what));
        let first = parse_segment_name(name).ok_or_else(|| corrupt(0, Damage::Name))?;
        let file = dir.open(name).map_err(|error| WalError::fatal("open", name, error))?;
        let bytes = file.file_bytes().map_err(|error| WalError::fatal("stat", name, error))?;
        let mut page = vec![0; bytes.min(HEADER_PAGE) as usize];
        file.read_at(&mut page, 0).map_err(|error| WalError::fatal("read", name, error))?;
        let header = SegmentHeader::decode(&page).map_err(|fault| match fault {
            Unreadable::Damaged(found) => WalError::corrupt(name, found),
            Unreadable::Newer { version } => {
                WalError::NewerFormat { file: name.to_owned(), version, known: FORMAT_VERSION }
            }
        })?;
        if header.first != first {
            return Err(corrupt(24, Damage::NameMismatch { header: header.first }));
        }
        check_length(&header, bytes).map_err(|found| WalError::corrupt(name, found))?;
        let closing = Closing::decode(&page, header.salt);
        let closing = closing.map_err(|found| WalError::corrupt(name, found))?;
        Ok(Segment::new(header, file, closing))
    }

    /// What it records about the next segment.
    pub(crate) fn closing(&self) -> Closing {
        *self.closing.lock()
    }

    /// Whether it must be closed before the next segment has entries.
    pub(crate) fn must_be_closed(&self) -> bool {
        self.header.version >= CLOSED_FROM_VERSION
    }

    /// Records, durably, that the log continues in the segment that begins with
    /// `next`. Call this before that segment has its first entry.
    pub(crate) fn close(&self, next: LogIndex) -> Result<(), WalError> {
        let mark = Closing::encode(self.header.salt, next);
        self.write_mark(&mark, MARK_OFFSET, Closing::Closed(next))
    }

    /// Records, durably, that the next segment may or may not exist.
    pub(crate) fn withdraw(&self) -> Result<(), WalError> {
        let Closing::Closed(next) = self.closing() else { return Ok(()) };
        let (offset, byte) = Closing::last_byte(true);
        self.write_mark(&byte, offset, Closing::Withdrawn(next))
    }

    /// Reverts a withdrawal.
    pub(crate) fn close_again(&self, next: LogIndex) -> Result<(), WalError> {
        let (offset, byte) = Closing::last_byte(false);
        self.write_mark(&byte, offset, Closing::Closed(next))
    }

    fn write_mark(&self, bytes: &[u8], offset: u64, now: Closing) -> Result<(), WalError> {
        let written = self.file.write_at(bytes, offset);
        written.map_err(|error| WalError::from_io("write", &self.name, error))?;
        self.file.sync().map_err(|error| WalError::fatal(SYNC, &self.name, error))?;
        *self.closing.lock() = now;
        Ok(())
    }

    /// Reads and checks the whole segment. Takes as much memory as the file is
    /// long.
    pub(crate) fn scan(&self, next: Next) -> Result<(Scan, Vec<u8>), WalError> {
        let mut image = vec![0; self.header.file_bytes as usize];
        self.file.read_at(&mut image, 0).map_err(|e| WalError::fatal("read", &self.name, e))?;
        let scan = scan_segment(&image, &self.header, next, &mut |frame| {
            self.note_place(frame.header.index, frame.previous_end);
        })
        .map_err(|found| WalError::corrupt(&self.name, found))?;
        Ok((scan, image))
    }

    /// Remembers the position of `index`, if it is far enough from the last
    /// known one.
    pub(crate) fn note_place(&self, index: LogIndex, previous_end: u64) {
        let mut marks = self.marks.lock();
        if marks.last().is_none_or(|&(_, at)| previous_end >= at + MARK_DISTANCE) {
            marks.push((index, previous_end));
        }
    }

    /// The nearest remembered position from which reading reaches `index`.
    pub(crate) fn place_before(&self, index: LogIndex) -> (LogIndex, u64) {
        let marks = self.marks.lock();
        let after = marks.partition_point(|&(marked, _)| marked <= index);
        marks[after.saturating_sub(1)]
    }
}

/// The header fields of a new segment, and the source of its file.
pub(crate) struct NewSegment {
    pub(crate) prepared: Prepared,
    pub(crate) first: LogIndex,
    /// The epoch of the preceding entry.
    pub(crate) epoch: Epoch,
    pub(crate) previous_salt: u64,
    pub(crate) salt: u64,
}

impl NewSegment {
    /// Writes the header and syncs the file, which already contains its frames,
    /// if any. A full disk leaves nothing behind.
    pub(crate) fn write(self, dir: &dyn SegmentDir) -> Result<Segment, WalError> {
        let header = SegmentHeader {
            version: FORMAT_VERSION,
            salt: self.salt,
            first: self.first,
            epoch: self.epoch,
            previous_salt: self.previous_salt,
            file_bytes: self.prepared.bytes,
        };
        let file = self.prepared.file;
        file.write_at(&header.encode(), 0).map_err(|error| discard(dir, "write", error))?;
        file.sync().map_err(|error| WalError::fatal(SYNC, PREPARED_NAME, error))?;
        Ok(Segment::new(header, file, Closing::Open))
    }
}

/// Removes the prepared file after a failed write or rename, and returns the
/// error.
pub(crate) fn discard(
    dir: &dyn SegmentDir,
    operation: &'static str,
    error: std::io::Error,
) -> WalError {
    // A file left behind is removed before the next preparation.
    let _ = dir.remove(PREPARED_NAME);
    WalError::from_io(operation, PREPARED_NAME, error)
}

impl Segment {
    /// Renames the prepared file to its final name, durably.
    pub(crate) fn publish(self, dir: &dyn SegmentDir) -> Result<Arc<Segment>, WalError> {
        dir.rename(PREPARED_NAME, &self.name).map_err(|error| discard(dir, "rename", error))?;
        sync_dir(dir)?;
        Ok(Arc::new(self))
    }
}

/// Makes names durable; a failure is always fatal.
pub(crate) fn sync_dir(dir: &dyn SegmentDir) -> Result<(), WalError> {
    dir.sync_dir().map_err(|error| WalError::fatal(SYNC, DIRECTORY, error))
}

/// Removes the segments after `before`, newest first and one at a time, so that
/// a crash always leaves a beginning of the log without gaps. Each is first
/// withdrawn by its predecessor, which would otherwise report it missing.
pub(crate) fn remove_from_the_end(
    dir: &dyn SegmentDir,
    before: &Segment,
    segments: &[Arc<Segment>],
) -> Result<(), WalError> {
    for (at, segment) in segments.iter().enumerate().rev() {
        let before = at.checked_sub(1).map_or(before, |at| &*segments[at]);
        before.withdraw()?;
        dir.remove(&segment.name).map_err(|e| WalError::fatal("remove", &segment.name, e))?;
        sync_dir(dir)?;
    }
    Ok(())
}
