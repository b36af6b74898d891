//! `t4 version`.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

#[derive(Debug, clap::Args)]
pub(crate) struct VersionArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    /// The release of etcd whose API is served.
    etcd_api: &'static str,
    target: &'static str,
}

const VERSION: Version = Version {
    version: env!("CARGO_PKG_VERSION"),
    etcd_api: t4_server::ETCD_VERSION,
    target: env!("T4_TARGET"),
};

pub(crate) fn run(args: &VersionArgs) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&VERSION)?)?;
    } else {
        let Version { version, etcd_api, target } = VERSION;
        writeln!(out, "t4 version: {version}\netcd API: {etcd_api}\ntarget: {target}")?;
    }
    Ok(ExitCode::SUCCESS)
}
