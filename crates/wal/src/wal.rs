//! The log itself: appending, syncing, releasing.

use std::sync::Arc;

use parking_lot::RwLock;
use t4_kv_types::{Epoch, LogIndex};

use crate::config::Config;
use crate::dir::SegmentDir;
use crate::end_mark::write_end_mark;
use crate::entry::Entry;
use crate::error::{SYNC, WalError};
use crate::format::{HEADER_PAGE, PAYLOAD_BYTES_MAX, encode_frame, frame_end};
use crate::housekeeping::Housekeeping;
use crate::preparation::Preparation;
use crate::reader::{LogMap, Reader, Replay};
use crate::recovery::{Mode, Recovery, recover};
use crate::segment::{NewSegment, Segment};

/// The largest write buffer that is kept for the next batch, in bytes.
const BUFFER_KEPT_MAX: usize = 1 << 20;

/// An append-only log of entries in a directory. One owner, one thread; see
/// [`GroupCommit`](crate::GroupCommit) for sharing it and [`Reader`] for
/// reading concurrently.
pub struct Wal {
    pub(crate) dir: Arc<dyn SegmentDir>,
    pub(crate) config: Config,
    pub(crate) log: Arc<RwLock<LogMap>>,
    /// The newest segment, the one that is appended to.
    pub(crate) active: Arc<Segment>,
    /// The segment before it, if that still needs to be closed.
    pub(crate) unclosed: Option<Arc<Segment>>,
    /// The end of its last frame; everything after it is zeros.
    pub(crate) end: u64,
    pub(crate) last: (Epoch, LogIndex),
    /// Every entry up to this one is durable. `synced <= last`.
    pub(crate) synced: LogIndex,
    /// When the active segment is filled up to here, the next one is requested.
    pub(crate) prepare_at: u64,
    /// Where the active segment ended when the next one was requested.
    pub(crate) paced_from: Option<u64>,
    /// Where the preparation is next notified of how far it may proceed.
    pub(crate) next_pace: u64,
    buffer: Vec<u8>,
    pub(crate) housekeeping: Housekeeping,
    /// There is no next segment, and the last attempt to create one failed.
    pub(crate) preparation_fails: bool,
    pub(crate) preparation_news: Option<Preparation>,
    pub(crate) counters: Counters,
    recovery: Recovery,
    /// The last entry that the end mark vouches for; 0 if there is none.
    pub(crate) marked: LogIndex,
    /// An error has left the state of the disk unknown.
    failed: bool,
}

/// Counters since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Entries written.
    pub entries: u64,
    /// Bytes of frames written, with headers and padding.
    pub bytes_written: u64,
    /// Syncs of segment data that an append made necessary.
    pub syncs: u64,
    /// Segments started.
    pub segments_begun: u64,
    /// Segments released.
    pub segments_released: u64,
    /// Failed attempts to prepare the next segment ahead of time.
    pub preparations_failed: u64,
}

impl Wal {
    /// Opens the log in `dir`, or starts one there. The caller's state covers
    /// every entry up to `after`; the entries after it are returned, in order.
    /// They are durable: reading them again after a power cut gives the same
    /// entries.
    ///
    /// An empty directory begins at `after`, with the epoch 0. The caller
    /// decides whether it may be empty.
    ///
    /// # Errors
    /// [`WalError::Corrupt`], [`WalError::Gap`], [`WalError::Short`],
    /// [`WalError::Lost`], [`WalError::EndLost`], [`WalError::EndMark`] and
    /// [`WalError::NewerFormat`] need an operator; nothing was changed.
    /// [`WalError::NoSpace`] if there is no space for the first segment.
    /// [`WalError::Io`] otherwise.
    pub fn open(
        dir: impl SegmentDir,
        config: Config,
        after: LogIndex,
    ) -> Result<(Wal, Replay), WalError> {
        let dir: Arc<dyn SegmentDir> = Arc::new(dir);
        let recovered = recover(&*dir, after, Mode::Repair)?;
        let housekeeping =
            Housekeeping::start(Arc::clone(&dir), config.segment_bytes_for(0), config.background)
                .map_err(|error| WalError::fatal("start", "the housekeeping thread", error))?;
        let mut segments = recovered.segments;
        let mut counters = Counters::default();
        if segments.is_empty() {
            let begin = Begin { first: after.next(), epoch: recovered.last.0, previous_salt: 0 };
            let bytes = config.first_segment_bytes();
            segments.push(begin.segment(&*dir, &housekeeping, bytes, bytes)?);
            counters.segments_begun = 1;
        }
        let active = Arc::clone(&segments[segments.len() - 1]);
        let last = recovered.last;
        let log = LogMap { segments, last: last.1 };
        let replay = Replay::new(log.spans_from(after.next()), after.next());
        let wal = Wal {
            dir,
            config,
            log: Arc::new(RwLock::new(log)),
            prepare_at: active.header.file_bytes / 2,
            paced_from: None,
            next_pace: 0,
            active,
            unclosed: None,
            end: recovered.end,
            last,
            synced: last.1,
            buffer: Vec::new(),
            housekeeping,
            preparation_fails: false,
            preparation_news: None,
            counters,
            recovery: recovered.report,
            marked: recovered.marked,
            failed: false,
        };
        Ok((wal, replay))
    }

    /// What opening found and changed.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The last entry that was appended, synced or not: its epoch and index.
    /// In an empty log, the index is that of the entry before the first.
    #[must_use]
    pub fn last(&self) -> (Epoch, LogIndex) {
        self.last
    }

    /// The last entry that is durable.
    #[must_use]
    pub fn synced(&self) -> LogIndex {
        self.synced
    }

    /// The first entry that the log has, or will have if it is empty.
    #[must_use]
    pub fn first_index(&self) -> LogIndex {
        self.log.read().first()
    }

    /// The counters since the log was opened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A handle for reading concurrently, on any thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { log: Arc::clone(&self.log) }
    }

    /// Like [`Reader::read`].
    ///
    /// # Errors
    /// Those of [`Reader::read`].
    pub fn read(&self, from: LogIndex, bytes_max: usize) -> Result<Vec<Entry>, WalError> {
        self.reader().read(from, bytes_max)
    }

    /// Writes entries, which must follow the last one without a gap, with one
    /// write and no sync: they are durable after the next [`Wal::sync`]. All or
    /// nothing: an error means that none was appended.
    ///
    /// # Errors
    /// [`WalError::NoSpace`], [`WalError::Exhausted`]: refused, and may be
    /// retried; none of the entries comes back after a restart.
    /// [`WalError::OutOfOrder`], [`WalError::EpochBackwards`],
    /// [`WalError::TooLarge`]: refused, the caller's mistake. [`WalError::Io`],
    /// [`WalError::Failed`]: stop.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), WalError> {
        self.append_all(entries.iter())
    }

    pub(crate) fn append_all<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a Entry> + Clone,
    ) -> Result<(), WalError> {
        self.alive()?;
        let last = check_entries(self.last, entries.clone())?;
        if last.1 == self.last.1 {
            return Ok(());
        }
        let result = self.write_entries(entries, last);
        self.note_failure(result)
    }

    fn write_entries<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a Entry> + Clone,
        last: (Epoch, LogIndex),
    ) -> Result<(), WalError> {
        let end_from = |offset| {
            let sizes = entries.clone().map(|entry| entry.payload.len());
            sizes.fold(offset, frame_end)
        };
        if end_from(self.end) > self.active.header.file_bytes {
            self.begin_segment(end_from(HEADER_PAGE))?;
        }
        if let Err(error) = self.close_previous() {
            // Reported when it is over, as for a segment that cannot be
            // prepared.
            self.preparation_fails |= error.is_refusal();
            return Err(error);
        }
        self.buffer.clear();
        let salt = self.active.header.salt;
        for entry in entries {
            encode_frame(&mut self.buffer, self.end, salt, entry, self.synced);
        }
        if let Err(error) = self.active.file.write_at(&self.buffer, self.end) {
            return Err(self.undo_write(WalError::from_io("write", &self.active.name, error)));
        }
        self.active.note_place(self.last.1.next(), self.end);
        self.counters.entries += last.1.0 - self.last.1.0;
        self.counters.bytes_written += self.buffer.len() as u64;
        self.end += self.buffer.len() as u64;
        self.last = last;
        self.log.write().last = last.1;
        self.buffer.shrink_to(BUFFER_KEPT_MAX);
        self.prepare_next();
        Ok(())
    }

    /// After a refused write, removes what was written of it, so that refused
    /// entries never come back. If that fails too, the log ends.
    fn undo_write(&mut self, error: WalError) -> WalError {
        if !error.is_refusal() {
            return error;
        }
        self.buffer.fill(0);
        let zeroed = self.active.file.write_at(&self.buffer, self.end);
        match zeroed.and_then(|()| self.active.file.sync()) {
            Ok(()) => {
                self.synced = self.last.1;
                self.preparation_fails = true;
                error
            }
            Err(source) => WalError::fatal("undo a write to", &self.active.name, source),
        }
    }

    /// Makes every appended entry durable.
    ///
    /// # Errors
    /// [`WalError::Io`] or [`WalError::Failed`]: the contents of the disk are
    /// unknown, and the process must stop. The sync is never retried.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.alive()?;
        let result = self.sync_active();
        self.note_failure(result)
    }

    fn sync_active(&mut self) -> Result<(), WalError> {
        if self.synced == self.last.1 {
            return Ok(());
        }
        let synced = self.active.file.sync();
        synced.map_err(|error| WalError::fatal(SYNC, &self.active.name, error))?;
        self.synced = self.last.1;
        self.counters.syncs += 1;
        Ok(())
    }

    /// Syncs, and records how far the log reaches, so that the next open
    /// detects anything lost from it in between instead of mistaking it for a
    /// write torn by a crash.
    ///
    /// # Errors
    /// [`WalError::NoSpace`], [`WalError::Exhausted`]: every entry is durable,
    /// but the end of the log will be judged as after a crash.
    /// [`WalError::Io`], [`WalError::Failed`]: as for [`Wal::sync`].
    pub fn close(mut self) -> Result<(), WalError> {
        self.sync()?;
        if self.synced <= self.marked {
            return Ok(());
        }
        write_end_mark(&*self.dir, self.synced)
    }

    /// Switches to a new segment with space up to `end`. The old one is synced
    /// first: the existence of a segment proves that the one before it is
    /// whole. If the old one is empty, the new one takes its name and its
    /// place.
    fn begin_segment(&mut self, end: u64) -> Result<(), WalError> {
        let old = &self.active.header;
        let first = self.last.1.next();
        let replaces = old.first == first;
        let previous_salt = if replaces { old.previous_salt } else { old.salt };
        let begin = Begin { first, epoch: self.last.0, previous_salt };
        self.sync_active()?;
        let bytes = self.next_segment_bytes(end);
        let segment = match begin.segment(&*self.dir, &self.housekeeping, end, bytes) {
            Ok(segment) => segment,
            Err(error) => {
                // The refusal is reported to the caller that appended; the
                // recovery is reported when segments can be created again.
                self.preparation_fails = error.is_refusal();
                return Err(error);
            }
        };
        self.note_prepared();
        {
            let mut log = self.log.write();
            let kept = log.segments.len() - usize::from(replaces);
            log.segments.truncate(kept);
            log.segments.push(Arc::clone(&segment));
        }
        self.counters.segments_begun += 1;
        let old = Arc::clone(&self.active);
        self.activate(segment, HEADER_PAGE);
        if !replaces {
            self.unclosed = Some(old);
        }
        Ok(())
    }

    /// Closes the segment before the active one, which is durable under its
    /// name and has no entries yet. If there is no space, the append is refused
    /// and the next one retries.
    fn close_previous(&mut self) -> Result<(), WalError> {
        if let Some(before) = &self.unclosed {
            before.close(self.active.header.first)?;
            self.unclosed = None;
        }
        Ok(())
    }

    pub(crate) fn activate(&mut self, segment: Arc<Segment>, end: u64) {
        self.prepare_at = segment.header.file_bytes / 2;
        self.paced_from = None;
        self.next_pace = 0;
        self.active = segment;
        self.end = end;
    }

    /// Releases the entries up to `through`: whole segments that hold nothing
    /// later are removed, or kept for reuse, but never the newest one. The next
    /// [`Wal::open`] must be given this entry or a later one.
    ///
    /// # Errors
    /// [`WalError::Failed`] after an earlier failure.
    pub fn release(&mut self, through: LogIndex) -> Result<(), WalError> {
        self.alive()?;
        let released: Vec<_> = {
            let mut log = self.log.write();
            let count =
                log.position_of(LogIndex(through.0.saturating_add(1))).min(log.segments.len() - 1);
            log.segments.drain(..count).collect()
        };
        if !released.is_empty() {
            self.counters.segments_released += released.len() as u64;
            self.housekeeping.release(released);
        }
        Ok(())
    }

    /// Also after a failed background sync: of the names of released segments,
    /// or of a segment that is being prepared.
    pub(crate) fn alive(&mut self) -> Result<(), WalError> {
        if self.failed {
            return Err(WalError::Failed);
        }
        let beside = self.housekeeping.take_failed_sync();
        self.note_failure(beside.map_or(Ok(()), Err))
    }

    pub(crate) fn note_failure<T>(&mut self, result: Result<T, WalError>) -> Result<T, WalError> {
        if let Err(WalError::Io { .. } | WalError::Corrupt { .. }) = &result {
            self.failed = true;
        }
        result
    }
}

/// Where a new segment begins.
pub(crate) struct Begin {
    pub(crate) first: LogIndex,
    pub(crate) epoch: Epoch,
    pub(crate) previous_salt: u64,
}

impl Begin {
    /// Creates the segment, empty and durable, of at least `bytes_min` bytes;
    /// of `bytes` if none is prepared.
    pub(crate) fn segment(
        self,
        dir: &dyn SegmentDir,
        housekeeping: &Housekeeping,
        bytes_min: u64,
        bytes: u64,
    ) -> Result<Arc<Segment>, WalError> {
        self.prepare(dir, housekeeping, bytes_min, bytes)?.write(dir)?.publish(dir)
    }

    pub(crate) fn prepare(
        self,
        dir: &dyn SegmentDir,
        housekeeping: &Housekeeping,
        bytes_min: u64,
        bytes: u64,
    ) -> Result<NewSegment, WalError> {
        let prepared = housekeeping.take(bytes_min, bytes)?;
        let salt = dir.fresh_salt().map_err(|e| WalError::fatal("draw", "a salt", e))?;
        let Begin { first, epoch, previous_salt } = self;
        Ok(NewSegment { prepared, first, epoch, previous_salt, salt })
    }
}

/// Checks that entries can follow `last`; returns the last of them.
fn check_entries<'a>(
    mut last: (Epoch, LogIndex),
    entries: impl Iterator<Item = &'a Entry>,
) -> Result<(Epoch, LogIndex), WalError> {
    for entry in entries {
        let expected = last.1.next();
        if entry.index != expected {
            return Err(WalError::OutOfOrder { expected, got: entry.index });
        }
        if entry.epoch < last.0 {
            let (index, got) = (entry.index, entry.epoch);
            return Err(WalError::EpochBackwards { index, last: last.0, got });
        }
        if entry.payload.len() > PAYLOAD_BYTES_MAX {
            let bytes = entry.payload.len();
            return Err(WalError::TooLarge { bytes, max: PAYLOAD_BYTES_MAX });
        }
        last = (entry.epoch, entry.index);
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_dir::MemoryDir;
    use crate::test_bed::{append, open};

    #[test]
    fn released_segments_go_and_the_newest_stays() {
        let dir = MemoryDir::new();
        let mut wal = open(&dir);
        for _ in 0..3 {
            append(&mut wal, 900 << 10).expect("append");
        }
        wal.release(LogIndex(1)).expect("release");
        wal.housekeeping.wait_until_idle();
        assert_eq!(wal.first_index(), LogIndex(2));
        assert_eq!(dir.contents("00000000000000000001.wal"), None);
        wal.release(LogIndex(77)).expect("release");
        wal.housekeeping.wait_until_idle();
        assert_eq!(wal.first_index(), LogIndex(3));
        assert_eq!(wal.read(LogIndex(3), 0).expect("read").len(), 1);
    }
}
