//! Which keys, and at which revision.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use anyhow::bail;
use bytes::Bytes;
use t4_kv_types::{KeyRange, Revision};
use t4_mvcc::Reader;

/// A revision to read at.
#[derive(Debug, Default, clap::Args)]
pub(super) struct AtArgs {
    /// Read at this revision [default: the newest]
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(1..))]
    rev: Option<i64>,
}

impl AtArgs {
    #[cfg(test)]
    pub(super) fn revision(rev: i64) -> Self {
        AtArgs { rev: Some(rev) }
    }

    /// The revision, if it can be read.
    pub(super) fn resolve(&self, reader: &Reader) -> anyhow::Result<Revision> {
        self.rev.map_or_else(|| Ok(reader.revision()), |rev| readable(reader, Revision(rev)))
    }
}

/// `at`, unless it cannot be read; then the error says what can.
pub(super) fn readable(reader: &Reader, at: Revision) -> anyhow::Result<Revision> {
    let (oldest, newest) = (oldest(reader), reader.revision());
    if at < oldest || at > newest {
        bail!("revision {at} cannot be read: this directory has revisions {oldest} to {newest}");
    }
    Ok(at)
}

/// The oldest revision that can be read.
pub(super) fn oldest(reader: &Reader) -> Revision {
    reader.compacted().unwrap_or(Revision::EMPTY_STORE)
}

/// A key as it was given: its bytes, whatever they are.
pub(super) fn key(given: OsString) -> anyhow::Result<Bytes> {
    let key = given.into_vec();
    if key.is_empty() {
        bail!("a key is not empty");
    }
    Ok(key.into())
}

/// The keys that begin with a prefix; all without one.
pub(super) fn prefix(given: Option<OsString>) -> KeyRange {
    match given.map(OsString::into_vec) {
        Some(prefix) if !prefix.is_empty() => KeyRange::prefix(prefix),
        _ => KeyRange::all(),
    }
}
