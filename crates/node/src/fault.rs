//! What is wrong with a data directory, for programs and for people: which file,
//! where, of what kind, and a sentence.

use std::fmt;
use std::path::{Path, PathBuf};

use t4_mvcc::{ReadError, StoreError};
use t4_wal::{DIRECTORY, WalError};

use crate::error::{IdentityFault, OpenError};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file or the directory, below the data directory; none if it is about
    /// more than one.
    pub file: Option<PathBuf>,
    /// The byte at which it begins, where that is known.
    pub offset: Option<u64>,
    /// What kind of fault it is.
    pub kind: FaultKind,
    /// All of it in words: where, what, and what to do.
    pub message: String,
}

/// Kinds of faults, by what a program could do about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Bytes are not what was written.
    Corrupt,
    /// A file, or entries that were acknowledged, are not there.
    Missing,
    /// The system could not read it: nothing is known of what is in it.
    Unreadable,
    /// A later version of T4 wrote it.
    NewerFormat,
    /// Files are sound by themselves, and do not fit together.
    Inconsistent,
}

impl FaultKind {
    /// Its name, which stays.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Corrupt => "corrupt",
            FaultKind::Missing => "missing",
            FaultKind::Unreadable => "unreadable",
            FaultKind::NewerFormat => "newer-format",
            FaultKind::Inconsistent => "inconsistent",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Where a fault is, and what it is.
struct Place {
    file: Option<PathBuf>,
    offset: Option<u64>,
    kind: FaultKind,
}

impl Place {
    fn new(file: impl Into<PathBuf>, kind: FaultKind) -> Place {
        Place { file: Some(file.into()), offset: None, kind }
    }

    fn at(self, offset: u64) -> Place {
        Place { offset: Some(offset), ..self }
    }

    fn fault(self, root: &Path, message: String) -> Fault {
        let below = |file: PathBuf| file.strip_prefix(root).map(Path::to_owned).unwrap_or(file);
        Fault { file: self.file.map(below), offset: self.offset, kind: self.kind, message }
    }
}

impl Fault {
    /// Files that do not fit together.
    pub(crate) fn inconsistent(root: &Path, file: &Path, message: impl fmt::Display) -> Fault {
        Place::new(file, FaultKind::Inconsistent).fault(root, message.to_string())
    }

    /// Of the log, of which the faults name files alone.
    pub(crate) fn of_log(root: &Path, error: &WalError) -> Fault {
        log_place(error).fault(root, format!("log: {error}"))
    }

    pub(crate) fn of_store(root: &Path, fault: &t4_mvcc::Fault) -> Fault {
        let place = Place { offset: fault.offset, ..store_place(&fault.error) };
        place.fault(root, format!("state: {}", fault.error))
    }

    /// Of reading what seemed sound.
    pub(crate) fn of_read(root: &Path, error: &ReadError, message: impl fmt::Display) -> Fault {
        let place = match error {
            ReadError::Corrupt { file, .. } => Place::new(file, FaultKind::Corrupt),
            ReadError::Io { file, .. } => Place::new(file, FaultKind::Unreadable),
            _ => Place::new("state", FaultKind::Inconsistent),
        };
        place.fault(root, message.to_string())
    }

    pub(crate) fn of_open(root: &Path, error: &OpenError) -> Fault {
        let place = match error {
            OpenError::Log(error) => log_place(error),
            OpenError::Store(error) => store_place(error),
            OpenError::LogLost { path, .. } | OpenError::StateLost { path, .. } => {
                Place::new(path, FaultKind::Missing)
            }
            OpenError::DataDir { path, .. } => Place::new(path, FaultKind::Unreadable),
            OpenError::Identity { path, what } => {
                let kind = match what {
                    IdentityFault::Missing(_) => FaultKind::Missing,
                    IdentityFault::Newer(_) => FaultKind::NewerFormat,
                    IdentityFault::Damaged(_) => FaultKind::Corrupt,
                };
                Place::new(path, kind)
            }
            _ => Place { file: None, offset: None, kind: FaultKind::Inconsistent },
        };
        place.fault(root, error.to_string())
    }
}

fn log_place(error: &WalError) -> Place {
    let file = |name: &str| Path::new("log").join(name);
    match error {
        WalError::Corrupt { file: name, offset, .. } => {
            Place::new(file(name), FaultKind::Corrupt).at(*offset)
        }
        WalError::EndLost { file: name, offset, .. } => {
            Place::new(file(name), FaultKind::Missing).at(*offset)
        }
        WalError::EndMark { file: name } => Place::new(file(name), FaultKind::Corrupt),
        WalError::Lost { file: name, .. } => Place::new(file(name), FaultKind::Missing),
        WalError::NewerFormat { file: name, .. } => Place::new(file(name), FaultKind::NewerFormat),
        // The directory itself has no name there.
        WalError::Io { file: name, .. } if name == DIRECTORY => {
            Place::new("log", FaultKind::Unreadable)
        }
        WalError::Io { file: name, .. } => Place::new(file(name), FaultKind::Unreadable),
        WalError::Gap { .. } | WalError::Short { .. } => Place::new("log", FaultKind::Missing),
        _ => Place::new("log", FaultKind::Inconsistent),
    }
}

fn store_place(error: &StoreError) -> Place {
    match error {
        StoreError::Corrupt { file, .. } | StoreError::Foreign { file } => {
            Place::new(file, FaultKind::Corrupt)
        }
        StoreError::Missing { file, .. } => Place::new(file, FaultKind::Missing),
        StoreError::NewerFormat { file, .. } => Place::new(file, FaultKind::NewerFormat),
        StoreError::NoSpace { file, .. }
        | StoreError::Exhausted { file, .. }
        | StoreError::Flush { file, .. }
        | StoreError::Io { file, .. } => Place::new(file, FaultKind::Unreadable),
        _ => Place::new("state", FaultKind::Inconsistent),
    }
}
