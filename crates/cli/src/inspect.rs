//! `t4 inspect`: shows the contents of a data directory on which no server
//! runs. Nothing in the directory is changed. The tail of the log that is not
//! yet in a sealed segment is included, so that the revisions are those that
//! clients saw.
//!
//! Text output is for people; `--json` prints one object per line, with etcd's
//! field names, and keys and values in base64 as in etcd's JSON.

mod count;
mod diff;
mod get;
mod history;
mod list;
mod meta;
mod page;
mod print;
mod scope;

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;
use t4_node::Offline;

use crate::run::DATA_DIR;
use crate::sources::Sources;
use crate::usage::UsageError;
use crate::value;

/// The requested item does not exist.
const EXIT_NOT_FOUND: u8 = 1;

#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct InspectArgs {
    #[command(subcommand)]
    command: Inspect,
}

#[derive(Debug, Subcommand)]
enum Inspect {
    /// Identity, revisions, sizes, members, alarms, state of the log
    Meta(With<meta::MetaArgs>),
    /// One key, at any kept revision
    Get(With<get::GetArgs>),
    /// The keys that begin with a prefix, at any kept revision
    List(With<list::ListArgs>),
    /// How many keys begin with a prefix, at any kept revision
    Count(With<count::CountArgs>),
    /// The kept changes of a key, oldest first
    History(With<history::HistoryArgs>),
    /// What differs between two revisions, or between two data directories
    Diff(With<diff::DiffArgs>),
}

/// The arguments of a subcommand, with those that all of them have.
#[derive(Debug, clap::Args)]
struct With<A: clap::Args> {
    #[command(flatten)]
    args: A,

    /// The data directory [default: /var/lib/t4]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// A subcommand.
trait Show {
    fn show(self, data: &Offline, out: &mut Output<'_>) -> anyhow::Result<ExitCode>;
}

/// Where results go, and in which format.
struct Output<'a> {
    out: &'a mut dyn Write,
    json: bool,
}

pub(crate) fn run(args: InspectArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Inspect::Meta(with) => with.run(),
        Inspect::Get(with) => with.run(),
        Inspect::List(with) => with.run(),
        Inspect::Count(with) => with.run(),
        Inspect::History(with) => with.run(),
        Inspect::Diff(with) => with.run(),
    }
}

impl<A: clap::Args + Show> With<A> {
    fn run(self) -> anyhow::Result<ExitCode> {
        let data = Offline::open(&data_dir(self.data_dir)?)?;
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let code = self.args.show(&data, &mut Output { out: &mut out, json: self.json })?;
        out.flush()?;
        Ok(code)
    }
}

/// From the flag, else from the environment; an empty variable is unset.
pub(crate) fn data_dir(from_flag: Option<String>) -> Result<std::path::PathBuf, UsageError> {
    let environment = |name: &str| std::env::var_os(name);
    let given = Sources::new(&environment, None).one("data-dir", from_flag, value::path)?;
    Ok(given.unwrap_or_else(|| DATA_DIR.into()))
}

#[cfg(test)]
mod tests;
