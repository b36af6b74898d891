//! Watchers of one key, all of which must receive every put once and in order.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::Bench;
use super::watch_stream::{Order, Stamp, WatchStream};
use crate::client::Client;
use crate::closed_loop::connect;
use crate::histogram::Histogram;
use crate::server::Server;

/// How long to wait for an event before it counts as lost.
const LOST: Duration = Duration::from_secs(20);

/// State shared by the writer and the watchers.
#[derive(Debug)]
pub(super) struct Word {
    /// The base time of stamps.
    pub(super) base: Instant,
    // Events of puts sent before this, in ns since `base`, are not recorded.
    record_from_ns: AtomicU64,
    // Watchers that have not received the current put yet.
    left: AtomicUsize,
    // Notified when all have received it, or one has failed.
    all_told: Notify,
    // One per core, so that threads do not contend.
    latencies: Vec<Mutex<Histogram>>,
    failure: Mutex<Option<anyhow::Error>>,
}

impl Word {
    /// Sets the number of watchers that will receive the next put.
    pub(super) fn expect(&self, watchers: usize) {
        self.left.store(watchers, Ordering::Release);
    }

    /// Returns when all of them have received it.
    pub(super) async fn heard(&self) -> anyhow::Result<()> {
        let told = tokio::time::timeout(LOST, self.all_told.notified()).await;
        if let Some(failure) = lock(&self.failure).take() {
            return Err(failure);
        }
        let left = self.left.load(Ordering::Acquire);
        told.with_context(|| format!("{left} watchers have no event after {LOST:?}"))
    }

    /// Records the events of puts sent since `when`.
    pub(super) fn record_from(&self, when: Instant) {
        let ns = when.saturating_duration_since(self.base).as_nanos() as u64;
        self.record_from_ns.store(ns, Ordering::Release);
    }

    fn hear(&self, core: usize, stamp: Stamp) {
        if stamp.sent_ns >= self.record_from_ns.load(Ordering::Acquire) {
            lock(&self.latencies[core]).record(stamp.age(self.base));
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all_told.notify_one();
        }
    }

    fn fail(&self, failure: anyhow::Error) {
        lock(&self.failure).get_or_insert(failure);
        self.all_told.notify_one();
    }
}

/// The watchers, which read until this is dropped.
#[derive(Debug)]
pub(super) struct Audience {
    /// The state shared with the writer.
    pub(super) word: Arc<Word>,
    readers: Vec<JoinHandle<()>>,
}

impl Audience {
    /// Starts `watchers` watches of a key, each on its own stream, and returns
    /// when all have started.
    pub(super) fn gather(
        bench: &Bench,
        server: &Server,
        key: &Bytes,
        watchers: usize,
    ) -> anyhow::Result<Audience> {
        let cores = bench.cores.count();
        let word = Arc::new(Word {
            base: Instant::now(),
            record_from_ns: AtomicU64::new(u64::MAX),
            left: AtomicUsize::new(0),
            all_told: Notify::new(),
            latencies: (0..cores).map(|_| Mutex::default()).collect(),
            failure: Mutex::default(),
        });
        word.expect(watchers);
        let mut readers = Vec::with_capacity(watchers);
        for (connection, client) in connect(&bench.cores, server, watchers)? {
            let reading = listen(Arc::clone(&word), connection % cores, client, key.clone());
            readers.push(bench.cores.of(connection).spawn(reading));
        }
        let audience = Audience { word, readers };
        bench.cores.wait(audience.word.heard()).context("not all watches began")?;
        Ok(audience)
    }

    /// Ends the watches and returns the latency of each recorded event.
    pub(super) fn dismiss(self) -> Histogram {
        let mut all = Histogram::default();
        for latencies in &self.word.latencies {
            all.merge(&lock(latencies));
        }
        all
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
    }
}

async fn listen(word: Arc<Word>, core: usize, client: Client, key: Bytes) {
    if let Err(failure) = hear_all(&word, core, client, key).await {
        word.fail(failure);
    }
}

async fn hear_all(word: &Word, core: usize, mut client: Client, key: Bytes) -> anyhow::Result<()> {
    let mut stream = WatchStream::open(&mut client, vec![key]).await?;
    if word.left.fetch_sub(1, Ordering::AcqRel) == 1 {
        word.all_told.notify_one();
    }
    let mut order = Order::default();
    loop {
        let answer = stream.next().await?;
        ensure!(!answer.canceled, "a watch was cancelled: {}", answer.cancel_reason);
        for event in &answer.events {
            let Some(kv) = &event.kv else { bail!("an event without key-value") };
            let stamp = Stamp::of(&kv.value)?;
            order.take(stamp)?;
            word.hear(core, stamp);
        }
    }
}

/// A panicking reader was reported by the panic hook; its counts stay valid.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
