//! The behaviours of the hub, one at a time. Sequences that nobody would think
//! of are in `tests/model`.

use std::sync::Arc;

use t4_kv_types::{Event, EventKind, KeyRange, KeyValue, Revision};

use super::*;
use crate::message::Batch;

mod catching_up;
mod progress;
mod slow_streams;
mod watching;

/// A hub with its store: everything that was published.
struct Bed {
    hub: Hub,
    store: Vec<(Revision, Arc<[Event]>)>,
}

/// A message as a client sees it, short enough to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Created(i64, i64),
    Refused(RefusalReason),
    // id, header revision, (revision, keys) …
    Events(i64, i64, Vec<(i64, String)>),
    Progress(i64, i64),
    Canceled(i64, CancelReason),
}

fn put(key: &str) -> (EventKind, &str) {
    (EventKind::Put, key)
}

fn delete(key: &str) -> (EventKind, &str) {
    (EventKind::Delete, key)
}

fn everything() -> WatchSpec {
    WatchSpec::new(KeyRange::all())
}

fn key(key: &str) -> WatchSpec {
    WatchSpec::new(KeyRange::single(key.to_owned()))
}

fn since(start: i64, spec: WatchSpec) -> WatchSpec {
    WatchSpec { start: Revision(start), ..spec }
}

fn events_at(revision: i64, changes: &[(EventKind, &str)], value_len: usize) -> Arc<[Event]> {
    let event = |&(kind, key): &(EventKind, &str)| Event {
        kind,
        kv: KeyValue {
            key: key.to_owned().into(),
            value: vec![b'v'; value_len].into(),
            mod_revision: Revision(revision),
            ..KeyValue::default()
        },
    };
    changes.iter().map(event).collect()
}

impl Bed {
    fn new(limits: Limits) -> Bed {
        Bed { hub: Hub::new(limits, Revision(1)), store: Vec::new() }
    }

    /// Publishes the next revision.
    fn publish(&mut self, changes: &[(EventKind, &str)]) -> i64 {
        self.publish_large(changes, 1)
    }

    fn publish_large(&mut self, changes: &[(EventKind, &str)], value_len: usize) -> i64 {
        let revision = self.hub.revision().next();
        let events = events_at(revision.0, changes, value_len);
        self.store.push((revision, Arc::clone(&events)));
        self.hub.publish(revision, &events);
        revision.0
    }

    /// Publishes puts of `key` up to and including `revision`.
    fn publish_until(&mut self, revision: i64, key: &str) {
        while self.hub.revision().0 < revision {
            self.publish(&[put(key)]);
        }
    }

    /// Answers a history request from the store.
    fn answer(&mut self, request: HistoryRequest) {
        let wanted = request.from..=request.to;
        let all = self.store.iter().filter(|(revision, _)| wanted.contains(revision));
        let revisions: Vec<_> = all.take(request.max_revisions).cloned().collect();
        let through = match revisions.last() {
            Some((last, _)) if revisions.len() == request.max_revisions => *last,
            _ => request.to,
        };
        self.hub.history(HistoryChunk { from: request.from, through, revisions });
    }

    /// Answers requests until there are none; returns where they began.
    fn answer_all(&mut self) -> Vec<i64> {
        let mut asked = Vec::new();
        while let Some(request) = self.hub.history_wanted() {
            asked.push(request.from.0);
            self.answer(request);
        }
        asked
    }

    /// Takes the next message of a stream, without freeing space for more.
    fn pop(&mut self, stream: StreamId) -> Option<Seen> {
        self.hub.pop(stream).map(|message| match message {
            Message::Created { id, revision } => Seen::Created(id, revision.0),
            Message::CreateRefused { reason, .. } => Seen::Refused(reason),
            Message::Events { id, header_revision, batch, .. } => {
                Seen::Events(id, header_revision.0, keys(&batch))
            }
            Message::Progress { id, revision } => Seen::Progress(id, revision.0),
            Message::Canceled { id, reason, .. } => Seen::Canceled(id, reason),
        })
    }

    fn pop_all(&mut self, stream: StreamId) -> Vec<Seen> {
        std::iter::from_fn(|| self.pop(stream)).collect()
    }

    /// Reads and takes until the stream is live and empty.
    fn catch_up(&mut self, stream: StreamId) -> Vec<Seen> {
        let mut seen = Vec::new();
        while !self.answer_all().is_empty() || self.hub.backlog(stream).messages > 0 {
            seen.extend(self.pop_all(stream));
        }
        seen
    }

    /// Opens a stream with these watchers, and skips their created messages.
    fn stream(&mut self, specs: &[WatchSpec]) -> StreamId {
        let stream = self.hub.open_stream();
        for spec in specs {
            self.hub.create(stream, None, spec.clone());
        }
        self.pop_all(stream);
        stream
    }
}

fn keys(batch: &Batch) -> Vec<(i64, String)> {
    let keys = |piece: &crate::Piece| {
        let keys: Vec<_> = piece
            .selected()
            .map(|event| String::from_utf8_lossy(&event.kv.key).into_owned())
            .collect();
        (piece.revision.0, keys.join(" "))
    };
    batch.pieces().iter().map(keys).collect()
}

fn events(id: i64, header: i64, pieces: &[(i64, &str)]) -> Seen {
    Seen::Events(id, header, pieces.iter().map(|&(at, keys)| (at, keys.to_owned())).collect())
}

/// Bounds so small that all of them are reached.
fn tiny() -> Limits {
    Limits {
        stream_queue_messages: 3,
        recent_revisions: 2,
        history_revisions: 4,
        ..Limits::default()
    }
}
