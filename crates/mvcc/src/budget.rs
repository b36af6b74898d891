//! How much one read may take: what its answer may weigh, how long it may
//! work, and whether its caller is still there. Counted while the index is
//! walked, before a value is read, so that an answer that will be refused is
//! never gathered.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use t4_kv_types::KeyValue;

use crate::ReadError;

/// What looking at one entry of the index counts as work, in bytes: it takes
/// about as long as copying them.
const ENTRY_WORK_BYTES: usize = 256;

/// The bounds of one read, or of several that make one answer.
#[derive(Debug)]
pub struct Budget<'a> {
    /// Bytes that the answer may still get.
    bytes: Cell<usize>,
    /// Work that may still be done, in bytes.
    work: Cell<usize>,
    cancelled: Option<&'a AtomicBool>,
}

impl<'a> Budget<'a> {
    /// What a pair may add to an encoded answer beside its key and its value,
    /// in bytes: numbers, tags and lengths.
    pub const PAIR_OVERHEAD_BYTES: usize = 64;

    /// For an answer of up to `bytes` bytes, each pair counted with
    /// [`PAIR_OVERHEAD_BYTES`](Self::PAIR_OVERHEAD_BYTES).
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Budget { bytes: Cell::new(bytes), work: Cell::new(usize::MAX), cancelled: None }
    }

    /// For callers that know that what they ask for is small, or have no bound.
    #[must_use]
    pub const fn unlimited() -> Self {
        Budget::new(usize::MAX)
    }

    /// For a read that must be done soon: it may copy `work` bytes, or look at
    /// correspondingly many entries.
    #[must_use]
    pub const fn of_work(work: usize) -> Self {
        Budget { bytes: Cell::new(work), work: Cell::new(work), cancelled: None }
    }

    /// The same; and the read ends soon once `flag` is set.
    #[must_use]
    pub fn cancelled_by(self, flag: &'a AtomicBool) -> Self {
        Budget { cancelled: Some(flag), ..self }
    }

    /// Bytes that the answer may still get.
    #[must_use]
    pub fn bytes_left(&self) -> usize {
        self.bytes.get()
    }

    /// What was gathered since `left` bytes were left is dropped, and no part of
    /// the answer. The work that it took was done all the same.
    pub fn give_back_to(&self, left: usize) {
        self.bytes.set(left);
    }

    /// Counts a pair.
    ///
    /// # Errors
    /// [`ReadError::OverBudget`].
    pub fn pair(&self, kv: &KeyValue) -> Result<(), ReadError> {
        self.bytes(Self::PAIR_OVERHEAD_BYTES + kv.key.len() + kv.value.len())
    }

    /// Counts bytes of the answer.
    ///
    /// # Errors
    /// [`ReadError::OverBudget`].
    pub fn bytes(&self, bytes: usize) -> Result<(), ReadError> {
        spend(&self.bytes, bytes)?;
        spend(&self.work, bytes)
    }

    /// Counts entries of the index that were looked at, and asks whether the
    /// caller is still there.
    pub(crate) fn entries(&self, entries: usize) -> Result<(), ReadError> {
        self.still_wanted()?;
        spend(&self.work, entries.saturating_mul(ENTRY_WORK_BYTES))
    }

    /// Whether so many entries can be looked at.
    pub(crate) fn has_room_for(&self, entries: usize) -> Result<(), ReadError> {
        let work = entries.saturating_mul(ENTRY_WORK_BYTES);
        if work > self.work.get() { Err(ReadError::OverBudget) } else { Ok(()) }
    }

    /// Whether the caller is still there.
    ///
    /// # Errors
    /// [`ReadError::Cancelled`].
    pub fn still_wanted(&self) -> Result<(), ReadError> {
        match self.cancelled {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(ReadError::Cancelled),
            _ => Ok(()),
        }
    }
}

fn spend(purse: &Cell<usize>, amount: usize) -> Result<(), ReadError> {
    let left = purse.get().checked_sub(amount).ok_or(ReadError::OverBudget)?;
    purse.set(left);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_end_and_come_back_but_work_does_not() {
        let budget = Budget::of_work(1000);
        budget.bytes(400).unwrap();
        budget.give_back_to(1000);
        assert_eq!(budget.bytes_left(), 1000);
        budget.entries(2).unwrap();
        assert!(matches!(budget.bytes(100), Err(ReadError::OverBudget)));
        assert!(matches!(budget.has_room_for(1), Err(ReadError::OverBudget)));
        assert!(budget.has_room_for(0).is_ok());
    }

    #[test]
    fn a_caller_that_is_gone_ends_the_read() {
        let gone = AtomicBool::new(false);
        let budget = Budget::unlimited().cancelled_by(&gone);
        budget.entries(1 << 40).unwrap();
        gone.store(true, Ordering::Relaxed);
        assert!(matches!(budget.entries(0), Err(ReadError::Cancelled)));
        assert!(matches!(budget.still_wanted(), Err(ReadError::Cancelled)));
    }
}
