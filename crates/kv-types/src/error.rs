//! Why an operation was refused, by what the caller can do about it.

use thiserror::Error;

use crate::auth_error::AuthError;

/// Why an operation was refused. The texts are for logs; `etcd-api` has the
/// texts and codes that clients of etcd match on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OpError {
    /// The revision asked for was compacted away.
    #[error("the requested revision has been compacted")]
    Compacted,
    /// The revision asked for does not exist yet.
    #[error("the requested revision is in the future")]
    FutureRevision,
    /// `ignore_value` or `ignore_lease` on a key that is not there.
    #[error("the key does not exist")]
    KeyNotFound,
    /// The lease named does not exist.
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
    /// The disk is full. Nothing was written; it may be tried again.
    #[error("the disk of the data directory is full")]
    DiskFull,
    /// There are no open files or no memory left for writing. Nothing was
    /// written; it may be tried again.
    #[error("no open files or no memory left for writing")]
    Exhausted,
    /// The CORRUPT alarm is on.
    #[error("the data is marked corrupt")]
    Corrupt,
    /// What it would change does not fit into one log entry: more than 192 MiB
    /// of keys and values. Do it in parts.
    #[error("the request changes too much at once")]
    TooLarge,
    /// The answer would be larger than the 2 GiB that one message may have.
    /// Nothing was done. Ask for less at once.
    #[error("the answer would be too large for one message; nothing was done")]
    AnswerTooLarge,
    /// Authentication is on, and who asks may not do that; or an operation on
    /// authentication itself was refused.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The commit queue is full; try again.
    #[error("too many requests in flight")]
    TooManyRequests,
    /// The replica is stopping.
    #[error("the replica has stopped")]
    Stopped,
    /// It is not known whether the operation was done.
    #[error("the operation timed out; it may yet take effect")]
    Timeout,
    /// What is stored is not what was written; the text names the file.
    #[error("{0}")]
    Damaged(String),
    /// A value could not be read from the disk.
    #[error("reading from the disk failed: {0}")]
    Io(String),
}
