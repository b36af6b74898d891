//! A table with small, reused indexes, so that other structures can name its
//! entries in four bytes.

use std::ops::{Index, IndexMut};

/// "No entry", for links that lead nowhere.
pub(crate) const NONE: u32 = u32::MAX;

/// A table whose indexes stay valid until their entries are removed.
pub(crate) struct Slots<T> {
    entries: Vec<Option<T>>,
    // The indexes of the entries that are `None`.
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Slots { entries: Vec::new(), free: Vec::new() }
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Stores `entry` under a free index.
    pub(crate) fn insert(&mut self, entry: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.entries[slot as usize] = Some(entry);
            return slot;
        }
        let slot = u32::try_from(self.entries.len()).unwrap_or(NONE);
        assert!(slot < NONE, "four billion entries in one table");
        self.entries.push(Some(entry));
        slot
    }

    /// Removes the entry; its index is free again.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let entry = self.entries.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(entry)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.entries.get(slot as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.entries.get_mut(slot as usize)?.as_mut()
    }

    /// All entries, ordered by index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.entries).filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)))
    }
}

impl<T> Index<u32> for Slots<T> {
    type Output = T;

    fn index(&self, slot: u32) -> &T {
        self.get(slot).expect("an index that is held names an entry")
    }
}

impl<T> IndexMut<u32> for Slots<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        self.get_mut(slot).expect("an index that is held names an entry")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_reused_and_stay() {
        let mut slots = Slots::new();
        let (a, b) = (slots.insert('a'), slots.insert('b'));
        assert_eq!(slots.remove(a), Some('a'));
        assert_eq!((slots.remove(a), slots.get(a), slots.len()), (None, None, 1));
        assert_eq!(slots.insert('c'), a);
        assert_eq!((slots[a], slots[b]), ('c', 'b'));
        assert_eq!(slots.iter().map(|(slot, _)| slot).collect::<Vec<_>>(), [a, b]);
    }
}
