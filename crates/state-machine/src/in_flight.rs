//! What has been evaluated and is not applied yet, laid over what is: so that
//! the next request is evaluated on the newest state while the log is still
//! making the last ones durable.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bytes::Bytes;
use t4_kv_types::{KeyRange, KeyValue, LeaseId, RangeEnd, Revision, Write};
use t4_mvcc::{Io, KeyMeta, Page, Projection, ReadError, Reader};

use crate::read::{View, meta_of};

/// One change of a key that is in flight.
struct Change {
    main: Revision,
    /// `None`: a delete.
    put: Option<(Bytes, LeaseId)>,
}

/// The changes of one key that are in flight, oldest first.
#[derive(Default)]
struct Pending {
    changes: Vec<Change>,
    /// What the key is after all of them, once somebody asked: a hot key is
    /// compared and swapped many times in one flight, and folding all its
    /// changes each time would be quadratic.
    newest: RefCell<Option<Option<KeyValue>>>,
}

impl Pending {
    fn push(&mut self, key: &Bytes, change: Change) {
        if let Some(newest) = self.newest.get_mut() {
            *newest = change.apply(key, newest.take());
        }
        self.changes.push(change);
    }

    /// The key after its changes up to `at`; `base` is what it was before them.
    fn at(
        &self,
        key: &Bytes,
        at: Revision,
        base: impl FnOnce() -> Result<Option<KeyValue>, ReadError>,
    ) -> Result<Option<KeyValue>, ReadError> {
        let whole = self.changes.last().is_none_or(|last| last.main <= at);
        if whole && let Some(newest) = self.newest.borrow().as_ref() {
            return Ok(newest.clone());
        }
        let mut state = base()?;
        for change in self.changes.iter().take_while(|change| change.main <= at) {
            state = change.apply(key, state);
        }
        if whole {
            *self.newest.borrow_mut() = Some(state.clone());
        }
        Ok(state)
    }
}

impl Change {
    fn apply(&self, key: &Bytes, state: Option<KeyValue>) -> Option<KeyValue> {
        self.put.as_ref().map(|(value, lease)| {
            let (create_revision, version) =
                state.map_or((self.main, 0), |kv| (kv.create_revision, kv.version));
            KeyValue {
                key: key.clone(),
                value: value.clone(),
                create_revision,
                mod_revision: self.main,
                version: version + 1,
                lease: *lease,
            }
        })
    }
}

/// Changes in flight, by key.
#[derive(Default)]
pub(crate) struct InFlight {
    keys: BTreeMap<Bytes, Pending>,
}

impl InFlight {
    pub(crate) fn push(&mut self, main: Revision, write: &Write) {
        let (key, put) = match write {
            Write::Put { key, value, lease } => (key, Some((value.clone(), *lease))),
            Write::Delete { key } => (key, None),
        };
        self.keys.entry(key.clone()).or_default().push(key, Change { main, put });
    }

    /// Forgets the changes of `writes` up to a revision: they are applied.
    pub(crate) fn applied(&mut self, writes: &[Write], through: Revision) {
        self.forget(writes, |pending| {
            // Oldest first, so that a key written many times is cut once.
            if pending.changes.first().is_some_and(|first| first.main <= through) {
                pending.changes.retain(|change| change.main > through);
            }
        });
    }

    /// Forgets the changes made after a revision: their request was refused.
    pub(crate) fn withdraw(&mut self, writes: &[Write], after: Revision) {
        self.forget(writes, |pending| {
            pending.changes.retain(|change| change.main <= after);
            *pending.newest.get_mut() = None;
        });
    }

    fn forget(&mut self, writes: &[Write], mut cut: impl FnMut(&mut Pending)) {
        for write in writes {
            if let Some(pending) = self.keys.get_mut(write.key()) {
                cut(pending);
                if pending.changes.is_empty() {
                    self.keys.remove(write.key());
                }
            }
        }
    }

    /// Whether a key has changes.
    pub(crate) fn changes(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }

    /// The keys whose newest change attaches them to a lease, in order.
    pub(crate) fn attached_to(&self, lease: LeaseId) -> impl Iterator<Item = &Bytes> {
        let attached = move |pending: &Pending| {
            let newest = pending.changes.last().and_then(|last| last.put.as_ref());
            newest.is_some_and(|(_, held_by)| *held_by == lease)
        };
        self.keys.iter().filter_map(move |(key, pending)| attached(pending).then_some(key))
    }

    fn range(&self, range: &KeyRange) -> impl Iterator<Item = (&Bytes, &Pending)> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        // An empty range has its bounds in the wrong order, which the tree
        // does not take.
        (!range.is_empty())
            .then(|| {
                let end = match &range.end {
                    RangeEnd::Single => Included(&range.start),
                    RangeEnd::Before(end) => Excluded(end),
                    RangeEnd::Open => Unbounded,
                };
                self.keys.range::<Bytes, _>((Included(&range.start), end))
            })
            .into_iter()
            .flatten()
    }
}

/// The applied state with the changes in flight on top.
pub(crate) struct Newest<'a> {
    pub(crate) reader: &'a Reader,
    /// The newest applied revision.
    pub(crate) applied: Revision,
    /// The newest revision in flight.
    pub(crate) revision: Revision,
    pub(crate) compacted: Option<Revision>,
    pub(crate) in_flight: &'a InFlight,
}

impl Newest<'_> {
    /// The applied revision that underlies a view at `at`.
    fn base(&self, at: Revision) -> Revision {
        at.min(self.applied)
    }

    fn check(&self, at: Revision) -> Result<(), ReadError> {
        if at > self.revision {
            return Err(ReadError::Future);
        }
        if self.compacted.is_some_and(|compacted| at < compacted) {
            return Err(ReadError::Compacted);
        }
        Ok(())
    }
}

impl View for Newest<'_> {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn compacted(&self) -> Option<Revision> {
        self.compacted
    }

    fn get(&self, key: &[u8], at: Revision) -> Result<Option<KeyValue>, ReadError> {
        self.check(at)?;
        let base = || self.reader.get(key, self.base(at), Io::Blocking);
        match self.in_flight.keys.get_key_value(key) {
            Some((key, pending)) => pending.at(key, at, base),
            None => base(),
        }
    }

    fn meta(&self, key: &[u8]) -> Result<Option<KeyMeta>, ReadError> {
        match self.in_flight.keys.get_key_value(key) {
            Some((key, pending)) => {
                let base = || self.reader.get(key, self.applied, Io::Blocking);
                Ok(pending.at(key, self.revision, base)?.as_ref().map(meta_of))
            }
            None => Ok(self.reader.newest(key)),
        }
    }

    fn page(
        &self,
        range: &KeyRange,
        at: Revision,
        limit: usize,
        projection: Projection,
    ) -> Result<Page, ReadError> {
        self.check(at)?;
        let mut changed: Vec<(&Bytes, Option<KeyValue>)> = Vec::new();
        let mut count_change = 0i64;
        for (key, pending) in self.in_flight.range(range) {
            let before = self.reader.get(key, self.base(at), Io::Blocking)?;
            let was_live = before.is_some();
            let after = pending.at(key, at, || Ok(before))?;
            count_change += i64::from(after.is_some()) - i64::from(was_live);
            changed.push((key, after));
        }
        if changed.is_empty() {
            return self.reader.range(range, self.base(at), limit, projection, Io::Blocking);
        }
        // Each changed key can hide one key of the base.
        let base_limit = if limit == 0 { 0 } else { limit + changed.len() };
        let base = self.reader.range(range, self.base(at), base_limit, projection, Io::Blocking)?;
        let count = base.count.saturating_add_signed(count_change);
        let kvs = match projection {
            Projection::CountOnly => Vec::new(),
            Projection::Full | Projection::KeysOnly => merge(base.kvs, changed, projection, limit),
        };
        Ok(Page { kvs, count })
    }
}

fn merge(
    base: Vec<KeyValue>,
    changed: Vec<(&Bytes, Option<KeyValue>)>,
    projection: Projection,
    limit: usize,
) -> Vec<KeyValue> {
    let mut merged = Vec::with_capacity(base.len() + changed.len());
    let mut base = base.into_iter().peekable();
    for (key, after) in changed {
        while base.peek().is_some_and(|kv| kv.key < *key) {
            merged.extend(base.next());
        }
        if base.peek().is_some_and(|kv| kv.key == *key) {
            base.next();
        }
        merged.extend(after.map(|mut kv| {
            if matches!(projection, Projection::KeysOnly) {
                kv.value = Bytes::new();
            }
            kv
        }));
    }
    merged.extend(base);
    if limit > 0 {
        merged.truncate(limit);
    }
    merged
}
