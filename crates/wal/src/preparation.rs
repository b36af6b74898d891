//! When the next segment is prepared, how fast, and what is reported when that
//! fails.

use crate::error::WalError;
use crate::wal::Wal;

/// A change in whether the next segment can be prepared.
#[derive(Debug)]
pub enum Preparation {
    /// It failed: a warning that appends will be refused when this segment is
    /// full (or have been refused already), or that the disk is failing.
    Failed(WalError),
    /// It works again.
    Recovered,
}

/// How often the preparation of the next segment is notified of how full the
/// active one is, in bytes appended.
const PACE_STEP: u64 = 64 << 10;

/// How far the preparation is ahead of the filling: it finishes when a quarter
/// of this segment's second half is still free.
const PACE_AHEAD: f64 = 1.33;

impl Wal {
    /// Requests the next segment when this one is half full; if that failed,
    /// again after every further sixteenth.
    pub(crate) fn prepare_next(&mut self) {
        let bytes = self.active.header.file_bytes;
        self.look_at_preparation();
        if self.end >= self.prepare_at {
            self.prepare_at = u64::MAX;
            self.paced_from = Some(self.end);
            self.housekeeping.request(self.next_segment_bytes(0));
        }
        // In steps, so that most appends need not check.
        if let Some(from) = self.paced_from
            && self.end >= self.next_pace
        {
            self.next_pace = self.end + PACE_STEP;
            let filled = (self.end - from) as f64 / (bytes - from).max(1) as f64;
            let wanted = self.next_segment_bytes(0) as f64;
            self.housekeeping.allow((filled * wanted * PACE_AHEAD) as u64);
        }
    }

    fn look_at_preparation(&mut self) {
        if let Some(error) = self.housekeeping.take_failure() {
            self.counters.preparations_failed += 1;
            self.prepare_at = self.end + self.active.header.file_bytes / 16;
            if !std::mem::replace(&mut self.preparation_fails, true) {
                self.preparation_news = Some(Preparation::Failed(error));
            }
        } else if self.preparation_fails && self.housekeeping.is_prepared() {
            self.note_prepared();
        }
    }

    pub(crate) fn note_prepared(&mut self) {
        if std::mem::take(&mut self.preparation_fails) {
            self.preparation_news = Some(Preparation::Recovered);
        }
    }

    /// Whether the last attempt to create the next segment failed. If so, call
    /// [`Wal::retry_preparation`] from time to time.
    #[must_use]
    pub fn preparation_fails(&self) -> bool {
        self.preparation_fails
    }

    /// Retries preparing the next segment, if the last attempt failed, so that
    /// free space is noticed even without appends. The result shows after a
    /// while, at the next call or append.
    ///
    /// # Errors
    /// [`WalError::Io`], [`WalError::Failed`]: stop.
    pub fn retry_preparation(&mut self) -> Result<(), WalError> {
        self.alive()?;
        self.look_at_preparation();
        if self.preparation_fails {
            self.housekeeping.request(self.next_segment_bytes(0));
            // There may be no appends to this segment, so there is nothing to
            // keep pace with.
            self.housekeeping.allow(u64::MAX);
        }
        Ok(())
    }

    /// The size of the segment after this one, which must hold at least
    /// `needed` bytes. A log grows to its full segment size by doubling, so
    /// that a small log does not write many times what it holds.
    pub(crate) fn next_segment_bytes(&self, needed: u64) -> u64 {
        self.config.segment_bytes_for(needed).min(needed.max(2 * self.active.header.file_bytes))
    }

    /// Whether the next segment can be prepared, when that has changed:
    /// reported once when it begins to fail, and once when it works again.
    pub fn take_preparation_news(&mut self) -> Option<Preparation> {
        self.preparation_news.take()
    }
}

#[cfg(test)]
mod tests {
    use t4_kv_types::LogIndex;

    use super::*;
    use crate::error::SYNC;
    use crate::memory_dir::{Call, MemoryDir};
    use crate::test_bed::{append, open};

    #[test]
    fn the_next_segment_is_prepared_at_half() {
        let dir = MemoryDir::new();
        let mut wal = open(&dir);
        append(&mut wal, 500 << 10).expect("append");
        wal.housekeeping.wait_until_idle();
        assert_eq!(dir.contents("next.tmp"), None);
        append(&mut wal, 50 << 10).expect("append");
        wal.housekeeping.wait_until_idle();
        assert_eq!(dir.contents("next.tmp").map(|zeros| zeros.len()), Some(1 << 20));
        // Less than half of the new one, so that no further one is prepared.
        append(&mut wal, 480 << 10).expect("append");
        assert_eq!(dir.contents("next.tmp"), None);
        assert!(dir.contents("00000000000000000003.wal").is_some());
    }

    #[test]
    fn a_full_disk_is_noticed_ahead_and_forgotten_when_there_is_room() {
        let dir = MemoryDir::new();
        let mut wal = open(&dir);
        dir.set_capacity(Some(3 << 19));
        append(&mut wal, 600 << 10).expect("append");
        wal.housekeeping.wait_until_idle();
        append(&mut wal, 1).expect("this segment goes on");
        let told = wal.take_preparation_news().expect("told ahead");
        assert!(matches!(&told, Preparation::Failed(why) if why.is_no_space()), "{told:?}");
        assert!(wal.take_preparation_news().is_none());
        assert!(append(&mut wal, 600 << 10).expect_err("full").is_no_space());
        append(&mut wal, 100 << 10).expect("what fits is taken");
        dir.set_capacity(None);
        append(&mut wal, 600 << 10).expect("there is room");
        assert_eq!(wal.counters().preparations_failed, 1);
        let told = wal.take_preparation_news();
        assert!(matches!(told, Some(Preparation::Recovered)), "{told:?}");
    }

    #[test]
    fn that_there_is_room_again_is_noticed_without_an_append() {
        let dir = MemoryDir::new();
        let mut wal = open(&dir);
        append(&mut wal, 400 << 10).expect("append");
        dir.fail(Call::Create, 0, std::io::ErrorKind::OutOfMemory);
        let error = append(&mut wal, 800 << 10).expect_err("no memory");
        assert!(matches!(error, WalError::Exhausted { .. }), "{error}");
        assert!(wal.preparation_fails());
        dir.set_capacity(Some(3 << 19));
        for _ in 0..3 {
            wal.retry_preparation().expect("the log goes on");
            wal.housekeeping.wait_until_idle();
        }
        assert!(wal.preparation_fails(), "the disk is full now");
        dir.set_capacity(None);
        wal.retry_preparation().expect("the log goes on");
        wal.housekeeping.wait_until_idle();
        wal.retry_preparation().expect("the log goes on");
        assert!(!wal.preparation_fails());
        assert!(matches!(wal.take_preparation_news(), Some(Preparation::Recovered)));
        append(&mut wal, 800 << 10).expect("there is room");
    }

    /// The new segment exists, and there is no space for the mark that closes
    /// the old one: writes are refused, so the end of the shortage must be
    /// reported.
    #[test]
    fn a_shortage_that_ends_with_the_closing_mark_is_noticed() {
        let dir = MemoryDir::new();
        let mut wal = open(&dir);
        append(&mut wal, 600 << 10).expect("append");
        wal.housekeeping.wait_until_idle();
        // The header of the new segment is written, then the mark.
        dir.fail(Call::Write, 1, std::io::ErrorKind::StorageFull);
        let error = append(&mut wal, 600 << 10).expect_err("full");
        assert!(error.is_no_space() && error.to_string().contains("00001.wal"), "{error}");
        assert!(wal.preparation_fails(), "nobody would try again");
        assert!(wal.take_preparation_news().is_none(), "it was told to those who appended");
        wal.retry_preparation().expect("the log goes on");
        wal.housekeeping.wait_until_idle();
        wal.retry_preparation().expect("the log goes on");
        assert!(matches!(wal.take_preparation_news(), Some(Preparation::Recovered)));
        append(&mut wal, 600 << 10).expect("there is room");
    }

    #[test]
    fn a_sync_that_fails_beside_the_log_ends_it() {
        // Of the zeros of the next segment, and of the names of released
        // segments.
        for call in [Call::Sync, Call::SyncDir] {
            let dir = MemoryDir::new();
            let mut wal = open(&dir);
            append(&mut wal, 500 << 10).expect("append");
            if call == Call::SyncDir {
                append(&mut wal, 600 << 10).expect("a second segment");
                wal.housekeeping.wait_until_idle();
            }
            wal.sync().expect("sync");
            dir.fail(call, 0, std::io::ErrorKind::StorageFull);
            if call == Call::SyncDir {
                wal.release(LogIndex(1)).expect("release");
            } else {
                append(&mut wal, 100 << 10).expect("the next is asked for");
            }
            wal.housekeeping.wait_until_idle();
            let error = append(&mut wal, 1).expect_err("a sync has failed");
            assert!(matches!(error, WalError::Io { operation: SYNC, .. }), "{error}");
            assert!(matches!(wal.sync(), Err(WalError::Failed)));
        }
    }
}
