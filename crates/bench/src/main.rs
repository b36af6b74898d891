//! `t4-bench`: runs the suite and writes its results.

use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Parser;
use t4_bench::cores::Cores;
use t4_bench::dataset::Values;
use t4_bench::machine::{Company, Machine};
use t4_bench::options::Options;
use t4_bench::report::Report;
use t4_bench::server::{ServerBinary, Side};
use t4_bench::workload::{Bench, Scale, VALUE_BYTES};
use t4_bench::{document, suite};
use t4_testkit::target_dir;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let binaries = [
        ServerBinary::new(Side::T4, &options.t4_bin)?,
        ServerBinary::new(Side::Etcd, &options.etcd_bin)?,
    ];
    let mut scale = if options.quick { Scale::QUICK } else { Scale::FULL };
    scale.rounds = options.rounds.map_or(scale.rounds, usize::from);
    let parent = options.data_dir.clone().unwrap_or_else(|| target_dir().join("scratch"));
    std::fs::create_dir_all(&parent)?;
    let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(parent)?;
    let machine = Machine::describe(scratch.path())?;
    let bench = Bench { cores: Cores::start()?, scale, values: Values::new(VALUE_BYTES) };
    let (began, company) = (Instant::now(), Company::watch()?);
    let comparisons = suite::run(&bench, &binaries, &options.only, scratch.path())?;
    ensure!(!comparisons.is_empty(), "no workload's name contains {:?}", options.only);
    let [t4, etcd] = binaries.map(|binary| binary.version().to_owned());
    let report = Report {
        machine,
        t4,
        etcd,
        quick: options.quick,
        rounds: scale.rounds,
        window_s: scale.window.as_secs_f64(),
        others_share: company.share()?,
        took_s: began.elapsed().as_secs(),
        comparisons,
    };
    write(&options, &report)?;
    let failed = report.comparisons.iter().filter(|one| one.failures().next().is_some()).count();
    ensure!(failed == 0, "{failed} workloads failed");
    Ok(())
}

fn write(options: &Options, report: &Report) -> anyhow::Result<()> {
    println!("{}", report.text());
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(report)?;
        std::fs::write(path, json + "\n").with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &options.doc {
        std::fs::write(path, document::page(report)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
