//! Opens a log: finds its segments, checks them, cuts off a torn tail.

use std::sync::Arc;

use t4_kv_types::{Epoch, LogIndex};

use crate::dir::SegmentDir;
use crate::end_mark::{END_TEMPORARY, read_end_mark};
use crate::error::{DIRECTORY, Damage, Found, SYNC, WalError};
use crate::format::{Closing, HEADER_PAGE, MARK_OFFSET, Next, Scan, Tail, segment_name};
use crate::housekeeping::{PREPARED_NAME, SPARE_NAME, remove_if_there};
use crate::segment::{Segment, sync_dir};

/// What opening a log found and changed. Log every field that is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The last write had only partly reached the disk, and was removed. It had
    /// never been synced, so nothing acknowledged is lost.
    pub torn: Option<TornTail>,
    /// Single bits that are set in unused space: no entry is affected, but the
    /// disk is losing bits.
    pub strays: Vec<StrayBit>,
    /// Segments that had been released earlier and were removed now.
    pub leftovers: usize,
}

/// A torn write that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment's file name.
    pub file: String,
    /// Where it began, in bytes.
    pub offset: u64,
    /// The bytes from there to the last one that was not zero.
    pub bytes: u64,
}

/// A bit that is set where zeros should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrayBit {
    /// The segment's file name.
    pub file: String,
    /// The byte that contains it.
    pub offset: u64,
}

/// A log that can be appended to, or the lack of one in an empty directory.
pub(crate) struct Recovered {
    /// In order, without gaps.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The last entry and its epoch.
    pub(crate) last: (Epoch, LogIndex),
    /// The end of the last segment's last frame.
    pub(crate) end: u64,
    /// The last entry that the end mark vouches for; 0 if there is none.
    pub(crate) marked: LogIndex,
    pub(crate) report: Recovery,
}

/// What to do about what a crash has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Repair everything, so that the log can be appended to.
    Repair,
    /// Change nothing: the report says what a repair would do.
    Look,
}

/// Finds and checks the log. Entries up to `after` are not needed: segments
/// that contain only those may be missing, and are not read.
pub(crate) fn recover(
    dir: &dyn SegmentDir,
    after: LogIndex,
    mode: Mode,
) -> Result<Recovered, WalError> {
    let mut report = Recovery::default();
    let marked = read_end_mark(dir)?;
    let segments = find_segments(dir, mode)?;
    let segments = drop_leftovers(dir, segments, after, mode, &mut report)?;
    let needed = LogIndex(after.0.saturating_add(1));
    if let Some(first) = segments.first().map(|segment| segment.header.first)
        && first > needed
    {
        return Err(WalError::Gap { after, first });
    }
    if segments.is_empty() {
        check_end_mark(&segment_name(needed), (after, 0), marked)?;
    }
    let (last, end) = ((Epoch(0), after), HEADER_PAGE);
    let mut recovered = Recovered { segments, last, end, marked, report };
    refuse_lost_end(&recovered.segments)?;
    recovered.check(after, mode)?;
    if mode == Mode::Repair {
        close_all(&recovered.segments)?;
    }
    Ok(recovered)
}

/// Refuses a last segment that is closed: a later one must exist.
pub(crate) fn refuse_lost_end(segments: &[Arc<Segment>]) -> Result<(), WalError> {
    let Some(last) = segments.last() else { return Ok(()) };
    let Closing::Closed(next) = last.closing() else { return Ok(()) };
    Err(WalError::Lost { file: segment_name(next), closed: last.name.clone(), from: next })
}

/// Checks that a log whose newest segment ends with the given entry and byte
/// still reaches as far as when it was closed.
pub(crate) fn check_end_mark(
    newest: &str,
    (last, offset): (LogIndex, u64),
    marked: LogIndex,
) -> Result<(), WalError> {
    if last >= marked {
        return Ok(());
    }
    Err(WalError::EndLost { file: newest.to_owned(), offset, from: last.next(), through: marked })
}

/// Checks that a segment's closing mark agrees with the next segment. `used`:
/// whether that segment has entries or is followed by one that has.
pub(crate) fn check_closing(segment: &Segment, next: LogIndex, used: bool) -> Result<(), WalError> {
    let corrupt = |what| Err(WalError::corrupt(&segment.name, Found::new(MARK_OFFSET, what)));
    match segment.closing() {
        Closing::Closed(closed) | Closing::Withdrawn(closed) if closed != next => {
            corrupt(Damage::ClosedElsewhere { closed, next })
        }
        Closing::Open | Closing::Torn if used && segment.must_be_closed() => {
            corrupt(Damage::NotClosed { next })
        }
        _ => Ok(()),
    }
}

/// Closes segments left open by a crash, an interrupted withdrawal or an older
/// version.
fn close_all(segments: &[Arc<Segment>]) -> Result<(), WalError> {
    for pair in segments.windows(2) {
        let next = pair[1].header.first;
        match pair[0].closing() {
            Closing::Closed(_) => {}
            Closing::Withdrawn(_) => pair[0].close_again(next)?,
            Closing::Open | Closing::Torn => pair[0].close(next)?,
        }
    }
    Ok(())
}

/// All segments, ordered by first entry.
fn find_segments(dir: &dyn SegmentDir, mode: Mode) -> Result<Vec<Arc<Segment>>, WalError> {
    let names = segment_names(dir)?;
    if mode == Mode::Repair {
        for name in [PREPARED_NAME, SPARE_NAME, END_TEMPORARY] {
            remove_if_there(dir, name).map_err(|error| WalError::fatal("remove", name, error))?;
        }
    }
    names.iter().map(|name| Segment::open(dir, name).map(Arc::new)).collect()
}

/// Their names, in log order.
pub(crate) fn segment_names(dir: &dyn SegmentDir) -> Result<Vec<String>, WalError> {
    let failed = |error| WalError::fatal("list", DIRECTORY, error);
    let mut names = dir.list().map_err(failed)?;
    names.retain(|name| name.ends_with(".wal"));
    names.sort();
    Ok(names)
}

/// Keeps the segments that follow one another without gaps up to the newest. A
/// gap is allowed only before entries that are not needed: released segments
/// are removed one by one, and a crash may keep any of them.
fn drop_leftovers(
    dir: &dyn SegmentDir,
    mut segments: Vec<Arc<Segment>>,
    after: LogIndex,
    mode: Mode,
    report: &mut Recovery,
) -> Result<Vec<Arc<Segment>>, WalError> {
    let follows = |pair: &[Arc<Segment>]| pair[1].header.previous_salt == pair[0].header.salt;
    let Some(hole) = segments.windows(2).rposition(|pair| !follows(pair)) else {
        return Ok(segments);
    };
    let kept = segments.split_off(hole + 1);
    let behind = &kept[0];
    if behind.header.first > LogIndex(after.0.saturating_add(1)) {
        return Err(WalError::corrupt(&behind.name, Found::new(40, Damage::MissingSegment)));
    }
    if mode == Mode::Repair {
        for segment in &segments {
            dir.remove(&segment.name).map_err(|e| WalError::fatal("remove", &segment.name, e))?;
        }
        sync_dir(dir)?;
    }
    report.leftovers = segments.len();
    Ok(kept)
}

impl Recovered {
    /// `used`: whether the last segment has entries, or part of one.
    fn check_closings(&self, used: bool) -> Result<(), WalError> {
        let pairs = self.segments.len().saturating_sub(1);
        for (at, pair) in self.segments.windows(2).enumerate() {
            check_closing(&pair[0], pair[1].header.first, used || at + 1 < pairs)?;
        }
        Ok(())
    }

    /// Reads and checks the segments that have entries after `after`, and
    /// always the last one.
    fn check(&mut self, after: LogIndex, mode: Mode) -> Result<(), WalError> {
        let needed = LogIndex(after.0.saturating_add(1));
        let segments = self.segments.clone();
        // The epoch at the end of the previous segment, if it was read.
        let mut epoch = None;
        for (at, segment) in segments.iter().enumerate() {
            let next = segments.get(at + 1).map(|next| next.header.first);
            if next.is_some_and(|next| next <= needed) {
                continue;
            }
            if epoch.is_some_and(|epoch| epoch != segment.header.epoch) {
                return Err(WalError::corrupt(&segment.name, Found::new(32, Damage::HeaderValue)));
            }
            let (scan, image) = segment.scan(next.map_or(Next::Nothing, Next::Segment))?;
            if let Tail::Stray { offset } = scan.tail {
                self.report.strays.push(StrayBit { file: segment.name.clone(), offset });
            }
            epoch = Some(scan.epoch);
            if next.is_none() {
                let used = scan.last >= segment.header.first || is_torn(scan.tail);
                // Before any repair: a log that has lost its end is left as it
                // was found.
                if scan.last < after {
                    return Err(WalError::Short { after, last: scan.last });
                }
                check_end_mark(&segment.name, (scan.last, scan.end), self.marked)?;
                self.check_closings(used)?;
                self.last = (scan.epoch, scan.last);
                self.end = scan.end;
                if let Tail::Torn { offset, end } = scan.tail {
                    let (file, bytes) = (segment.name.clone(), end - offset);
                    self.report.torn = Some(TornTail { file, offset, bytes });
                }
                if mode == Mode::Repair {
                    mend(segment, &scan, &image)?;
                }
            }
        }
        Ok(())
    }
}

fn is_torn(tail: Tail) -> bool {
    matches!(tail, Tail::Torn { .. })
}

/// Prepares the last segment for appending: zeros after the last frame, and
/// every frame durable.
fn mend(segment: &Segment, scan: &Scan, image: &[u8]) -> Result<(), WalError> {
    let write = |bytes: &[u8], offset| {
        let written = segment.file.write_at(bytes, offset);
        written.map_err(|error| WalError::from_io("write", &segment.name, error))
    };
    match scan.tail {
        Tail::Clean => {}
        Tail::Stray { offset } => write(&[0], offset)?,
        Tail::Torn { offset, end } => write(&vec![0; (end - offset) as usize], offset)?,
    }
    // The frames read may be in the page cache only. Worse, if a sync failed
    // and the process was restarted, the cache may consider them clean, and a
    // sync alone would do nothing: write them again.
    if let Some(from) = scan.unsynced
        && let Some(frames) = image.get(from as usize..scan.end as usize)
    {
        write(frames, from)?;
    }
    segment.file.sync().map_err(|error| WalError::fatal(SYNC, &segment.name, error))
}
