//! The cache of records read from segment files.

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::index::Location;
use crate::record::Record;

/// The cost of an entry besides the bytes of its record: key, links, counters.
const OVERHEAD: u64 = 96;

/// Records by location. File numbers are never reused, so an entry is never stale.
#[derive(Debug)]
pub(crate) struct RecordCache(Cache<(u32, u32), Record, ByBytes>);

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<(u32, u32), Record> for ByBytes {
    fn weight(&self, _: &(u32, u32), record: &Record) -> u64 {
        record.len() as u64 + OVERHEAD
    }
}

impl RecordCache {
    /// A cache of at most `bytes` bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        // The estimate only sizes the first allocation.
        let items = usize::try_from(bytes / 4096).unwrap_or(usize::MAX).clamp(16, 1 << 16);
        RecordCache(Cache::with_weighter(items, bytes, ByBytes))
    }

    pub(crate) fn get(&self, at: Location) -> Option<Record> {
        self.0.get(&(at.file, at.offset))
    }

    pub(crate) fn insert(&self, at: Location, record: Record) {
        self.0.insert((at.file, at.offset), record);
    }

    /// Its current size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Change;

    #[test]
    fn it_stays_within_its_bytes() {
        let cache = RecordCache::new(100_000);
        let change =
            Change { main: 1, sub: 0, deleted: false, create: 1, version: 1, lease: 0, key: b"k" };
        for offset in 0..10_000 {
            cache.insert(Location { file: 1, offset }, Record::encode(&change, &[0; 500]));
        }
        assert!(cache.bytes() <= 100_000, "{}", cache.bytes());
        assert!(cache.bytes() >= 50_000, "{}", cache.bytes());
        let kept = (0..10_000).filter(|&offset| cache.get(Location { file: 1, offset }).is_some());
        assert!(kept.count() > 50);
    }
}
