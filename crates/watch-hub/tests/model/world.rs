//! The environment of the hub: a store that may be ahead of it, streams whose
//! clients read promptly or hardly ever, and faults in between.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use t4_kv_types::{Event, EventKind, KeyRange, KeyValue, RangeEnd, Revision};
use t4_watch_hub::{
    Heard, HistoryChunk, HistoryRequest, Hub, Limits, Message, StreamId, WatchSpec,
};

use crate::deeds::Deeds;
use crate::dice::Dice;
use crate::oracle::{Check, Client, Now, Seen, check, compacted, essence};
use crate::planted::{Fault, tamper};

struct Peer {
    client: Client,
    // How often, in percent, it reads when it could.
    eagerness: usize,
    watchers_max: usize,
}

pub(crate) struct World {
    dice: Dice,
    limits: Limits,
    hub: Hub,
    // The store: everything written; the first `fed` were passed to the hub.
    log: Vec<(Revision, Arc<[Event]>)>,
    fed: usize,
    // The revision reported as visible to readers; at least what was published.
    visible: Revision,
    compacted: Revision,
    told_compacted: Revision,
    request: Option<HistoryRequest>,
    peers: BTreeMap<StreamId, Peer>,
    // Streams that the hub reported as ready and that were not drained since.
    ready: BTreeSet<StreamId>,
    // Streams that requested history and were not granted it yet.
    wanting: BTreeSet<StreamId>,
    events_made: i64,
    fault: Fault,
    pub(crate) planted: bool,
    // Caused by a fault.
    forgotten: Option<StreamId>,
    pub(crate) deeds: Deeds,
    transcript_hash: DefaultHasher,
    pub(crate) transcript: u64,
}

impl World {
    pub(crate) fn new(mut dice: Dice, fault: Fault) -> World {
        let limits = Limits {
            stream_queue_messages: dice.below(12),
            stream_queue_bytes: 300 + dice.below(8_000),
            recent_revisions: dice.below(10),
            recent_bytes: 300 + dice.below(3_000),
            history_revisions: 1 + dice.below(8),
            history_bytes: 1_000,
            queues_bytes: 300 + dice.below(20_000),
            history_on_demand: dice.percent(50),
        };
        World {
            hub: Hub::new(limits.clone(), Revision::EMPTY_STORE),
            dice,
            limits,
            log: Vec::new(),
            fed: 0,
            visible: Revision::EMPTY_STORE,
            compacted: Revision(0),
            told_compacted: Revision(0),
            request: None,
            peers: BTreeMap::new(),
            ready: BTreeSet::new(),
            wanting: BTreeSet::new(),
            events_made: 0,
            fault,
            planted: false,
            forgotten: None,
            deeds: Deeds::default(),
            transcript_hash: DefaultHasher::new(),
            transcript: 0,
        }
    }

    pub(crate) fn run(&mut self, steps: usize) -> Check {
        for step in 0..steps {
            self.step().map_err(|violation| format!("step {step}: {violation}"))?;
            self.check_bounds().map_err(|violation| format!("step {step}: {violation}"))?;
        }
        self.settle().map_err(|violation| format!("at the end: {violation}"))?;
        self.transcript = self.transcript_hash.finish();
        Ok(())
    }

    fn step(&mut self) -> Check {
        match self.dice.below(100) {
            0..2 => self.open(),
            2..3 if self.dice.percent(50) => self.close(),
            3..11 => return self.create(),
            11..14 => return self.cancel(),
            14..34 => self.write(),
            34..59 => return self.feed(),
            59..60 if self.dice.percent(30) => self.compact(),
            60..63 => self.tell_compacted(),
            63..65 => self.tell_visible(),
            65..69 => return self.request_progress(),
            69..71 => self.notify_progress(),
            71..78 => self.answer_history(),
            78..81 => self.grant_some(),
            _ => return self.read_some(),
        }
        Ok(())
    }

    fn some_stream(&mut self) -> Option<StreamId> {
        let index = self.dice.below(self.peers.len());
        self.peers.keys().nth(index).copied()
    }

    /// A stream whose requests may be read.
    fn some_requester(&mut self) -> Option<StreamId> {
        self.some_stream().filter(|&stream| self.hub.accepts_requests(stream))
    }

    fn open(&mut self) {
        let eagerness = *self.dice.pick(&[100, 100, 100, 30, 3]);
        let peer = Peer { client: Client::default(), eagerness, watchers_max: 0 };
        self.peers.insert(self.hub.open_stream(), peer);
    }

    fn close(&mut self) {
        if let Some(stream) = self.some_stream() {
            if self.hub.backlog(stream).events > 0 {
                self.deeds.count("closed with a backlog");
            }
            self.hub.close_stream(stream);
            self.peers.remove(&stream);
            self.ready.remove(&stream);
            self.wanting.remove(&stream);
        }
    }

    fn key(&mut self) -> Bytes {
        let keys: &[&[u8]] = &[b"a", b"b", b"ba", b"bb", b"c", b"\xff", b"\xff\xff"];
        Bytes::from_static(self.dice.pick::<&[u8]>(keys))
    }

    fn spec(&mut self) -> WatchSpec {
        let start = self.key();
        let range = match self.dice.below(10) {
            0..4 => KeyRange::single(start),
            4..6 => KeyRange::prefix(start),
            6..7 => KeyRange { start, end: RangeEnd::Open },
            7..8 => KeyRange::all(),
            _ => KeyRange { start, end: RangeEnd::Before(self.key()) },
        };
        let published = self.hub.revision().0;
        let start = match self.dice.below(10) {
            0..4 => 0,
            4..6 => self.dice.between(-1, published),
            6..8 => self.dice.between((published - 15).max(1), published),
            _ => self.dice.between(published, published + 5),
        };
        WatchSpec {
            range,
            start: Revision(start),
            no_put: self.dice.percent(15),
            no_delete: self.dice.percent(15),
            prev_kv: false,
            progress_notify: self.dice.percent(30),
            fragment: false,
        }
    }

    fn create(&mut self) -> Check {
        let Some(stream) = self.some_requester() else { return Ok(()) };
        let spec = self.spec();
        if spec.start > Revision(0) && spec.start < self.told_compacted {
            self.deeds.count("compacted at creation");
        }
        let id = self.dice.percent(40).then(|| *self.dice.pick(&[-3, -2, 0, 1, 2, 5, 9]));
        let given = self.hub.create(stream, id, spec.clone());
        let now = Now {
            log: &self.log[..self.fed],
            published: self.hub.revision(),
            visible: self.visible,
            compacted: self.told_compacted,
        };
        if self.visible > self.hub.revision() {
            self.deeds.count("created ahead of what is published");
        }
        let Some(peer) = self.peers.get_mut(&stream) else { return Ok(()) };
        peer.client.created(id, given, &spec, now)?;
        peer.watchers_max = peer.watchers_max.max(peer.client.ids().len());
        Ok(())
    }

    fn cancel(&mut self) -> Check {
        let Some(stream) = self.some_stream() else { return Ok(()) };
        let Some(peer) = self.peers.get_mut(&stream) else { return Ok(()) };
        let ids = peer.client.ids();
        let id = if ids.is_empty() || self.dice.percent(10) { 7 } else { *self.dice.pick(&ids) };
        let known = self.hub.cancel(stream, id);
        peer.client.cancelled(id, known)
    }

    /// The store takes a write.
    fn write(&mut self) {
        let last = self.log.last().map_or(Revision::EMPTY_STORE, |(revision, _)| *revision);
        let jump = if self.dice.percent(3) { self.dice.between(2, 20) } else { 1 };
        let revision = Revision(last.0 + jump);
        let count = *self.dice.pick(&[1, 1, 1, 2, 3, 6]);
        let mut events = Vec::new();
        for _ in 0..count {
            self.events_made += 1;
            let kind = *self.dice.pick(&[EventKind::Put, EventKind::Put, EventKind::Delete]);
            let value = vec![0; *self.dice.pick(&[0, 10, 500])].into();
            // The version distinguishes each event from all others.
            let version = self.events_made;
            let (key, mod_revision) = (self.key(), revision);
            let kv = KeyValue { key, value, mod_revision, version, ..KeyValue::default() };
            events.push(Event { kind, kv });
        }
        self.log.push((revision, events.into()));
    }

    /// Passes the next revision to the hub.
    fn feed(&mut self) -> Check {
        let Some((revision, events)) = self.log.get(self.fed).cloned() else { return Ok(()) };
        self.fed += 1;
        let mut told = Arc::clone(&events);
        let wanted = self.wanted(revision, &events[..1]);
        if self.plants(Fault::SkipsEventOfPublish, wanted) {
            told = events[1..].into();
        }
        self.hub.publish(revision, &told);
        self.visible = self.visible.max(revision);
        let backlogs = self.peers.keys().map(|stream| self.hub.backlog(*stream).bytes);
        let all_full = backlogs.sum::<usize>() >= self.limits.queues_bytes;
        for (stream, peer) in &mut self.peers {
            peer.client.published(revision, &events);
            let full = self.hub.backlog(*stream);
            if all_full && full.messages > 0 {
                peer.client.lagged = true;
                self.deeds.count("all queues full");
            }
            if full.messages >= self.limits.stream_queue_messages.max(1)
                || full.bytes >= self.limits.stream_queue_bytes / 2
            {
                peer.client.lagged = true;
                self.deeds.count("full queue");
            }
        }
        Ok(())
    }

    fn compact(&mut self) {
        let newest = self.log.last().map_or(1, |(revision, _)| revision.0);
        let low = self.compacted.0.max(newest - 150).max(1);
        if low <= newest {
            self.compacted = Revision(self.dice.between(low, newest)).max(self.compacted);
        }
    }

    fn tell_compacted(&mut self) {
        if self.compacted > self.told_compacted && self.compacted <= self.visible {
            self.told_compacted = self.compacted;
            self.hub.compacted(self.compacted);
        }
    }

    /// Passes the visible revision to the hub before it is published.
    fn tell_visible(&mut self) {
        let Some((newest, _)) = self.log.last() else { return };
        self.visible = self.visible.max(*newest);
        self.hub.visible(*newest);
    }

    fn request_progress(&mut self) -> Check {
        let Some(stream) = self.some_requester() else { return Ok(()) };
        let before = self.hub.backlog(stream).messages;
        self.hub.request_progress(stream);
        // A full queue merges requests: then the answer is already in the
        // queue.
        let answered = self.hub.backlog(stream).messages > before;
        let Some(peer) = self.peers.get_mut(&stream) else { return Ok(()) };
        if answered {
            peer.client.progress_requested();
        }
        let later = peer.client.starts_above(self.hub.revision());
        check(!(answered && later), || format!("{stream:?}: progress before a watcher starts"))?;
        // The client has read everything, so it knows which watchers it has.
        let unsure = before > 0 || !peer.client.watches() || later;
        check(answered || unsure, || format!("{stream:?}: progress is not answered"))
    }

    fn notify_progress(&mut self) {
        if let Some(stream) = self.some_stream() {
            self.hub.notify_progress(stream);
        }
    }

    /// Grants history to a stream that requested it.
    fn grant_some(&mut self) {
        let index = self.dice.below(self.wanting.len());
        let Some(&stream) = self.wanting.iter().nth(index) else { return };
        self.grant(stream);
    }

    fn grant(&mut self, stream: StreamId) {
        self.wanting.remove(&stream);
        let bytes = *self.dice.pick(&[1, 1_000, 10_000]);
        self.hub.grant_history(stream, bytes);
    }

    /// Answers the hub's history request, sometimes.
    fn answer_history(&mut self) {
        let request = self.request.take().or_else(|| self.hub.history_wanted());
        let Some(request) = request else { return };
        if self.dice.percent(30) {
            // A read takes time; other things happen meanwhile.
            self.request = Some(request);
        } else if self.compacted > request.from {
            self.deeds.count("history compacted");
            self.told_compacted = self.compacted;
            self.hub.history_compacted(self.compacted);
        } else if self.dice.percent(10) {
            self.deeds.count("history failed");
            self.hub.history_failed();
        } else {
            self.answer(request);
        }
    }

    fn answer(&mut self, request: HistoryRequest) {
        let all: Vec<_> = self.log.iter().filter(|(r, _)| *r >= request.from).cloned().collect();
        let most = 1 + self.dice.below(request.max_revisions);
        let mut revisions: Vec<_> = all.iter().take(most).cloned().collect();
        let mut through = match revisions.last() {
            Some((last, _)) if revisions.len() < all.len() => *last,
            _ => request.to,
        };
        if through > request.to && self.dice.percent(50) {
            revisions.retain(|(revision, _)| *revision <= request.to);
            through = request.to;
        }
        self.deeds.count("history");
        if through < request.to {
            self.deeds.count("history cut short");
        } else if through > request.to {
            self.deeds.count("history ahead of the hub");
        }
        let wanted = revisions.first().is_some_and(|(at, events)| self.wanted(*at, events));
        if self.plants(Fault::SkipsRevisionOfHistory, wanted) {
            revisions.remove(0);
        }
        self.hub.history(HistoryChunk { from: request.from, through, revisions });
    }

    fn note_ready(&mut self) {
        let mut named = self.hub.take_ready();
        if self.plants(Fault::ForgetsReady, !named.is_empty()) {
            self.forgotten = named.first().copied();
        }
        named.retain(|&stream| Some(stream) != self.forgotten);
        self.ready.extend(named);
    }

    fn read_some(&mut self) -> Check {
        self.note_ready();
        let streams: Vec<_> = self.ready.iter().copied().collect();
        for stream in streams {
            let Some(peer) = self.peers.get(&stream) else { continue };
            if self.dice.percent(peer.eagerness) {
                let most = 1 + self.dice.below(30);
                self.read(stream, most)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, stream: StreamId, most: usize) -> Check {
        for _ in 0..most {
            let message = match self.hub.hear(stream) {
                Some(Heard::Message(message)) => message,
                Some(Heard::HistoryWanted) => {
                    self.deeds.count("history wanted");
                    let is_new = self.wanting.insert(stream);
                    check(is_new, || format!("{stream:?}: history is asked for twice"))?;
                    continue;
                }
                Some(Heard::HistoryEnds) => {
                    self.deeds.count("history ends");
                    self.wanting.remove(&stream);
                    continue;
                }
                None => {
                    self.ready.remove(&stream);
                    break;
                }
            };
            for seen in self.tampered(stream, seen(&message)) {
                self.see(stream, &seen)?;
            }
        }
        Ok(())
    }

    fn see(&mut self, stream: StreamId, seen: &Seen) -> Check {
        (stream, seen).hash(&mut self.transcript_hash);
        self.deeds.count(self.deed(seen));
        let now = Now {
            log: &self.log[..self.fed],
            published: self.hub.revision(),
            visible: self.visible,
            compacted: self.told_compacted,
        };
        let revisions_max = self.limits.history_revisions;
        let Some(peer) = self.peers.get_mut(&stream) else { return Ok(()) };
        peer.client
            .read(seen, now, revisions_max)
            .map_err(|violation| format!("{stream:?}: {violation}"))
    }

    fn deed(&self, seen: &Seen) -> &'static str {
        match seen {
            Seen::Created { .. } => "created",
            Seen::Refused(_) => "refused",
            Seen::Events { pieces, .. } if pieces.len() > 1 => "batch of several revisions",
            Seen::Events { .. } => "live event",
            Seen::Progress { id: -1, revision } if *revision == self.hub.revision().0 => {
                "progress of all live"
            }
            Seen::Progress { id: -1, .. } => "progress of all behind",
            Seen::Progress { .. } => "progress of one",
            Seen::Canceled { compacted: None, .. } => "cancelled",
            Seen::Canceled { .. } => "compacted later",
        }
    }

    /// Whether a client still has to receive one of these events, or would if
    /// they were published.
    fn wanted(&self, revision: Revision, events: &[Event]) -> bool {
        self.peers.values().any(|peer| peer.client.wants(revision, events))
    }

    /// Whether the fault occurs now: once, some way into the run.
    fn plants(&mut self, fault: Fault, possible: bool) -> bool {
        let strikes = self.fault == fault
            && possible
            && !self.planted
            && self.fed > 100
            && self.dice.percent(20);
        self.planted |= strikes;
        strikes
    }

    /// What the client sees of a message, including the fault.
    fn tampered(&mut self, stream: StreamId, seen: Seen) -> Vec<Seen> {
        let owed = self.peers.get(&stream).and_then(|peer| peer.client.first_owed());
        match tamper(self.fault, &seen, owed) {
            Some(tampered) if self.plants(self.fault, true) => tampered,
            _ => vec![seen],
        }
    }

    /// Queues stay within bounds, however slow the client.
    fn check_bounds(&mut self) -> Check {
        for (stream, peer) in &self.peers {
            let backlog = self.hub.backlog(*stream);
            let messages = 2 * self.limits.stream_queue_messages.max(1) + 4 * peer.watchers_max + 4;
            check(backlog.messages <= messages, || format!("{stream:?}: {backlog:?}"))?;
            // A round is at most this many revisions of six events of 700
            // bytes.
            let round = 6 * 700 * self.limits.history_revisions.max(1);
            let bytes = self.limits.stream_queue_bytes + round + backlog.messages * 2_000;
            check(backlog.bytes <= bytes, || format!("{stream:?}: {backlog:?}"))?;
        }
        Ok(())
    }

    /// Everything is read: then nothing may be owed, and there are no more
    /// messages.
    fn settle(&mut self) -> Check {
        while self.fed < self.log.len() {
            self.feed()?;
        }
        self.drain()?;
        let mut watchers = 0;
        for (stream, peer) in &self.peers {
            let settled = peer.client.settled();
            watchers += settled.map_err(|violation| format!("{stream:?}: {violation}"))?;
        }
        let stats = self.hub.stats();
        let quiet = (stats.slow_watchers, stats.pending_events) == (0, 0);
        let all = (stats.watchers, stats.streams) == (watchers, self.peers.len());
        check(quiet && all, || format!("{stats:?}, but {watchers} watchers"))
    }

    fn drain(&mut self) -> Check {
        loop {
            self.note_ready();
            let streams: Vec<_> = self.ready.iter().copied().collect();
            for stream in &streams {
                self.read(*stream, usize::MAX)?;
            }
            for stream in self.wanting.clone() {
                self.grant(stream);
            }
            match self.request.take().or_else(|| self.hub.history_wanted()) {
                Some(request) if self.compacted > request.from => {
                    self.told_compacted = self.compacted;
                    self.hub.history_compacted(self.compacted);
                }
                Some(request) => self.answer(request),
                None if streams.is_empty() => return Ok(()),
                None => {}
            }
        }
    }
}

/// A message as its client sees it.
fn seen(message: &Message) -> Seen {
    match message {
        Message::Created { id, revision } => Seen::Created { id: *id, revision: revision.0 },
        Message::CreateRefused { reason, .. } => Seen::Refused(*reason as u8),
        Message::Events { id, header_revision, batch, .. } => {
            let piece = |piece: &t4_watch_hub::Piece| {
                (piece.revision.0, piece.selected().map(essence).collect())
            };
            let pieces = batch.pieces().iter().map(piece).collect();
            Seen::Events { id: *id, header: header_revision.0, pieces }
        }
        Message::Progress { id, revision } => Seen::Progress { id: *id, revision: revision.0 },
        Message::Canceled { id, revision, reason } => {
            Seen::Canceled { id: *id, revision: revision.0, compacted: compacted(reason) }
        }
    }
}
