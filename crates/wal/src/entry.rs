//! An entry of the log.

use bytes::Bytes;
use t4_kv_types::{Epoch, LogIndex};

/// One entry of the log. The log never interprets the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of leadership in which it was created; never decreases along a
    /// log.
    pub epoch: Epoch,
    /// The index of the previous entry plus one.
    pub index: LogIndex,
    /// The content; may be empty.
    pub payload: Bytes,
}
