//! Reasons for not starting a server.

use thiserror::Error;

/// The variants correspond to etcd's exit codes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum EtcdError {
    /// The command line cannot be parsed. Exit code 2.
    #[error("{0}")]
    Syntax(String),
    /// A value or a combination of values is not possible. Exit code 1.
    #[error("{0}")]
    Invalid(String),
}

impl EtcdError {
    /// etcd's exit code.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            EtcdError::Syntax(_) => 2,
            EtcdError::Invalid(_) => 1,
        }
    }
}

/// An error found after the command line was parsed.
pub(super) fn invalid<T>(why: impl Into<String>) -> Result<T, EtcdError> {
    Err(EtcdError::Invalid(why.into()))
}
