//! `t4 inspect get`.

use std::process::ExitCode;

use t4_mvcc::Io;
use t4_node::Offline;

use super::print::{KeyValueJson, Lease, Text};
use super::scope::{AtArgs, KeyArgs};
use super::{EXIT_NOT_FOUND, Output, Show};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 1, and nothing on standard output: there is no such key at that revision."
)]
pub(super) struct GetArgs {
    #[command(flatten)]
    pub(super) key: KeyArgs,
    #[command(flatten)]
    pub(super) at: AtArgs,
    /// Print the value alone, byte for byte and without a newline
    #[arg(long, conflicts_with = "json")]
    pub(super) print_value_only: bool,
}

impl Show for GetArgs {
    fn show(
        self,
        data: &Offline,
        Output { out, json }: &mut Output<'_>,
    ) -> anyhow::Result<ExitCode> {
        let at = self.at.resolve(data.reader())?;
        let key = self.key.bytes()?;
        let Some(kv) = data.reader().get(&key, at, Io::Blocking)? else {
            eprintln!("t4: there is no key {} at revision {at}", Text(&key));
            return Ok(ExitCode::from(EXIT_NOT_FOUND));
        };
        if self.print_value_only {
            out.write_all(&kv.value)?;
            return Ok(ExitCode::SUCCESS);
        }
        if *json {
            writeln!(out, "{}", serde_json::to_string(&KeyValueJson::new(&kv, true))?)?;
            return Ok(ExitCode::SUCCESS);
        }
        writeln!(out, "key: {}", Text(&kv.key))?;
        writeln!(out, "value: {}", Text(&kv.value))?;
        writeln!(out, "create_revision: {}", kv.create_revision)?;
        writeln!(out, "mod_revision: {}", kv.mod_revision)?;
        writeln!(out, "version: {}", kv.version)?;
        writeln!(out, "lease: {}", Lease(kv.lease))?;
        Ok(ExitCode::SUCCESS)
    }
}
