//! What the log carries.

use bytes::Bytes;
use t4_kv_types::{Epoch, LogIndex};

/// One entry of the log. The log never looks into the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of leadership in which it was made; never decreases along a
    /// log.
    pub epoch: Epoch,
    /// Its place: the last entry's plus one.
    pub index: LogIndex,
    /// What it says; may be empty.
    pub payload: Bytes,
}
