//! Publishing: delivers each revision to the live watchers that it concerns.

use std::slice;
use std::sync::Arc;

use t4_kv_types::{Event, Revision};

use super::Hub;
use crate::parcel::Parcels;
use crate::recent::RevisionEvents;
use crate::watcher::Standing;

impl Hub {
    /// Takes the events of the next revision, in the order in which the request
    /// made them. Revisions may skip numbers.
    ///
    /// # Panics
    ///
    /// If `revision` is not above all previous ones: the driver would lose or
    /// repeat events.
    pub fn publish(&mut self, revision: Revision, events: &Arc<[Event]>) {
        assert!(revision > self.published, "revisions are published in ascending order");
        self.published = revision;
        self.visible = self.visible.max(revision);
        let published = RevisionEvents::new(revision, Arc::clone(events));
        self.deliver_live(&published);
        self.recent.push(published);
    }

    fn deliver_live(&mut self, published: &RevisionEvents) {
        let revision = published.revision;
        let revisions = slice::from_ref(published);
        let round = self.streams.begin_round(published.bytes);
        let mut without_room = Vec::new();
        for hit in self.live.hits(revisions) {
            let mut parcels = Parcels::new(revisions, &hit.at);
            for slot in self.live.members(hit.group) {
                let watcher = &mut self.watchers[slot];
                if watcher.next > revision {
                    continue;
                }
                let Some(parcel) = parcels.filtered(watcher.filter) else { continue };
                if !self.streams.has_room_for_live(watcher.stream) {
                    without_room.push(slot);
                } else if let Some(batch) = parcel.since(revision) {
                    watcher.sent = true;
                    self.streams.deliver(watcher, revision, batch, parcel, round);
                }
            }
        }
        for slot in without_room {
            self.fall_behind(slot, revision);
        }
    }

    /// A live watcher could not be given `revision`: it will read it from
    /// history, when its stream has space.
    fn fall_behind(&mut self, slot: u32, revision: Revision) {
        let watcher = &mut self.watchers[slot];
        self.live.remove(slot, &watcher.range);
        watcher.standing = Standing::Parked;
        watcher.next = revision;
        let stream = watcher.stream;
        let state = self.streams.stream_mut(stream);
        state.congested = true;
        self.cohorts.park(state.parked, slot);
        self.set_behind(stream, true);
    }
}
