//! An append-only local log of opaque, checksummed entries with group commit.
//!
//! Guarantees:
//!
//! 1. An entry for which [`Wal::sync`] has returned, or [`Event::Durable`] was
//!    reported, is there after any crash, or opening the log fails.
//! 2. Entries read back are the entries appended: dense and in order. No single
//!    flipped bit anywhere in a file goes unnoticed.
//! 3. A tail torn by a power cut is cut off and reported. Anything that a power
//!    cut cannot do is [`WalError::Corrupt`], is not repaired, and says what to
//!    do. After [`Wal::close`] nothing that was durable then passes for a torn
//!    tail.
//! 4. Refused entries (no space, open files or memory) never come back.
//! 5. After a failed sync of any file or directory, nothing more is ever
//!    written.
//!
//! Non-goals: interpreting payloads, keeping a second process out of the
//! directory, bounding the queue, stopping the process, logging.
//!
//! Modules, from the bytes up: `format` (the bytes of a segment; pure), `dir`
//! (the disk abstraction) with `file_dir` and `memory_dir`, `segment` (an open
//! file), `end_mark` (how far a closed log reached), `housekeeping` (prepares
//! and removes files in the background), `recovery` (opening), `inspection`
//! (reading without opening), `verification` (reading every byte), `reader`
//! (reading entries back), `wal` (appending, syncing), `preparation` (when the
//! next segment is prepared), `truncation` (removing entries from the end),
//! `group_commit` (the thread).
//!
#![doc = include_str!("../README.md")]

mod config;
mod dir;
mod end_mark;
mod entry;
mod error;
mod file_dir;
pub mod format;
mod group_commit;
mod housekeeping;
mod inspection;
mod memory_dir;
mod preparation;
mod reader;
mod recovery;
mod segment;
#[cfg(test)]
mod test_bed;
mod truncation;
mod verification;
mod wal;

pub use config::Config;
pub use dir::{SegmentDir, SegmentFile};
pub use entry::Entry;
pub use error::{DIRECTORY, Damage, Found, WalError};
pub use file_dir::FileDir;
pub use format::PAYLOAD_BYTES_MAX;
pub use group_commit::{Durable, Event, GroupCommit, Refused, Ticket};
pub use inspection::{Inspection, inspect};
pub use memory_dir::{Call, MemoryDir, Operation};
pub use preparation::Preparation;
pub use reader::{Reader, Replay};
pub use recovery::{Recovery, StrayBit, TornTail};
pub use verification::{Verification, verify};
pub use wal::{Counters, Wal};
