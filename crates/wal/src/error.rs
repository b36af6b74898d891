//! Errors of the log, grouped by what the caller must do.
//!
//! * [`WalError::NoSpace`], [`WalError::Exhausted`]: reject the entries, and
//!   retry when there is space, or when the system has the resource again.
//! * [`WalError::Corrupt`], [`WalError::NewerFormat`], [`WalError::Gap`],
//!   [`WalError::Short`], [`WalError::Lost`], [`WalError::EndLost`],
//!   [`WalError::EndMark`]: do not start; an operator must act, and the message
//!   says how.
//! * [`WalError::Io`], [`WalError::Failed`]: stop the process.
//! * the rest: the request was invalid.

use std::io;

use rustix::io::Errno;
use t4_kv_types::{Epoch, LogIndex};
use thiserror::Error;

use crate::end_mark::END_NAME;

/// What to do about a damaged log; part of the message, because the operator
/// may have nothing else to go by.
const CORRUPT_ADVICE: &str = "The log was not changed. Do not remove or edit single files. \
     Check the disk, then restore the whole data directory from a backup copy.";

/// Why an operation of the log failed.
#[derive(Debug, Error)]
pub enum WalError {
    /// The disk (or its quota) is full. The refused entries are not in the log,
    /// and none of them comes back after a restart. Appending may be retried at
    /// any time.
    #[error("no space left for the log ({operation} {file})")]
    NoSpace {
        /// The operation that failed.
        operation: &'static str,
        /// The file it was applied to.
        file: String,
        /// The system's error.
        source: io::Error,
    },
    /// The process has used up its open files, or the system its open files or
    /// its memory. As with [`WalError::NoSpace`], the refused entries are not
    /// in the log, and appending may be retried at any time.
    #[error("no open files or no memory left for the log ({operation} {file}: {source})")]
    Exhausted {
        /// The operation that failed.
        operation: &'static str,
        /// The file it was applied to.
        file: String,
        /// The system's error.
        source: io::Error,
    },
    /// The log is damaged in a way that a power cut cannot explain.
    /// Never repaired automatically: entries that were acknowledged are gone.
    #[error("{file}: corrupt at byte {offset}: {what}. {CORRUPT_ADVICE}")]
    Corrupt {
        /// The segment's file name.
        file: String,
        /// The offset in the file, in bytes.
        offset: u64,
        /// What is wrong there.
        what: Damage,
    },
    /// A segment was written by a newer version of this program.
    #[error(
        "{file}: log format {version}, and this program reads up to {known}. \
         Start the version that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The segment's file name.
        file: String,
        /// The version in its header.
        version: u32,
        /// The newest version that this program reads.
        known: u32,
    },
    /// The log begins after the requested start: the state and the log do not
    /// belong together, or a part of either was removed.
    #[error(
        "the log begins at entry {first}, but the state only reaches entry {after}: \
         the entries between are missing. {CORRUPT_ADVICE}"
    )]
    Gap {
        /// The last entry that the caller has.
        after: LogIndex,
        /// The first entry that the log has.
        first: LogIndex,
    },
    /// The log ends before the entry that it was to begin after: the entries
    /// after its end are lost, or it is the log of an older copy.
    #[error(
        "the log ends at entry {last}, but what it belongs to stands at entry {after}: its end is \
         missing, or it is an older copy. {CORRUPT_ADVICE}"
    )]
    Short {
        /// The last entry that the caller has.
        after: LogIndex,
        /// The last entry that the log has.
        last: LogIndex,
    },
    /// A segment was closed because the log continued in another one, which is
    /// missing: acknowledged entries are lost.
    #[error(
        "{file}: missing: {closed} was closed when the log went on there, so its entries from \
         {from} on are lost. {CORRUPT_ADVICE}"
    )]
    Lost {
        /// The file that is missing.
        file: String,
        /// The newest segment that exists.
        closed: String,
        /// The first lost entry.
        from: LogIndex,
    },
    /// The log reached further when it was closed: the entries missing from its
    /// end were acknowledged, and no power cut removed them.
    #[error(
        "{file}: entries {from} to {through} are missing from byte {offset} on: they were on the \
         disk when the log was last closed, as the file {END_NAME} says. {CORRUPT_ADVICE}"
    )]
    EndLost {
        /// The newest segment, or the one that should exist if there is none.
        file: String,
        /// The offset at which the lost entries should begin, in bytes.
        offset: u64,
        /// The first lost entry.
        from: LogIndex,
        /// The last entry known to be lost.
        through: LogIndex,
    },
    /// The file that records how far the log had reached when it was closed is
    /// damaged. The log itself may be intact.
    #[error(
        "{file}: damaged: it says up to which entry the log was on the disk when it was last \
         closed. Nothing was changed. Check the disk, then restore the whole data directory from \
         a backup copy; or, if nothing else is wrong with it, remove this one file: the end of \
         the log is then judged as after a crash"
    )]
    EndMark {
        /// The file's name.
        file: String,
    },
    /// The entry to append does not follow the last one.
    #[error("entry {got} cannot follow: the next is {expected}")]
    OutOfOrder {
        /// The only index that can be appended next.
        expected: LogIndex,
        /// The index that was given.
        got: LogIndex,
    },
    /// The entry to append has a lower epoch than the one before it.
    #[error("entry {index} has epoch {got}, below epoch {last} of the entry before it")]
    EpochBackwards {
        /// The entry.
        index: LogIndex,
        /// The epoch of the entry before it.
        last: Epoch,
        /// Its epoch.
        got: Epoch,
    },
    /// The payload is longer than [`PAYLOAD_BYTES_MAX`](crate::PAYLOAD_BYTES_MAX).
    #[error("a payload of {bytes} bytes; the most is {max}")]
    TooLarge {
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The requested entry is no longer in the log.
    #[error("entry {asked} was released; the log begins at entry {first}")]
    Released {
        /// The requested entry.
        asked: LogIndex,
        /// The first entry that the log has.
        first: LogIndex,
    },
    /// Reading, writing or syncing failed. The contents of the disk are
    /// unknown, so the process must stop; the operation is never retried.
    #[error("{operation} {file} failed: {source}")]
    Io {
        /// The operation that failed.
        operation: &'static str,
        /// The file it was applied to.
        file: String,
        /// The system's error.
        source: io::Error,
    },
    /// The log has ended because of an earlier [`WalError::Io`].
    #[error("the log has failed before; the process must stop")]
    Failed,
}

impl WalError {
    /// Classifies a system error by what the caller must do: reject and retry
    /// later, or stop. For calls that leave the log unchanged when they fail,
    /// or that can be undone.
    pub(crate) fn from_io(operation: &'static str, file: &str, source: io::Error) -> WalError {
        let file = file.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                WalError::NoSpace { operation, file, source }
            }
            _ if is_exhaustion(&source) => WalError::Exhausted { operation, file, source },
            _ => WalError::Io { operation, file, source },
        }
    }

    /// Like [`WalError::from_io`], for calls after which every error is fatal:
    /// when syncing failed, it is unknown what reached the disk, whatever the
    /// reason was.
    pub(crate) fn fatal(operation: &'static str, file: &str, source: io::Error) -> WalError {
        WalError::Io { operation, file: file.to_owned(), source }
    }

    pub(crate) fn corrupt(file: &str, found: Found) -> WalError {
        WalError::Corrupt { file: file.to_owned(), offset: found.offset, what: found.what }
    }

    /// Whether the entries were refused for lack of space, without any other
    /// effect.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, WalError::NoSpace { .. })
    }

    /// Whether the entries were refused, without any other effect: the log
    /// continues, and accepts entries again when the cause is gone.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, WalError::NoSpace { .. } | WalError::Exhausted { .. })
    }

    /// Whether a sync has failed, which ends the log wherever it happens: the
    /// system may have reported the failure only once, and to a caller that was
    /// syncing other names and bytes than the log's.
    pub(crate) fn is_failed_sync(&self) -> bool {
        matches!(self, WalError::Io { operation: SYNC, .. })
    }
}

/// The operation of every sync.
pub(crate) const SYNC: &str = "sync";

/// In place of a file's name in errors: the directory itself.
pub const DIRECTORY: &str = "the directory of the log";

/// Whether the system lacked a resource unrelated to the disk.
fn is_exhaustion(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
        || matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Damage, and its location in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The byte at which it begins.
    pub offset: u64,
    /// The kind of damage.
    pub what: Damage,
}

impl Found {
    pub(crate) fn new(offset: u64, what: Damage) -> Found {
        Found { offset, what }
    }
}

/// What is wrong with a segment. A power cut can leave none of these.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// The name ends in `.wal` but is not 20 digits and `.wal`.
    #[error("the name is not that of a log segment")]
    Name,
    /// The file is shorter than a segment's header.
    #[error("the file has {bytes} bytes, less than a header")]
    ShortFile {
        /// The length of the file in bytes.
        bytes: u64,
    },
    /// The first bytes are not those of a segment.
    #[error("the file does not begin as a log segment does")]
    Magic,
    /// The header's checksum does not match.
    #[error("the header's checksum does not match")]
    HeaderChecksum,
    /// The checksum matches, but a field has a value that is never written.
    #[error("the header holds an impossible value")]
    HeaderValue,
    /// Bytes after the header, which are always zero, are not.
    #[error("the reserved space behind the header is not zero")]
    HeaderReserved,
    /// The name gives a different first entry than the header.
    #[error("the header says that the first entry is {header}: the file was renamed or replaced")]
    NameMismatch {
        /// The first entry according to the header.
        header: LogIndex,
    },
    /// The file's length differs from the length it was created with.
    #[error("the file has {actual} bytes, but was made with {header}")]
    FileLength {
        /// Its length according to its header, in bytes.
        header: u64,
        /// Its length, in bytes.
        actual: u64,
    },
    /// A frame's header is present, but its checksum does not match.
    #[error("the frame header where entry {index} should be is damaged")]
    FrameHeader {
        /// The entry that belongs here.
        index: LogIndex,
    },
    /// A frame's payload is complete, but its checksum does not match.
    #[error("the payload of entry {index} is damaged")]
    FrameBody {
        /// The entry.
        index: LogIndex,
    },
    /// A sound frame claims to be longer than its file.
    #[error("entry {index} is longer than its file")]
    FrameLength {
        /// The entry.
        index: LogIndex,
    },
    /// Bytes between two frames, which are always zero, are not.
    #[error("the space before the frame of entry {index} is not zero")]
    Padding {
        /// The entry that belongs here.
        index: LogIndex,
    },
    /// A sound frame is in the wrong place.
    #[error("entry {found} is where entry {expected} should be")]
    Order {
        /// The entry that belongs here.
        expected: LogIndex,
        /// The entry that is here.
        found: LogIndex,
    },
    /// A sound frame has a lower epoch than the one before it.
    #[error("entry {index} has epoch {found}, below epoch {last} of the entry before it")]
    EpochOrder {
        /// The entry.
        index: LogIndex,
        /// The epoch of the entry before it.
        last: Epoch,
        /// Its epoch.
        found: Epoch,
    },
    /// An entry is missing although a later frame says that it had been synced.
    #[error("entry {lost} is gone, though it was on the disk when entry {witness} was written")]
    DurableLost {
        /// The first missing entry.
        lost: LogIndex,
        /// The entry whose frame proves that it was synced.
        witness: LogIndex,
    },
    /// The segment ends before the next one begins.
    #[error("entries {from} to {through} are gone from the end of the segment")]
    Incomplete {
        /// The first missing entry.
        from: LogIndex,
        /// The last one.
        through: LogIndex,
    },
    /// The bytes of the closing mark are not a valid mark.
    #[error("the mark that closes a segment is damaged")]
    ClosingMark,
    /// The next segment has entries, so this one must have been closed, but is
    /// not.
    #[error("the mark is gone that closed this segment before entry {next} was written")]
    NotClosed {
        /// The first entry of the next segment.
        next: LogIndex,
    },
    /// The next segment is not the one that this segment names.
    #[error("it says that the log goes on with entry {closed}, but the next segment has {next}")]
    ClosedElsewhere {
        /// The entry that the closing mark names.
        closed: LogIndex,
        /// The first entry of the next segment.
        next: LogIndex,
    },
    /// The bytes of the end mark are not a valid mark.
    #[error("the mark of where the log ended is damaged")]
    EndMark,
    /// One bit is set in space that no entry uses.
    #[error(
        "a bit is set in space that no entry uses: no entry is changed, but the disk loses bits"
    )]
    StrayBit,
    /// The segment before this one is missing.
    #[error("the segment before this one is missing")]
    MissingSegment,
    /// There is data after the last entry of a finished segment.
    #[error("the space behind the last entry of a finished segment is not zero")]
    AfterEnd,
}
