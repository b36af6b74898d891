//! `t4 inspect count`.

use std::process::ExitCode;

use serde_json::json;
use t4_mvcc::{Io, Projection};
use t4_node::Offline;

use super::scope::{AtArgs, PrefixArgs};
use super::{Output, Show};

#[derive(Debug, clap::Args)]
pub(super) struct CountArgs {
    #[command(flatten)]
    pub(super) prefix: PrefixArgs,
    #[command(flatten)]
    pub(super) at: AtArgs,
}

impl Show for CountArgs {
    fn show(
        self,
        data: &Offline,
        Output { out, json }: &mut Output<'_>,
    ) -> anyhow::Result<ExitCode> {
        let reader = data.reader();
        let at = self.at.resolve(reader)?;
        let range = self.prefix.range();
        let count = reader.range(&range, at, 0, Projection::CountOnly, Io::Blocking)?.count;
        if *json {
            writeln!(out, "{}", json!({ "revision": at.0, "count": count }))?;
        } else {
            writeln!(out, "{count}")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
