//! Every attack against T4 and against a real etcd, as a table: `cargo xtask
//! floods` runs this, and puts the table into `docs/benchmarks.md`.
//!
//! Each attack meets a server of its own, fresh, with its defaults.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use t4_testkit::{EtcdOptions, T4Options};

use crate::MIB;
use crate::attacks::{self, Attack};
use crate::endure::{Outcome, endure, store_values};
use crate::server::{Server, Target, Transport};

/// The etcd to compare with; not set: that of the suites.
const ETCD: &str = "T4_FLOODS_ETCD";
/// Where the table goes, beside the output.
const TABLE: &str = "T4_FLOODS_TABLE";
/// Only attacks whose name contains this.
const ONLY: &str = "T4_FLOODS_ONLY";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes, and tells more than right or wrong: `cargo xtask floods` runs it"]
async fn compare_with_etcd() {
    let only = variable(ONLY).unwrap_or_default();
    let mut table = HEAD.to_owned();
    for transport in Transport::ALL {
        for attack in attacks::all().into_iter().filter(|attack| attack.name.contains(&only)) {
            let ours = measure(transport, attack, |transport| {
                let (t4, target) = transport.t4(T4Options::default());
                (Server::T4(t4), target)
            });
            let ours = ours.await;
            let theirs = measure(transport, attack, |transport| {
                let binary = variable(ETCD).map(PathBuf::from);
                let (etcd, target) = transport.etcd(EtcdOptions { binary, ..Default::default() });
                (Server::Etcd(etcd), target)
            });
            let row = row(transport, attack, &ours, &theirs.await);
            println!("{}", row.trim_end());
            table.push_str(&row);
        }
    }
    println!("\n{table}");
    if let Some(path) = variable(TABLE) {
        std::fs::write(path, table).expect("write the table");
    }
}

async fn measure(
    transport: Transport,
    attack: Attack,
    start: impl FnOnce(Transport) -> (Server, Target),
) -> Outcome {
    let (server, target) = start(transport);
    store_values(&mut target.rpc().await).await;
    endure(&target, server.memory(), attack).await
}

const HEAD: &str = "\
| attack | peak memory, MiB: t4 / etcd | p50, ms: t4 / etcd | p99, ms: t4 / etcd | max, ms: t4 / etcd | |
| --- | --- | --- | --- | --- | --- |
";

fn row(transport: Transport, attack: Attack, ours: &Outcome, theirs: &Outcome) -> String {
    let (both, over) = ([ours, theirs], if transport == Transport::Tls { " (TLS)" } else { "" });
    let mut row = format!("| {}{over} |", attack.name);
    let [t4, etcd] = both.map(|outcome| format!("{:.0}", outcome.peak as f64 / MIB as f64));
    let _ = write!(row, " {t4} / {etcd} |");
    let times = [
        both.map(|outcome| outcome.during.p50()),
        both.map(|outcome| outcome.during.p99()),
        both.map(|outcome| outcome.during.max()),
    ];
    for [t4, etcd] in times {
        let _ = write!(row, " {} / {} |", milliseconds(t4), milliseconds(etcd));
    }
    let notes = [("t4", ours), ("etcd", theirs)].into_iter().flat_map(|(name, outcome)| {
        let refused = outcome.refusal.as_ref().map(|why| format!("{name} refuses it: {why}"));
        let failure = outcome.during.failure.as_ref();
        let failed = failure.map(|why| format!("{name} fails others: {why}"));
        refused.into_iter().chain(failed)
    });
    let _ = writeln!(row, " {} |", notes.collect::<Vec<_>>().join("; "));
    row
}

fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.0}") }
}
