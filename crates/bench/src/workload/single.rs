//! One key at a time: puts, gets, and half of each.
//!
//! 32-byte keys out of 10,000, 256-byte values. The gets run first, on a store
//! that holds only its 10,000 keys.

use std::sync::Arc;

use anyhow::ensure;
use t4_proto::etcdserverpb::{PutRequest, RangeRequest};
use t4_testkit::Rng;

use super::{Bench, Family, VALUE_BYTES, Workload, promised};
use crate::bulk;
use crate::client::Client;
use crate::closed_loop::Operation;
use crate::dataset::{Keys, Values};
use crate::sample::Metric;
use crate::target::Target;

const KEYS: usize = 10_000;
pub(super) const KEY_BYTES: usize = 32;

pub(super) fn family() -> Family {
    let keys = Arc::new(Keys::new("bench/single/", KEYS, KEY_BYTES));
    let mut workloads = Vec::new();
    for (serializable, kind) in [(false, "linearizable"), (true, "serializable")] {
        for clients in [1, 16, 64] {
            workloads.push(get(&keys, clients, serializable, kind));
        }
    }
    workloads.extend([1, 16, 64, 256].map(|clients| put(&keys, clients)));
    workloads.extend([16, 64].map(|clients| mixed(&keys, clients)));
    let filled = Arc::clone(&keys);
    let fill = move |bench: &Bench, server: &mut _| {
        bulk::load(&bench.cores, server, &filled, &bench.values)
    };
    Family { fill: Box::new(fill), workloads, tls: None }
}

fn get(keys: &Arc<Keys>, clients: usize, serializable: bool, kind: &str) -> Workload {
    let share = Share { get: true, put: false };
    let mut targets = promised(clients, 1.7, Some(0.4));
    if clients == 1 {
        targets.push(Target::at_most(Metric::P50, 0.6));
    }
    let operation = "get of one of 10k keys, 256 B";
    workload(
        keys,
        format!("get-{kind}-{clients}"),
        operation,
        clients,
        targets,
        share,
        serializable,
    )
}

fn put(keys: &Arc<Keys>, clients: usize) -> Workload {
    let share = Share { get: false, put: true };
    let mut targets = promised(clients, 1.5, Some(0.5));
    if clients == 1 {
        targets.push(Target::at_most(Metric::P50, 1.0));
        targets.push(Target::at_most(Metric::P99, 1.0));
    }
    let operation = "put of one of 10k keys, 256 B";
    workload(keys, format!("put-{clients}"), operation, clients, targets, share, false)
}

fn mixed(keys: &Arc<Keys>, clients: usize) -> Workload {
    let share = Share { get: true, put: true };
    let targets = promised(clients, 1.5, None);
    let operation = "put or linearizable get, evenly";
    workload(keys, format!("mixed-{clients}"), operation, clients, targets, share, false)
}

pub(super) fn workload(
    keys: &Arc<Keys>,
    name: String,
    operation: &'static str,
    clients: usize,
    targets: Vec<Target>,
    share: Share,
    serializable: bool,
) -> Workload {
    let keys = Arc::clone(keys);
    Workload::new(name, operation, targets, move |bench, server| {
        let outcome = bench.closed_loop(server, clients, |number, client| Single {
            client,
            keys: Arc::clone(&keys),
            values: bench.values.clone(),
            rng: Rng::new(number as u64),
            share,
            serializable,
        })?;
        Ok(outcome.window.sample())
    })
}

/// The requests that a client sends; if both, half of each.
#[derive(Clone, Copy)]
pub(super) struct Share {
    pub(super) get: bool,
    pub(super) put: bool,
}

struct Single {
    client: Client,
    keys: Arc<Keys>,
    values: Values,
    rng: Rng,
    share: Share,
    serializable: bool,
}

impl Operation for Single {
    async fn run(&mut self) -> anyhow::Result<bool> {
        let key = self.keys.pick(&mut self.rng);
        let both = self.share.get && self.share.put;
        if self.share.put && !(both && self.rng.chance(1, 2)) {
            let value = self.values.pick(&mut self.rng);
            self.client.kv.put(PutRequest { key, value, ..PutRequest::default() }).await?;
        } else {
            let serializable = self.serializable;
            let request = RangeRequest { key, serializable, ..RangeRequest::default() };
            let answer = self.client.kv.range(request).await?.into_inner();
            let whole = matches!(&answer.kvs[..], [kv] if kv.value.len() == VALUE_BYTES);
            ensure!(whole, "a get of a key that is there gave {answer:?}");
        }
        Ok(true)
    }
}
