//! 10,000 watchers, each of its own key: does an event find its watcher?
//!
//! 100 streams with 100 watches each; 16 clients put to their own share of the
//! keys in a closed loop. Every put must arrive, once and in order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use t4_proto::etcdserverpb::PutRequest;
use t4_testkit::{Rng, poll_until};
use tokio::sync::mpsc;

use super::single::KEY_BYTES;
use super::watch_stream::{Order, Stamp, WatchStream};
use super::{Bench, Workload};
use crate::client::Client;
use crate::closed_loop::{Operation, connect};
use crate::dataset::{Keys, Values};
use crate::histogram::Histogram;
use crate::sample::{Sample, Window};
use crate::server::Server;

const STREAMS: usize = 100;
const PER_STREAM: usize = 100;
const WRITERS: usize = 16;
/// How long to wait for an event before it counts as lost.
const LOST: Duration = Duration::from_secs(20);

pub(super) fn workload() -> Workload {
    let operation = "put and its event; 10k watchers on 10k keys, 16 clients put; \
                     latency from sending the put to the event";
    Workload::new("watch-keys-10000", operation, [], measure)
}

fn measure(bench: &Bench, server: &mut Server) -> anyhow::Result<Sample> {
    let keys = Arc::new(Keys::new("bench/watch-keys/", STREAMS * PER_STREAM, KEY_BYTES));
    let base = Instant::now();
    let listeners = Listeners::start(bench, server, &keys, base)?;
    let sent = Arc::new(AtomicU64::new(0));
    let begin = Instant::now() + bench.scale.warmup;
    listeners.record_from_ns.store((begin - base).as_nanos() as u64, Ordering::Release);
    let outcome = bench.closed_loop(server, WRITERS, |number, client| Put {
        client,
        keys: Arc::clone(&keys),
        values: bench.values.clone(),
        rng: Rng::new(number as u64),
        first: number,
        base,
        numbers: vec![0; keys.len() / WRITERS],
        sent: Arc::clone(&sent),
    })?;
    let latency = listeners.end(sent.load(Ordering::Acquire))?;
    let throughput = outcome.window.sample();
    let mut sample = Window { latency, ..outcome.window }.sample();
    // For the puts of the window; the latencies cover all events since its start.
    sample.metrics.extend(throughput.metrics.into_iter().filter(|(metric, _)| {
        use crate::sample::Metric::{ClientCpu, ServerCpu, Throughput};
        matches!(metric, Throughput | ServerCpu | ClientCpu)
    }));
    Ok(sample)
}

struct Put {
    client: Client,
    keys: Arc<Keys>,
    values: Values,
    rng: Rng,
    // The keys of this client are `first`, `first + WRITERS` and so on.
    first: usize,
    base: Instant,
    // The number of puts to each of them.
    numbers: Vec<u64>,
    sent: Arc<AtomicU64>,
}

impl Operation for Put {
    async fn run(&mut self) -> anyhow::Result<bool> {
        let which = self.rng.below(self.numbers.len() as u64) as usize;
        let stamp = Stamp::now(self.base, self.numbers[which]);
        self.numbers[which] += 1;
        let value = stamp.value(&self.values.pick(&mut self.rng));
        let key = self.keys.get(self.first + which * WRITERS);
        self.client.kv.put(PutRequest { key, value, ..PutRequest::default() }).await?;
        self.sent.fetch_add(1, Ordering::Release);
        Ok(true)
    }
}

/// The streams, read until they are stopped.
struct Listeners {
    record_from_ns: Arc<AtomicU64>,
    heard: Arc<AtomicU64>,
    latency: Arc<Mutex<Histogram>>,
    readers: Vec<tokio::task::JoinHandle<()>>,
    // Each stream reports here that its watches have started, or what went wrong.
    news: mpsc::UnboundedReceiver<anyhow::Result<()>>,
}

impl Listeners {
    fn start(
        bench: &Bench,
        server: &Server,
        keys: &Arc<Keys>,
        base: Instant,
    ) -> anyhow::Result<Listeners> {
        let (tell, news) = mpsc::unbounded_channel();
        let mut listeners = Listeners {
            record_from_ns: Arc::new(AtomicU64::new(u64::MAX)),
            heard: Arc::default(),
            latency: Arc::default(),
            readers: Vec::with_capacity(STREAMS),
            news,
        };
        for (stream, (core, client)) in
            connect(&bench.cores, server, STREAMS)?.into_iter().enumerate()
        {
            let listener = Listener {
                base,
                record_from_ns: Arc::clone(&listeners.record_from_ns),
                heard: Arc::clone(&listeners.heard),
                latency: Arc::clone(&listeners.latency),
                orders: vec![Order::from(0); PER_STREAM],
            };
            let watched = (0..PER_STREAM).map(|i| keys.get(stream * PER_STREAM + i)).collect();
            let tell = tell.clone();
            listeners.readers.push(bench.cores.of(core).spawn(async move {
                let mut client = client;
                match WatchStream::open(&mut client, watched).await {
                    Ok(stream) => {
                        let _ = tell.send(Ok(()));
                        let _ = tell.send(listener.read(stream).await);
                    }
                    Err(failure) => drop(tell.send(Err(failure))),
                }
            }));
        }
        for _ in 0..STREAMS {
            let begun = async { tokio::time::timeout(LOST, listeners.news.recv()).await };
            bench.cores.wait(begun)?.context("a reader ended")??;
        }
        Ok(listeners)
    }

    /// Waits until as many events were received as puts were sent.
    fn end(mut self, sent: u64) -> anyhow::Result<Histogram> {
        let all = poll_until("every put is heard of", LOST, || {
            let heard = self.heard.load(Ordering::Acquire);
            ensure!(heard == sent, "{heard} of {sent}");
            Ok(())
        });
        self.readers.iter().for_each(tokio::task::JoinHandle::abort);
        if let Ok(Err(failure)) = self.news.try_recv() {
            return Err(failure);
        }
        all?;
        Ok(self.latency.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

struct Listener {
    base: Instant,
    record_from_ns: Arc<AtomicU64>,
    heard: Arc<AtomicU64>,
    latency: Arc<Mutex<Histogram>>,
    // One per watch.
    orders: Vec<Order>,
}

impl Listener {
    async fn read(mut self, mut stream: WatchStream) -> anyhow::Result<()> {
        loop {
            let answer = stream.next().await?;
            ensure!(!answer.canceled, "a watch was cancelled: {}", answer.cancel_reason);
            let watch = usize::try_from(answer.watch_id - 1)?;
            let order = self.orders.get_mut(watch).context("an event for an unknown watch")?;
            for event in &answer.events {
                let kv = event.kv.as_ref().context("an event without key-value")?;
                let stamp = Stamp::of(&kv.value)?;
                order.take(stamp)?;
                if stamp.sent_ns >= self.record_from_ns.load(Ordering::Relaxed) {
                    let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
                    latency.record(stamp.age(self.base));
                }
                self.heard.fetch_add(1, Ordering::Release);
            }
        }
    }
}
