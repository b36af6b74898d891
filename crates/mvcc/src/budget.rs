//! The limits of one read: the size of its answer, the work it may do, and
//! whether its caller is still there. Counted while the index is walked, before
//! any value is read, so that an answer over the limit is never gathered.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use t4_kv_types::KeyValue;

use crate::ReadError;

/// The work charged for visiting one index entry, in bytes: it takes about as
/// long as copying that many.
const ENTRY_WORK_BYTES: usize = 256;

/// The limits of one read, or of several reads that make up one answer.
#[derive(Debug)]
pub struct Budget<'a> {
    /// Bytes left for the answer.
    bytes: Cell<usize>,
    /// Work left, in bytes.
    work: Cell<usize>,
    cancelled: Option<&'a AtomicBool>,
}

impl<'a> Budget<'a> {
    /// The most that a pair adds to an encoded answer besides its key and
    /// value, in bytes: numbers, tags and lengths.
    pub const PAIR_OVERHEAD_BYTES: usize = 64;

    /// For an answer of up to `bytes` bytes, each pair counted with
    /// [`PAIR_OVERHEAD_BYTES`](Self::PAIR_OVERHEAD_BYTES).
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Budget { bytes: Cell::new(bytes), work: Cell::new(usize::MAX), cancelled: None }
    }

    /// For callers that have no limit or know that the answer is small.
    #[must_use]
    pub const fn unlimited() -> Self {
        Budget::new(usize::MAX)
    }

    /// For a read that must finish quickly: it may copy `work` bytes or visit a
    /// corresponding number of entries.
    #[must_use]
    pub const fn of_work(work: usize) -> Self {
        Budget { bytes: Cell::new(work), work: Cell::new(work), cancelled: None }
    }

    /// Also makes the read stop soon after `flag` is set.
    #[must_use]
    pub fn cancelled_by(self, flag: &'a AtomicBool) -> Self {
        Budget { cancelled: Some(flag), ..self }
    }

    /// Bytes left for the answer.
    #[must_use]
    pub fn bytes_left(&self) -> usize {
        self.bytes.get()
    }

    /// Returns the bytes used since `left` were left: what they paid for is
    /// dropped and not part of the answer. The work done for it stays charged.
    pub fn give_back_to(&self, left: usize) {
        self.bytes.set(left);
    }

    /// Charges a pair.
    ///
    /// # Errors
    /// [`ReadError::OverBudget`].
    pub fn pair(&self, kv: &KeyValue) -> Result<(), ReadError> {
        self.bytes(Self::PAIR_OVERHEAD_BYTES + kv.key.len() + kv.value.len())
    }

    /// Charges bytes of the answer.
    ///
    /// # Errors
    /// [`ReadError::OverBudget`].
    pub fn bytes(&self, bytes: usize) -> Result<(), ReadError> {
        spend(&self.bytes, bytes)?;
        spend(&self.work, bytes)
    }

    /// Charges visited index entries and checks whether the caller is still there.
    pub(crate) fn entries(&self, entries: usize) -> Result<(), ReadError> {
        self.still_wanted()?;
        spend(&self.work, entries.saturating_mul(ENTRY_WORK_BYTES))
    }

    /// Whether the work left allows this many entries.
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
