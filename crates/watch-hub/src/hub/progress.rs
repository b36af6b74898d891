//! Progress: the revision up to which a client has seen everything.

use t4_kv_types::Revision;

use super::Hub;
use crate::message::Message;
use crate::streams::StreamId;
use crate::watcher::{Standing, Watcher};

impl Hub {
    /// Queues [`Message::Progress`] for all watchers of the stream: the
    /// published revision if they are live, otherwise the last revision up to
    /// which all their events have been queued. Queues nothing without
    /// watchers, and nothing while one of them was created to start above the
    /// published revision, as in etcd since 3.5.22: a client may resume from
    /// the answer, so it must not be below the start that the client requested.
    pub fn request_progress(&mut self, stream: StreamId) {
        let Some(slot) = self.streams.slot(stream) else { return };
        let mut watchers = self.streams.stream(slot).watchers.values().peekable();
        let starts_later = |slot: &u32| self.watchers[*slot].starts_above(self.published);
        if watchers.peek().is_none() || watchers.any(starts_later) {
            return;
        }
        let revision = self.complete_through(slot);
        self.streams.tell_progress(slot, revision);
    }

    /// The periodic tick of a stream: queues [`Message::Progress`] for each
    /// watcher that asked for it, is live, has begun and got no events since
    /// the last tick. Queues nothing when the queue is full.
    pub fn notify_progress(&mut self, stream: StreamId) {
        let Some(slot) = self.streams.slot(stream) else { return };
        let asked = |slot: &u32| self.watchers[*slot].progress_notify;
        let watchers = self.streams.stream(slot).watchers.values();
        let watchers: Vec<u32> = watchers.copied().filter(asked).collect();
        for watcher in watchers {
            let watcher = &mut self.watchers[watcher];
            let was_sent = std::mem::take(&mut watcher.sent);
            if !was_sent && has_all(watcher, self.published) && self.streams.has_room(slot) {
                let message = Message::Progress { id: watcher.id, revision: self.published };
                self.streams.tell(slot, message);
            }
        }
    }

    /// The last revision up to which all events for every watcher of the stream
    /// have been queued.
    fn complete_through(&self, slot: u32) -> Revision {
        let stream = self.streams.stream(slot);
        if stream.behind == 0 {
            return self.published;
        }
        let next =
            stream.watchers.values().filter_map(|&watcher| match self.watchers[watcher].standing {
                Standing::Live => None,
                Standing::CatchingUp => Some(self.cohorts.next_of(watcher)),
                Standing::Parked => Some(self.watchers[watcher].next),
            });
        let first = next.min().unwrap_or(self.published.next());
        // An empty store has no events at its revision.
        Revision(first.0 - 1).max(Revision::EMPTY_STORE)
    }
}

/// Whether a watcher has begun and has been given everything published.
fn has_all(watcher: &Watcher, published: Revision) -> bool {
    watcher.standing == Standing::Live && watcher.next <= published.next()
}
