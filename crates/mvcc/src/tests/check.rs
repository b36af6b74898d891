//! Compares a reader with the oracle.

use std::fmt::Debug;

use bytes::Bytes;
use t4_kv_types::{KeyRange, RangeEnd, Revision};

use super::Random;
use super::oracle::Oracle;
use crate::{Io, Projection, ReadError, Reader};

/// What is wrong, if anything.
pub(super) type Checked = Result<(), String>;

pub(super) fn same<T: PartialEq + Debug>(
    found: T,
    expected: T,
    what: impl FnOnce() -> String,
) -> Checked {
    if found == expected {
        return Ok(());
    }
    Err(format!("{}\n  found    {found:?}\n  expected {expected:?}", what()))
}

/// Compares a reader with the oracle.
pub(super) struct Check<'a> {
    pub(super) oracle: &'a Oracle,
    pub(super) random: &'a mut Random,
    pub(super) visible: i64,
}

impl Check<'_> {
    /// A few reads.
    pub(super) fn some(&mut self, reader: &Reader) -> Checked {
        let at = self.readable();
        self.range(reader, at)?;
        self.get(reader, at)?;
        self.events(reader)?;
        if self.random.chance(20) {
            self.hash(reader, at)?;
        }
        self.refused(reader)
    }

    /// All reads, at a dozen revisions.
    pub(super) fn all(&mut self, reader: &Reader) -> Checked {
        self.newest(reader)?;
        let low = self.oracle.compacted.max(1);
        let step = ((self.visible - low) / 12).max(1) as usize;
        for at in (low..=self.visible).step_by(step).chain([self.visible]) {
            let page =
                reader.range(&KeyRange::all(), Revision(at), 0, Projection::Full, Io::Blocking);
            let page = page.map_err(|error| format!("all keys at {at}: {error}"))?;
            same(&page.kvs, &self.oracle.range(&KeyRange::all(), at), || format!("all at {at}"))?;
            self.hash(reader, at)?;
        }
        let events =
            reader.events(Revision(low), Revision(i64::MAX), usize::MAX, usize::MAX, Io::Blocking);
        let events = events.map_err(|error| format!("all events: {error}"))?;
        let events = self.oracle.without_superseded(events);
        same(&events, &self.oracle.events(low, self.visible), || format!("events from {low}"))?;
        self.some(reader)
    }

    fn readable(&mut self) -> i64 {
        let low = self.oracle.compacted.max(1);
        if self.random.chance(40) {
            return self.visible;
        }
        low + self.random.below((self.visible - low + 1) as u64) as i64
    }

    fn key(&mut self) -> Bytes {
        let keys: Vec<Bytes> = self.oracle.keys().into_iter().collect();
        if keys.is_empty() || self.random.chance(10) {
            return Bytes::from_static(b"/a");
        }
        keys[self.random.below(keys.len() as u64) as usize].clone()
    }

    fn range(&mut self, reader: &Reader, at: i64) -> Checked {
        let range = match self.random.below(5) {
            0 => KeyRange::all(),
            1 => KeyRange::prefix("/a/"),
            2 => KeyRange::single(self.key()),
            3 => KeyRange { start: self.key(), end: RangeEnd::Open },
            _ => KeyRange { start: self.key(), end: RangeEnd::Before(self.key()) },
        };
        let limit = [0, 1, 3, 7][self.random.below(4) as usize];
        let projection = [Projection::Full, Projection::KeysOnly, Projection::CountOnly]
            [self.random.below(3) as usize];
        let read = |io| reader.range(&range, Revision(at), limit, projection, io);
        let page = match read(Io::NoWait) {
            Err(ReadError::WouldBlock) => read(Io::Blocking),
            other => other,
        };
        let page = page.map_err(|error| format!("range at {at}: {error}"))?;
        let mut expected = self.oracle.range(&range, at);
        let context = || format!("{range:?} at {at}, limit {limit}, {projection:?}");
        same(page.count, expected.len() as u64, context)?;
        match (projection, limit) {
            (Projection::CountOnly, _) => expected.clear(),
            (_, 0) => {}
            (_, limit) => expected.truncate(limit),
        }
        if projection == Projection::KeysOnly {
            expected.iter_mut().for_each(|kv| kv.value.clear());
        }
        same(&page.kvs, &expected, context)
    }

    fn get(&mut self, reader: &Reader, at: i64) -> Checked {
        let key = self.key();
        let found = reader.get(&key, Revision(at), Io::Blocking);
        let found = found.map_err(|error| format!("get at {at}: {error}"))?;
        same(found, self.oracle.get(&key, at), || format!("get {key:?} at {at}"))
    }

    fn events(&mut self, reader: &Reader) -> Checked {
        let from = self.readable();
        let to = from + self.random.below(20) as i64;
        let (revisions, bytes) =
            (1 + self.random.below(6) as usize, self.random.below(600) as usize);
        let found = reader.events(Revision(from), Revision(to), revisions, bytes, Io::Blocking);
        let found = found.map_err(|error| format!("events from {from}: {error}"))?;
        let found = self.oracle.without_superseded(found);
        let all = self.oracle.events(from, to.min(self.visible));
        let context = || format!("events {from} to {to}, {revisions} revisions, {bytes} bytes");
        same(found.is_empty(), all.is_empty(), context)?;
        if found.len() > revisions || found.len() > all.len() {
            return Err(format!("{}: {} revisions", context(), found.len()));
        }
        same(&found[..], &all[..found.len()], context)
    }

    fn newest(&mut self, reader: &Reader) -> Checked {
        for key in self.oracle.keys() {
            let found = reader.newest(&key);
            let found = found.map(|m| (m.create_revision, m.mod_revision, m.version, m.lease));
            let expected = self.oracle.get(&key, self.visible);
            let expected =
                expected.map(|kv| (kv.create_revision, kv.mod_revision, kv.version, kv.lease));
            same(found, expected, || format!("newest of {key:?}"))?;
        }
        if self.visible == self.oracle.revision {
            let mut leased = Vec::new();
            reader.leased_keys(|key, lease| leased.push((Bytes::copy_from_slice(key), lease)));
            same(leased, self.oracle.leased(), || "leased keys".into())?;
            let live = self.oracle.range(&KeyRange::all(), self.visible).len() as u64;
            same(reader.stats().keys, live, || "number of keys".into())?;
        }
        Ok(())
    }

    fn hash(&mut self, reader: &Reader, at: i64) -> Checked {
        let found = reader.hash(Revision(at)).map_err(|error| format!("hash at {at}: {error}"))?;
        let found = (found.hash, found.compact_revision, found.hash_revision);
        let expected = (self.oracle.hash(at), self.oracle.compacted, at);
        same(found, expected, || format!("hash at {at}"))
    }

    fn refused(&mut self, reader: &Reader) -> Checked {
        let above = reader.get(b"/a/0", Revision(self.visible + 1), Io::Blocking);
        if !matches!(above, Err(ReadError::Future)) {
            return Err(format!("a read above the visible revision gave {above:?}"));
        }
        let below = Revision(self.oracle.compacted - 1);
        if below.0 < 0 {
            return Ok(());
        }
        let range = reader.range(&KeyRange::all(), below, 1, Projection::Full, Io::Blocking);
        let events = reader.events(below, Revision(self.visible), 1, 1, Io::Blocking);
        match (range, events) {
            (Err(ReadError::Compacted), Err(ReadError::Compacted)) => Ok(()),
            (range, events) => Err(format!("below the compaction: {range:?}, {events:?}")),
        }
    }
}
