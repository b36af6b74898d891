//! A revisioned key space: a counted index in memory over immutable,
//! revision-ordered segments.

mod background;
mod config;
mod error;
mod fork;
mod hash;
mod index;
mod liveness;
mod reader;
mod store;

pub use background::{Background, SealTicket};
pub use config::{
    CollectStats, Config, HashKv, Io, KeyMeta, LogPosition, Page, Projection, Revisions, Stats,
    Tables,
};
pub use error::{ReadError, StoreError};
pub use fork::fork;
pub use reader::Reader;
pub use store::Store;
