//! Compaction of a million revisions while clients put and get.
//!
//! A million puts are made, each a revision. Then 16 clients put and get, half
//! of each, while the store is compacted to its newest revision: until the
//! server reports that the space is free, and at least for some seconds. A
//! stall is a time during which no client got an answer. Before each of the two
//! phases, the longest delays of the machine alone are measured with the
//! servers idle, as neither server causes those.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use t4_proto::etcdserverpb::{CompactionRequest, RangeRequest};

use super::single::KEY_BYTES;
use super::traffic::{Kinds, Traffic};
use super::{Bench, Family, Scale, Workload};
use crate::bulk;
use crate::closed_loop::connect;
use crate::dataset::Keys;
use crate::gaps;
use crate::histogram::Histogram;
use crate::machine::Hiccups;
use crate::sample::{Metric, Sample, Window, millis};
use crate::server::{Server, cpu_of};
use crate::target::{Bound, Target};

const KEYS: usize = 100_000;
const LOADING_CLIENTS: usize = 256;
const CLIENTS: usize = 16;
/// How long to wait for a server to become idle, or to compact, before
/// continuing anyway.
const PATIENCE: Duration = Duration::from_secs(60);
/// The minimum length of the compaction and of what it is compared with, in
/// measurement windows: stalls are rare, so observing them takes long.
const WINDOWS: u32 = 4;

pub(super) fn family(scale: Scale) -> Family {
    let revisions = scale.compacted_revisions;
    let keys = Arc::new(Keys::new("bench/compaction/", KEYS, KEY_BYTES));
    let filled = Arc::clone(&keys);
    let fill = move |bench: &Bench, server: &mut Server| {
        bulk::load(&bench.cores, server, &filled, &bench.values)
    };
    let stalls = [Metric::PutGap, Metric::GetGap]
        .map(|metric| Target { metric, bound: Bound::AtMostOrBaseline(millis(gaps::STALL)) });
    let sealed = Arc::clone(&keys);
    let sealing = Workload {
        rounds: Some(1),
        ..Workload::new(
            "sealing-1m",
            format!("put by 256 clients, until there are {revisions} revisions"),
            [stalls[0]],
            move |bench, server| seal(bench, server, &sealed, revisions),
        )
    };
    let compaction = Workload {
        rounds: Some(1),
        ..Workload::new(
            "compaction-1m",
            format!("put or get by 16 clients while {revisions} revisions are compacted"),
            stalls,
            move |bench, server| compact(bench, server, &keys, revisions),
        )
    };
    Family { fill: Box::new(fill), workloads: vec![sealing, compaction], tls: None }
}

/// Puts until the store has `revisions` more revisions. A server that closes or
/// moves its files while accepting puts does so here.
fn seal(
    bench: &Bench,
    server: &mut Server,
    keys: &Arc<Keys>,
    revisions: usize,
) -> anyhow::Result<Sample> {
    let alone = machine_alone(bench, server)?;
    let (server_cpu, client_cpu) = (server.cpu()?, cpu_of("self")?);
    let began = Instant::now();
    let mut latency = Histogram::default();
    let traffic = Traffic::start(bench, server, keys, LOADING_CLIENTS, Kinds::Puts(revisions))?;
    let (puts, _) = traffic.finish(bench, &mut latency)?;
    let window = Window {
        elapsed: began.elapsed(),
        server_cpu: server.cpu()? - server_cpu,
        client_cpu: cpu_of("self")? - client_cpu,
        latency,
    };
    let mut sample = window.sample();
    set_gap(&mut sample, Metric::PutGap, puts, alone.sync);
    Ok(sample)
}

fn compact(
    bench: &Bench,
    server: &mut Server,
    keys: &Arc<Keys>,
    revisions: usize,
) -> anyhow::Result<Sample> {
    // Makes up for puts if the workload above was skipped.
    let there = usize::try_from(newest_revision(bench, server)?)?;
    let missing = Kinds::Puts(revisions.saturating_sub(there));
    let puts = Traffic::start(bench, server, keys, LOADING_CLIENTS, missing)?;
    puts.finish(bench, &mut Histogram::default())?;
    let alone = machine_alone(bench, server)?;
    let least = bench.scale.window * WINDOWS;
    let without = under_traffic(bench, server, keys, || {
        std::thread::sleep(least);
        Ok(least)
    })?;
    let compaction = under_traffic(bench, server, keys, || {
        let took = compact_all(bench, server)?;
        // Work that a server does after it has answered counts too.
        std::thread::sleep(least.saturating_sub(took));
        Ok(took)
    })?;
    let mut sample = compaction.window.sample();
    set_gap(&mut sample, Metric::PutGap, compaction.puts, alone.sync);
    set_gap(&mut sample, Metric::GetGap, compaction.gets, alone.sleep);
    sample.notes.insert("longest put gap without, ms", millis(without.puts.longest));
    sample.notes.insert("longest get gap without, ms", millis(without.gets.longest));
    sample.notes.insert("compaction took, ms", millis(compaction.took));
    Ok(sample)
}

/// Waits until the server is idle, then probes the machine.
fn machine_alone(bench: &Bench, server: &Server) -> anyhow::Result<Hiccups> {
    server.settle(PATIENCE)?;
    rustix::fs::syncfs(File::open(server.data_dir())?)?;
    Hiccups::look(server.data_dir(), bench.scale.window * WINDOWS)
}

/// The observations during some work.
struct Seen {
    window: Window,
    puts: gaps::Seen,
    gets: gaps::Seen,
    took: Duration,
}

/// Runs `work`, which returns its duration, while clients put and get.
fn under_traffic(
    bench: &Bench,
    server: &Server,
    keys: &Arc<Keys>,
    work: impl FnOnce() -> anyhow::Result<Duration>,
) -> anyhow::Result<Seen> {
    let (server_cpu, client_cpu) = (server.cpu()?, cpu_of("self")?);
    let began = Instant::now();
    let traffic = Traffic::start(bench, server, keys, CLIENTS, Kinds::PutsAndGets)?;
    std::thread::sleep(bench.scale.warmup);
    traffic.end_window();
    let took = work()?;
    let (puts, gets) = traffic.end_window();
    traffic.stop();
    let mut latency = Histogram::default();
    traffic.finish(bench, &mut latency)?;
    let window = Window {
        elapsed: began.elapsed(),
        server_cpu: server.cpu()? - server_cpu,
        client_cpu: cpu_of("self")? - client_cpu,
        latency,
    };
    Ok(Seen { window, puts, gets, took })
}

fn set_gap(sample: &mut Sample, metric: Metric, seen: gaps::Seen, alone: Duration) {
    sample.set(metric, millis(seen.longest));
    sample.baseline.insert(metric, millis(alone));
    let stalls = if metric == Metric::PutGap { "put stalls" } else { "get stalls" };
    sample.notes.insert(stalls, seen.stalls as f64);
}

/// Compacts to the newest revision and returns when the server reports that the
/// space is free, or when the wait times out.
fn compact_all(bench: &Bench, server: &Server) -> anyhow::Result<Duration> {
    let asked = Instant::now();
    let revision = newest_revision(bench, server)?;
    let (_, mut client) = connect(&bench.cores, server, 1)?.remove(0);
    let compaction = client.kv.compact(CompactionRequest { revision, physical: true });
    // The timer needs the runtime, so it is created inside.
    let waited = bench.cores.wait(async { tokio::time::timeout(PATIENCE, compaction).await });
    if let Ok(answer) = waited {
        answer?;
    }
    Ok(asked.elapsed())
}

fn newest_revision(bench: &Bench, server: &Server) -> anyhow::Result<i64> {
    let (_, mut client) = connect(&bench.cores, server, 1)?.remove(0);
    let range = RangeRequest { key: "bench".into(), ..RangeRequest::default() };
    let answer = bench.cores.wait(client.kv.range(range))?.into_inner();
    Ok(answer.header.context("an answer without header")?.revision)
}
