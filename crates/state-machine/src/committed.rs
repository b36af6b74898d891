//! Reads of committed state, which a replica answers without its log.

use t4_kv_types::{RangeRequest, RangeResult, Revision, TxnRequest, TxnResult};
use t4_mvcc::{Budget, Io, KeyMeta, Page, Projection, ReadError, Reader};

use crate::read::{self, View, meta_of};
use t4_kv_types::{KeyRange, KeyValue};

/// The committed and visible state, pinned at one revision.
struct Committed<'a> {
    reader: &'a Reader,
    at: Revision,
    io: Io,
    budget: &'a Budget<'a>,
}

/// Runs a range on the newest committed state.
///
/// # Errors
///
/// [`ReadError::OverBudget`] before more than `budget` is gathered, and the
/// errors of every read.
pub fn range(
    reader: &Reader,
    request: &RangeRequest,
    io: Io,
    budget: &Budget<'_>,
) -> Result<RangeResult, ReadError> {
    pinned(reader, io, budget, request.revision.0 <= 0, |view| read::range(view, request))
}

/// Runs a transaction without writes on the newest committed state. All its
/// answers share one budget.
///
/// # Errors
///
/// As [`range`].
///
/// # Panics
///
/// If an operation writes (see [`TxnRequest::is_read_only`]).
pub fn read_only_txn(
    reader: &Reader,
    request: &TxnRequest,
    io: Io,
    budget: &Budget<'_>,
) -> Result<TxnResult, ReadError> {
    pinned(reader, io, budget, true, |view| read::read_only_txn(view, request))
}

/// Reads at the newest visible revision. If a compaction overtakes the read,
/// the read starts over at the revision that is then the newest.
fn pinned<T>(
    reader: &Reader,
    io: Io,
    budget: &Budget<'_>,
    newest: bool,
    mut read: impl FnMut(&Committed<'_>) -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    let whole = budget.bytes_left();
    loop {
        let at = reader.revision();
        match read(&Committed { reader, at, io, budget }) {
            Err(ReadError::Compacted)
                if newest && reader.compacted().is_some_and(|compacted| compacted > at) =>
            {
                budget.give_back_to(whole);
            }
            result => return result,
        }
    }
}

impl View for Committed<'_> {
    fn revision(&self) -> Revision {
        self.at
    }

    fn compacted(&self) -> Option<Revision> {
        self.reader.compacted()
    }

    fn budget(&self) -> &Budget<'_> {
        self.budget
    }

    fn get(&self, key: &[u8], at: Revision) -> Result<Option<KeyValue>, ReadError> {
        self.reader.get(key, at, self.io)
    }

    fn meta(&self, key: &[u8]) -> Result<Option<KeyMeta>, ReadError> {
        match self.reader.newest(key) {
            Some(meta) if meta.mod_revision <= self.at => Ok(Some(meta)),
            // Nothing newer than the pin was visible when the index was read,
            // so "not found" holds at the pin too.
            None if self.reader.revision() == self.at => Ok(None),
            _ => Ok(self.get(key, self.at)?.as_ref().map(meta_of)),
        }
    }

    fn page(
        &self,
        range: &KeyRange,
        at: Revision,
        limit: usize,
        projection: Projection,
    ) -> Result<Page, ReadError> {
        if range.is_single() && projection == Projection::Full {
            let kvs: Vec<KeyValue> = self.get(&range.start, at)?.into_iter().collect();
            kvs.iter().try_for_each(|kv| self.budget.pair(kv))?;
            return Ok(Page { count: kvs.len() as u64, kvs });
        }
        self.reader.range_within(range, at, limit, projection, self.io, self.budget)
    }
}
