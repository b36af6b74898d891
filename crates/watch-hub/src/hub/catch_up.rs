//! Catching up from history and from the newest revisions in memory, and
//! parking watchers whose stream is full.

use std::sync::Arc;

use t4_kv_types::{Event, Revision};

use super::Hub;
use crate::grant::Grant;
use crate::message::CancelReason;
use crate::parcel::Parcels;
use crate::recent::RevisionEvents;
use crate::streams::StreamId;
use crate::watcher::Standing;

/// A read of history that the hub requests. Answer with [`Hub::history`],
/// [`Hub::history_compacted`], [`Hub::history_damaged`] or
/// [`Hub::history_failed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryRequest {
    /// The first revision.
    pub from: Revision,
    /// The last revision; at least `from`.
    pub to: Revision,
    /// Stop after this many revisions.
    pub max_revisions: usize,
    /// Stop before the events exceed this many bytes, but not before the first
    /// revision.
    pub max_bytes: usize,
}

/// A piece of history.
#[derive(Clone, Debug)]
pub struct HistoryChunk {
    /// As requested.
    pub from: Revision,
    /// `revisions` is complete up to here: the last revision read if a bound
    /// stopped the reading, otherwise the `to` of the request.
    pub through: Revision,
    /// Every revision from `from` to `through` with all its events, ascending.
    pub revisions: Vec<(Revision, Arc<[Event]>)>,
}

impl Hub {
    /// Does the catching up that needs no reading, then returns what to read,
    /// if anything and if no read is outstanding. One read serves all watchers
    /// that lack a part of it; distant positions take turns.
    pub fn history_wanted(&mut self) -> Option<HistoryRequest> {
        self.catch_up_from_recent();
        if self.outstanding.is_some() {
            return None;
        }
        let from = self.cohorts.first_since(self.turn).or_else(|| self.cohorts.first())?;
        self.turn = from.next();
        let limits = self.streams.limits();
        self.outstanding = Some(HistoryRequest {
            from,
            to: self.published,
            max_revisions: limits.history_revisions,
            max_bytes: limits.history_bytes,
        });
        self.outstanding
    }

    /// Takes the answer to the outstanding request.
    ///
    /// # Panics
    ///
    /// If there is no outstanding request, or if the chunk is not its answer.
    pub fn history(&mut self, chunk: HistoryChunk) {
        let request = self.outstanding.take().expect("history was requested");
        assert_eq!(chunk.from, request.from, "history begins where it was requested");
        assert!(chunk.through >= chunk.from, "history comes with one revision at least");
        // The store may be ahead of what was published here.
        let through = chunk.through.min(request.to);
        let revisions: Vec<_> = chunk
            .revisions
            .into_iter()
            .filter(|(revision, _)| (chunk.from..=through).contains(revision))
            .map(|(revision, events)| RevisionEvents::new(revision, events))
            .collect();
        assert!(revisions.is_sorted_by(|a, b| a.revision < b.revision), "history ascends");
        self.turn = through.next().next();
        self.advance(chunk.from, through, &revisions);
        self.catch_up_from_recent();
    }

    /// The outstanding request could not be answered because the store was
    /// compacted at `at`.
    pub fn history_compacted(&mut self, at: Revision) {
        self.outstanding = None;
        self.compacted(at);
    }

    /// The outstanding request can never be answered: the history that it asks
    /// for is damaged, as `what` says. Watchers that lack its first revision
    /// end; those further on are requested in their turn.
    pub fn history_damaged(&mut self, what: &str) {
        let Some(request) = self.outstanding.take() else { return };
        let reason: Arc<str> = what.into();
        for slot in self.cohorts.members(request.from..=request.from) {
            self.end(slot, CancelReason::Damaged(Arc::clone(&reason)));
        }
    }

    /// The outstanding request could not be answered for another reason. It
    /// will be made again, after others; the driver chooses when to ask.
    pub fn history_failed(&mut self) {
        self.outstanding = None;
    }

    /// The store was compacted: watchers that lack a revision before `at` end,
    /// unless it is still in memory.
    pub fn compacted(&mut self, at: Revision) {
        self.catch_up_from_recent();
        self.compacted = self.compacted.max(at);
        let mut lost = self.cohorts.members(..at);
        for stream in self.streams.slots() {
            let parked = self.cohorts.parked(self.streams.stream(stream).parked);
            lost.extend(parked.into_iter().filter(|&slot| self.watchers[slot].next < at));
        }
        for slot in lost {
            self.end(slot, CancelReason::Compacted(at));
        }
    }

    /// Serves every cohort whose missing revisions are all in memory.
    fn catch_up_from_recent(&mut self) {
        let revisions_max = self.streams.limits().history_revisions;
        while let Some(from) = self.cohorts.first_since(self.recent.floor().next()) {
            let (revisions, is_all) = self.recent.since(from, revisions_max);
            let revisions = revisions.to_vec();
            let last = revisions.last().map(|last| last.revision);
            let through = last.filter(|_| !is_all).unwrap_or(self.published);
            self.advance(from, through, &revisions);
        }
    }

    /// Moves every cohort at a position from `from` to `through` past
    /// `through`. `revisions` are all the revisions in that range.
    fn advance(&mut self, from: Revision, through: Revision, revisions: &[RevisionEvents]) {
        let goes_live = through >= self.published;
        for (slot, next) in self.deliver_history(from, through, revisions) {
            self.park(slot, next);
        }
        if goes_live {
            for slot in self.cohorts.members(from..=through) {
                self.go_live(slot);
            }
        } else {
            self.cohorts.advance(from, through);
        }
    }

    /// Queues the events for the members of these cohorts. Returns the watchers
    /// that must wait for space, and the revisions at which they resume.
    fn deliver_history(
        &mut self,
        from: Revision,
        through: Revision,
        revisions: &[RevisionEvents],
    ) -> Vec<(u32, Revision)> {
        let hits = self.behind.hits(revisions);
        let mut parcels: Vec<_> = hits.iter().map(|hit| Parcels::new(revisions, &hit.at)).collect();
        let mut takers = Vec::new();
        for (index, hit) in hits.iter().enumerate() {
            let members = self.behind.members(hit.group);
            takers.extend(members.map(|slot| (self.cohorts.next_of(slot), slot, index)));
        }
        takers.retain(|(next, ..)| (from..=through).contains(next));
        // The watcher furthest behind first: if there is space for only some,
        // each gets its turn. Stable, so that watchers of a range stay
        // together.
        takers.sort_by_key(|&(next, ..)| next);

        let round = self.streams.begin_round(revisions.iter().map(|r| r.bytes).sum());
        let mut waiting = Vec::new();
        for (next, slot, index) in takers {
            let watcher = &mut self.watchers[slot];
            let Some(parcel) = parcels[index].filtered(watcher.filter) else { continue };
            let Some(batch) = parcel.since(next) else { continue };
            let first = batch.pieces()[0].revision;
            let stream = self.streams.stream(watcher.stream);
            if !stream.has_room_for_round(self.streams.limits(), round) {
                waiting.push((slot, first));
                continue;
            }
            watcher.sent = true;
            self.streams.deliver_history(watcher, self.published, batch, parcel, round);
            // Without space for more, reading more for it would be useless.
            let stream = self.streams.stream(watcher.stream);
            if through < self.published && !stream.has_room_for_history(self.streams.limits()) {
                waiting.push((slot, through.next()));
            }
        }
        waiting
    }

    /// Grants a stream `bytes` of history, and no more until the hub requests
    /// it again; a round of history is queued as a whole.
    pub fn grant_history(&mut self, stream: StreamId, bytes: usize) {
        let Some(slot) = self.streams.slot(stream) else { return };
        let state = self.streams.stream_mut(slot);
        if state.behind > 0 {
            state.grant = Grant::Open(bytes.max(1));
            self.unpark_if_room(slot);
        }
    }

    pub(super) fn start_catching_up(&mut self, slot: u32) {
        let watcher = &mut self.watchers[slot];
        watcher.standing = Standing::CatchingUp;
        self.behind.insert(slot, &watcher.range);
        self.cohorts.enter(watcher.next, slot);
    }

    /// A catching-up watcher waits for space on its stream.
    fn park(&mut self, slot: u32, next: Revision) {
        let watcher = &mut self.watchers[slot];
        watcher.standing = Standing::Parked;
        watcher.next = next;
        self.behind.remove(slot, &watcher.range);
        self.cohorts.leave(slot);
        self.cohorts.park(self.streams.stream(watcher.stream).parked, slot);
    }

    /// A stream may have space again: its parked watchers continue catching up.
    pub(super) fn unpark_if_room(&mut self, stream: u32) {
        let state = self.streams.stream(stream);
        if self.cohorts.has_parked(state.parked)
            && state.has_room_for_history(self.streams.limits())
        {
            self.unpark(stream);
        }
    }

    fn unpark(&mut self, stream: u32) {
        let state = self.streams.stream_mut(stream);
        state.congested = false;
        for slot in self.cohorts.parked(state.parked) {
            self.cohorts.unpark(slot);
            self.start_catching_up(slot);
        }
    }

    /// A catching-up watcher has everything that was published.
    fn go_live(&mut self, slot: u32) {
        self.cohorts.leave(slot);
        let watcher = &mut self.watchers[slot];
        self.behind.remove(slot, &watcher.range);
        self.live.insert(slot, &watcher.range);
        watcher.standing = Standing::Live;
        watcher.next = self.published.next();
        let stream = watcher.stream;
        self.set_behind(stream, false);
    }
}
