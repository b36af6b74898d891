//! An overlay of evaluated but unapplied changes on the applied state, so that
//! the next request is evaluated on the newest state while the log still makes
//! the previous ones durable.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use t4_kv_types::{KeyRange, KeyValue, LeaseId, RangeEnd, Revision, Write};
use t4_mvcc::ReadError;

/// The number of keys from which a delete is kept as a list of keys: a million
/// single changes take a third of a gigabyte, and a second to create and drop.
const BULK_MIN: usize = 256;

/// One change of a key in flight.
struct Change {
    main: Revision,
    /// `None` for a delete.
    put: Option<(Bytes, LeaseId)>,
}

/// The changes of one key in flight, oldest first.
#[derive(Default)]
pub(crate) struct Pending {
    changes: Vec<Change>,
    /// The key after all changes, cached on first use: a hot key may be
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

    /// The lease that the key is attached to after its newest change.
    fn lease(&self) -> LeaseId {
        let newest = self.changes.last().and_then(|last| last.put.as_ref());
        newest.map_or(LeaseId::NONE, |(_, lease)| *lease)
    }

    /// The key after its changes up to `at`; `base` is the key before them.
    pub(crate) fn at(
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

/// Many keys deleted by one revision.
struct Bulk {
    main: Revision,
    /// The keys that had no change in flight when they were deleted, in order.
    keys: Vec<Bytes>,
    /// The other keys, and those changed since: this delete is one of their changes.
    others: Vec<Bytes>,
}

impl Bulk {
    fn has(&self, key: &[u8]) -> bool {
        self.keys.binary_search_by(|one| one.as_ref().cmp(key)).is_ok()
    }
}

/// The changes in flight of a key.
pub(crate) enum Found<'a> {
    /// Changes of its own.
    Changes(&'a Bytes, &'a Pending),
    /// It was deleted along with many others.
    DeletedAt(Revision),
}

/// Changes in flight, by key.
#[derive(Default)]
pub(crate) struct InFlight {
    keys: BTreeMap<Bytes, Pending>,
    /// Oldest first; there are few, as each fills its batch.
    bulks: Vec<Bulk>,
    /// The keys whose newest change attaches them to a lease.
    attached: BTreeMap<LeaseId, BTreeSet<Bytes>>,
}

impl InFlight {
    pub(crate) fn push(&mut self, main: Revision, write: &Write) {
        let (key, put) = match write {
            Write::Put { key, value, lease } => (key, Some((value.clone(), *lease))),
            Write::Delete { key } => (key, None),
        };
        self.change(key, Change { main, put });
    }

    fn change(&mut self, key: &Bytes, change: Change) {
        let lease = change.put.as_ref().map_or(LeaseId::NONE, |(_, lease)| *lease);
        let before = match self.keys.get_mut(key) {
            Some(pending) => {
                let before = pending.lease();
                pending.push(key, change);
                before
            }
            None => {
                let mut pending = Pending::default();
                if let Some(bulk) = self.bulks.iter_mut().rev().find(|bulk| bulk.has(key)) {
                    pending.push(key, Change { main: bulk.main, put: None });
                    bulk.others.push(key.clone());
                }
                pending.push(key, change);
                self.keys.insert(key.clone(), pending);
                LeaseId::NONE
            }
        };
        move_lease(&mut self.attached, key, before, lease);
    }

    /// Deletes live keys, given in order, as writes of their batch.
    pub(crate) fn delete(&mut self, main: Revision, keys: Vec<Bytes>) {
        if keys.len() < BULK_MIN {
            keys.iter().for_each(|key| self.change(key, Change { main, put: None }));
        } else {
            self.delete_in_bulk(main, keys);
        }
    }

    /// Deletes live keys, given in order; their batch need not contain a write
    /// for them.
    pub(crate) fn delete_in_bulk(&mut self, main: Revision, mut keys: Vec<Bytes>) {
        let others: Vec<Bytes> = if self.keys.is_empty() {
            Vec::new()
        } else {
            keys.extract_if(.., |key| self.changes(key)).collect()
        };
        others.iter().for_each(|key| self.change(key, Change { main, put: None }));
        self.bulks.push(Bulk { main, keys, others });
    }

    /// Forgets the changes of `writes` up to a revision that was applied.
    pub(crate) fn applied(&mut self, writes: &[Write], through: Revision) {
        // Oldest first, so that a key with many writes is cut once.
        let cut = |pending: &mut Pending| {
            if pending.changes.first().is_some_and(|first| first.main <= through) {
                pending.changes.retain(|change| change.main > through);
            }
        };
        self.forget(writes.iter().map(Write::key), cut);
        let applied = self.bulks.partition_point(|bulk| bulk.main <= through);
        for bulk in self.bulks.drain(..applied).collect::<Vec<_>>() {
            self.forget(bulk.others.iter(), cut);
        }
    }

    /// Forgets the changes after a revision: their request was rejected.
    pub(crate) fn withdraw(&mut self, writes: &[Write], after: Revision) {
        let cut = |pending: &mut Pending| {
            pending.changes.retain(|change| change.main <= after);
            *pending.newest.get_mut() = None;
        };
        self.forget(writes.iter().map(Write::key), cut);
        let kept = self.bulks.partition_point(|bulk| bulk.main <= after);
        for bulk in self.bulks.split_off(kept) {
            self.forget(bulk.others.iter(), cut);
        }
    }

    fn forget<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a Bytes>,
        mut cut: impl FnMut(&mut Pending),
    ) {
        for key in keys {
            if self.keys.is_empty() {
                return;
            }
            let Some(pending) = self.keys.get_mut(key) else { continue };
            let before = pending.lease();
            cut(pending);
            move_lease(&mut self.attached, key, before, pending.lease());
            if pending.changes.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    /// The changes in flight of a key.
    pub(crate) fn find(&self, key: &[u8]) -> Option<Found<'_>> {
        match self.keys.get_key_value(key) {
            Some((key, pending)) => Some(Found::Changes(key, pending)),
            None => self.deleted_at(key).map(Found::DeletedAt),
        }
    }

    /// The revision that deletes a key along with many others.
    fn deleted_at(&self, key: &[u8]) -> Option<Revision> {
        self.bulks.iter().rev().find(|bulk| bulk.has(key)).map(|bulk| bulk.main)
    }

    /// Whether a key has changes in flight.
    pub(crate) fn changes(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key) || self.deleted_at(key).is_some()
    }

    /// The keys whose newest change attaches them to a lease, in order.
    pub(crate) fn attached_to(&self, lease: LeaseId) -> impl Iterator<Item = &Bytes> {
        self.attached.get(&lease).into_iter().flatten()
    }

    /// The keys of a range that have their own changes, in order.
    pub(crate) fn range(&self, range: &KeyRange) -> impl Iterator<Item = (&Bytes, &Pending)> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        // The bounds of an empty range may be in the wrong order, which the
        // tree rejects.
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

    /// Whether a key of a range has changes in flight.
    pub(crate) fn touches(&self, range: &KeyRange) -> bool {
        let newest = Revision(i64::MAX);
        self.range(range).next().is_some() || !self.deleted_in(range, newest).is_empty()
    }

    /// The keys of a range that bulk deletes up to a revision removed: one
    /// ordered slice per delete.
    pub(crate) fn deleted_in(&self, range: &KeyRange, at: Revision) -> Vec<&[Bytes]> {
        let of_range = |bulk: &'_ Bulk| {
            let from = bulk.keys.partition_point(|key| *key < range.start);
            let length = match &range.end {
                RangeEnd::Single => bulk.keys[from..].partition_point(|key| *key == range.start),
                RangeEnd::Before(end) => bulk.keys[from..].partition_point(|key| key < end),
                RangeEnd::Open => bulk.keys.len() - from,
            };
            from..from + length
        };
        let bulks = self.bulks.iter().take_while(|bulk| bulk.main <= at);
        bulks.map(|bulk| &bulk.keys[of_range(bulk)]).filter(|keys| !keys.is_empty()).collect()
    }
}

/// Updates `attached` when a key's newest change moves it to another lease.
fn move_lease(
    attached: &mut BTreeMap<LeaseId, BTreeSet<Bytes>>,
    key: &Bytes,
    before: LeaseId,
    after: LeaseId,
) {
    if before == after {
        return;
    }
    if before.is_some()
        && let Some(keys) = attached.get_mut(&before)
    {
        keys.remove(key);
        if keys.is_empty() {
            attached.remove(&before);
        }
    }
    if after.is_some() {
        attached.entry(after).or_default().insert(key.clone());
    }
}
