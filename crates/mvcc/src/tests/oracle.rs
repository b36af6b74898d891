//! The simplest model of a key space: a list of all changes, searched from the
//! start each time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use t4_kv_types::{Event, EventKind, KeyRange, KeyValue, LeaseId, Revision, Write};

use crate::hash::RecordHash;
use crate::record::HEADER;

/// One change.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) main: i64,
    pub(super) sub: u32,
    pub(super) event: Event,
}

impl Change {
    fn is_put(&self) -> bool {
        self.event.kind == EventKind::Put
    }

    fn key(&self) -> &Bytes {
        &self.event.kv.key
    }

    /// The length of its record.
    fn bytes(&self) -> u64 {
        (HEADER + self.event.kv.key.len() + self.event.kv.value.len()) as u64
    }
}

/// The naive key space.
#[derive(Clone, Debug)]
pub(super) struct Oracle {
    pub(super) changes: Vec<Change>,
    pub(super) revision: i64,
    pub(super) compacted: i64,
}

impl Oracle {
    pub(super) fn new() -> Self {
        Oracle { changes: Vec::new(), revision: 1, compacted: -1 }
    }

    pub(super) fn apply(&mut self, revision: Revision, writes: &[Write]) -> Vec<Event> {
        let mut events = Vec::new();
        for (sub, write) in (0..).zip(writes) {
            let before = self.get(write.key(), revision.0);
            let event = match write {
                Write::Put { key, value, lease } => Event {
                    kind: EventKind::Put,
                    kv: KeyValue {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: before.as_ref().map_or(revision, |kv| kv.create_revision),
                        mod_revision: revision,
                        version: before.map_or(1, |kv| kv.version + 1),
                        lease: *lease,
                    },
                },
                Write::Delete { key } => Event {
                    kind: EventKind::Delete,
                    kv: KeyValue {
                        key: key.clone(),
                        mod_revision: revision,
                        ..KeyValue::default()
                    },
                },
            };
            events.push(event.clone());
            self.changes.push(Change { main: revision.0, sub, event });
        }
        self.revision = revision.0;
        events
    }

    /// The key space as of a revision.
    pub(super) fn forked(&self, at: i64) -> Oracle {
        let changes = self.changes.iter().filter(|change| change.main <= at).cloned().collect();
        Oracle { changes, revision: at, compacted: self.compacted }
    }

    fn newest_change(&self, key: &[u8], at: i64) -> Option<&Change> {
        self.changes.iter().rfind(|change| change.main <= at && change.key() == key)
    }

    pub(super) fn get(&self, key: &[u8], at: i64) -> Option<KeyValue> {
        let change = self.newest_change(key, at)?;
        change.is_put().then(|| change.event.kv.clone())
    }

    pub(super) fn range(&self, range: &KeyRange, at: i64) -> Vec<KeyValue> {
        let mut live: BTreeMap<&Bytes, &KeyValue> = BTreeMap::new();
        for change in self.changes.iter().filter(|change| change.main <= at) {
            if !range.contains(change.key()) {
                continue;
            }
            if change.is_put() {
                live.insert(change.key(), &change.event.kv);
            } else {
                live.remove(change.key());
            }
        }
        live.into_values().cloned().collect()
    }

    /// The events of a range of revisions. Omits those at the compacted
    /// revision that a compaction may have dropped (superseded within it).
    pub(super) fn events(&self, from: i64, to: i64) -> Vec<(Revision, Vec<Event>)> {
        let mut revisions: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
        for change in &self.changes {
            if from <= change.main && change.main <= to && !self.is_superseded_at_compaction(change)
            {
                revisions.entry(change.main).or_default().push(change.event.clone());
            }
        }
        revisions.into_iter().map(|(main, events)| (Revision(main), events)).collect()
    }

    fn is_superseded_at_compaction(&self, change: &Change) -> bool {
        let superseded = |later: &Change| {
            later.main == change.main && later.sub > change.sub && later.key() == change.key()
        };
        change.main == self.compacted && self.changes.iter().any(superseded)
    }

    /// Removes the events that [`Oracle::events`] omits from real events.
    pub(super) fn without_superseded(
        &self,
        mut revisions: Vec<(Revision, Vec<Event>)>,
    ) -> Vec<(Revision, Vec<Event>)> {
        if let Some((main, events)) = revisions.first_mut()
            && main.0 == self.compacted
        {
            let all = std::mem::take(events);
            for (at, event) in all.iter().enumerate() {
                if !all[at + 1..].iter().any(|later| later.kv.key == event.kv.key) {
                    events.push(event.clone());
                }
            }
        }
        revisions
    }

    /// All keys that were ever changed.
    pub(super) fn keys(&self) -> BTreeSet<Bytes> {
        self.changes.iter().map(|change| change.key().clone()).collect()
    }

    /// The newest live keys with a lease.
    pub(super) fn leased(&self) -> Vec<(Bytes, LeaseId)> {
        let live = self.range(&KeyRange::all(), self.revision);
        live.into_iter().filter(|kv| kv.lease.is_some()).map(|kv| (kv.key, kv.lease)).collect()
    }

    /// The changes that remain after a finished pass.
    fn kept(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| {
            let is_newest = || {
                let newest = self.newest_change(change.key(), self.compacted);
                newest.is_some_and(|newest| (newest.main, newest.sub) == (change.main, change.sub))
            };
            change.main > self.compacted
                || is_newest() && (change.is_put() || change.main == self.compacted)
        })
    }

    /// The bytes of the changes that remain after a finished pass.
    pub(super) fn bytes_in_use(&self) -> u64 {
        self.kept().map(Change::bytes).sum()
    }

    /// etcd's hash, following the reference literally.
    pub(super) fn hash(&self, at: i64) -> u32 {
        let keep: BTreeSet<(i64, u32)> = self
            .keys()
            .iter()
            .filter_map(|key| self.newest_change(key, at))
            .filter(|change| change.is_put())
            .map(|change| (change.main, change.sub))
            .collect();
        let mut hash = RecordHash::new();
        for change in self.kept().filter(|change| change.main <= at) {
            let dropped = change.main <= self.compacted
                && !keep.is_empty()
                && !keep.contains(&(change.main, change.sub));
            let delete_at_compaction = change.main == self.compacted && !change.is_put();
            if !dropped && !delete_at_compaction {
                hash.record(change.main, change.sub, !change.is_put(), &change.event.kv);
            }
        }
        hash.finish()
    }
}
