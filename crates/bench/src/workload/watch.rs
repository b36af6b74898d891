//! Watchers of one key: how long after a put do they receive the event?
//!
//! A writer puts, waits until every watcher has the event, and puts again. One
//! watcher measures the latency alone; with puts elsewhere, under load; a
//! thousand of them, each on its own stream, the fan-out. The measurement fails
//! if a watcher misses an event or gets one twice or out of order.

use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use bytes::Bytes;
use t4_proto::etcdserverpb::PutRequest;

use super::audience::{Audience, Word};
use super::background::Background;
use super::single::KEY_BYTES;
use super::watch_stream::Stamp;
use super::{Bench, Family, Workload, empty, watch_keys};
use crate::client::Client;
use crate::closed_loop::connect;
use crate::dataset::Keys;
use crate::histogram::Histogram;
use crate::sample::{Metric, Sample, Window, micros};
use crate::server::{Server, cpu_of};
use crate::target::Target;

/// Watchers of the fan-out.
const WATCHERS: usize = 1_000;
/// Puts per second besides the watched key, the same for both servers: the
/// question is the latency at equal load, not the maximum load.
const LOAD_PER_SECOND: u32 = 4_000;

pub(super) fn family() -> Family {
    let alone = "event, from sending the put; one watcher";
    let loaded = "the same while 16 clients put 4,000/s elsewhere; CPU per put";
    let told = "event at one of 1,000 watchers, each on its stream";
    let fan_out = [Target::throughput(3.0)];
    Family {
        fill: empty(),
        workloads: vec![
            Workload::new("watch-alone", alone, [], |bench, server| tell(bench, server, 1, None)),
            Workload::new("watch-under-load", loaded, [], |bench, server| {
                tell(bench, server, 1, Some(LOAD_PER_SECOND))
            }),
            Workload::new("watch-fanout-1000", told, fan_out, |bench, server| {
                tell(bench, server, WATCHERS, None)
            }),
            watch_keys::workload(),
        ],
        tls: None,
    }
}

fn tell(
    bench: &Bench,
    server: &mut Server,
    watchers: usize,
    load_per_second: Option<u32>,
) -> anyhow::Result<Sample> {
    let key = Keys::new("bench/watched/", 1, KEY_BYTES).get(0);
    let audience = Audience::gather(bench, server, &key, watchers)?;
    let background = load_per_second.map(|rate| Background::start(bench, server, rate));
    let (core, client) = connect(&bench.cores, server, 1)?.remove(0);
    let writer = Writer {
        client,
        key,
        filling: bench.values.get(0),
        word: Arc::clone(&audience.word),
        watchers,
        pid: server.pid().to_string(),
    };
    let begin = Instant::now() + bench.scale.warmup;
    let writing = writer.run(begin, begin + bench.scale.window);
    let written = bench.cores.wait(bench.cores.of(core).spawn(writing))?;
    let beside = background.map(|puts| puts?.stop(bench)).transpose()?;
    let Written { puts, window } = written?;
    let window = Window { latency: audience.dismiss(), ..window };
    let (events, expected) = (window.latency.len(), puts * watchers as u64);
    ensure!(events == expected, "{events} events, not {expected}");
    let mut sample = window.sample();
    if let Some(per_second) = beside {
        let puts = puts as f64 + per_second * window.elapsed.as_secs_f64();
        sample.set(Metric::ServerCpu, micros(window.server_cpu) / puts);
        sample.set(Metric::ClientCpu, micros(window.client_cpu) / puts);
        sample.notes.insert("puts/s beside it", per_second);
    }
    Ok(sample)
}

struct Writer {
    client: Client,
    key: Bytes,
    filling: Bytes,
    word: Arc<Word>,
    watchers: usize,
    pid: String,
}

struct Written {
    // The recorded puts.
    puts: u64,
    // Without the latencies, which the watchers record.
    window: Window,
}

impl Writer {
    /// Puts until `end`; requests sent since `begin` count.
    async fn run(mut self, begin: Instant, end: Instant) -> anyhow::Result<Written> {
        let mut number = 0;
        while Instant::now() < begin {
            self.put(number).await?;
            number += 1;
        }
        let first = number;
        let started = Instant::now();
        let (server_cpu, client_cpu) = (cpu_of(&self.pid)?, cpu_of("self")?);
        self.word.record_from(started);
        while Instant::now() < end {
            self.put(number).await?;
            number += 1;
        }
        let window = Window {
            elapsed: started.elapsed(),
            server_cpu: cpu_of(&self.pid)? - server_cpu,
            client_cpu: cpu_of("self")? - client_cpu,
            latency: Histogram::default(),
        };
        Ok(Written { puts: number - first, window })
    }

    async fn put(&mut self, number: u64) -> anyhow::Result<()> {
        self.word.expect(self.watchers);
        let value = Stamp::now(self.word.base, number).value(&self.filling);
        let key = self.key.clone();
        self.client.kv.put(PutRequest { key, value, ..PutRequest::default() }).await?;
        self.word.heard().await
    }
}
