//! Errors, grouped by what the caller must do.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use t4_kv_types::Revision;
use thiserror::Error;

/// Why a read failed.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The revision is below the last compaction.
    #[error("the revision has been compacted")]
    Compacted,
    /// The revision is not visible yet.
    #[error("the revision is in the future")]
    Future,
    /// The bytes are on disk and the call used
    /// [`Io::NoWait`](crate::Io::NoWait): repeat it with
    /// [`Io::Blocking`](crate::Io::Blocking) where waiting is allowed.
    #[error("the read would wait for the disk")]
    WouldBlock,
    /// The answer would be larger, or take more work, than the call's
    /// [`Budget`](crate::Budget) allows.
    #[error("the answer would be too large")]
    OverBudget,
    /// The caller is gone.
    #[error("the read was cancelled")]
    Cancelled,
    /// A segment file is corrupt: stop serving and restore it.
    #[error("{}: corrupt: {what}; check the disk, then restore the whole data directory from a backup copy", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The disk or the operating system returned an error.
    #[error("{}: reading failed: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why opening, sealing, collecting or forking failed. None of these errors
/// loses anything that was readable before.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A required file is missing.
    #[error("{}: missing; {remedy}", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// A file of ours is corrupt.
    #[error("{}: corrupt: {what}; check the disk, then restore the whole data directory from a backup copy", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file was written by a later version of T4.
    #[error("{}: format {found} is newer than {known}, the newest that this version knows; start the version that wrote it", file.display())]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// The format that it states.
        found: u32,
        /// The newest format that this version knows.
        known: u32,
    },
    /// A file with one of our names is not ours.
    #[error("{}: not a file of T4; move it away, or choose another directory", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// Another store has this directory open.
    #[error("{}: in use by another store; stop the other process first", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The disk is full. Free space, then retry.
    #[error("{}: {op}: no space left on the device; free space, it will be tried again", file.display())]
    NoSpace {
        /// The file.
        file: PathBuf,
        /// The operation that failed.
        op: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The process ran out of file descriptors, or the system ran out of file
    /// descriptors or memory. Retry later.
    #[error("{}: {op}: no open files or no memory left: {source}; it will be tried again", file.display())]
    Exhausted {
        /// The file.
        file: PathBuf,
        /// The operation that failed.
        op: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A flush to the disk failed. The state of the disk is unknown, and a
    /// second flush would not reveal it: stop the process. Everything sealed
    /// before is intact.
    #[error("{}: {op} failed: {source}; check the disk", file.display())]
    Flush {
        /// The file or the directory.
        file: PathBuf,
        /// The operation that failed.
        op: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// An earlier flush failed: nothing more is written.
    #[error("the store has failed before ({earlier}); the process must stop")]
    Failed {
        /// The flush that failed.
        earlier: String,
    },
    /// The disk or the operating system returned an error.
    #[error("{}: {op} failed: {source}; check the disk and the permissions", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The operation that failed.
        op: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A fork was requested at a revision that the files do not hold.
    #[error("revision {at} cannot be forked: the sealed files hold {oldest} to {newest}")]
    ForkRevision {
        /// The requested revision.
        at: Revision,
        /// The oldest revision that can be forked.
        oldest: Revision,
        /// The newest revision that can be forked.
        newest: Revision,
    },
    /// The target directory of a fork is not empty.
    #[error("{}: not empty; a fork needs a directory of its own", dir.display())]
    ForkTarget {
        /// The directory.
        dir: PathBuf,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without changes to the files:
    /// the disk was full, or the system returned an error that may be temporary.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            StoreError::NoSpace { .. } | StoreError::Exhausted { .. } | StoreError::Io { .. }
        )
    }

    /// An error of the operating system during `op` on `file`.
    pub(crate) fn io(file: impl Into<PathBuf>, op: &'static str, source: io::Error) -> Self {
        let file = file.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::NoSpace { file, op, source }
            }
            _ if is_exhaustion(&source) => StoreError::Exhausted { file, op, source },
            _ => StoreError::Io { file, op, source },
        }
    }
}

/// Whether the error is a lack of resources that has nothing to do with the disk.
fn is_exhaustion(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
        || matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Why bytes do not have the expected format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FormatError {
    /// A later version of T4 wrote them.
    #[error("format {found} is newer than {known}, the newest that this version knows")]
    Newer {
        /// The format that they state.
        found: u32,
        /// The newest format that this version knows.
        known: u32,
    },
    /// They were never a file of ours.
    #[error("not a file of T4")]
    Foreign,
    /// They were altered after they were written.
    #[error("corrupt: {0}")]
    Damaged(&'static str),
}

impl FormatError {
    /// The error of opening `file`.
    pub(crate) fn in_file(self, file: &Path) -> StoreError {
        let file = file.to_owned();
        match self {
            FormatError::Newer { found, known } => StoreError::NewerFormat { file, found, known },
            FormatError::Foreign => StoreError::Foreign { file },
            FormatError::Damaged(what) => StoreError::Corrupt { file, what: what.into() },
        }
    }
}
