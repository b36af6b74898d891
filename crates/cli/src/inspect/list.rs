//! `t4 inspect list`.

use std::process::ExitCode;

use t4_node::Offline;

use super::page::Walk;
use super::print::{KeyValueJson, Lease, Text};
use super::scope::{self, AtArgs, PrefixArgs};
use super::{Output, Show};

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub(super) prefix: PrefixArgs,
    #[command(flatten)]
    pub(super) at: AtArgs,
    /// The largest number of keys to show [default: all]
    #[arg(long, value_name = "N", value_parser = scope::limit)]
    pub(super) limit: Option<usize>,
    /// Show the values too
    #[arg(long)]
    pub(super) values: bool,
}

impl Show for ListArgs {
    fn show(
        self,
        data: &Offline,
        Output { out, json }: &mut Output<'_>,
    ) -> anyhow::Result<ExitCode> {
        let at = self.at.resolve(data.reader())?;
        let walk = Walk::new(data.reader(), self.prefix.range(), at, self.values);
        if !*json {
            let value = if self.values { "\tVALUE" } else { "" };
            writeln!(out, "CREATED\tMODIFIED\tVERSION\tLEASE\tKEY{value}")?;
        }
        for kv in walk.take(self.limit.unwrap_or(usize::MAX)) {
            let kv = kv?;
            if *json {
                writeln!(out, "{}", serde_json::to_string(&KeyValueJson::new(&kv, self.values))?)?;
                continue;
            }
            let (created, modified) = (kv.create_revision, kv.mod_revision);
            let (version, lease, key) = (kv.version, Lease(kv.lease), Text(&kv.key));
            write!(out, "{created}\t{modified}\t{version}\t{lease}\t{key}")?;
            if self.values {
                write!(out, "\t{}", Text(&kv.value))?;
            }
            writeln!(out)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
