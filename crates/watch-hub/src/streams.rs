//! The streams of the hub and their bounded queues.
//!
//! What a queue holds is counted in messages and in the bytes that it keeps in
//! memory. Watchers of one stream share events; shared bytes are charged once,
//! to the first message that holds them, so the count may fall short of the
//! truth by one round (a revision, or a piece of history) at the queue's head.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use t4_kv_types::Revision;

use crate::grant::Grant;
use crate::limits::Limits;
use crate::message::{Batch, Message};
use crate::parcel::Parcel;
use crate::slots::Slots;
use crate::watcher::Watcher;

/// Names a stream of a hub; never used twice in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(
    // The stream's serial number above, its index below.
    u64,
);

impl StreamId {
    fn new(serial: u32, slot: u32) -> Self {
        StreamId(u64::from(serial) << 32 | u64::from(slot))
    }

    fn slot(self) -> u32 {
        self.0 as u32
    }

    fn serial(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What waits for a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages.
    pub messages: usize,
    /// Events in them.
    pub events: usize,
    /// Bytes that the queue is charged for.
    pub bytes: usize,
}

/// Queues above this size give their memory back when they are empty.
const IDLE_CAPACITY_MAX: usize = 64;

struct Queued {
    message: Message,
    bytes: usize,
    events: u32,
}

/// A stream: its queue and the names of its watchers.
pub(crate) struct Stream {
    serial: u32,
    queue: VecDeque<Queued>,
    // The sum over `queue`.
    bytes: usize,
    events: usize,
    // The round in which events were queued last, and what it was charged for.
    round: u64,
    round_bytes: usize,
    // Whether it is in `Streams::ready`.
    ready: bool,
    /// Its watchers by id.
    pub(crate) watchers: BTreeMap<i64, u32>,
    /// Ids of watchers that a compaction ended. None of them is in `watchers`.
    pub(crate) spent: BTreeSet<i64>,
    /// Where the search for an automatic id begins.
    next_id: i64,
    /// How many of its watchers are not live.
    pub(crate) behind: usize,
    /// Its list of parked watchers in `Cohorts`.
    pub(crate) parked: u32,
    /// Set when a live watcher finds the queue full, until it has drained: so
    /// that those who wait are served before those who would take every place
    /// that comes free. Implies that a watcher is parked.
    pub(crate) congested: bool,
    /// What it may have of history, if that is on demand.
    pub(crate) grant: Grant,
    /// The round in which history was queued last: one that begins within the
    /// grant is queued as a whole, as its watchers share it.
    history_round: u64,
}

/// Ids of ended watchers that a stream remembers, at most.
const SPENT_IDS_MAX: usize = 4096;

impl Stream {
    /// A free id, the lowest from the last automatic one on.
    pub(crate) fn free_id(&mut self) -> i64 {
        while self.is_taken(self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// Whether a watcher has this id, or had it until a compaction ended it.
    pub(crate) fn is_taken(&self, id: i64) -> bool {
        self.watchers.contains_key(&id) || self.spent.contains(&id)
    }

    /// A compaction has ended the watcher of this id: as in etcd the id stays
    /// taken until the client cancels it.
    pub(crate) fn spend(&mut self, id: i64) {
        self.spent.insert(id);
        if self.spent.len() > SPENT_IDS_MAX {
            self.spent.pop_first();
        }
    }

    /// At how many messages it is full.
    fn messages_max(&self, limits: &Limits) -> usize {
        limits.stream_queue_messages + self.watchers.len()
    }

    fn is_full(&self, limits: &Limits) -> bool {
        self.queue.len() >= self.messages_max(limits) || self.bytes >= limits.stream_queue_bytes
    }

    /// Whether at most half of the queue is used: then a watcher that catches up
    /// may queue events, and leaves the other half to the live ones.
    pub(crate) fn has_room_for_history(&self, limits: &Limits) -> bool {
        (self.grant.is_open() || !limits.history_on_demand) && self.is_half_free(limits)
    }

    /// The same for a round that may have begun.
    pub(crate) fn has_room_for_round(&self, limits: &Limits, round: Round) -> bool {
        let has_begun = self.history_round == round.number;
        self.has_room_for_history(limits) || has_begun && self.is_half_free(limits)
    }

    fn is_half_free(&self, limits: &Limits) -> bool {
        self.queue.len() <= self.messages_max(limits) / 2
            && self.bytes <= limits.stream_queue_bytes / 2
    }

    fn newest(&mut self) -> Option<&mut Message> {
        self.queue.back_mut().map(|queued| &mut queued.message)
    }

    /// What one more message of events costs: itself, its pieces unless the
    /// last message has them too, and of the events what this round has not
    /// been charged for.
    fn charge(&mut self, batch: &Batch, parcel: &Parcel, round: Round) -> usize {
        if self.round != round.number {
            (self.round, self.round_bytes) = (round.number, 0);
        }
        let events = parcel.pinned_bytes.min(round.bytes - self.round_bytes);
        self.round_bytes += events;
        let shared = matches!(self.newest(), Some(Message::Events { batch: newest, .. })
            if newest.shares_pieces_with(batch));
        size_of::<Queued>() + events + if shared { 0 } else { parcel.piece_bytes }
    }
}

/// One pass over some revisions, whose events are charged to a stream once.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    number: u64,
    // Of all events of the pass.
    bytes: usize,
}

/// All streams.
pub(crate) struct Streams {
    limits: Limits,
    streams: Slots<Stream>,
    next_serial: u32,
    ready: Vec<StreamId>,
    rounds: u64,
    // The sums over the streams.
    events: usize,
    bytes: usize,
    // How many have messages.
    waiting: usize,
}

impl Streams {
    pub(crate) fn new(limits: Limits) -> Self {
        Streams {
            limits,
            streams: Slots::new(),
            next_serial: 0,
            ready: Vec::new(),
            rounds: 0,
            events: 0,
            bytes: 0,
            waiting: 0,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    /// How many events wait, over all streams.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Opens a stream with this list of parked watchers.
    pub(crate) fn open(&mut self, parked: u32) -> StreamId {
        let serial = self.next_serial;
        self.next_serial = serial.wrapping_add(1);
        let slot = self.streams.insert(Stream {
            serial,
            queue: VecDeque::new(),
            bytes: 0,
            events: 0,
            round: 0,
            round_bytes: 0,
            ready: false,
            watchers: BTreeMap::new(),
            spent: BTreeSet::new(),
            next_id: 0,
            behind: 0,
            parked,
            congested: false,
            grant: Grant::Idle,
            history_round: 0,
        });
        StreamId::new(serial, slot)
    }

    /// Forgets a stream and what waits for it.
    pub(crate) fn close(&mut self, slot: u32) -> Option<Stream> {
        let stream = self.streams.remove(slot)?;
        self.events -= stream.events;
        self.bytes -= stream.bytes;
        self.waiting -= usize::from(!stream.queue.is_empty());
        Some(stream)
    }

    /// The index of an open stream.
    pub(crate) fn slot(&self, id: StreamId) -> Option<u32> {
        let stream = self.streams.get(id.slot())?;
        (stream.serial == id.serial()).then_some(id.slot())
    }

    pub(crate) fn stream(&self, slot: u32) -> &Stream {
        &self.streams[slot]
    }

    pub(crate) fn stream_mut(&mut self, slot: u32) -> &mut Stream {
        &mut self.streams[slot]
    }

    /// The indexes of all streams, ascending.
    pub(crate) fn slots(&self) -> Vec<u32> {
        self.streams.iter().map(|(slot, _)| slot).collect()
    }

    pub(crate) fn backlog(&self, slot: u32) -> Backlog {
        let stream = &self.streams[slot];
        Backlog { messages: stream.queue.len(), events: stream.events, bytes: stream.bytes }
    }

    /// Whether the stream's requests may be read: what they are answered with
    /// is queued whatever the bound.
    pub(crate) fn accepts_requests(&self, slot: u32) -> bool {
        self.streams[slot].queue.len() < self.limits.stream_queue_messages
    }

    /// Begins a pass over revisions whose events weigh `bytes`.
    pub(crate) fn begin_round(&mut self, bytes: usize) -> Round {
        self.rounds += 1;
        Round { number: self.rounds, bytes }
    }

    /// Queues a message without events.
    pub(crate) fn tell(&mut self, slot: u32, message: Message) {
        self.push(slot, Queued { message, bytes: size_of::<Queued>(), events: 0 });
    }

    /// Queues progress for all watchers. A full queue takes it too, but not
    /// twice in a row: the newer one says it all.
    pub(crate) fn tell_progress(&mut self, slot: u32, revision: Revision) {
        let stream = &mut self.streams[slot];
        if stream.is_full(&self.limits)
            && let Some(Message::Progress { id: Message::ALL_WATCHERS, revision: newest }) =
                stream.newest()
        {
            *newest = revision;
            return;
        }
        self.tell(slot, Message::Progress { id: Message::ALL_WATCHERS, revision });
    }

    /// Whether a live watcher may queue events.
    pub(crate) fn has_room_for_live(&self, slot: u32) -> bool {
        let stream = &self.streams[slot];
        let all = self.limits.queues_bytes;
        let is_within_all = self.bytes < all
            || stream.bytes < all / self.waiting.max(1)
            // It falls behind for what it has not taken, and not for others.
            || stream.queue.is_empty();
        !stream.congested && !stream.is_full(&self.limits) && is_within_all
    }

    /// Whether a message that nobody asked for may be queued.
    pub(crate) fn has_room(&self, slot: u32) -> bool {
        !self.streams[slot].is_full(&self.limits)
    }

    /// As [`deliver`](Self::deliver), for a watcher that catches up: it takes of what
    /// was granted.
    pub(crate) fn deliver_history(
        &mut self,
        watcher: &Watcher,
        header_revision: Revision,
        batch: Batch,
        parcel: &Parcel,
        round: Round,
    ) {
        let before = self.streams[watcher.stream].bytes;
        self.deliver(watcher, header_revision, batch, parcel, round);
        let stream = &mut self.streams[watcher.stream];
        stream.history_round = round.number;
        stream.grant.spend(stream.bytes - before);
    }

    /// No watcher of the stream is behind any more: what was granted to it is
    /// free, and its driver is to hear of it.
    pub(crate) fn end_grant(&mut self, slot: u32) {
        if self.streams[slot].grant.end() {
            self.name_ready(slot);
        }
    }

    /// Queues events for a watcher of the stream.
    pub(crate) fn deliver(
        &mut self,
        watcher: &Watcher,
        header_revision: Revision,
        batch: Batch,
        parcel: &Parcel,
        round: Round,
    ) {
        let bytes = self.streams[watcher.stream].charge(&batch, parcel, round);
        let events = batch.event_count();
        let message = Message::Events {
            id: watcher.id,
            header_revision,
            batch,
            prev_kv: watcher.prev_kv,
            fragment: watcher.fragment,
        };
        let events = u32::try_from(events).expect("fewer events than a table has slots");
        self.push(watcher.stream, Queued { message, bytes, events });
    }

    fn push(&mut self, slot: u32, queued: Queued) {
        let stream = &mut self.streams[slot];
        self.waiting += usize::from(stream.queue.is_empty());
        self.bytes += queued.bytes;
        stream.bytes += queued.bytes;
        stream.events += queued.events as usize;
        self.events += queued.events as usize;
        stream.queue.push_back(queued);
        self.name_ready(slot);
    }

    fn name_ready(&mut self, slot: u32) {
        let stream = &mut self.streams[slot];
        if !std::mem::replace(&mut stream.ready, true) {
            self.ready.push(StreamId::new(stream.serial, slot));
        }
    }

    /// Takes the oldest message.
    pub(crate) fn pop(&mut self, slot: u32) -> Option<Message> {
        let stream = &mut self.streams[slot];
        let queued = stream.queue.pop_front()?;
        stream.bytes -= queued.bytes;
        stream.events -= queued.events as usize;
        self.bytes -= queued.bytes;
        self.events -= queued.events as usize;
        self.waiting -= usize::from(stream.queue.is_empty());
        if stream.queue.is_empty() && stream.queue.capacity() > IDLE_CAPACITY_MAX {
            stream.queue = VecDeque::new();
        }
        Some(queued.message)
    }

    /// The open streams that got messages since last asked, in that order.
    pub(crate) fn take_ready(&mut self) -> Vec<StreamId> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.retain(|id| match self.streams.get_mut(id.slot()) {
            Some(stream) if stream.serial == id.serial() => {
                stream.ready = false;
                true
            }
            _ => false,
        });
        ready
    }
}
