//! What runs behind the writer's back: seals, compaction passes, collection.

use crate::{CollectStats, LogPosition, StoreError};

/// A tail that was closed and is to be written to a segment file.
pub struct SealTicket {}

/// The worker of a store; owned by one thread.
pub struct Background {}

#[expect(unused_variables, clippy::needless_pass_by_ref_mut, reason = "signatures first")]
impl Background {
    /// Makes a ticket's records and then the manifest durable. On an error the
    /// ticket is kept and [`retry_seals`](Self::retry_seals), or the next
    /// seal, does it again.
    pub fn seal(&mut self, ticket: SealTicket) -> Result<LogPosition, StoreError> {
        unreachable!()
    }
    /// How many tickets are left over from failed seals.
    pub fn unfinished_seals(&self) -> usize {
        unreachable!()
    }
    /// Does the left-over seals; the position that is durable afterwards.
    pub fn retry_seals(&mut self) -> Result<LogPosition, StoreError> {
        unreachable!()
    }
    /// One short step of the compaction pass; true: there is more to do.
    pub fn compaction_step(&mut self) -> bool {
        unreachable!()
    }
    /// Whether a collection would free enough to be worth it.
    pub fn wants_collect(&self) -> bool {
        unreachable!()
    }
    /// Whether it would, if a seal came first.
    pub fn wants_seal_for_collect(&self) -> bool {
        unreachable!()
    }
    /// Rewrites the segments that are mostly dead.
    pub fn collect(&mut self) -> Result<CollectStats, StoreError> {
        unreachable!()
    }
}
