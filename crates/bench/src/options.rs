//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Runs T4 and etcd in turn and compares them.
#[derive(Clone, Debug, Parser)]
#[command(name = "t4-bench", version)]
pub struct Options {
    /// Short rounds and smaller stores; under four minutes.
    #[arg(long)]
    pub quick: bool,
    /// Only workloads whose name contains this.
    #[arg(long, default_value = "")]
    pub only: String,
    /// Rounds of the workloads that can be repeated. Default: 5, or 3 with `--quick`.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: Option<u16>,
    /// Also write everything, round by round, as JSON into this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Also write the tables, with how to read them, as Markdown into this file.
    #[arg(long)]
    pub doc: Option<PathBuf>,
    /// The t4 to measure.
    #[arg(long)]
    pub t4_bin: PathBuf,
    /// The etcd to measure it against.
    #[arg(long)]
    pub etcd_bin: PathBuf,
    /// Where both keep their data; a directory in it is made, and removed.
    /// Default: under Cargo's target directory.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
}
