//! Tests of the store as a whole.

mod basic;
mod check;
mod damage;
mod golden;
mod measure;
mod model;
mod mutations;
mod oracle;
mod read_only;
mod threads;
mod traps;

use bytes::Bytes;
use t4_kv_types::{Epoch, KeyRange, LeaseId, LogIndex, Revision, Write};

use crate::disk::Disk;
use crate::{Background, Config, LogPosition, Store};

/// A store in a directory that is removed with it.
struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
    background: Background,
    /// The log index: nothing is logged, but entries are counted.
    index: u64,
}

/// Small, so that a few records fill a segment and a block.
fn small(dir: &std::path::Path) -> Config {
    Config { seal_bytes: 4 << 10, cache_bytes: 64 << 10, block_bytes: 1 << 10, dir: dir.to_owned() }
}

fn put(key: &str, value: &str) -> Write {
    Write::Put { key: owned(key), value: owned(value), lease: LeaseId::NONE }
}

fn delete(key: &str) -> Write {
    Write::Delete { key: owned(key) }
}

fn owned(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, background) = Store::open(small(dir.path())).unwrap();
        Fixture { dir, store, background, index: 0 }
    }

    /// Applies and publishes one revision.
    fn write(&mut self, writes: &[Write]) -> Revision {
        let revision = self.store.revision().next();
        self.store.apply(revision, writes);
        self.store.publish(revision);
        self.index += 1;
        revision
    }

    fn seal(&mut self) {
        let position = LogPosition { epoch: Epoch(1), index: LogIndex(self.index) };
        let ticket = self.store.seal(position, Vec::new());
        assert_eq!(self.background.seal(ticket).unwrap(), position);
    }

    fn compact(&mut self, at: Revision) {
        self.store.compact(at);
        while self.background.compaction_step() {}
    }

    /// Reopens as after a crash: what was not sealed is gone.
    fn reopen(&mut self) {
        let config = small(self.dir.path());
        self.reopen_with(config);
    }

    fn reopen_with(&mut self, config: Config) {
        let elsewhere = tempfile::tempdir().unwrap();
        let (store, background) = Store::open(small(elsewhere.path())).unwrap();
        drop((
            std::mem::replace(&mut self.store, store),
            std::mem::replace(&mut self.background, background),
        ));
        let (store, background) = Store::open(config).unwrap();
        (self.store, self.background) = (store, background);
    }

    fn value(&self, key: &str) -> Option<String> {
        self.value_at(key, self.store.reader().revision())
    }

    fn value_at(&self, key: &str, at: Revision) -> Option<String> {
        let kv = self.store.reader().get(key.as_bytes(), at, crate::Io::Blocking).unwrap()?;
        Some(String::from_utf8(kv.value.to_vec()).unwrap())
    }

    fn keys(&self) -> Vec<String> {
        let reader = self.store.reader();
        let page = reader
            .range(
                &KeyRange::all(),
                reader.revision(),
                0,
                crate::Projection::KeysOnly,
                crate::Io::Blocking,
            )
            .unwrap();
        page.kvs.iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect()
    }

    /// The names of the segment files in the directory.
    fn segments(&self) -> Vec<std::path::PathBuf> {
        let files = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|ext| ext == "seg")).collect();
        files.sort();
        files
    }
}

/// A seeded random number generator (splitmix64).
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True `percent` times of a hundred.
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
