//! Why a server is not started.

use thiserror::Error;

/// Why; the variants are etcd's exit codes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum EtcdError {
    /// The command line is not one. Exit code 2.
    #[error("{0}")]
    Syntax(String),
    /// What is asked for is not possible, or not together. Exit code 1.
    #[error("{0}")]
    Invalid(String),
}

impl EtcdError {
    /// What etcd exits with.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            EtcdError::Syntax(_) => 2,
            EtcdError::Invalid(_) => 1,
        }
    }
}

/// For what is refused after the command line was read.
pub(super) fn invalid<T>(why: impl Into<String>) -> Result<T, EtcdError> {
    Err(EtcdError::Invalid(why.into()))
}
