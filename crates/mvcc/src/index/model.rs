//! The index against a naive model: a map from keys to lists of versions.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use t4_kv_types::{KeyRange, RangeEnd};

use super::random::{Random, with_seeds};
use super::{Index, Location, Newest, Version};

/// The shape of the keys, which decides how nodes fill and split.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Few distinct bytes, including the lowest and the highest, of any length.
    Tricky,
    /// Long common prefixes and a number, as in an API server.
    Paths,
    /// Ascending.
    Ascending,
    /// Some are so long that a leaf holds only a few.
    Long,
}

struct Model {
    random: Random,
    shape: Shape,
    keys: usize,
    index: Index,
    /// All changes of each key, oldest first.
    naive: BTreeMap<Vec<u8>, Vec<Newest>>,
    revision: i64,
    compacted: i64,
    /// The pass in progress, and where it continues.
    pass: Option<Option<Box<[u8]>>>,
}

impl Model {
    fn new(seed: u64, shape: Shape, keys: usize) -> Self {
        Model {
            random: Random::new(seed),
            shape,
            keys,
            index: Index::default(),
            naive: BTreeMap::new(),
            revision: 1,
            compacted: 0,
            pass: None,
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let n = self.random.below(self.keys);
        match self.shape {
            Shape::Tricky => {
                let length = self.random.below(7);
                (0..length).map(|_| [0, 1, b'a', 0xfe, 0xff][self.random.below(5)]).collect()
            }
            Shape::Paths => {
                let kind = ["pods", "podtemplates", "events", "leases"][n % 4];
                format!("/registry/{kind}/namespace-{:02}/{:07}", n % 13, n * 7919).into()
            }
            Shape::Ascending => match self.random.once_in(3) {
                true => format!("{:09}", self.random.below(self.revision as usize)).into(),
                false => format!("{:09}", self.revision).into(),
            },
            Shape::Long => {
                let length = [3, 30, 3_000, 30_000][n % 4];
                let mut key = vec![b'x'; length];
                key.extend_from_slice(&(n as u32).to_be_bytes());
                key
            }
        }
    }

    /// An existing key, most of the time.
    fn known_key(&mut self) -> Vec<u8> {
        let key = self.key();
        match self.naive.range(key.clone()..).next() {
            Some((known, _)) if !self.random.once_in(10) => known.clone(),
            _ => key,
        }
    }

    fn location(&mut self) -> Location {
        Location { file: self.random.next() as u32, offset: self.random.next() as u32 }
    }

    /// A new revision with one change, or with several.
    fn write(&mut self) {
        self.revision += 1 + i64::from(self.random.once_in(20));
        let changes = if self.random.once_in(8) { self.random.below(6) } else { 1 };
        for sub in 0..changes as u32 {
            let key = if self.random.once_in(2) { self.known_key() } else { self.key() };
            self.change(key, sub);
        }
    }

    fn change(&mut self, key: Vec<u8>, sub: u32) {
        let at = self.location();
        let before = self.naive.get(&key).and_then(|changes| changes.last()).copied();
        let live = before.filter(|before| !before.version.deleted);
        // The index also accepts deletes of missing keys: the put may have been
        // compacted away before the index was built.
        let deleted = self.random.once_in(if live.is_some() { 3 } else { 40 });
        let version = Version { main: self.revision, sub, deleted, size: 0, at };
        let newest = Newest {
            version,
            create: live.map_or(self.revision, |live| live.create),
            count: live.map_or(1, |live| live.count + 1),
            lease: self.random.below(3) as i64 - 1,
        };
        assert_eq!(self.index.insert(&key, newest), before);
        self.naive.entry(key).or_default().push(newest);
    }

    fn relocate(&mut self) {
        let key = self.known_key();
        let to = self.location();
        let Some(changes) = self.naive.get_mut(&key) else {
            assert!(!self.index.relocate(&key, self.revision, 0, to));
            return;
        };
        let chosen = self.random.below(changes.len());
        let version = &mut changes[chosen].version;
        version.at = to;
        assert!(self.index.relocate(&key, version.main, version.sub, to));
        assert!(!self.index.relocate(&key, version.main, version.sub + 100, to));
    }

    /// One step of a pass; starts a new pass if none is in progress.
    fn compact(&mut self, leaves: usize) {
        let cursor = match self.pass.take() {
            Some(cursor) => cursor,
            None => {
                let room = (self.revision - self.compacted + 1) as usize;
                self.compacted += self.random.below(room) as i64;
                None
            }
        };
        let (c, naive) = (self.compacted, &mut self.naive);
        let next = self.index.compact(c, cursor, leaves, |key, version| {
            let changes = naive.get_mut(key).expect("a dropped version is of a known key");
            let place = changes.iter().position(|change| change.version == version);
            let place = place.expect("a dropped version was there, and once");
            assert!(is_obsolete(changes, place, c), "{version:?} is needed after {c}");
            changes.remove(place);
            if changes.is_empty() {
                naive.remove(key);
            }
        });
        match next {
            Some(cursor) => self.pass = Some(Some(cursor)),
            None => self.assert_nothing_obsolete(),
        }
    }

    fn assert_nothing_obsolete(&self) {
        for (key, changes) in &self.naive {
            let kept = (0..changes.len()).all(|at| !is_obsolete(changes, at, self.compacted));
            assert!(kept, "{key:?} at {} keeps {changes:?}", self.compacted);
        }
    }

    fn range(&mut self) -> KeyRange {
        let start = Bytes::from(self.key());
        let end = match self.random.below(4) {
            0 => RangeEnd::Single,
            1 => RangeEnd::Open,
            _ => RangeEnd::Before(self.known_key().into()),
        };
        KeyRange { start, end }
    }

    fn read(&mut self) {
        let key = self.known_key();
        self.assert_entry(&key);
        let below = self.naive.range(..key.clone());
        let rank = below.filter(|(_, changes)| is_live(changes)).count();
        assert_eq!(self.index.rank(&key), rank as u64);
        let range = self.range();
        let live =
            self.naive.iter().filter(|(key, changes)| range.contains(key) && is_live(changes));
        assert_eq!(self.index.count(&range), live.count() as u64, "{range:?}");
        let limit = 1 + self.random.below(300);
        self.assert_scan(&range, limit);
    }

    fn assert_entry(&self, key: &[u8]) {
        let found = self.index.get(key).map(|entry| {
            assert_eq!(entry.key, key);
            (*entry.newest, entry.older.to_vec())
        });
        assert_eq!(found, self.naive.get(key).map(|changes| in_index(changes)));
    }

    fn assert_scan(&self, range: &KeyRange, limit: usize) {
        let mut found = Vec::new();
        self.index.scan(range, |entry| {
            found.push((entry.key.to_vec(), (*entry.newest, entry.older.to_vec())));
            if found.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let all = self.naive.iter().filter(|(key, _)| range.contains(key));
        let expected: Vec<_> =
            all.take(limit).map(|(key, changes)| (key.clone(), in_index(changes))).collect();
        assert_eq!(found, expected, "{range:?} limit {limit}");
    }

    fn assert_everything(&self) {
        self.index.check();
        self.assert_scan(&KeyRange::all(), usize::MAX);
        let live = self.naive.values().filter(|changes| is_live(changes)).count();
        assert_eq!(self.index.live_keys(), live as u64);
    }

    /// Fills the index as an open does.
    fn preload(&mut self, keys: usize) {
        for _ in 0..keys {
            self.revision += 1;
            let (key, at) = (self.key(), self.location());
            let version = Version { main: self.revision, sub: 0, deleted: false, size: 0, at };
            let newest = Newest { version, create: self.revision, count: 1, lease: 0 };
            self.naive.entry(key).or_default().push(newest);
        }
        self.rebuild_in_bulk();
        self.assert_everything();
    }

    fn rebuild_in_bulk(&mut self) {
        self.index = Index::bulk(self.naive.iter().map(|(key, changes)| {
            let (newest, older) = in_index(changes);
            (key.clone().into(), newest, older)
        }));
    }

    fn run(&mut self, steps: usize) {
        for step in 0..steps {
            match self.random.below(100) {
                0..70 => self.write(),
                70..80 => self.relocate(),
                80..97 => self.read(),
                _ => {
                    let leaves = self.random.below(12);
                    self.compact(leaves);
                }
            }
            if step % 2_000 == 1_999 {
                self.assert_everything();
            }
            if self.random.once_in(4_000) {
                self.rebuild_in_bulk();
            }
        }
        self.assert_everything();
    }

    /// Deletes all keys, and compacts until nothing is left.
    fn run_down(&mut self) {
        let keys: Vec<_> = self.naive.keys().cloned().collect();
        self.revision += 1;
        for key in keys {
            if is_live(&self.naive[&key]) {
                self.delete(&key);
            }
        }
        assert_eq!(self.index.live_keys(), 0);
        while self.pass.is_some() {
            self.compact(2);
        }
        self.revision += 1;
        self.compacted = self.revision;
        self.pass = Some(None);
        while self.pass.is_some() {
            self.compact(3);
            self.index.check();
        }
        assert!(self.naive.is_empty());
        self.assert_everything();
    }

    fn delete(&mut self, key: &[u8]) {
        let at = self.location();
        let version = Version { main: self.revision, sub: 0, deleted: true, size: 0, at };
        let newest = Newest { version, create: 0, count: 0, lease: 0 };
        self.index.insert(key, newest);
        self.naive.get_mut(key).expect("a key to delete is there").push(newest);
    }
}

fn is_live(changes: &[Newest]) -> bool {
    changes.last().is_some_and(|newest| !newest.version.deleted)
}

/// The changes of a key as the index presents them.
fn in_index(changes: &[Newest]) -> (Newest, Vec<Version>) {
    let (newest, older) = changes.split_last().expect("a key has changes");
    (*newest, older.iter().map(|change| change.version).collect())
}

/// Whether a compaction to `c` drops change `at`: a later change is at or below
/// `c`, or it is a delete below `c`.
fn is_obsolete(changes: &[Newest], at: usize, c: i64) -> bool {
    let version = changes[at].version;
    let superseded = changes[at + 1..].iter().any(|later| later.version.main <= c);
    superseded || version.deleted && version.main < c
}

/// Puts of `count` keys, at revisions starting with 2.
fn with_keys(count: usize) -> Model {
    let mut model = Model::new(1, Shape::Ascending, 1);
    for n in 0..count {
        model.revision += 1;
        let key = format!("{n:08}").into_bytes();
        model.change(key, 0);
    }
    model
}

#[test]
fn a_pass_visits_each_leaf_once() {
    let model = with_keys(10_000);
    let mut index = model.index;
    for leaves in [1, 7, 64, 1_000] {
        let expected = index.leaves().div_ceil(leaves);
        let (mut cursor, mut steps) = (None, 0);
        loop {
            cursor = index.compact(0, cursor, leaves, |_, _| unreachable!("nothing is to go"));
            steps += 1;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(steps, expected, "{leaves} leaves a step");
    }
}

#[test]
fn a_pass_leaves_no_small_neighbours() {
    for leaves in [1, 2, 5, 100] {
        let mut model = with_keys(20_000);
        let keys: Vec<_> = model.naive.keys().cloned().collect();
        for key in keys {
            if is_live(&model.naive[&key]) && !model.random.once_in(30) {
                model.revision += 1;
                model.delete(&key);
            }
        }
        model.revision += 1;
        (model.compacted, model.pass) = (model.revision, Some(None));
        while model.pass.is_some() {
            model.compact(leaves);
        }
        model.assert_everything();
        assert!(!model.index.is_untidy());
        assert!(model.index.leaves() <= model.naive.len() / 20, "{}", model.index.leaves());
    }
}

fn check(seed: u64, shape: Shape, keys: usize, steps: usize) {
    let mut model = Model::new(seed, shape, keys);
    model.run(steps);
    model.run_down();
    model.run(steps / 10);
}

#[test]
fn tricky_keys() {
    with_seeds(4, |seed| check(seed, Shape::Tricky, 5_000, 10_000));
}

#[test]
fn path_keys() {
    with_seeds(4, |seed| check(seed, Shape::Paths, 9_000, 12_000));
}

#[test]
fn few_keys_with_long_histories() {
    with_seeds(4, |seed| check(seed, Shape::Paths, 40, 6_000));
}

#[test]
fn ascending_keys() {
    with_seeds(4, |seed| check(seed, Shape::Ascending, 1, 12_000));
}

#[test]
fn deep_trees() {
    with_seeds(1, |seed| {
        let mut model = Model::new(seed, Shape::Paths, 50_000);
        model.preload(25_000);
        model.run(8_000);
        model.run_down();
    });
}

#[test]
fn long_keys() {
    with_seeds(2, |seed| check(seed, Shape::Long, 400, 3_000));
}
