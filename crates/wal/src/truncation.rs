//! Removes entries from the end of the log.

use std::sync::Arc;

use t4_kv_types::{Epoch, LogIndex};

use crate::end_mark::remove_end_mark;
use crate::error::WalError;
use crate::format::{HEADER_PAGE, encode_frame};
use crate::housekeeping::PREPARED_NAME;
use crate::reader::Replay;
use crate::segment::{NewSegment, Segment, discard, remove_from_the_end};
use crate::wal::{Begin, Wal};

/// The approximate size of the pieces in which entries are copied, in bytes.
const COPY_PIECE: usize = 1 << 20;

impl Wal {
    /// Removes every entry after `index`, durably; does nothing if there is
    /// none. A crash in the middle leaves the log with `index` as its last
    /// entry, or with some or all of the entries after it.
    ///
    /// The segment that contains the first removed entry is copied up to that
    /// entry and replaced: if it were zeroed in place, a crash could leave a
    /// gap that looks like corruption.
    ///
    /// # Errors
    /// [`WalError::Released`] if the log begins after the entry that follows
    /// `index`. [`WalError::NoSpace`] if there is no space for the copy:
    /// nothing was changed. [`WalError::Corrupt`], [`WalError::Io`],
    /// [`WalError::Failed`]: stop.
    pub fn truncate_after(&mut self, index: LogIndex) -> Result<(), WalError> {
        self.alive()?;
        if index >= self.last.1 {
            return Ok(());
        }
        let first = self.first_index();
        if index.next() < first {
            return Err(WalError::Released { asked: index.next(), first });
        }
        let result = self.cut_after(index);
        self.note_failure(result)
    }

    fn cut_after(&mut self, index: LogIndex) -> Result<(), WalError> {
        let (at, old, later) = {
            let log = self.log.read();
            let at = log.position_of(index.next());
            (at, Arc::clone(&log.segments[at]), log.segments[at + 1..].to_vec())
        };
        let bytes = old.header.file_bytes;
        let begin = Begin {
            first: old.header.first,
            epoch: old.header.epoch,
            previous_salt: old.header.previous_salt,
        };
        let new = begin.prepare(&*self.dir, &self.housekeeping, bytes, bytes)?;
        let (epoch, end) = self.copy_entries(&old, index, &new)?;
        let segment = new.write(&*self.dir)?;
        // Errors are fatal after this point: the marks on the disk change.
        if self.marked > index {
            remove_end_mark(&*self.dir).map_err(no_way_back)?;
            self.marked = LogIndex(0);
        }
        remove_from_the_end(&*self.dir, &old, &later).map_err(no_way_back)?;
        let segment = segment.publish(&*self.dir).map_err(no_way_back)?;
        {
            let mut log = self.log.write();
            log.segments.truncate(at);
            log.segments.push(Arc::clone(&segment));
            log.last = index;
        }
        // The segments that required a mark are gone, unless they precede the
        // replaced one.
        self.unclosed.take_if(|unclosed| unclosed.header.first >= segment.header.first);
        self.last = (epoch, index);
        self.synced = index;
        self.activate(segment, end);
        Ok(())
    }

    /// Copies the entries of `old` up to `last` into a new segment. Returns the
    /// epoch of the last one and the end of its frame.
    fn copy_entries(
        &self,
        old: &Arc<Segment>,
        last: LogIndex,
        new: &NewSegment,
    ) -> Result<(Epoch, u64), WalError> {
        let mut epoch = old.header.epoch;
        let mut end = HEADER_PAGE;
        let mut piece = Vec::new();
        let write = |piece: &[u8], end| {
            let written = new.prepared.file.write_at(piece, end);
            written.map_err(|error| discard(&*self.dir, "write", error))
        };
        for entry in Replay::new(vec![(Arc::clone(old), last)], old.header.first) {
            let entry = entry?;
            // The copy gets its name only once all of it is durable.
            encode_frame(&mut piece, end, new.salt, &entry, LogIndex(entry.index.0 - 1));
            epoch = entry.epoch;
            if piece.len() >= COPY_PIECE {
                write(&piece, end)?;
                end += piece.len() as u64;
                piece.clear();
            }
        }
        write(&piece, end)?;
        Ok((epoch, end + piece.len() as u64))
    }
}

/// Once segments have been removed, a full disk is as fatal as any error: the
/// log in memory no longer matches the one on the disk.
fn no_way_back(error: WalError) -> WalError {
    match error {
        WalError::NoSpace { source, .. } | WalError::Exhausted { source, .. } => {
            WalError::fatal("rename", PREPARED_NAME, source)
        }
        other => other,
    }
}
