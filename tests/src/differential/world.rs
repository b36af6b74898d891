//! What the generator knows of the state of the servers, from the answers of
//! the reference.

use std::collections::{BTreeMap, BTreeSet};

use t4_proto::etcdserverpb::WatchCreateRequest;

use super::answer::Answer;
use super::op::Op;

/// A watcher that is open.
#[derive(Clone, Debug)]
pub(super) struct Watcher {
    pub(super) request: WatchCreateRequest,
    /// The first revision that it may see.
    pub(super) from: i64,
    /// Whether it certainly has caught up with the history.
    pub(super) synced: bool,
    /// Its events up to this revision have certainly arrived.
    pub(super) seen: i64,
}

/// The state that decides which operations are worth asking for.
#[derive(Debug)]
pub(super) struct World {
    pub(super) revision: i64,
    /// -1 before any compaction, as in etcd.
    pub(super) compacted: i64,
    /// Granted time to live by id.
    pub(super) leases: BTreeMap<i64, i64>,
    pub(super) streams: BTreeMap<u32, BTreeMap<i64, Watcher>>,
    /// Ids of watchers that are gone, by stream.
    pub(super) gone: BTreeSet<(u32, i64)>,
}

impl World {
    pub(super) fn new() -> World {
        World {
            revision: 1,
            compacted: -1,
            leases: BTreeMap::new(),
            streams: BTreeMap::new(),
            gone: BTreeSet::new(),
        }
    }

    /// Learns from what the reference answered.
    pub(super) fn observe(&mut self, op: &Op, answer: &Answer) {
        if let Some(revision) = answer.revision() {
            self.revision = self.revision.max(revision);
        }
        match (op, answer) {
            (Op::Compact(request), Answer::Compacted(_)) => self.compacted = request.revision,
            (_, Answer::LeaseGranted(granted)) => {
                self.leases.insert(granted.id, granted.ttl);
            }
            (Op::LeaseRevoke { id }, Answer::LeaseRevoked(_)) => {
                self.leases.remove(id);
            }
            (Op::WatchCreate { stream, request, .. }, Answer::Watched(controls)) => {
                let watchers = self.streams.entry(*stream).or_default();
                if let [created, _cancelled] = controls.as_slice() {
                    self.gone.insert((*stream, created.watch_id));
                }
                if let [created] = controls.as_slice()
                    && created.created
                    && !created.canceled
                {
                    let start = request.start_revision;
                    let from = if start == 0 { self.revision + 1 } else { start };
                    let synced = from > self.revision;
                    let watcher = Watcher {
                        request: request.clone(),
                        from,
                        synced,
                        seen: from.saturating_sub(1),
                    };
                    watchers.insert(created.watch_id, watcher);
                }
            }
            (Op::WatchCancel { stream, id, .. }, _) => {
                if let Some(watchers) = self.streams.get_mut(stream) {
                    watchers.remove(id);
                    self.gone.insert((*stream, *id));
                }
            }
            (Op::WatchJoin { stream, id, upto, .. }, Answer::Events(_)) => {
                if let Some(watcher) = self.watcher_mut(*stream, *id) {
                    watcher.synced = true;
                    watcher.seen = *upto;
                }
            }
            (Op::WatchClose { stream }, _) => {
                self.streams.remove(stream);
                self.gone.retain(|(of, _)| of != stream);
            }
            _ => {}
        }
    }

    pub(super) fn watcher(&self, stream: u32, id: i64) -> Option<&Watcher> {
        self.streams.get(&stream)?.get(&id)
    }

    fn watcher_mut(&mut self, stream: u32, id: i64) -> Option<&mut Watcher> {
        self.streams.get_mut(&stream)?.get_mut(&id)
    }

    /// Every open watcher: stream, id, what is known of it.
    pub(super) fn watchers(&self) -> impl Iterator<Item = (u32, i64, &Watcher)> {
        self.streams
            .iter()
            .flat_map(|(stream, all)| all.iter().map(move |(id, watcher)| (*stream, *id, watcher)))
    }
}
