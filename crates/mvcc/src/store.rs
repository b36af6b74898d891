//! The writer's side of the store.

use t4_kv_types::{Event, Revision, Write};

use crate::{Background, Config, LogPosition, Reader, SealTicket, StoreError, Tables};

/// The one writer of a key space.
pub struct Store {}

#[expect(unused_variables, clippy::needless_pass_by_ref_mut, reason = "signatures first")]
impl Store {
    /// Opens the store in `config.dir`, or creates an empty one (revision 1)
    /// when the directory is empty or missing.
    pub fn open(config: Config) -> Result<(Store, Background), StoreError> {
        unreachable!()
    }
    /// A handle for readers.
    pub fn reader(&self) -> Reader {
        unreachable!()
    }
    /// The newest revision applied.
    pub fn revision(&self) -> Revision {
        unreachable!()
    }
    /// What the manifest covers: replay the log after it. (0, 0) when new.
    pub fn position(&self) -> LogPosition {
        unreachable!()
    }
    /// The side tables as of that position.
    pub fn tables(&self) -> &Tables {
        unreachable!()
    }
    /// Applies one revision.
    pub fn apply(&mut self, revision: Revision, writes: &[Write]) -> Vec<Event> {
        unreachable!()
    }
    /// Makes everything up to `revision` visible.
    pub fn publish(&mut self, revision: Revision) {
        unreachable!()
    }
    /// Compacts, at once for readers. A revision at or below the last
    /// compaction changes nothing (the log is being replayed).
    pub fn compact(&mut self, at: Revision) {
        unreachable!()
    }
    /// Bytes of records that no ticket covers yet.
    pub fn tail_bytes(&self) -> usize {
        unreachable!()
    }
    /// Whether the tail has reached `seal_bytes`.
    pub fn wants_seal(&self) -> bool {
        unreachable!()
    }
    /// Closes the tail at the newest revision applied, which is the state
    /// after the log entry at `position`. Constant time.
    pub fn seal(&mut self, position: LogPosition, tables: Tables) -> SealTicket {
        unreachable!()
    }
}
