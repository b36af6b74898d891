//! Merges several key sections: by key, then revision.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::StoreError;
use crate::segment::{KeyCursor, KeyEntry, SegmentFile};

/// An entry and its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sourced {
    pub(crate) entry: KeyEntry,
    /// The number of its file.
    pub(crate) file: u32,
}

/// Merges key sections. Records above a file's cap are skipped.
pub(crate) struct KeyMerge {
    sources: BinaryHeap<Source>,
}

impl KeyMerge {
    /// Starts before the first key.
    pub(crate) fn new(files: impl Iterator<Item = Arc<SegmentFile>>) -> Result<Self, StoreError> {
        let mut sources = BinaryHeap::new();
        for file in files {
            let mut source = Source { cursor: file.keys(), file };
            if source.advance()? {
                sources.push(source);
            }
        }
        Ok(KeyMerge { sources })
    }

    /// Reads the next key: replaces `key` and `entries`, which are ascending.
    /// Returns false at the end.
    pub(crate) fn next_key(
        &mut self,
        key: &mut Vec<u8>,
        entries: &mut Vec<Sourced>,
    ) -> Result<bool, StoreError> {
        entries.clear();
        let Some(first) = self.sources.peek() else { return Ok(false) };
        key.clear();
        key.extend_from_slice(first.cursor.key());
        while let Some(mut source) = self.sources.peek_mut() {
            if source.cursor.key() != key.as_slice() {
                break;
            }
            let entry = *source.cursor.entry();
            let file = source.file.number();
            if entries.last().is_some_and(|last| last.entry.order() >= entry.order()) {
                let what = "it has a change that another file has too".into();
                return Err(StoreError::Corrupt { file: source.file.path().to_owned(), what });
            }
            entries.push(Sourced { entry, file });
            if !source.advance()? {
                std::collections::binary_heap::PeekMut::pop(source);
            }
        }
        Ok(true)
    }
}

struct Source {
    cursor: KeyCursor,
    file: Arc<SegmentFile>,
}

impl Source {
    /// Advances to the next entry within the cap; false at the end.
    fn advance(&mut self) -> Result<bool, StoreError> {
        let newest = self.file.meta().newest_kept();
        while self.cursor.advance()? {
            if self.cursor.entry().main <= newest {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn place(&self) -> (&[u8], (i64, u32)) {
        (self.cursor.key(), self.cursor.entry().order())
    }
}

// The heap pops the greatest; the smallest key must come first.
impl Ord for Source {
    fn cmp(&self, other: &Self) -> Ordering {
        other.place().cmp(&self.place())
    }
}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Source {}
