//! The revisioned key space: a counted index in memory over immutable,
//! revision-ordered segment files.
#![doc = include_str!("../README.md")]
//!
//! # How it fits together
//!
//! A change is encoded once, as a [record](record), and appended to the
//! [tail](tail). The [index](index) has, per key, where the records of its
//! versions are. A [seal](Store::seal) closes the tail; the [`Background`] writes
//! it to a [segment file](segment) and names that in the [`Manifest`]. The
//! [file table](files) maps the file numbers that the index uses to wherever the
//! records are now; so sealing changes nothing in the index.
//!
//! Readers load the visible revision once and ignore what is newer; they hold
//! the one lock only while they look into the index, never while they read a
//! file. A [compaction](Store::compact) refuses older revisions at once; a pass
//! over the index follows, a few leaves at a time; a [collection](collect)
//! rewrites the files that are mostly waste into key-sorted base segments.
//!
//! # Invariants
//!
//! * Every number that the index uses is in the file table, and the record is
//!   there, until no reader can come across it.
//! * The index has every version above the compacted revision, and of each key
//!   the newest one at or below it unless that is a delete below it.
//! * What the manifest names is on the disk and flushed. What is on the disk and
//!   not named is a leftover.
//! * No record leaves the files before its successor is in a file that the
//!   manifest names; and no delete does while an older put of its key stays.
//! * Base segments hold nothing above the compaction that they were made for. Log
//!   segments are complete above the compaction, in the order of revisions.
//! * Nothing here depends on time, chance or hash order: the same calls give the
//!   same results and the same files.
//!
//! # Rooms
//!
//! | | |
//! |---|---|
//! | [`store`], [`reader`], [`background`], [`collect`], [`fork`](fork()), [`verification`] | the doors, by who comes through them |
//! | [`open`], [`directory`], [`merge`] | from files to an index |
//! | [`index`], [`liveness`], [`hash`] | pure: keys and versions, exact counts, etcd's hash |
//! | [`record`], [`tail`], [`files`], [`fetch`], [`cache`], [`budget`], [`shared`] | where records are, and who may look |
//! | [`segment`], [`manifest`], [`preamble`] | formats |
//! | [`disk`], [`positioned`] | the file system |
#![allow(rustdoc::private_intra_doc_links, reason = "the map is for whoever reads the code")]

mod background;
mod budget;
mod cache;
mod collect;
mod config;
mod directory;
mod disk;
mod error;
mod fetch;
mod files;
mod fork;
mod hash;
mod index;
mod liveness;
mod manifest;
mod merge;
mod open;
mod positioned;
mod preamble;
mod reader;
mod record;
mod segment;
mod shared;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod verification;

pub use background::{Background, SealTicket};
pub use budget::Budget;
pub use config::{
    CollectStats, Config, HashKv, Io, KeyMeta, LogPosition, Page, Projection, Revisions, Stats,
    Tables,
};
pub use error::{FormatError, ReadError, StoreError};
pub use fork::fork;
pub use manifest::{Manifest, SegmentMeta};
pub use reader::Reader;
pub use segment::image::{SegmentSummary, decode_segment};
pub use segment::{SegmentId, SegmentKind};
pub use store::Store;
pub use verification::{Fault, Verification, verify};
