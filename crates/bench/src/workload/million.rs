//! A million keys of 256 bytes: the memory they take, and how soon a killed
//! server answers again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use t4_proto::etcdserverpb::RangeRequest;

use super::{Bench, Family, Scale, Workload};
use crate::bulk;
use crate::closed_loop::connect;
use crate::dataset::Keys;
use crate::sample::{Metric, Sample, millis};
use crate::server::Server;
use crate::target::Target;

const KEY_BYTES: usize = 64;
/// The number of keys for which T4 has memory and restart targets.
const PROMISED_KEYS: usize = 1_000_000;
/// How long to let a server work after the last put before its memory is read.
const SETTLE: Duration = Duration::from_secs(20);

pub(super) fn family(scale: Scale) -> Family {
    let count = scale.million_keys;
    let keys = Arc::new(Keys::new("bench/million/", count, KEY_BYTES));
    let filled = Arc::clone(&keys);
    let fill = move |bench: &Bench, server: &mut Server| {
        bulk::load(&bench.cores, server, &filled, &bench.values)
    };
    let loaded = Arc::clone(&keys);
    // The targets are for a million keys; fewer prove nothing.
    let promised = |target| (count >= PROMISED_KEYS).then_some(target);
    let memory = Workload {
        rounds: Some(1),
        ..Workload::new(
            "memory-million",
            format!("resident memory with {count} keys of 64 B and 256 B values, after loading"),
            promised(Target::at_most(Metric::Memory, 0.5)),
            move |bench, server| memory(bench, server, &loaded),
        )
    };
    let restart = Workload {
        rounds: Some(scale.restarts),
        ..Workload::new(
            "restart-million",
            format!("SIGKILL, then from exec to the first linearizable get, with {count} keys"),
            promised(Target::at_most(Metric::Restart, 1.0 / 3.0)),
            move |bench, server| restart(bench, server, &keys),
        )
    };
    Family { fill: Box::new(fill), workloads: vec![memory, restart], tls: None }
}

fn memory(bench: &Bench, server: &Server, keys: &Keys) -> anyhow::Result<Sample> {
    check_all_there(bench, server, keys)?;
    let settled = server.settle(SETTLE)?;
    let memory = server.memory()?;
    let mut sample = Sample::default();
    sample.set(Metric::Memory, mib(memory.resident));
    sample.notes.insert("anonymous memory, MiB", mib(memory.anonymous));
    sample.notes.insert("idle when read", f64::from(u8::from(settled)));
    Ok(sample)
}

fn restart(bench: &Bench, server: &mut Server, keys: &Keys) -> anyhow::Result<Sample> {
    let mut sample = Sample::default();
    sample.set(Metric::Restart, millis(server.restart()?));
    sample.notes.insert("memory once it serves, MiB", mib(server.memory()?.resident));
    // Ready must mean ready with all keys.
    check_all_there(bench, server, keys)?;
    Ok(sample)
}

fn check_all_there(bench: &Bench, server: &Server, keys: &Keys) -> anyhow::Result<()> {
    let (_, mut client) = connect(&bench.cores, server, 1)?.remove(0);
    let (key, range_end) = (keys.start(), keys.end());
    let request = RangeRequest { key, range_end, count_only: true, ..RangeRequest::default() };
    let count = bench.cores.wait(client.kv.range(request))?.into_inner().count;
    ensure!(count == keys.len() as i64, "{count} keys are there of {}", keys.len());
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
