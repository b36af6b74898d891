//! A revisioned key space: a counted index in memory over immutable,
//! revision-ordered segments.

mod background;
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

pub use background::{Background, SealTicket};
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
