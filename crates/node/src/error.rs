//! Why a node does not start, or stopped.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use t4_kv_types::LogIndex;
use t4_mvcc::StoreError;
use t4_state_machine::RestoreError;
use t4_wal::WalError;
use thiserror::Error;

/// What is wrong with the file that says which replica a directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdentityFault {
    /// It is not there, with what follows from that.
    #[error("it is missing{0}. {RESTORE}")]
    Missing(&'static str),
    /// A newer version of T4 wrote it. The first line.
    #[error("it is of a newer version of T4 ({0:?}): run that version; nothing was changed")]
    Newer(String),
    /// It is not as it was written.
    #[error("{0}. {RESTORE}")]
    Damaged(String),
}

const RESTORE: &str = "Restore the data directory from a copy, or move it away to start empty";

/// Why a node does not start. Nothing was overwritten.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The data directory cannot be used.
    #[error("data directory: cannot {op} {}: {source}. Check the path given with --data-dir, its owner and its permissions", path.display())]
    DataDir {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        op: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("data directory {} is in use by another process: stop that one, or give this one another --data-dir", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The path is a file's.
    #[error("--data-dir {} is not a directory: give the path of one, which is made if it is missing", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// It is the data directory of an etcd.
    #[error(
        "--data-dir {} holds the data of an etcd, in its own format: use another directory, and copy the keys from a running etcd (etcdctl make-mirror)",
        path.display()
    )]
    OfEtcd {
        /// The directory.
        path: PathBuf,
    },
    /// It has files, none of which says that a node has run there.
    #[error(
        "--data-dir {} is not a T4 data directory: it holds {} and no IDENTITY. Give an empty or a new directory; or, if IDENTITY was lost, restore the whole directory from a copy",
        path.display(),
        file.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The first of what should not be there.
        file: PathBuf,
    },
    /// The identity file is missing or wrong.
    #[error("{}: {what}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: IdentityFault,
    },
    /// The operating system has no random numbers.
    #[error("the operating system gave no random numbers: {0}")]
    Random(getrandom::Error),
    /// The log does not open.
    #[error("log: {0}")]
    Log(#[from] WalError),
    /// The key space does not open.
    #[error("state: {0}")]
    Store(#[from] StoreError),
    /// The log and the key space do not fit together.
    #[error("state: {0}")]
    Restore(#[from] RestoreError),
    /// There is no log, but there was one.
    #[error(
        "{}: the log is missing: the directory has an identity, so there was one, and what was written after entry {sealed} is lost. Check that everything is mounted that should be, or restore the whole data directory from a backup copy; only if nothing was ever written to it, move the directory away", path.display()
    )]
    LogLost {
        /// Its directory.
        path: PathBuf,
        /// The entry that the sealed key space stands at.
        sealed: LogIndex,
    },
    /// The sealed key space is gone: the log begins behind it.
    #[error(
        "{}: it is missing, and the log begins at entry {first}: what was written before that is lost. Check that everything is mounted that should be, or restore the whole data directory from a backup copy", path.display()
    )]
    StateLost {
        /// Its manifest.
        path: PathBuf,
        /// The first entry of the log.
        first: LogIndex,
    },
    /// The disk of the data directory has no room for what a start writes.
    #[error(
        "{}: {op} failed: {told}: the disk of the data directory, or a quota on it, is full. Free at least {} MiB there and start again: nothing is lost",
        path.display(),
        bytes.div_ceil(1 << 20)
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// What was tried.
        op: &'static str,
        /// What the operating system said.
        told: String,
        /// With so much room the start goes on.
        bytes: u64,
    },
    /// The log refused the first entry of the epoch.
    #[error(
        "the log did not take the first entry: {0}. Check the disk, its space, and the limit of open files"
    )]
    FirstEntryRefused(Arc<WalError>),
    /// The first entry of the epoch could not be written.
    #[error(
        "the log did not take the first entry: {0}. Check the disk, its space, and the limit of open files"
    )]
    FirstEntry(String),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

impl OpenError {
    /// The same, or [`OpenError::NoRoom`] if the reason is a full disk: then no
    /// other advice helps. `bytes`: the most that a start needs.
    pub(crate) fn or_no_room(self, data_dir: &Path, bytes: u64) -> OpenError {
        let Some((path, op, source)) = self.failed_call(&data_dir.join("log")) else { return self };
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                OpenError::NoRoom { path, op, told: source.to_string(), bytes }
            }
            _ => self,
        }
    }

    /// The file, what was tried, and what the system said.
    fn failed_call(&self, log: &Path) -> Option<(PathBuf, &'static str, &io::Error)> {
        match self {
            OpenError::DataDir { path, op, source } => Some((path.clone(), op, source)),
            OpenError::Log(error) => failed_log_call(log, error),
            OpenError::FirstEntryRefused(error) => failed_log_call(log, error),
            OpenError::Store(
                StoreError::NoSpace { file, op, source }
                | StoreError::Flush { file, op, source }
                | StoreError::Io { file, op, source },
            ) => Some((file.clone(), op, source)),
            _ => None,
        }
    }
}

fn failed_log_call<'a>(
    log: &Path,
    error: &'a WalError,
) -> Option<(PathBuf, &'static str, &'a io::Error)> {
    match error {
        WalError::NoSpace { operation, file, source }
        | WalError::Io { operation, file, source } => {
            // The directory itself has no name there.
            let path = if file == t4_wal::DIRECTORY { log.to_owned() } else { log.join(file) };
            Some((path, operation, source))
        }
        _ => None,
    }
}

/// Why a running node is no more.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Closed {
    /// It was asked to stop, and has.
    #[error("the node was stopped")]
    Stopped,
    /// It must not go on; what was acknowledged is on the disk. The process
    /// should exit and be started again.
    #[error("the node cannot go on: {0}")]
    Fatal(String),
}
