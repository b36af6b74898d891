//! The revisioned key space: a counted index in memory over immutable,
//! revision-ordered segment files.
#![doc = include_str!("../README.md")]
//!
//! # How it fits together
//!
//! A change is encoded once, as a [record](record), and appended to the
//! [tail](tail). For each key, the [index](index) stores the locations of its
//! versions' records. A [seal](Store::seal) closes the tail; the [`Background`]
//! writes it to a [segment file](segment) and adds that to the [`Manifest`]. The
//! [file table](files) maps the file numbers in the index to the records' current
//! storage, so sealing does not change the index.
//!
//! Readers load the visible revision once and ignore newer ones; they hold the
//! only lock while they access the index, never while they read a file. A
//! [compaction](Store::compact) rejects reads of older revisions immediately; a
//! pass over the index follows, a few leaves at a time; a [collection](collect)
//! rewrites files that are mostly waste into key-sorted base segments.
//!
//! # Invariants
//!
//! * Every file number in the index is in the file table, and its records are
//!   available until no reader can reach them.
//! * The index has every version above the compacted revision, and the newest
//!   version of each key at or below it unless that is a delete below it.
//! * Files that the manifest names are on disk and flushed. Files on disk that it
//!   does not name are leftovers.
//! * A record is removed from the files only after its successor is in a file
//!   that the manifest names; a delete, only after all older puts of its key.
//! * Base segments hold nothing above the compaction that they were made for. Log
//!   segments are complete above the compaction, in revision order.
//! * Nothing here depends on time, randomness or hash order: the same calls give
//!   the same results and the same files.
//!
//! # Modules
//!
//! | | |
//! |---|---|
//! | [`store`], [`reader`], [`background`], [`collect`], [`fork`](fork()), [`verification`] | the public API: writer, readers, maintenance, tools |
//! | [`open`], [`directory`], [`merge`] | from files to an index |
//! | [`index`], [`liveness`], [`hash`] | pure: keys and versions, exact counts, etcd's hash |
//! | [`record`], [`tail`], [`files`], [`fetch`], [`cache`], [`budget`], [`shared`] | locations of records, and access to them |
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
pub use manifest::{Manifest, NAME as MANIFEST_NAME, SegmentMeta};
pub use reader::Reader;
pub use segment::image::{SegmentSummary, decode_segment};
pub use segment::{SegmentId, SegmentKind};
pub use store::Store;
pub use verification::{Fault, Verification, verify};
