//! Reads entries back, in order, a window at a time.

use std::sync::Arc;

use parking_lot::RwLock;
use t4_kv_types::{Epoch, LogIndex};

use crate::entry::Entry;
use crate::error::{Damage, Found, WalError};
use crate::format::{Fault, Frames, HEADER_PAGE, check_order};
use crate::segment::Segment;

/// How much is read at once, in bytes, unless an entry is longer.
const WINDOW: u64 = 256 << 10;

/// The segments of the log, and its last entry.
pub(crate) struct LogMap {
    /// In order, without gaps. Never empty.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The last entry that was written, synced or not.
    pub(crate) last: LogIndex,
}

impl LogMap {
    /// The first entry that the log has, or will have if it is empty.
    pub(crate) fn first(&self) -> LogIndex {
        self.segments.first().map_or(self.last.next(), |segment| segment.header.first)
    }

    /// The last entry of the segment at `at`.
    fn last_of(&self, at: usize) -> LogIndex {
        self.segments.get(at + 1).map_or(self.last, |next| LogIndex(next.header.first.0 - 1))
    }

    /// The segment that holds `index`, which is not before the first.
    pub(crate) fn position_of(&self, index: LogIndex) -> usize {
        self.segments.partition_point(|segment| segment.header.first <= index).saturating_sub(1)
    }

    /// The segments from the one that holds `from`, each with its last entry.
    pub(crate) fn spans_from(&self, from: LogIndex) -> Vec<(Arc<Segment>, LogIndex)> {
        let begin = self.position_of(from);
        let span = |at| (Arc::clone(&self.segments[at]), self.last_of(at));
        (begin..self.segments.len()).map(span).collect()
    }
}

/// Reads from a log while another thread writes it. Clones read the same log.
#[derive(Clone)]
pub struct Reader {
    pub(crate) log: Arc<RwLock<LogMap>>,
}

impl Reader {
    /// How many segment files the log has, all of them open.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.log.read().segments.len()
    }

    /// The first entry that the log has, or will have if it is empty.
    #[must_use]
    pub fn first_index(&self) -> LogIndex {
        self.log.read().first()
    }

    /// The last entry that was written. It may not be synced yet.
    #[must_use]
    pub fn last_index(&self) -> LogIndex {
        self.log.read().last
    }

    /// The entries starting at `from`: as many as fit in `bytes_max` bytes of
    /// payload, but at least one if there is one. Empty if `from` is after the
    /// last entry. Includes entries that are not synced yet.
    ///
    /// # Errors
    /// [`WalError::Released`] if the log begins after `from`;
    /// [`WalError::Corrupt`] or [`WalError::Io`] if it cannot be read.
    pub fn read(&self, from: LogIndex, bytes_max: usize) -> Result<Vec<Entry>, WalError> {
        let (first, last, spans) = {
            let log = self.log.read();
            (log.first(), log.last, log.spans_from(from))
        };
        if from < first {
            return Err(WalError::Released { asked: from, first });
        }
        let mut entries = Vec::new();
        let mut bytes = 0;
        if from > last {
            return Ok(entries);
        }
        for entry in Replay::new(spans, from) {
            let entry = entry?;
            bytes += entry.payload.len();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(entries)
    }
}

/// The entries of a range of the log, in order, each checked again as it is
/// read. Holds one window of 256 KiB, or one entry if that is longer. Ends
/// after an error.
pub struct Replay {
    /// The remaining segments, the last one first.
    spans: Vec<(Arc<Segment>, LogIndex)>,
    cursor: Option<Cursor>,
    from: LogIndex,
}

impl Replay {
    /// The entries starting at `from`, which is in the first of `spans` or
    /// after all of them.
    pub(crate) fn new(mut spans: Vec<(Arc<Segment>, LogIndex)>, from: LogIndex) -> Replay {
        spans.reverse();
        Replay { spans, cursor: None, from }
    }

    fn advance(&mut self) -> Result<Option<Entry>, WalError> {
        loop {
            if let Some(cursor) = &mut self.cursor {
                while cursor.next <= cursor.last {
                    if let Some(entry) = cursor.step(self.from)? {
                        return Ok(Some(entry));
                    }
                }
            }
            let Some((segment, last)) = self.spans.pop() else {
                return Ok(None);
            };
            self.cursor = Some(Cursor::new(segment, last, self.from));
        }
    }
}

impl Iterator for Replay {
    type Item = Result<Entry, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.advance();
        if result.is_err() {
            self.spans.clear();
            self.cursor = None;
        }
        result.transpose()
    }
}

/// A position in a segment, with the bytes around it.
struct Cursor {
    segment: Arc<Segment>,
    /// The entry at the position, and the last one of the segment.
    next: LogIndex,
    last: LogIndex,
    /// The epoch of the previous entry, if known.
    epoch: Epoch,
    /// The end of the previous frame.
    offset: u64,
    window: Vec<u8>,
    window_base: u64,
}

impl Cursor {
    fn new(segment: Arc<Segment>, last: LogIndex, from: LogIndex) -> Cursor {
        let (next, offset) = segment.place_before(from);
        let epoch = segment.header.epoch;
        debug_assert!(offset >= HEADER_PAGE);
        Cursor { segment, next, last, epoch, offset, window: Vec::new(), window_base: offset }
    }

    /// Advances by one entry; returns it if it is `from` or later.
    fn step(&mut self, from: LogIndex) -> Result<Option<Entry>, WalError> {
        loop {
            let salt = self.segment.header.salt;
            let frames = Frames { bytes: &self.window, base: self.window_base, salt };
            match frames.at(self.offset) {
                Ok(frame) => {
                    check_order(&frame, self.next, self.epoch)
                        .map_err(|found| WalError::corrupt(&self.segment.name, found))?;
                    self.segment.note_place(self.next, self.offset);
                    let entry = (self.next >= from).then(|| frame.entry());
                    self.epoch = frame.header.epoch;
                    self.offset = frame.end;
                    self.next = self.next.next();
                    return Ok(entry);
                }
                Err(Fault::Beyond(to)) if to <= self.segment.header.file_bytes => self.fill(to)?,
                Err(fault) => return Err(self.damage(&fault)),
            }
        }
    }

    /// Moves the window so that it begins here and reaches at least `to`.
    fn fill(&mut self, to: u64) -> Result<(), WalError> {
        let end = to.max(self.offset + WINDOW).min(self.segment.header.file_bytes);
        self.window.resize((end - self.offset) as usize, 0);
        self.window_base = self.offset;
        let read = self.segment.file.read_at(&mut self.window, self.offset);
        read.map_err(|error| WalError::fatal("read", &self.segment.name, error))
    }

    fn damage(&self, fault: &Fault) -> WalError {
        let what = match fault {
            Fault::Damaged(what) => what(self.next),
            Fault::Blank | Fault::Torn | Fault::Beyond(_) => {
                Damage::Incomplete { from: self.next, through: self.last }
            }
        };
        WalError::corrupt(&self.segment.name, Found::new(self.offset, what))
    }
}
