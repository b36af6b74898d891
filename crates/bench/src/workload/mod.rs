//! The measured workloads: each file in this directory is a family of workloads
//! that share one pair of servers and their contents.

mod audience;
mod background;
mod compaction;
mod lease;
mod lists;
mod login;
mod million;
mod secure;
mod single;
mod traffic;
mod txn;
mod watch;
mod watch_keys;
mod watch_stream;

use std::time::Duration;

use t4_tls_config::KeyType;

use crate::client::Client;
use crate::closed_loop::{Load, Operation, Outcome, closed_loop};
use crate::cores::Cores;
use crate::dataset::Values;
use crate::sample::{Metric, Sample};
use crate::server::Server;
use crate::target::Target;

/// Bytes of every value. Kubernetes objects are between this and 4 KiB.
pub const VALUE_BYTES: usize = 256;

/// The durations and sizes of a run.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Rounds of a workload that can be repeated without preparation.
    pub rounds: usize,
    /// Load before each measurement.
    pub warmup: Duration,
    /// Length of one measurement.
    pub window: Duration,
    /// Keys of the memory and restart workload.
    pub million_keys: usize,
    /// Restarts of each server in that workload.
    pub restarts: usize,
    /// Compacted revisions.
    pub compacted_revisions: usize,
    /// Deletes of 10k keys in one round.
    pub deletes: usize,
}

impl Scale {
    /// The scale of `docs/benchmarks.md`: under a quarter of an hour.
    pub const FULL: Scale = Scale {
        rounds: 5,
        warmup: Duration::from_millis(300),
        window: Duration::from_millis(1_500),
        million_keys: 1_000_000,
        restarts: 3,
        compacted_revisions: 1_000_000,
        deletes: 4,
    };
    /// For a quick check: smaller stores too, so its memory, restart and
    /// compaction numbers are not those of a million.
    pub const QUICK: Scale = Scale {
        rounds: 3,
        warmup: Duration::from_millis(150),
        window: Duration::from_millis(500),
        million_keys: 200_000,
        restarts: 2,
        compacted_revisions: 100_000,
        deletes: 2,
    };
}

/// What every measurement needs besides the server.
#[derive(Debug)]
pub struct Bench {
    /// The runtimes of the clients.
    pub cores: Cores,
    /// The durations and sizes.
    pub scale: Scale,
    /// The values to put.
    pub values: Values,
}

impl Bench {
    /// Closed-loop load of `clients` clients over one window of the scale.
    fn closed_loop<O: Operation>(
        &self,
        server: &Server,
        clients: usize,
        make: impl FnMut(usize, Client) -> O,
    ) -> anyhow::Result<Outcome> {
        let Scale { warmup, window, .. } = self.scale;
        closed_loop(&self.cores, server, Load { clients, warmup, window }, make)
    }
}

/// Fills a fresh server.
pub type Fill = Box<dyn Fn(&Bench, &mut Server) -> anyhow::Result<()>>;
/// Measures one server in one round.
pub type Measure = Box<dyn Fn(&Bench, &mut Server) -> anyhow::Result<Sample>>;

/// Workloads that share a pair of servers.
pub struct Family {
    /// Run once on each server, before the workloads.
    pub fill: Fill,
    /// In execution order.
    pub workloads: Vec<Workload>,
    /// Both servers use TLS, with certificates of this kind; `None` for plain text.
    pub tls: Option<KeyType>,
}

/// One measured workload.
pub struct Workload {
    /// Its name: the operation and the number of clients.
    pub name: String,
    /// What counts as one operation.
    pub operation: String,
    /// The number of rounds, if it cannot be repeated as often as the others.
    pub rounds: Option<usize>,
    /// The targets for T4.
    pub targets: Vec<Target>,
    /// How it is measured.
    pub measure: Measure,
}

impl Workload {
    fn new(
        name: impl Into<String>,
        operation: impl Into<String>,
        targets: impl IntoIterator<Item = Target>,
        measure: impl Fn(&Bench, &mut Server) -> anyhow::Result<Sample> + 'static,
    ) -> Workload {
        let targets = targets.into_iter().collect();
        let measure = Box::new(measure);
        Workload { name: name.into(), operation: operation.into(), rounds: None, targets, measure }
    }
}

/// All families, in execution order.
#[must_use]
pub fn families(scale: Scale) -> Vec<Family> {
    vec![
        single::family(),
        txn::family(),
        lists::family(),
        watch::family(),
        lease::family(),
        secure::family(),
        secure::rsa_family(),
        login::family(),
        million::family(scale),
        compaction::family(scale),
    ]
}

/// The targets for throughput, tail latency and CPU of a request with this many
/// clients; not every kind of request has a CPU target.
fn promised(clients: usize, throughput: f64, server_cpu: Option<f64>) -> Vec<Target> {
    if clients < 16 {
        return Vec::new();
    }
    let mut targets = vec![Target::throughput(throughput)];
    targets.extend(server_cpu.map(|ratio| Target::at_most(Metric::ServerCpu, ratio)));
    targets.extend(Target::tail(clients));
    targets
}

/// For a family whose servers start empty.
fn empty() -> Fill {
    Box::new(|_, _| Ok(()))
}
