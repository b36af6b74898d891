//! Every version of every key, built from the log.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use bytes::Bytes;
use t4_kv_types::{EventKind, KeyRange, KeyValue, LeaseId, RangeEnd, Revision};

use crate::WatchEvent;

/// A key's state since a revision.
#[derive(Clone, Debug)]
struct Version {
    at: i64,
    // `None`: deleted.
    kv: Option<KeyValue>,
}

/// The state at each revision that was not pruned.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    // Ascending by revision.
    keys: BTreeMap<Bytes, Vec<Version>>,
    // The sorted keys of each lease since a revision; ascending by revision.
    attached: HashMap<LeaseId, Vec<(i64, Vec<Bytes>)>>,
    last: i64,
}

impl Store {
    /// An empty store, at revision 1.
    pub(crate) fn new() -> Store {
        let last = Revision::EMPTY_STORE.0;
        Store { keys: BTreeMap::new(), attached: HashMap::new(), last }
    }

    /// The last revision that was applied.
    pub(crate) fn last(&self) -> i64 {
        self.last
    }

    /// A key at a revision.
    pub(crate) fn get(&self, key: &[u8], at: i64) -> Option<&KeyValue> {
        find(self.keys.get(key)?, at)
    }

    /// The keys of a range at a revision, in order.
    pub(crate) fn range<'a>(
        &'a self,
        range: &'a KeyRange,
        at: i64,
    ) -> impl Iterator<Item = &'a KeyValue> + 'a {
        let bounds = (Bound::Included(range.start.as_ref()), Bound::Unbounded);
        let inside = move |key: &Bytes| match &range.end {
            RangeEnd::Single => *key == range.start,
            RangeEnd::Before(end) => key < end,
            RangeEnd::Open => true,
        };
        self.keys
            .range::<[u8], _>(bounds)
            .take_while(move |(key, _)| inside(key))
            .filter_map(move |(_, versions)| find(versions, at))
    }

    /// A lease's keys at a revision, sorted.
    pub(crate) fn attached(&self, id: LeaseId, at: i64) -> &[Bytes] {
        let Some(changes) = self.attached.get(&id) else { return &[] };
        let place = changes.partition_point(|(from, _)| *from <= at);
        place.checked_sub(1).map_or(&[], |place| changes[place].1.as_slice())
    }

    /// The revisions of `low..=high` at which a lease's keys may differ from
    /// those at the previous revision: `low`, and where they changed.
    pub(crate) fn attachments(
        &self,
        id: LeaseId,
        low: i64,
        high: i64,
    ) -> impl Iterator<Item = (i64, &[Bytes])> {
        let changes = self.attached.get(&id).map_or(&[][..], Vec::as_slice);
        let from = changes.partition_point(|(at, _)| *at <= low);
        let first = (low <= high).then(|| (low, self.attached(id, low)));
        let later = changes[from..].iter().take_while(move |(at, _)| *at <= high);
        first.into_iter().chain(later.map(|(at, keys)| (*at, keys.as_slice())))
    }

    /// Adds an event; if it does not follow from the events before it, returns
    /// a description of what it should be.
    pub(crate) fn apply(&mut self, event: &WatchEvent) -> Result<(), String> {
        let at = event.revision().0;
        let before = self.get(&event.kv.key, at).cloned();
        let expected = after(before.as_ref(), event);
        let wrong =
            (event.kv != expected).then(|| format!("{:?} should be {expected:?}", event.kv));
        self.move_key(&event.kv.key, before.as_ref().map(|kv| kv.lease), lease_of(event), at);
        let kv = (event.kind == EventKind::Put).then(|| event.kv.clone());
        self.keys.entry(event.kv.key.clone()).or_default().push(Version { at, kv });
        self.last = self.last.max(at);
        wrong.map_or(Ok(()), Err)
    }

    /// Forgets everything that only reads below `floor` can see.
    pub(crate) fn prune(&mut self, floor: i64) {
        self.keys.retain(|_, versions| {
            let keep = versions.partition_point(|version| version.at <= floor).saturating_sub(1);
            versions.drain(..keep);
            versions.len() > 1 || versions[0].kv.is_some() || versions[0].at > floor
        });
        self.attached.retain(|_, changes| {
            let keep = changes.partition_point(|(at, _)| *at <= floor).saturating_sub(1);
            changes.drain(..keep);
            changes.len() > 1 || !changes[0].1.is_empty()
        });
    }

    fn move_key(&mut self, key: &Bytes, from: Option<LeaseId>, to: LeaseId, at: i64) {
        let from = from.unwrap_or(LeaseId::NONE);
        if from == to {
            return;
        }
        self.change(from, at, |keys| keys.retain(|other| other != key));
        self.change(to, at, |keys| {
            if let Err(place) = keys.binary_search(key) {
                keys.insert(place, key.clone());
            }
        });
    }

    fn change(&mut self, id: LeaseId, at: i64, change: impl FnOnce(&mut Vec<Bytes>)) {
        if !id.is_some() {
            return;
        }
        let changes = self.attached.entry(id).or_default();
        match changes.last_mut() {
            Some((from, keys)) if *from == at => change(keys),
            last => {
                let mut keys = last.map(|(_, keys)| keys.clone()).unwrap_or_default();
                change(&mut keys);
                changes.push((at, keys));
            }
        }
    }
}

/// The key-value of an event on a key that was `before`.
pub(crate) fn after(before: Option<&KeyValue>, event: &WatchEvent) -> KeyValue {
    let KeyValue { key, mod_revision, .. } = event.kv.clone();
    if event.kind == EventKind::Delete {
        return KeyValue { key, mod_revision, ..KeyValue::default() };
    }
    KeyValue {
        create_revision: before.map_or(mod_revision, |kv| kv.create_revision),
        version: before.map_or(1, |kv| kv.version + 1),
        ..event.kv.clone()
    }
}

fn lease_of(event: &WatchEvent) -> LeaseId {
    if event.kind == EventKind::Put { event.kv.lease } else { LeaseId::NONE }
}

fn find(versions: &[Version], at: i64) -> Option<&KeyValue> {
    let place = versions.partition_point(|version| version.at <= at);
    versions[..place].last()?.kv.as_ref()
}
