//! etcd's hash over the key space at a revision.

use std::ops::ControlFlow;

use t4_kv_types::{KeyRange, Revision};

use super::Reader;
use crate::fetch::Fetch;
use crate::files::{FileSnapshot, Place};
use crate::hash::{RecordHash, Selection};
use crate::index::Version;
use crate::record::Record;
use crate::{Budget, HashKv, Io, ReadError};

/// The bytes of records that are read at once, and the assumed size of a record
/// whose size field is saturated.
const BATCH_BYTES: usize = 16 << 20;
const BIG_RECORD: usize = 1 << 20;

impl Reader {
    /// etcd's HashKV at a revision: the same on every node, regardless of the
    /// layout of its files. Waits for the disk.
    ///
    /// # Errors
    /// As for [`Reader::get`].
    pub fn hash(&self, at: Revision) -> Result<HashKv, ReadError> {
        self.hash_within(at, &Budget::unlimited())
    }

    /// The same, but stops when the budget's caller is gone.
    ///
    /// # Errors
    /// As for [`Reader::get`]; [`ReadError::Cancelled`].
    pub fn hash_within(&self, at: Revision, budget: &Budget<'_>) -> Result<HashKv, ReadError> {
        let (compacted, versions, files) = self.select(at.0)?;
        let mut hash = RecordHash::new();
        let mut rest = versions.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch_length(rest));
            self.add_to_hash(&mut hash, batch, &files, budget)?;
            rest = after;
        }
        Ok(HashKv { hash: hash.finish(), compact_revision: compacted, hash_revision: at.0 })
    }

    /// The versions that count, and the files that hold them.
    fn select(&self, at: i64) -> Result<(i64, Vec<Version>, FileSnapshot), ReadError> {
        let compacted = std::cell::Cell::new(-1);
        let selection = std::cell::RefCell::new(Selection::new(-1, at));
        let mut files = FileSnapshot::default();
        let mut pin = None;
        let hold = |core: &crate::shared::Core| {
            if pin.is_none() {
                self.shared.check_readable(at)?;
                compacted.set(self.shared.compacted());
                selection.replace(Selection::new(compacted.get(), at));
                // The pass of a later compaction waits for this pin.
                pin = Some(self.shared.pins.pin(&self.shared, compacted.get()));
            }
            files.extend(&core.files);
            Ok(())
        };
        self.walk(&KeyRange::all(), hold, |entry| {
            selection.borrow_mut().entry(entry);
            ControlFlow::Continue(())
        })?;
        Ok((compacted.get(), selection.into_inner().finish(), files))
    }

    fn add_to_hash(
        &self,
        hash: &mut RecordHash,
        versions: &[Version],
        files: &FileSnapshot,
        budget: &Budget<'_>,
    ) -> Result<(), ReadError> {
        budget.still_wanted()?;
        let mut records: Vec<Option<Record>> = vec![None; versions.len()];
        let mut fetch = Fetch::default();
        for (slot, version) in versions.iter().enumerate() {
            match files.place(version.at) {
                Some(Place::Memory(record)) => records[slot] = Some(record.clone()),
                Some(Place::Disk(file)) => fetch.want(version, slot, file),
                None => unreachable!("the index names a record that is nowhere: {version:?}"),
            }
        }
        fetch.read(None, Io::Blocking, budget, |slot, record| {
            let right = record.order() == versions[slot].order();
            records[slot] = Some(record);
            right
        })?;
        for (version, record) in versions.iter().zip(records) {
            let Some(record) = record else { unreachable!("every record was read") };
            hash.record(version.main, version.sub, version.deleted, &record.into_key_value());
        }
        Ok(())
    }
}

/// How many of the versions are read at once; at least one.
fn batch_length(versions: &[Version]) -> usize {
    let mut bytes = 0;
    let fits = |version: &&Version| {
        bytes += match version.size {
            Version::SIZE_MAX => BIG_RECORD,
            size => size.into(),
        };
        bytes <= BATCH_BYTES
    };
    versions.iter().take_while(fits).count().max(1)
}
