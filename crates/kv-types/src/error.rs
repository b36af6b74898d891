//! Why an operation was refused, grouped by how the caller can react.

use thiserror::Error;

use crate::auth_error::AuthError;

/// Why an operation was refused. The texts are for logs; `etcd-api` has the
/// texts and codes that etcd's clients match on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OpError {
    /// The requested revision was compacted.
    #[error("the requested revision has been compacted")]
    Compacted,
    /// The requested revision does not exist yet.
    #[error("the requested revision is in the future")]
    FutureRevision,
    /// `ignore_value` or `ignore_lease` on a missing key.
    #[error("the key does not exist")]
    KeyNotFound,
    /// The requested lease does not exist.
    #[error("the lease does not exist")]
    LeaseNotFound,
    /// A lease with this id exists already.
    #[error("the lease exists already")]
    LeaseExists,
    /// The time to live is over 9,000,000,000 s.
    #[error("the lease's time to live is too large")]
    LeaseTtlTooLarge,
    /// The space quota is used up.
    #[error("no space left for writes")]
    NoSpace,
    /// The disk is full. Nothing was written; the call can be retried.
    #[error("the disk of the data directory is full")]
    DiskFull,
    /// The process is out of file descriptors or memory for writing. Nothing
    /// was written; the call can be retried.
    #[error("no open files or no memory left for writing")]
    Exhausted,
    /// The CORRUPT alarm is on.
    #[error("the data is marked corrupt")]
    Corrupt,
    /// Its changes do not fit into one log entry: more than 192 MiB of keys and
    /// values. Split it into several requests.
    #[error("the request changes too much at once")]
    TooLarge,
    /// The answer would exceed the 2 GiB limit of one message. Nothing was
    /// done. Request less at once.
    #[error("the answer would be too large for one message; nothing was done")]
    AnswerTooLarge,
    /// Authentication is on and the caller lacks the rights, or an operation on
    /// authentication itself was refused.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The commit queue is full; try again.
    #[error("too many requests in flight")]
    TooManyRequests,
    /// The replica is stopping.
    #[error("the replica has stopped")]
    Stopped,
    /// It is unknown whether the operation was executed.
    #[error("the operation timed out; it may yet take effect")]
    Timeout,
    /// Stored data is not what was written; the text names the file.
    #[error("{0}")]
    Damaged(String),
    /// A value could not be read from the disk.
    #[error("reading from the disk failed: {0}")]
    Io(String),
}
