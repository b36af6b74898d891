//! The hub: tracks streams and watchers, and decides their messages.

mod catch_up;
mod live;
mod progress;

use t4_kv_types::Revision;

pub use self::catch_up::{HistoryChunk, HistoryRequest};
use crate::cohorts::Cohorts;
use crate::grant::Heard;
use crate::limits::Limits;
use crate::matcher::Matcher;
use crate::message::{CancelReason, Message, RefusalReason};
use crate::recent::Recent;
use crate::slots::Slots;
use crate::streams::{Backlog, StreamId, Streams};
use crate::watcher::{Standing, WatchSpec, Watcher};

/// Fans events out to the watchers of many streams.
///
/// The driver passes in inputs as they happen, in any order. After inputs it
/// calls [`history_wanted`](Hub::history_wanted), which also does the catching
/// up that needs no reading, then [`take_ready`](Hub::take_ready), and
/// [`pop`](Hub::pop) as each client takes messages. Popping may free space for
/// parked watchers: call `history_wanted` again after it.
///
/// Calls with the [`StreamId`] of a closed stream are not errors; they do
/// nothing.
pub struct Hub {
    published: Revision,
    // The newest revision that readers of the store are known to see; at least
    // `published`. Responses report it.
    visible: Revision,
    // The newest known compaction; 0: none.
    compacted: Revision,
    recent: Recent,
    streams: Streams,
    watchers: Slots<Watcher>,
    // The watchers with `Standing::Live`.
    live: Matcher,
    // The watchers with `Standing::CatchingUp`.
    behind: Matcher,
    // The positions of those, and of the watchers with `Standing::Parked`.
    cohorts: Cohorts,
    behind_count: usize,
    outstanding: Option<HistoryRequest>,
    // Where the search for the next cohort to read history for begins, so that
    // each cohort gets its turn.
    turn: Revision,
}

/// Counters for metrics, over the whole hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Open streams.
    pub streams: usize,
    /// Watchers.
    pub watchers: usize,
    /// Watchers that are not live: they are catching up or parked.
    pub slow_watchers: usize,
    /// Queued events.
    pub pending_events: usize,
}

impl Hub {
    /// A hub without streams; `revision` is the newest published one. If the
    /// store has been compacted, call [`compacted`](Hub::compacted) next.
    #[must_use]
    pub fn new(limits: Limits, revision: Revision) -> Hub {
        let limits = limits.at_least_one();
        Hub {
            published: revision,
            visible: revision,
            compacted: Revision(0),
            recent: Recent::new(&limits, revision),
            streams: Streams::new(limits),
            watchers: Slots::new(),
            live: Matcher::new(),
            behind: Matcher::new(),
            cohorts: Cohorts::new(),
            behind_count: 0,
            outstanding: None,
            turn: Revision(0),
        }
    }

    /// The newest published revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.published
    }

    /// Readers of the store can see this revision, so a client may know of it
    /// before it is published here. Responses report it from now on, and a
    /// watcher without a start begins after it. An older revision changes
    /// nothing.
    pub fn visible(&mut self, revision: Revision) {
        self.visible = self.visible.max(revision);
    }

    /// Opens a stream without watchers.
    pub fn open_stream(&mut self) -> StreamId {
        let parking = self.cohorts.open_parking();
        self.streams.open(parking)
    }

    /// Closes a stream, and drops its watchers and queued messages.
    pub fn close_stream(&mut self, stream: StreamId) {
        let Some(slot) = self.streams.slot(stream) else { return };
        let Some(closed) = self.streams.close(slot) else { return };
        for watcher in closed.watchers.into_values() {
            let watcher_state = self.watchers.remove(watcher);
            self.withdraw(watcher, &watcher_state.expect("a stream's watchers exist"));
        }
        self.cohorts.close_parking(closed.parked);
    }

    /// Whether the driver may read more of the stream's requests. Responses are
    /// queued regardless of the bounds, so a driver that reads requests only
    /// while this is true bounds them too.
    #[must_use]
    pub fn accepts_requests(&self, stream: StreamId) -> bool {
        self.streams.slot(stream).is_some_and(|slot| self.streams.accepts_requests(slot))
    }

    /// Creates a watcher with this id, or with the lowest unused id that the
    /// stream has not assigned yet, and queues [`Message::Created`]; or queues
    /// [`Message::CreateRefused`]. Returns the id if it was created.
    ///
    /// A start at or below the published revision is caught up from history;
    /// with a later start the watcher waits, and events before the start are
    /// not delivered. Without a start the watcher begins after the newest
    /// [`visible`](Hub::visible) revision. If the start is below the compacted
    /// revision, [`Message::Canceled`] follows at once.
    pub fn create(&mut self, stream: StreamId, id: Option<i64>, spec: WatchSpec) -> Option<i64> {
        let slot = self.streams.slot(stream)?;
        if let Some(reason) = self.refusal(slot, id, &spec) {
            let revision = self.visible;
            self.streams.tell(slot, Message::CreateRefused { revision, reason });
            return None;
        }
        let id = id.unwrap_or_else(|| self.streams.stream_mut(slot).free_id());
        self.streams.tell(slot, Message::Created { id, revision: self.visible });
        if spec.start > Revision(0) && spec.start < self.compacted {
            self.streams.stream_mut(slot).spend(id);
            self.tell_canceled(slot, id, CancelReason::Compacted(self.compacted));
        } else {
            self.admit(Watcher::new(slot, id, &spec));
        }
        Some(id)
    }

    fn refusal(&self, slot: u32, id: Option<i64>, spec: &WatchSpec) -> Option<RefusalReason> {
        let in_use = |id: i64| self.streams.stream(slot).is_taken(id);
        if spec.start < Revision(0) {
            Some(RefusalReason::NegativeStart)
        } else if spec.range.is_empty() {
            Some(RefusalReason::EmptyRange)
        } else if id.is_some_and(in_use) {
            Some(RefusalReason::DuplicateId)
        } else {
            None
        }
    }

    fn admit(&mut self, mut watcher: Watcher) {
        let (stream, id, next) = (watcher.stream, watcher.id, watcher.next);
        let is_live = next == Revision(0) || next > self.published;
        if next == Revision(0) {
            watcher.next = self.visible.next();
        }
        let slot = self.watchers.insert(watcher);
        self.streams.stream_mut(stream).watchers.insert(id, slot);
        if is_live {
            self.live.insert(slot, &self.watchers[slot].range);
        } else {
            self.set_behind(stream, true);
            self.start_catching_up(slot);
        }
    }

    /// Ends a watcher: [`Message::Canceled`] comes after its queued messages.
    /// Returns whether there was one; if not, nothing is queued. For a watcher
    /// that a compaction has ended, the message is queued once more, and its id
    /// is freed.
    pub fn cancel(&mut self, stream: StreamId, id: i64) -> bool {
        let Some(slot) = self.streams.slot(stream) else { return false };
        if let Some(&watcher) = self.streams.stream(slot).watchers.get(&id) {
            self.end(watcher, CancelReason::Requested);
            return true;
        }
        let was_spent = self.streams.stream_mut(slot).spent.remove(&id);
        if was_spent {
            self.tell_canceled(slot, id, CancelReason::Requested);
        }
        was_spent
    }

    /// Removes a watcher and queues the cancel message.
    fn end(&mut self, watcher: u32, reason: CancelReason) {
        let Some(ended) = self.watchers.remove(watcher) else { return };
        self.streams.stream_mut(ended.stream).watchers.remove(&ended.id);
        if matches!(reason, CancelReason::Compacted(_)) {
            self.streams.stream_mut(ended.stream).spend(ended.id);
        }
        let is_parked = ended.standing == Standing::Parked;
        if !self.withdraw(watcher, &ended) && is_parked {
            self.streams.stream_mut(ended.stream).congested = false;
        }
        if ended.standing != Standing::Live {
            let stream = self.streams.stream_mut(ended.stream);
            stream.behind -= 1;
            if stream.behind == 0 {
                self.streams.end_grant(ended.stream);
            }
        }
        self.tell_canceled(ended.stream, ended.id, reason);
    }

    /// Removes a watcher from the structures of its standing. Returns whether
    /// others are parked on its stream, if it was parked.
    fn withdraw(&mut self, slot: u32, watcher: &Watcher) -> bool {
        if watcher.standing != Standing::Live {
            self.behind_count -= 1;
        }
        match watcher.standing {
            Standing::Live => self.live.remove(slot, &watcher.range),
            Standing::CatchingUp => {
                self.behind.remove(slot, &watcher.range);
                self.cohorts.leave(slot);
            }
            Standing::Parked => return self.cohorts.unpark(slot),
        }
        false
    }

    fn set_behind(&mut self, stream: u32, behind: bool) {
        let of_stream = &mut self.streams.stream_mut(stream).behind;
        for count in [of_stream, &mut self.behind_count] {
            *count = if behind { *count + 1 } else { *count - 1 };
        }
        if self.streams.stream(stream).behind == 0 {
            self.streams.end_grant(stream);
        }
    }

    fn tell_canceled(&mut self, stream: u32, id: i64, reason: CancelReason) {
        self.streams.tell(stream, Message::Canceled { id, revision: self.visible, reason });
    }

    /// The open streams that got messages since the last call, in that order. A
    /// driver that stops popping while messages are left must remember the
    /// stream itself.
    pub fn take_ready(&mut self) -> Vec<StreamId> {
        self.streams.take_ready()
    }

    /// Takes the oldest message for a stream.
    pub fn pop(&mut self, stream: StreamId) -> Option<Message> {
        let slot = self.streams.slot(stream)?;
        let message = self.streams.pop(slot)?;
        self.unpark_if_room(slot);
        Some(message)
    }

    /// Takes the oldest message for a stream; without one, the notification
    /// about the stream's history, if history is on demand.
    pub fn hear(&mut self, stream: StreamId) -> Option<Heard> {
        if let Some(message) = self.pop(stream) {
            return Some(Heard::Message(message));
        }
        let on_demand = self.streams.limits().history_on_demand;
        let slot = self.streams.slot(stream).filter(|_| on_demand)?;
        let state = self.streams.stream_mut(slot);
        state.grant.news(state.behind > 0)
    }

    /// The backlog of a stream; empty if it is closed.
    #[must_use]
    pub fn backlog(&self, stream: StreamId) -> Backlog {
        self.streams.slot(stream).map_or(Backlog::default(), |slot| self.streams.backlog(slot))
    }

    /// Counters for metrics; O(1).
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            streams: self.streams.len(),
            watchers: self.watchers.len(),
            slow_watchers: self.behind_count,
            pending_events: self.streams.events(),
        }
    }
}

#[cfg(test)]
mod tests;
