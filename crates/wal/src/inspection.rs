//! Reads a log without opening it: nothing is repaired, nothing written.

use std::sync::Arc;

use t4_kv_types::{Epoch, LogIndex};

use crate::dir::SegmentDir;
use crate::error::WalError;
use crate::reader::{LogMap, Replay};
use crate::recovery::{Mode, Recovery, recover};

/// The contents of a log, as opening it would find them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The first entry that the log has, or would have if it is empty.
    pub first: LogIndex,
    /// The last entry, and its epoch. In an empty log, the index is that of
    /// the entry before the first.
    pub last: (Epoch, LogIndex),
    /// How many segments hold the entries.
    pub segments: usize,
    /// What opening would change.
    pub recovery: Recovery,
}

/// Checks the log in `dir` exactly as [`Wal::open`](crate::Wal::open) does, and
/// returns the entries after `after`, in order; a torn tail is skipped and left
/// in place. Nothing is written, even on failure. Nobody may append to the log
/// meanwhile: excluding others is the caller's responsibility.
///
/// # Errors
/// The read errors of [`Wal::open`](crate::Wal::open).
pub fn inspect(dir: impl SegmentDir, after: LogIndex) -> Result<(Inspection, Replay), WalError> {
    let dir: Arc<dyn SegmentDir> = Arc::new(dir);
    let recovered = recover(&*dir, after, Mode::Look)?;
    let map = LogMap { segments: recovered.segments, last: recovered.last.1 };
    let inspection = Inspection {
        first: map.first(),
        last: recovered.last,
        segments: map.segments.len(),
        recovery: recovered.report,
    };
    Ok((inspection, Replay::new(map.spans_from(after.next()), after.next())))
}
