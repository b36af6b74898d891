//! A thread that owns the log and commits for all callers together.
//!
//! While one sync runs, entries queue up; the next write and the next sync
//! cover all of them. So the more concurrent writes there are, the fewer syncs
//! each entry costs, and a single writer waits for no one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use t4_kv_types::{Epoch, LogIndex};

use crate::entry::Entry;
use crate::error::WalError;
use crate::preparation::Preparation;
use crate::reader::Reader;
use crate::wal::{Counters, Wal};

/// The most payload that one write and one sync cover, in bytes, unless a
/// single call to [`GroupCommit::append`] brings more.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// How often preparing the next segment is retried after it failed.
const PREPARATION_RETRY: Duration = Duration::from_secs(1);

/// Reported by the thread, in the order in which it happened.
#[derive(Debug)]
pub enum Event {
    /// Entries are durable.
    Durable(Durable),
    /// Entries were refused and are not in the log: there is no space, the
    /// system lacks a resource, or one of them is too large for the log. The
    /// caller may append again, starting with the first of them. Entries that
    /// were queued behind them are refused too, each call with its own event.
    Refused(Refused),
    /// The next segment could not be prepared: if the cause is lack of space,
    /// entries will be refused when this one is full. Nothing is lost yet.
    /// Reported once, until it works again.
    PreparationFailed(WalError),
    /// The next segment can be prepared again, after entries were refused or
    /// the preparation had failed.
    PreparationRecovered,
    /// The log has failed and the thread does nothing more. Stop the process:
    /// entries that were appended and not reported as durable may or may not be
    /// on the disk.
    Fatal(WalError),
}

/// Entries that became durable, and what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// The epoch of the last of them.
    pub epoch: Epoch,
    /// The last of them: every entry up to this one is durable.
    pub index: LogIndex,
    /// How many became durable.
    pub entries: usize,
    /// Bytes written for them.
    pub bytes: u64,
    /// How long the write took.
    pub write_duration: Duration,
    /// How long the sync took.
    pub sync_duration: Duration,
}

/// The entries of one call to [`GroupCommit::append`] that were refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The call.
    pub ticket: Ticket,
    /// The first of its entries.
    pub from: LogIndex,
    /// The last of its entries.
    pub through: LogIndex,
    /// The reason: [`WalError::is_refusal`], or [`WalError::TooLarge`], which
    /// should not happen because callers bound what they append.
    pub error: Arc<WalError>,
}

/// Identifies one call to [`GroupCommit::append`]; later calls have higher
/// tickets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

struct Batch {
    ticket: Ticket,
    /// Not empty.
    entries: Vec<Entry>,
    bytes: usize,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    /// Payload in `batches`.
    bytes: usize,
    release: Option<LogIndex>,
    next_ticket: u64,
    stop: bool,
    /// The thread has ended.
    ended: bool,
    counters: Counters,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// The thread that owns a [`Wal`]. Dropping it stops the thread, like
/// [`GroupCommit::stop`].
pub struct GroupCommit {
    shared: Arc<Shared>,
    reader: Reader,
    thread: Option<JoinHandle<Option<Wal>>>,
}

impl GroupCommit {
    /// Starts the thread. `on_event` is called on it, and must neither block
    /// nor stop the `GroupCommit`: every writer waits meanwhile.
    ///
    /// # Errors
    /// [`WalError::Io`] if the thread cannot be created.
    pub fn spawn(
        wal: Wal,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> Result<GroupCommit, WalError> {
        let shared = Arc::new(Shared::default());
        let reader = wal.reader();
        let committer =
            Committer { shared: Arc::clone(&shared), wal, on_event, refused: None, retry_at: None };
        let thread = std::thread::Builder::new()
            .name("wal-commit".into())
            .spawn(move || committer.run())
            .map_err(|error| WalError::fatal("start", "the commit thread", error))?;
        Ok(GroupCommit { shared, reader, thread: Some(thread) })
    }

    /// Queues entries, which must follow those of the last call. They are
    /// written and synced together with everything that is queued when the
    /// thread gets to them; all entries of one call succeed or fail together.
    ///
    /// The queue itself is unbounded: the caller that admits writes bounds the
    /// bytes in flight, see [`GroupCommit::queued_bytes`]. After
    /// [`Event::Fatal`], entries are dropped without an event.
    pub fn append(&self, entries: Vec<Entry>) -> Ticket {
        let mut queue = self.shared.queue.lock();
        queue.next_ticket += 1;
        let ticket = Ticket(queue.next_ticket);
        if !entries.is_empty() && !queue.ended {
            let bytes = entries.iter().map(|entry| entry.payload.len()).sum();
            queue.bytes += bytes;
            queue.batches.push_back(Batch { ticket, entries, bytes });
            self.shared.changed.notify_one();
        }
        ticket
    }

    /// Requests the release of the entries up to `through`; see
    /// [`Wal::release`].
    pub fn release(&self, through: LogIndex) {
        let mut queue = self.shared.queue.lock();
        queue.release = queue.release.max(Some(through));
        self.shared.changed.notify_one();
    }

    /// The payload bytes waiting to be written.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.shared.queue.lock().bytes
    }

    /// The counters of the log, as of the last event.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.queue.lock().counters
    }

    /// A handle for reading the log.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Writes and syncs what is queued, reports it, and ends the thread.
    /// Returns the log, unless it has failed.
    ///
    /// # Panics
    /// If `on_event` has panicked.
    pub fn stop(mut self) -> Option<Wal> {
        match self.join() {
            Ok(wal) => wal,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn join(&mut self) -> std::thread::Result<Option<Wal>> {
        self.shared.queue.lock().stop = true;
        self.shared.changed.notify_one();
        self.thread.take().map_or(Ok(None), JoinHandle::join)
    }
}

impl Drop for GroupCommit {
    fn drop(&mut self) {
        // The thread has already reported a panic of the callback.
        let _ = self.join();
    }
}

/// Taken out of the queue at once.
#[derive(Default)]
struct Work {
    batches: Vec<Batch>,
    release: Option<LogIndex>,
}

struct Committer<F> {
    shared: Arc<Shared>,
    wal: Wal,
    on_event: F,
    /// Set when entries are refused, to the first of them and the reason, until
    /// entries are accepted again: entries queued behind them do not fit the
    /// log, and that is not the caller's mistake.
    refused: Option<(LogIndex, Arc<WalError>)>,
    /// When preparing the next segment is retried, if it failed.
    retry_at: Option<Instant>,
}

impl<F: FnMut(Event)> Committer<F> {
    fn run(mut self) -> Option<Wal> {
        // Also when the callback panics: otherwise appended entries would queue
        // forever.
        let _ended = MarkEnded(Arc::clone(&self.shared));
        while let Some(work) = self.shared.wait_for_work(self.retry_at) {
            if let Err(error) = self.carry_out(work).and_then(|()| self.prepare_again()) {
                self.shared.queue.lock().end();
                (self.on_event)(Event::Fatal(error));
                return None;
            }
        }
        Some(self.wal)
    }

    fn carry_out(&mut self, work: Work) -> Result<(), WalError> {
        if !work.batches.is_empty() {
            self.commit(work.batches)?;
        }
        if let Some(through) = work.release {
            self.wal.release(through)?;
        }
        self.shared.queue.lock().counters = self.wal.counters();
        Ok(())
    }

    /// Retries preparing the next segment when it is time, and reports any
    /// change.
    fn prepare_again(&mut self) -> Result<(), WalError> {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.wal.retry_preparation()?;
        }
        match self.wal.take_preparation_news() {
            Some(Preparation::Failed(error)) => (self.on_event)(Event::PreparationFailed(error)),
            Some(Preparation::Recovered) => (self.on_event)(Event::PreparationRecovered),
            None => {}
        }
        if self.wal.preparation_fails() {
            self.retry_at.get_or_insert(now + PREPARATION_RETRY);
        } else {
            self.retry_at = None;
        }
        Ok(())
    }

    fn commit(&mut self, batches: Vec<Batch>) -> Result<(), WalError> {
        let batches = self.refuse_followers(batches);
        let begin = Instant::now();
        let before = self.wal.counters();
        match self.wal.append_all(batches.iter().flat_map(|batch| &batch.entries)) {
            Ok(()) => {}
            // As for lack of space, nothing of an entry that is too large was
            // written.
            Err(error) if error.is_refusal() || matches!(error, WalError::TooLarge { .. }) => {
                self.refuse(&batches, &Arc::new(error));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let written = Instant::now();
        self.wal.sync()?;
        let synced = Instant::now();
        let after = self.wal.counters();
        if after.entries == before.entries {
            return Ok(());
        }
        self.refused = None;
        self.shared.queue.lock().counters = after;
        let (epoch, index) = self.wal.last();
        (self.on_event)(Event::Durable(Durable {
            epoch,
            index,
            entries: (after.entries - before.entries) as usize,
            bytes: after.bytes_written - before.bytes_written,
            write_duration: written - begin,
            sync_duration: synced - written,
        }));
        Ok(())
    }

    /// Refuses the batches that were queued behind refused ones before the
    /// caller was notified.
    fn refuse_followers(&mut self, batches: Vec<Batch>) -> Vec<Batch> {
        let Some((refused_from, error)) = self.refused.clone() else {
            return batches;
        };
        let fits = |batch: &Batch| batch.entries[0].index <= refused_from;
        let kept = batches.iter().position(fits).unwrap_or(batches.len());
        let mut followers = batches;
        let kept = followers.split_off(kept);
        self.refuse(&followers, &error);
        kept
    }

    fn refuse(&mut self, batches: &[Batch], error: &Arc<WalError>) {
        for batch in batches {
            let from = batch.entries[0].index;
            let through = batch.entries[batch.entries.len() - 1].index;
            let first = self.refused.as_ref().map_or(from, |(first, _)| from.min(*first));
            self.refused = Some((first, Arc::clone(error)));
            let error = Arc::clone(error);
            (self.on_event)(Event::Refused(Refused { ticket: batch.ticket, from, through, error }));
        }
    }
}

impl Shared {
    /// Waits for work; `None` when there is none left and the thread must stop.
    /// Returns empty work at `until`.
    fn wait_for_work(&self, until: Option<Instant>) -> Option<Work> {
        let mut queue = self.queue.lock();
        loop {
            if !queue.batches.is_empty() || queue.release.is_some() {
                return Some(queue.take());
            }
            if queue.stop {
                return None;
            }
            match until {
                None => self.changed.wait(&mut queue),
                Some(until) => {
                    if self.changed.wait_until(&mut queue, until).timed_out() {
                        return Some(Work::default());
                    }
                }
            }
        }
    }
}

impl Queue {
    fn take(&mut self) -> Work {
        let mut batches = Vec::new();
        let mut bytes = 0;
        while let Some(batch) = self.batches.front() {
            if !batches.is_empty() && bytes + batch.bytes > BATCH_BYTES_MAX {
                break;
            }
            bytes += batch.bytes;
            batches.extend(self.batches.pop_front());
        }
        self.bytes -= bytes;
        Work { batches, release: self.release.take() }
    }

    fn end(&mut self) {
        self.ended = true;
        self.batches.clear();
        self.bytes = 0;
    }
}

/// Marks the queue as ended when the thread ends, even by a panic.
struct MarkEnded(Arc<Shared>);

impl Drop for MarkEnded {
    fn drop(&mut self) {
        self.0.queue.lock().end();
    }
}
