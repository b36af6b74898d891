//! What a wrong setting is told: where it was written, what it was, what is
//! allowed.

use std::path::PathBuf;

use thiserror::Error;

use crate::sources::Source;

/// The settings are wrong: somebody must change them. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum UsageError {
    /// A value is not allowed.
    #[error("--{flag}: {value:?}{} is not allowed: {why}", place.aside())]
    Value {
        /// The setting, as its flag without dashes.
        flag: &'static str,
        /// What was given.
        value: String,
        /// Where.
        place: Source,
        /// What is wrong, or what is allowed.
        why: String,
    },
    /// Each setting is allowed, and not all of them together.
    #[error("{why}")]
    Combination {
        /// Which do not go together, and what to do.
        why: String,
    },
    /// The config file is not as it should be.
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
        /// What the system said.
        why: String,
    },
}
