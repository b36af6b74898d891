//! Why the log could not do what it was asked, by what the caller must do.
//!
//! * [`WalError::NoSpace`], [`WalError::Exhausted`]: refuse the entries, try
//!   again when there is room, or when the system has what was lacking.
//! * [`WalError::Corrupt`], [`WalError::NewerFormat`], [`WalError::Gap`],
//!   [`WalError::Short`], [`WalError::Lost`], [`WalError::EndLost`],
//!   [`WalError::EndMark`]: do not start; a person must act, and the text says how.
//! * [`WalError::Io`], [`WalError::Failed`]: stop the process.
//! * the rest: the caller asked for something impossible.

use std::io;

use rustix::io::Errno;
use t4_kv_types::{Epoch, LogIndex};
use thiserror::Error;

use crate::end_mark::END_NAME;

/// What to do about a damaged log; part of the message, because the person
/// who reads it has nothing else at hand.
const CORRUPT_ADVICE: &str = "The log was not changed. Do not remove or edit single files. \
     Check the disk, then restore the whole data directory from a backup copy.";

/// Why the log could not do what it was asked.
#[derive(Debug, Error)]
pub enum WalError {
    /// The disk (or its quota) is full. Nothing of the refused entries is in
    /// the log, and none of them comes back after a restart. Appending may be
    /// tried again at any time.
    #[error("no space left for the log ({operation} {file})")]
    NoSpace {
        /// What was being done.
        operation: &'static str,
        /// The file it was done to.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The process has used up its open files, or the system its open files or
    /// its memory. As with [`WalError::NoSpace`], nothing of the refused
    /// entries is in the log, and appending may be tried again at any time.
    #[error("no open files or no memory left for the log ({operation} {file}: {source})")]
    Exhausted {
        /// What was being done.
        operation: &'static str,
        /// The file it was done to.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The log is damaged in a way that a power cut cannot explain.
    /// Never repaired automatically: entries that were acknowledged are gone.
    #[error("{file}: corrupt at byte {offset}: {what}. {CORRUPT_ADVICE}")]
    Corrupt {
        /// The segment's file name.
        file: String,
        /// Where in the file, in bytes.
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
    /// The log begins after the place from which it was asked for: the state
    /// and the log do not belong together, or a part of either was removed.
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
    /// The log ends before the entry that it was asked to begin after: what
    /// came behind its end is lost, or it is the log of an older copy.
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
    /// A segment was closed because the log went on in another one, and that
    /// is gone: acknowledged entries are lost.
    #[error(
        "{file}: missing: {closed} was closed when the log went on there, so its entries from \
         {from} on are lost. {CORRUPT_ADVICE}"
    )]
    Lost {
        /// The file that is missing.
        file: String,
        /// The newest segment that is there.
        closed: String,
        /// The first entry that is lost.
        from: LogIndex,
    },
    /// The log had reached further when it was closed: what is gone from its
    /// end was acknowledged, and no power cut took it.
    #[error(
        "{file}: entries {from} to {through} are missing from byte {offset} on: they were on the \
         disk when the log was last closed, as the file {END_NAME} says. {CORRUPT_ADVICE}"
    )]
    EndLost {
        /// The newest segment, or the one that should be there if none is.
        file: String,
        /// Where they should begin, in bytes.
        offset: u64,
        /// The first entry that is lost.
        from: LogIndex,
        /// The last one that is known to be.
        through: LogIndex,
    },
    /// The file that says how far the log had reached when it was closed is
    /// damaged. Nothing says that the log is.
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
    /// The entry to append is not the one that follows the last.
    #[error("entry {got} cannot follow: the next is {expected}")]
    OutOfOrder {
        /// The only index that can be appended now.
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
    /// The place asked for is not in the log any more: it begins later.
    #[error("entry {asked} was released; the log begins at entry {first}")]
    Released {
        /// What was asked for.
        asked: LogIndex,
        /// The first entry that the log has.
        first: LogIndex,
    },
    /// Reading, writing or syncing failed. What is on the disk is unknown, so
    /// the process must stop; it is never tried again.
    #[error("{operation} {file} failed: {source}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file it was done to.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier [`WalError::Io`] has ended this log.
    #[error("the log has failed before; the process must stop")]
    Failed,
}

impl WalError {
    /// Sorts an error of the system by what the caller must do: refuse and try
    /// again later, or stop. For calls that leave the log as it was when they
    /// fail, or that can be undone.
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

    /// The same for calls after which every error is fatal: when syncing
    /// failed, what reached the disk is unknown, whatever the reason was.
    pub(crate) fn fatal(operation: &'static str, file: &str, source: io::Error) -> WalError {
        WalError::Io { operation, file: file.to_owned(), source }
    }

    pub(crate) fn corrupt(file: &str, found: Found) -> WalError {
        WalError::Corrupt { file: file.to_owned(), offset: found.offset, what: found.what }
    }

    /// Whether the entries were refused for want of room, and nothing else
    /// happened.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, WalError::NoSpace { .. })
    }

    /// Whether the entries were refused, and nothing else happened: the log
    /// goes on, and takes them again when the reason has gone.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, WalError::NoSpace { .. } | WalError::Exhausted { .. })
    }

    /// Whether a sync has failed, which ends the log wherever it happens: the
    /// system may have told it only once, and to a caller that had other names
    /// and bytes to make durable than the log.
    pub(crate) fn is_failed_sync(&self) -> bool {
        matches!(self, WalError::Io { operation: SYNC, .. })
    }
}

/// The operation of every sync.
pub(crate) const SYNC: &str = "sync";

/// Whether the system lacked something that has nothing to do with the disk.
fn is_exhaustion(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
        || matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Damage, and where in the file it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The byte at which it begins.
    pub offset: u64,
    /// What it is.
    pub what: Damage,
}

impl Found {
    pub(crate) fn new(offset: u64, what: Damage) -> Found {
        Found { offset, what }
    }
}

/// What is wrong with a segment. None of these can be left by a power cut.
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
    /// Bytes behind the header, which are always zero, are not.
    #[error("the reserved space behind the header is not zero")]
    HeaderReserved,
    /// The name says another first entry than the header.
    #[error("the header says that the first entry is {header}: the file was renamed or replaced")]
    NameMismatch {
        /// The first entry by the header.
        header: LogIndex,
    },
    /// The file is longer or shorter than it was made.
    #[error("the file has {actual} bytes, but was made with {header}")]
    FileLength {
        /// Its length by its header, in bytes.
        header: u64,
        /// Its length, in bytes.
        actual: u64,
    },
    /// The header of a frame is there, but its checksum does not match.
    #[error("the frame header where entry {index} should be is damaged")]
    FrameHeader {
        /// The entry that belongs here.
        index: LogIndex,
    },
    /// The payload of a frame is all there, but its checksum does not match.
    #[error("the payload of entry {index} is damaged")]
    FrameBody {
        /// The entry.
        index: LogIndex,
    },
    /// A sound frame says that it is longer than its file.
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
    /// An entry is gone although a later frame says that it had been synced.
    #[error("entry {lost} is gone, though it was on the disk when entry {witness} was written")]
    DurableLost {
        /// The first entry that is not there.
        lost: LogIndex,
        /// The entry whose frame proves that it was synced.
        witness: LogIndex,
    },
    /// The segment ends before the next one begins.
    #[error("entries {from} to {through} are gone from the end of the segment")]
    Incomplete {
        /// The first entry that is not there.
        from: LogIndex,
        /// The last one.
        through: LogIndex,
    },
    /// The bytes of the closing mark are none.
    #[error("the mark that closes a segment is damaged")]
    ClosingMark,
    /// The next segment has entries, so this one had been closed; it is not.
    #[error("the mark is gone that closed this segment before entry {next} was written")]
    NotClosed {
        /// The first entry of the next segment.
        next: LogIndex,
    },
    /// The next segment is not the one that this one names.
    #[error("it says that the log goes on with entry {closed}, but the next segment has {next}")]
    ClosedElsewhere {
        /// The entry that the closing mark names.
        closed: LogIndex,
        /// The first entry of the next segment.
        next: LogIndex,
    },
    /// The bytes of an end mark are none.
    #[error("the mark of where the log ended is damaged")]
    EndMark,
    /// One bit is set in space that no entry uses.
    #[error(
        "a bit is set in space that no entry uses: no entry is changed, but the disk loses bits"
    )]
    StrayBit,
    /// The segment before this one is not there.
    #[error("the segment before this one is missing")]
    MissingSegment,
    /// There is something behind the last entry of a finished segment.
    #[error("the space behind the last entry of a finished segment is not zero")]
    AfterEnd,
}
