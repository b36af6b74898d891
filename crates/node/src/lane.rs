//! A lane brings what happened in the write loop to one runtime: the
//! responses of its submissions and the events of its watch streams.
//!
//! The loop hands over a whole batch with one wake-up; the lane's task then
//! wakes the waiting tasks locally, which costs no system call. The lane owns
//! the runtime's watch hub, so that watchers of different runtimes share no lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use t4_kv_types::{Event, OpError, Revision};
use t4_mvcc::{Io, ReadError, Reader};
use t4_state_machine::Response;
use t4_watch_hub::{HistoryChunk, HistoryRequest, Hub, Limits, StreamId};
use tokio::sync::{Notify, oneshot};

use crate::damage::Damage;

/// Revisions that wait for a lane's task, at most. Beyond it they are dropped
/// and read back from history when the task runs again.
const REVISIONS_WAITING_MAX: usize = 16_384;

/// How long a failed read of history waits.
const HISTORY_RETRY: Duration = Duration::from_secs(1);

/// Whole revisions with their events, ascending.
type History = Vec<(Revision, Arc<[Event]>)>;

/// A response and the one who waits for it.
pub(crate) struct Completion {
    pub(crate) to: oneshot::Sender<Result<Response, OpError>>,
    pub(crate) result: Result<Response, OpError>,
}

/// News for watch streams.
#[derive(Clone)]
pub(crate) enum Published {
    /// The events of a new revision.
    Revision(Revision, Arc<[Event]>),
    /// History below this was given up.
    Compacted(Revision),
}

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

#[derive(Default)]
struct Inbox {
    completions: Vec<Completion>,
    published: Vec<Published>,
    /// The hub runs and needs every revision.
    watching: bool,
    /// Revisions were dropped.
    overrun: bool,
    closed: bool,
}

/// The hub and who waits for its streams. Under one lock: whoever pops a
/// message knows that nobody else changes the streams meanwhile.
struct Watching {
    hub: Hub,
    published: Revision,
    waiting: HashMap<StreamId, Arc<Notify>>,
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
    pub(crate) fn deliver(
        &self,
        completions: &mut Vec<Completion>,
        published: &[Published],
    ) -> bool {
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            completions.clear();
            return false;
        }
        let mut news = !completions.is_empty();
        inbox.completions.append(completions);
        if inbox.watching && !published.is_empty() {
            news = true;
            if inbox.published.len() + published.len() > REVISIONS_WAITING_MAX {
                inbox.overrun = true;
                inbox.published.clear();
            }
            inbox.published.extend_from_slice(published);
        }
        drop(inbox);
        if news {
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
            let published = self.reader.revision();
            let mut hub = Hub::new(Limits::default(), published);
            if let Some(compacted) = self.reader.compacted() {
                hub.compacted(compacted);
            }
            Watching { hub, published, waiting: HashMap::new() }
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
            watching.hub.close_stream(stream.id);
        }
    }

    /// Does something with the hub on behalf of a stream, then wakes whoever
    /// has messages now, and the lane's task if somebody has to catch up.
    /// `None`: the stream has ended.
    pub(crate) fn with_hub<T>(
        &self,
        stream: &OpenStream,
        act: impl FnOnce(&mut Hub) -> T,
    ) -> Option<T> {
        let mut guard = self.watching.lock();
        let watching = guard.as_mut().filter(|watching| watching.is_open(stream))?;
        let result = act(&mut watching.hub);
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
            let (completions, published, overrun, closed) = {
                let mut inbox = self.inbox.lock();
                (
                    std::mem::take(&mut inbox.completions),
                    std::mem::take(&mut inbox.published),
                    std::mem::take(&mut inbox.overrun),
                    inbox.closed,
                )
            };
            for completion in completions {
                // The client may have gone; the write stands all the same.
                let _ = completion.to.send(completion.result);
            }
            if closed {
                return;
            }
            if overrun {
                self.refill(&published).await;
            }
            self.publish(&published);
            self.serve_history().await;
        }
    }

    fn publish(&self, published: &[Published]) {
        if published.is_empty() {
            return;
        }
        let mut guard = self.watching.lock();
        let Some(watching) = guard.as_mut() else { return };
        for news in published {
            match news {
                Published::Revision(revision, events) => watching.publish(*revision, events),
                Published::Compacted(at) => watching.hub.compacted(*at),
            }
        }
        watching.wake_ready();
    }

    /// Publishes from history what was dropped before the first of `next`.
    async fn refill(&self, next: &[Published]) {
        let resume = next.iter().find_map(|news| match news {
            Published::Revision(revision, _) => Some(*revision),
            Published::Compacted(_) => None,
        });
        let Some(resume) = resume else { return };
        loop {
            let from = {
                let guard = self.watching.lock();
                guard.as_ref().map_or(resume, |watching| watching.published.next())
            };
            if from >= resume {
                return;
            }
            let request = HistoryRequest {
                from,
                to: Revision(resume.0 - 1),
                max_revisions: Limits::default().history_revisions,
                max_bytes: Limits::default().history_bytes,
            };
            match self.read_history(&request).await {
                Ok(revisions) => {
                    let news: Vec<Published> = revisions
                        .into_iter()
                        .map(|(revision, events)| Published::Revision(revision, events))
                        .collect();
                    self.publish(&news);
                }
                Err(error) => {
                    if let ReadError::Corrupt { .. } = error {
                        self.damage.met(&error.to_string());
                    }
                    tracing::warn!(%error, from = from.0, "watch streams end: their events are gone");
                    self.end_streams();
                    return;
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
            let waits = {
                let inbox = self.inbox.lock();
                inbox.closed || !inbox.completions.is_empty() || !inbox.published.is_empty()
            };
            if waits {
                self.wake.notify_one();
                return;
            }
        }
    }

    /// Gives the hub what was read. False: there is nothing to go on with now.
    fn take_history(
        self: &Arc<Self>,
        request: &HistoryRequest,
        outcome: Result<History, ReadError>,
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

    async fn read_history(&self, request: &HistoryRequest) -> Result<History, ReadError> {
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

impl Watching {
    fn publish(&mut self, revision: Revision, events: &Arc<[Event]>) {
        // What was visible when the hub began is history to it.
        if revision > self.published {
            debug_assert_eq!(revision, self.published.next());
            self.published = revision;
            self.hub.publish(revision, events);
        }
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
