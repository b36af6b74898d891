//! Errors in settings: where the value was written, what it was, what is
//! allowed.

use std::path::PathBuf;

use thiserror::Error;

use crate::sources::Source;

/// The settings are wrong and must be changed. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum UsageError {
    /// A value is not allowed.
    #[error("--{flag}: {value:?}{} is not allowed: {why}", place.aside())]
    Value {
        /// The setting, as its flag without dashes.
        flag: &'static str,
        /// The value.
        value: String,
        /// Where it was written.
        place: Source,
        /// What is wrong, or what is allowed.
        why: String,
    },
    /// Each setting is allowed, but not the combination.
    #[error("{why}")]
    Combination {
        /// Which settings conflict, and what to do.
        why: String,
    },
    /// The config file is malformed.
    #[error("--config-file: {}, line {line}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// The config file cannot be read.
    #[error("--config-file: {} cannot be read: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        why: String,
    },
}
