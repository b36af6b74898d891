//! The run: family by family, round by round, both servers in turn.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::certificates::Certificates;
use crate::comparison::{Comparison, Round};
use crate::sample::Sample;
use crate::server::{Server, ServerBinary, Side};
use crate::workload::{Bench, Family, Workload, families};

/// How long to wait for a server to finish leftover work before the next
/// measurement starts anyway.
const SETTLE: Duration = Duration::from_secs(5);

/// Runs every workload whose name contains `only`.
///
/// # Errors
/// If a server cannot be started or filled. Failures during a measurement are
/// recorded in the comparison.
pub fn run(
    bench: &Bench,
    binaries: &[ServerBinary; 2],
    only: &str,
    data_dir: &Path,
) -> anyhow::Result<Vec<Comparison>> {
    let mut comparisons = Vec::new();
    for (number, family) in families(bench.scale).into_iter().enumerate() {
        let Family { fill, mut workloads, tls } = family;
        workloads.retain(|workload| workload.name.contains(only));
        if workloads.is_empty() {
            continue;
        }
        let dir = data_dir.join(number.to_string());
        let certificates = tls.map(|key_type| Certificates::make(&dir.join("tls"), key_type));
        let mut pair = Pair::start(binaries, &dir, certificates.transpose()?.as_ref())?;
        for server in pair.both() {
            fill(bench, server).with_context(|| format!("fill {}", server.side().name()))?;
        }
        for workload in &workloads {
            comparisons.push(compare(bench, &mut pair, workload)?);
        }
        drop(pair);
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(comparisons)
}

/// The two servers of a family, both running throughout.
struct Pair {
    t4: Server,
    etcd: Server,
}

impl Pair {
    fn start(
        [t4, etcd]: &[ServerBinary; 2],
        dir: &Path,
        certificates: Option<&Certificates>,
    ) -> anyhow::Result<Pair> {
        Ok(Pair {
            t4: Server::start(t4, &dir.join("t4"), certificates)?,
            etcd: Server::start(etcd, &dir.join("etcd"), certificates)?,
        })
    }

    fn of(&mut self, side: Side) -> &mut Server {
        match side {
            Side::T4 => &mut self.t4,
            Side::Etcd => &mut self.etcd,
        }
    }

    fn both(&mut self) -> [&mut Server; 2] {
        [&mut self.t4, &mut self.etcd]
    }
}

fn compare(bench: &Bench, pair: &mut Pair, workload: &Workload) -> anyhow::Result<Comparison> {
    eprint!("{:<24}", workload.name);
    let mut rounds = Vec::new();
    for number in 0..workload.rounds.unwrap_or(bench.scale.rounds) {
        // Alternate the order, so that neither server always follows the other.
        let order = if number % 2 == 0 { Side::BOTH } else { [Side::Etcd, Side::T4] };
        let mut samples = Side::BOTH.map(|_| Err("not measured".to_owned()));
        for side in order {
            samples[side as usize] = measure(bench, pair, workload, side)?;
        }
        let [t4, etcd] = samples;
        rounds.push(Round { t4, etcd });
        eprint!(".");
    }
    let Workload { name, operation, targets, .. } = workload;
    let comparison = Comparison::new(name.clone(), operation.clone(), rounds, targets);
    eprintln!(" {}", crate::report::one_line(&comparison));
    Ok(comparison)
}

/// Measures one server while neither has leftover work, and no written data
/// waits for the disk.
fn measure(
    bench: &Bench,
    pair: &mut Pair,
    workload: &Workload,
    side: Side,
) -> anyhow::Result<Result<Sample, String>> {
    for server in pair.both() {
        server.settle(SETTLE)?;
    }
    rustix::fs::syncfs(File::open(pair.of(side).data_dir())?)?;
    let server = pair.of(side);
    let measured = (workload.measure)(bench, server);
    if measured.is_err() && !server.is_running()? {
        // Restart it for the next measurement; this one has failed.
        server.restart()?;
    }
    Ok(measured.map_err(|error| format!("{error:#}")))
}
