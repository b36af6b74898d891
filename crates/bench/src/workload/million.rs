//! A million keys of 256 bytes: how much memory they take, and how soon a
//! server that was killed answers again.

use std::sync::Arc;
use std::time::Duration;

use super::{Bench, Family, Scale, Workload};
use crate::bulk;
use crate::dataset::Keys;
use crate::sample::{Metric, Sample, millis};
use crate::server::Server;
use crate::target::Target;

const KEY_BYTES: usize = 64;
/// How long a server may go on working after the last put before its memory is
/// read.
const SETTLE: Duration = Duration::from_secs(20);

pub(super) fn family(scale: Scale) -> Family {
    let count = scale.million_keys;
    let keys = Arc::new(Keys::new("bench/million/", count, KEY_BYTES));
    let fill = move |bench: &Bench, server: &mut Server| {
        bulk::load(&bench.cores, server, &keys, &bench.values)
    };
    let memory = Workload {
        rounds: Some(1),
        ..Workload::new(
            "memory-million",
            format!("resident memory with {count} keys of 64 B and 256 B values, after loading"),
            [Target::at_most(Metric::Memory, 0.5)],
            |_, server| memory(server),
        )
    };
    let restart = Workload {
        rounds: Some(scale.restarts),
        ..Workload::new(
            "restart-million",
            format!("SIGKILL, then from exec to the first linearizable get, with {count} keys"),
            [Target::at_most(Metric::Restart, 1.0 / 3.0)],
            |_, server| restart(server),
        )
    };
    Family { fill: Box::new(fill), workloads: vec![memory, restart] }
}

fn memory(server: &Server) -> anyhow::Result<Sample> {
    let settled = server.settle(SETTLE)?;
    let memory = server.memory()?;
    let mut sample = Sample::default();
    sample.set(Metric::Memory, mib(memory.resident));
    sample.notes.insert("anonymous memory, MiB", mib(memory.anonymous));
    sample.notes.insert("idle when read", f64::from(u8::from(settled)));
    Ok(sample)
}

fn restart(server: &mut Server) -> anyhow::Result<Sample> {
    let mut sample = Sample::default();
    sample.set(Metric::Restart, millis(server.restart()?));
    sample.notes.insert("memory once it serves, MiB", mib(server.memory()?.resident));
    Ok(sample)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
