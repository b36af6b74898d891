//! The bytes of effects and of the whole state; drawn in
//! `docs/formats/auth.md`.
//!
//! There is one encoding for each value: whatever is accepted, encodes to the
//! same bytes. Neither has a checksum: the log and the manifest that carry
//! them have.

mod effect;
mod state;
mod wire;

use thiserror::Error;

/// The version of both encodings that is written, and the newest that is
/// read.
pub const FORMAT_VERSION: u8 = 1;

/// Why bytes are no effect or no state. Checksums have held, so this is
/// either a newer version's or a bug: do not go on with these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Written by a newer version of T4: run that one.
    #[error(
        "authentication data has format version {0}, this program knows {FORMAT_VERSION}: run the newer version"
    )]
    NewerFormat(u8),
    /// Not what an encoder writes.
    #[error("authentication data is malformed: {0}")]
    Malformed(&'static str),
}
