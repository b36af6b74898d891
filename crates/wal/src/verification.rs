//! Reads every byte of a log and reports everything that is wrong with it.

use std::sync::Arc;

use t4_kv_types::{Epoch, LogIndex};

use crate::dir::SegmentDir;
use crate::end_mark::read_end_mark;
use crate::error::{Damage, Found, WalError};
use crate::format::{END_MARK_BYTES, Next, Scan, Tail, segment_name};
use crate::recovery::{TornTail, check_closing, check_end_mark, refuse_lost_end, segment_names};
use crate::segment::Segment;

/// The contents of a log, and its faults.
#[derive(Debug, Default)]
pub struct Verification {
    /// How many segments there are.
    pub segments: usize,
    /// Their length in bytes.
    pub bytes: u64,
    /// How many sound entries they hold.
    pub entries: u64,
    /// The last entry, and its epoch; zeros if there are none.
    pub last: (Epoch, LogIndex),
    /// The last entry that was durable when the log was last closed, if the end
    /// mark exists and is sound.
    pub marked: Option<LogIndex>,
    /// What the next start will cut off: a write that was never acknowledged.
    /// Not a fault.
    pub torn: Option<TornTail>,
    /// Everything that is wrong, each with the file and the position.
    pub faults: Vec<WalError>,
    /// The end of the last entry in its segment; `None` if the newest segment
    /// cannot be read up to there.
    end: Option<u64>,
}

/// Reads and checks every byte of the log in `dir`; its entries up to `after`
/// are not needed. Unlike opening it, this does not stop at the first fault,
/// and also reads the entries that are not needed. Nothing is written. Nobody
/// may append to the log meanwhile.
pub fn verify(dir: impl SegmentDir, after: LogIndex) -> Verification {
    let dir: Arc<dyn SegmentDir> = Arc::new(dir);
    let mut this = Verification::default();
    match read_end_mark(&*dir) {
        Ok(LogIndex(0)) => {}
        Ok(marked) => {
            this.marked = Some(marked);
            this.bytes += END_MARK_BYTES as u64;
        }
        Err(error) => this.faults.push(error),
    }
    let names = match segment_names(&*dir) {
        Ok(names) => names,
        Err(error) => {
            this.faults.push(error);
            return this;
        }
    };
    let mut segments = Vec::new();
    for name in &names {
        match Segment::open(&*dir, name) {
            Ok(segment) => segments.push(Arc::new(segment)),
            Err(error) => this.faults.push(error),
        }
    }
    // Checks between neighbours make sense only if all segments were read.
    let whole = segments.len() == names.len();
    this.read_all(&segments, after, whole);
    if whole {
        this.check_beginning(&segments, after);
    }
    if segments.last().map(|segment| &segment.name) == names.last() {
        this.check_end(&segments, after);
    }
    this
}

impl Verification {
    fn read_all(&mut self, segments: &[Arc<Segment>], after: LogIndex, whole: bool) {
        let mut before: Option<Scan> = None;
        for (at, segment) in segments.iter().enumerate() {
            self.segments += 1;
            self.bytes += segment.header.file_bytes;
            let next = segments.get(at + 1).filter(|next| follows(segment, next));
            if whole && next.is_none() && at + 1 < segments.len() {
                self.check_hole(&segments[at + 1], after);
            }
            let scan = self.read(segment, next.map(|next| next.header.first));
            if let (Some(before), true) = (&before, at > 0 && follows(&segments[at - 1], segment))
                && before.epoch != segment.header.epoch
            {
                let found = Found::new(32, Damage::HeaderValue);
                self.faults.push(WalError::corrupt(&segment.name, found));
            }
            if at > 0 && follows(&segments[at - 1], segment) {
                let used =
                    at + 1 < segments.len() || scan.as_ref().is_some_and(|s| uses(s, segment));
                self.note(check_closing(&segments[at - 1], segment.header.first, used));
            }
            before = scan;
        }
    }

    /// Reads a segment; `next` is the first entry of the segment after it.
    fn read(&mut self, segment: &Segment, next: Option<LogIndex>) -> Option<Scan> {
        let scan = match segment.scan(next.map_or(Next::Nothing, Next::Segment)) {
            Ok((scan, _)) => scan,
            Err(error) => {
                self.faults.push(error);
                self.end = None;
                return None;
            }
        };
        self.entries += (scan.last.0 + 1).saturating_sub(segment.header.first.0);
        self.last = (scan.epoch, scan.last);
        self.end = Some(scan.end);
        match scan.tail {
            Tail::Clean => {}
            Tail::Torn { offset, end } => {
                let (file, bytes) = (segment.name.clone(), end - offset);
                self.torn = Some(TornTail { file, offset, bytes });
            }
            Tail::Stray { offset } => {
                let found = Found::new(offset, Damage::StrayBit);
                self.faults.push(WalError::corrupt(&segment.name, found));
            }
        }
        Some(scan)
    }

    /// A segment may be missing before `behind` if nothing in it is needed.
    fn check_hole(&mut self, behind: &Segment, after: LogIndex) {
        if behind.header.first > LogIndex(after.0.saturating_add(1)) {
            let found = Found::new(40, Damage::MissingSegment);
            self.faults.push(WalError::corrupt(&behind.name, found));
        }
    }

    fn check_beginning(&mut self, segments: &[Arc<Segment>], after: LogIndex) {
        let first = segments.first().map(|segment| segment.header.first);
        if let Some(first) = first.filter(|first| after.0.saturating_add(1) < first.0) {
            self.faults.push(WalError::Gap { after, first });
        }
    }

    /// Whatever else is wrong: who mends that must know of what is lost, too. One
    /// loss is one fault, that with which a start is refused.
    fn check_end(&mut self, segments: &[Arc<Segment>], after: LogIndex) {
        let marked = self.marked.unwrap_or_default();
        let Some(newest) = segments.last() else {
            let next = segment_name(LogIndex(after.0.saturating_add(1)));
            return self.note(check_end_mark(&next, (after, 0), marked));
        };
        let checked = refuse_lost_end(segments).and_then(|()| match (self.end, self.last.1) {
            (None, _) => Ok(()),
            (Some(_), last) if last < after => Err(WalError::Short { after, last }),
            (Some(end), last) => check_end_mark(&newest.name, (last, end), marked),
        });
        self.note(checked);
    }

    fn note(&mut self, checked: Result<(), WalError>) {
        self.faults.extend(checked.err());
    }
}

fn follows(segment: &Segment, next: &Segment) -> bool {
    next.header.previous_salt == segment.header.salt
}

/// Whether a segment has an entry, or part of one.
fn uses(scan: &Scan, segment: &Segment) -> bool {
    scan.last >= segment.header.first || matches!(scan.tail, Tail::Torn { .. })
}
