//! A lane brings what happened in the write loop to one runtime: the
//! responses of its submissions and the events of its watch streams.
//!
//! The loop hands over a whole batch with one wake-up; the lane's task then
//! wakes the waiting tasks locally, which costs no system call. The lane owns
//! the runtime's watch hub, so that watchers of different runtimes share no lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use t4_kv_types::{Event, Revision};
use t4_mvcc::{Io, ReadError, Reader};
use t4_watch_hub::{HistoryChunk, HistoryRequest, Hub, Limits, StreamId};
use tokio::sync::Notify;

use crate::damage::Damage;
pub(crate) use crate::inbox::{Completion, News};
use crate::inbox::{Inbox, Revisions, Taken};

/// How long a failed read of history waits.
const HISTORY_RETRY: Duration = Duration::from_secs(1);

/// A stream of the lane's hub.
pub(crate) struct OpenStream {
    id: StreamId,
    /// Told when there are messages, or when the stream has ended. It also
    /// tells this stream from one of the same id of a hub before or after.
    pub(crate) waiting: Arc<Notify>,
}

impl OpenStream {
    pub(crate) fn id(&self) -> StreamId {
        self.id
    }
}

/// The hub and who waits for its streams. Under one lock: whoever pops a
/// message knows that nobody else changes the streams meanwhile.
struct Watching {
    hub: Hub,
    published: Revision,
    /// The newest compaction that the hub knows; 0: none.
    compacted: Revision,
    waiting: HashMap<StreamId, Arc<Notify>>,
    /// Streams that asked for their progress, and what must be published before
    /// they are answered: whoever asks may know of it.
    progress: BTreeMap<StreamId, Revision>,
}

pub(crate) struct Lane {
    inbox: Mutex<Inbox>,
    /// Wakes the lane's task.
    wake: Notify,
    reader: Reader,
    damage: Arc<Damage>,
    /// History could not be read, and the operator was told.
    history_fails: AtomicBool,
    /// `None` until the first stream is opened.
    watching: Mutex<Option<Watching>>,
}

impl Lane {
    pub(crate) fn new(reader: Reader, damage: Arc<Damage>) -> Self {
        Lane {
            inbox: Mutex::default(),
            wake: Notify::new(),
            reader,
            damage,
            history_fails: AtomicBool::new(false),
            watching: Mutex::new(None),
        }
    }

    /// Takes over a batch's responses and events. False: the lane is closed,
    /// nobody waits there.
    pub(crate) fn deliver(&self, completions: &mut Vec<Completion>, news: &News) -> bool {
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            completions.clear();
            return false;
        }
        let has_work = inbox.add(completions, news);
        drop(inbox);
        if has_work {
            self.wake.notify_one();
        }
        true
    }

    /// Nobody submits or watches here any more; the task ends.
    pub(crate) fn close(&self) {
        self.inbox.lock().closed = true;
        // Streams that are still open find out when they wake.
        if let Some(watching) = self.watching.lock().as_mut() {
            for waiting in watching.waiting.values() {
                waiting.notify_one();
            }
        }
        self.wake.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inbox.lock().closed
    }

    /// Opens a watch stream; starts the hub if it is the first.
    pub(crate) fn open_stream(&self) -> OpenStream {
        let mut guard = self.watching.lock();
        let watching = guard.get_or_insert_with(|| {
            // Under the inbox's lock: a revision that becomes visible from now
            // on is delivered, one that was visible before is in `revision`.
            let mut inbox = self.inbox.lock();
            inbox.watching = true;
            Watching::new(self.reader.revision())
        });
        let id = watching.hub.open_stream();
        let waiting = Arc::new(Notify::new());
        watching.waiting.insert(id, waiting.clone());
        OpenStream { id, waiting }
    }

    pub(crate) fn close_stream(&self, stream: &OpenStream) {
        if let Some(watching) = self.watching.lock().as_mut()
            && watching.is_open(stream)
        {
            watching.waiting.remove(&stream.id);
            watching.progress.remove(&stream.id);
            watching.hub.close_stream(stream.id);
        }
    }

    /// Does something with the hub on behalf of a stream.
    /// `None`: the stream has ended.
    pub(crate) fn with_hub<T>(
        &self,
        stream: &OpenStream,
        act: impl FnOnce(&mut Hub) -> T,
    ) -> Option<T> {
        self.with_watching(stream, |watching| act(&mut watching.hub))
    }

    /// The same for what a client asks, which may know already of what the hub
    /// has still to hear: the hub learns first what readers see now.
    pub(crate) fn ask<T>(&self, stream: &OpenStream, act: impl FnOnce(&mut Hub) -> T) -> Option<T> {
        self.with_watching(stream, |watching| {
            watching.look_at(&self.reader);
            act(&mut watching.hub)
        })
    }

    /// Has a stream told of its progress, once that is as far as readers see.
    pub(crate) fn request_progress(&self, stream: &OpenStream) {
        self.with_watching(stream, |watching| {
            watching.progress.insert(stream.id, self.reader.revision());
            watching.tell_progress();
        });
    }

    /// Then wakes whoever has messages now, and the lane's task if somebody has
    /// to catch up.
    fn with_watching<T>(
        &self,
        stream: &OpenStream,
        act: impl FnOnce(&mut Watching) -> T,
    ) -> Option<T> {
        let mut guard = self.watching.lock();
        let watching = guard.as_mut().filter(|watching| watching.is_open(stream))?;
        let result = act(watching);
        watching.wake_ready();
        if watching.hub.stats().slow_watchers > 0 {
            self.wake.notify_one();
        }
        Some(result)
    }

    /// What streams, watchers and queues there are.
    pub(crate) fn watch_stats(&self) -> t4_watch_hub::Stats {
        self.watching.lock().as_ref().map(|watching| watching.hub.stats()).unwrap_or_default()
    }

    /// The lane's task: runs until the lane is closed.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            let Taken { completions, revisions, overrun, compacted, closed } =
                self.inbox.lock().take();
            for completion in completions {
                // The client may have gone; the write stands all the same.
                let _ = completion.to.send(completion.result);
            }
            if closed {
                return;
            }
            if overrun {
                self.refill().await;
            }
            self.publish(&revisions);
            if let Some(at) = compacted {
                self.compacted(at);
            }
            self.serve_history().await;
        }
    }

    fn publish(&self, revisions: &Revisions) {
        if revisions.is_empty() {
            return;
        }
        let mut guard = self.watching.lock();
        let Some(watching) = guard.as_mut() else { return };
        let publish = |(revision, events): &_| watching.publish(*revision, events);
        if revisions.iter().all(publish) {
            watching.tell_progress();
            watching.wake_ready();
            return;
        }
        let (published, next) = (watching.published.0, revisions.last().map(|(last, _)| last.0));
        tracing::error!(published, next, "watch streams end: a revision between them is missing");
        drop(guard);
        self.end_streams();
    }

    fn compacted(&self, at: Revision) {
        if let Some(watching) = self.watching.lock().as_mut() {
            watching.learn_compacted(at);
            watching.wake_ready();
        }
    }

    /// Publishes from history what was dropped: all that readers see by now and
    /// that is not published yet.
    async fn refill(&self) {
        let through = self.reader.revision();
        loop {
            let from = match self.watching.lock().as_ref() {
                Some(watching) if watching.published < through => watching.published.next(),
                _ => return,
            };
            let request = HistoryRequest {
                from,
                to: through,
                max_revisions: Limits::default().history_revisions,
                max_bytes: Limits::default().history_bytes,
            };
            match self.read_history(&request).await {
                Ok(revisions) if !revisions.is_empty() => self.publish(&revisions),
                Ok(_) => {
                    tracing::error!(from = from.0, "watch streams end: history lacks a revision");
                    return self.end_streams();
                }
                Err(error) => {
                    if let ReadError::Corrupt { .. } = error {
                        self.damage.met(&error.to_string());
                    }
                    tracing::warn!(%error, from = from.0, "watch streams end: their events are gone");
                    return self.end_streams();
                }
            }
        }
    }

    /// Ends every stream; their clients will come back and be told what they
    /// can still have.
    fn end_streams(&self) {
        let mut guard = self.watching.lock();
        self.inbox.lock().watching = false;
        if let Some(watching) = guard.take() {
            for waiting in watching.waiting.values() {
                waiting.notify_one();
            }
        }
    }

    /// Reads what catching-up watchers need, until none does.
    async fn serve_history(self: &Arc<Self>) {
        loop {
            let request = {
                let mut guard = self.watching.lock();
                let Some(watching) = guard.as_mut() else { return };
                let wanted = watching.hub.history_wanted();
                // It has served who needs but recent revisions: they have messages now.
                watching.wake_ready();
                match wanted {
                    Some(request) => request,
                    None => return,
                }
            };
            let outcome = self.read_history(&request).await;
            if !self.take_history(&request, outcome) {
                return;
            }
            // Live events and responses have priority over catching up.
            tokio::task::yield_now().await;
            if self.inbox.lock().has_work() {
                self.wake.notify_one();
                return;
            }
        }
    }

    /// Gives the hub what was read. False: there is nothing to go on with now.
    fn take_history(
        self: &Arc<Self>,
        request: &HistoryRequest,
        outcome: Result<Revisions, ReadError>,
    ) -> bool {
        let mut guard = self.watching.lock();
        let Some(watching) = guard.as_mut() else { return false };
        match outcome {
            Ok(revisions) => {
                self.history_fails.store(false, Ordering::Relaxed);
                let through = revisions.last().map_or(request.to, |(last, _)| *last);
                watching.hub.history(HistoryChunk { from: request.from, through, revisions });
            }
            Err(ReadError::Compacted) => {
                let at = self.reader.compacted().unwrap_or(request.from);
                watching.hub.history_compacted(at);
            }
            // What is damaged stays damaged: whoever needs it is told.
            Err(error @ ReadError::Corrupt { .. }) => {
                let what = error.to_string();
                self.damage.met(&what);
                watching.hub.history_damaged(&what);
            }
            Err(error) => {
                if !self.history_fails.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "watch history cannot be read; it will be tried again");
                }
                watching.hub.history_failed();
                let lane = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(HISTORY_RETRY).await;
                    lane.wake.notify_one();
                });
                return false;
            }
        }
        watching.wake_ready();
        true
    }

    async fn read_history(&self, request: &HistoryRequest) -> Result<Revisions, ReadError> {
        let read = |reader: &Reader, request: &HistoryRequest, io| {
            reader.events(request.from, request.to, request.max_revisions, request.max_bytes, io)
        };
        let revisions = match read(&self.reader, request, Io::NoWait) {
            Err(ReadError::WouldBlock) => {
                let reader = self.reader.clone();
                let request = *request;
                tokio::task::spawn_blocking(move || read(&reader, &request, Io::Blocking))
                    .await
                    .unwrap_or(Err(ReadError::Future))?
            }
            other => other?,
        };
        Ok(revisions.into_iter().map(|(revision, events)| (revision, events.into())).collect())
    }
}

fn limits() -> Limits {
    Limits { history_on_demand: true, ..Limits::default() }
}

impl Watching {
    fn new(published: Revision) -> Self {
        Watching {
            hub: Hub::new(limits(), published),
            published,
            compacted: Revision(0),
            waiting: HashMap::new(),
            progress: BTreeMap::new(),
        }
    }

    /// False: a revision between it and the last one is missing.
    fn publish(&mut self, revision: Revision, events: &Arc<[Event]>) -> bool {
        // What was visible when the hub began is history to it.
        if revision > self.published {
            if revision != self.published.next() {
                return false;
            }
            self.published = revision;
            self.hub.publish(revision, events);
        }
        true
    }

    /// The hub learns what readers see.
    fn look_at(&mut self, reader: &Reader) {
        if let Some(at) = reader.compacted() {
            self.learn_compacted(at);
        }
        self.hub.visible(reader.revision());
    }

    fn learn_compacted(&mut self, at: Revision) {
        if at > self.compacted {
            self.compacted = at;
            self.hub.compacted(at);
        }
    }

    /// Answers those who asked for their progress and waited for no more than
    /// what is published.
    fn tell_progress(&mut self) {
        let Watching { hub, published, progress, .. } = self;
        progress.retain(|stream, wanted| {
            let waits = *wanted > *published;
            if !waits {
                hub.request_progress(*stream);
            }
            waits
        });
    }

    fn is_open(&self, stream: &OpenStream) -> bool {
        self.waiting.get(&stream.id).is_some_and(|known| Arc::ptr_eq(known, &stream.waiting))
    }

    fn wake_ready(&mut self) {
        for stream in self.hub.take_ready() {
            if let Some(waiting) = self.waiting.get(&stream) {
                waiting.notify_one();
            }
        }
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
