//! Many keys at a time: pages, counts, whole lists, deletes.
//!
//! 100,000 keys of 32 bytes with values of 256 bytes: a list is 32 MB.

use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use t4_proto::etcdserverpb::{DeleteRangeRequest, RangeRequest};
use t4_testkit::Rng;

use super::single::KEY_BYTES;
use super::{Bench, Family, Workload};
use crate::bulk;
use crate::client::Client;
use crate::closed_loop::{Operation, connect, sequence};
use crate::dataset::Keys;
use crate::histogram::Histogram;
use crate::sample::{Sample, Window};
use crate::server::{Server, cpu_of};
use crate::target::Target;
use crate::wire;

const KEYS: usize = 100_000;
const PAGE: i64 = 500;
const DELETED: usize = 10_000;
/// The minimum number of lists by one client in a round, however long they take.
const LEAST: u64 = 3;
/// The target for lists and counts.
const PROMISED: f64 = 3.0;

pub(super) fn family() -> Family {
    let keys = Arc::new(Keys::new("bench/list/", KEYS, KEY_BYTES));
    let filled = Arc::clone(&keys);
    let fill = move |bench: &Bench, server: &mut Server| {
        bulk::load(&bench.cores, server, &filled, &bench.values)
    };
    let page = "page of 500 keys with the count of about 95k behind its start";
    let whole = "whole list of 100k keys, 32 MB";
    let stream = "the same by RangeStream; from etcd, which has none, by Range";
    let workloads = vec![
        list(&keys, "range-500-1", page, 1, Kind::Page),
        list(&keys, "range-500-16", page, 16, Kind::Page),
        list(&keys, "count-100k", "count of 100k keys", 1, Kind::Count),
        list(&keys, "list-100k", whole, 1, Kind::Whole),
        list(&keys, "list-stream-100k", stream, 1, Kind::Stream),
        Workload::new("delete-10k", "delete of a range of 10k keys", [], delete),
    ];
    Family { fill: Box::new(fill), workloads, tls: None }
}

#[derive(Clone, Copy)]
enum Kind {
    Page,
    Count,
    Whole,
    Stream,
}

fn list(
    keys: &Arc<Keys>,
    name: &str,
    operation: &'static str,
    clients: usize,
    kind: Kind,
) -> Workload {
    let keys = Arc::clone(keys);
    let targets = [Target::throughput(PROMISED)];
    Workload::new(name, operation, targets, move |bench, server| {
        let kind = match kind {
            Kind::Stream if !server.has_range_stream() => Kind::Whole,
            kind => kind,
        };
        let list = |number: usize, client| List {
            client,
            keys: Arc::clone(&keys),
            rng: Rng::new(number as u64),
            kind,
        };
        if clients == 1 {
            let only = |client| list(0, client);
            return Ok(sequence(&bench.cores, server, bench.scale.window, LEAST, only)?.sample());
        }
        Ok(bench.closed_loop(server, clients, list)?.window.sample())
    })
}

struct List {
    client: Client,
    keys: Arc<Keys>,
    rng: Rng,
    kind: Kind,
}

impl Operation for List {
    async fn run(&mut self) -> anyhow::Result<bool> {
        let (kvs, count) = match self.kind {
            Kind::Page => self.page().await?,
            Kind::Count => self.range(RangeRequest { count_only: true, ..self.all() }, 0).await?,
            Kind::Whole => self.range(self.all(), KEYS).await?,
            Kind::Stream => self.stream().await?,
        };
        ensure!(kvs.0 == kvs.1, "a list gave {} key-values, not {}", kvs.0, kvs.1);
        ensure!(count.0 == count.1, "a list counted {}, not {}", count.0, count.1);
        Ok(true)
    }
}

/// The actual and the expected value.
type Pair = (u64, u64);

impl List {
    fn all(&self) -> RangeRequest {
        let (key, range_end) = (self.keys.start(), self.keys.end());
        RangeRequest { key, range_end, ..RangeRequest::default() }
    }

    async fn page(&mut self) -> anyhow::Result<(Pair, Pair)> {
        // In the first tenth, so that nearly all keys must be counted.
        let first = self.rng.below(KEYS as u64 / 10);
        let key = self.keys.get(first as usize);
        let request = RangeRequest { key, limit: PAGE, ..self.all() };
        let seen = wire::range_response(&self.client.range_raw(request).await?)?;
        Ok(((seen.kvs, PAGE as u64), (seen.count, KEYS as u64 - first)))
    }

    async fn range(&mut self, request: RangeRequest, kvs: usize) -> anyhow::Result<(Pair, Pair)> {
        let seen = wire::range_response(&self.client.range_raw(request).await?)?;
        Ok(((seen.kvs, kvs as u64), (seen.count, KEYS as u64)))
    }

    async fn stream(&mut self) -> anyhow::Result<(Pair, Pair)> {
        let mut chunks = self.client.range_stream_raw(self.all()).await?;
        let (mut kvs, mut count) = (0, 0);
        while let Some(chunk) = chunks.message().await? {
            let seen = wire::range_stream_response(&chunk)?;
            kvs += seen.kvs;
            count = count.max(seen.count);
        }
        Ok(((kvs, KEYS as u64), (count, KEYS as u64)))
    }
}

/// Fills some ranges, then deletes them one by one.
fn delete(bench: &Bench, server: &mut Server) -> anyhow::Result<Sample> {
    let range = |i: usize| Keys::new(&format!("bench/delete/{i}/"), DELETED, KEY_BYTES);
    let ranges: Vec<Keys> = (0..bench.scale.deletes).map(range).collect();
    for keys in &ranges {
        bulk::load(&bench.cores, server, keys, &bench.values)?;
    }
    let (_, mut client) = connect(&bench.cores, server, 1)?.remove(0);
    let mut latency = Histogram::default();
    let (began, server_cpu, client_cpu) = (Instant::now(), server.cpu()?, cpu_of("self")?);
    for keys in &ranges {
        let (key, range_end) = (keys.start(), keys.end());
        let request = DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() };
        let sent = Instant::now();
        let answer = bench.cores.wait(client.kv.delete_range(request))?;
        latency.record(sent.elapsed());
        let deleted = answer.into_inner().deleted;
        ensure!(deleted == DELETED as i64, "a delete of {DELETED} keys deleted {deleted}");
    }
    let window = Window {
        elapsed: began.elapsed(),
        server_cpu: server.cpu()? - server_cpu,
        client_cpu: cpu_of("self")? - client_cpu,
        latency,
    };
    Ok(window.sample())
}
