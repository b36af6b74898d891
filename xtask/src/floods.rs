//! `cargo xtask floods`: what attacks do to T4 and to a real etcd, as a table.
//!
//! Builds T4, fetches etcd, and runs the comparison of the suite
//! `tests/tests/hostile`, which takes some minutes. `--etcd-bin PATH` compares
//! with another etcd, `--only WORD` runs the attacks whose name contains it. A
//! run of all of them writes the section "Under attack" of `docs/benchmarks.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use t4_testkit::{EtcdDistro, t4_binary, target_dir};

use crate::section::Section;
use crate::{cargo, succeed};

/// Where the tables go.
pub(crate) const PAGE: &str = "docs/benchmarks.md";
/// The section of the page that is this verb's.
pub(crate) const UNDER_ATTACK: Section = Section { title: "Under attack" };

const COMPARISON: &str = "comparison::compare_with_etcd";

/// Runs the verb.
pub(crate) fn run(args: Vec<String>) -> Result<()> {
    let Options { etcd, only } = Options::parse(args)?;
    let etcd = match etcd {
        Some(etcd) => etcd,
        None => EtcdDistro::fetch()?.etcd(),
    };
    succeed(cargo().args(["build", "--profile", "blackbox", "--package", "t4"]))?;
    let t4 = t4_binary()?;
    let table = target_dir().join("floods.md");
    let mut test = cargo();
    test.args(["test", "--package", "t4-tests", "--test", "hostile", "--"])
        .args(["--ignored", "--exact", "--nocapture", COMPARISON])
        .env("T4_BIN", &t4)
        .env("T4_FLOODS_ETCD", &etcd)
        .env("T4_FLOODS_TABLE", &table);
    if let Some(only) = &only {
        test.env("T4_FLOODS_ONLY", only);
    }
    succeed(&mut test)?;
    if only.is_none() {
        let page = crate::root().join(PAGE);
        let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
        let table = fs::read_to_string(&table).with_context(|| table.display().to_string())?;
        fs::write(&page, UNDER_ATTACK.put_into(&text, &body(&version(&etcd)?, &table)))?;
    }
    Ok(())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    etcd: Option<PathBuf>,
    only: Option<String>,
}

impl Options {
    fn parse(args: Vec<String>) -> Result<Options> {
        let (mut options, mut args) = (Options::default(), args.into_iter());
        while let Some(arg) = args.next() {
            let (name, given) = match arg.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (arg, None),
            };
            let value = || given.or_else(|| args.next()).context(format!("{name} what?"));
            match name.as_str() {
                "--etcd-bin" => options.etcd = Some(value()?.into()),
                "--only" => options.only = Some(value()?),
                _ => {
                    bail!("`cargo xtask floods` takes --etcd-bin PATH and --only WORD, not {name}")
                }
            }
        }
        Ok(options)
    }
}

/// What an etcd says of its version.
fn version(etcd: &Path) -> Result<String> {
    let said = Command::new(etcd).arg("--version").output();
    let said = said.with_context(|| etcd.display().to_string())?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = said.lines().find_map(|line| line.strip_prefix("etcd Version: "));
    Ok(version.with_context(|| format!("{} is no etcd", etcd.display()))?.to_owned())
}

fn body(etcd: &str, table: &str) -> String {
    format!(
        "\
Written by `cargo xtask floods`; do not edit. Each attack of the suite `tests/tests/hostile`
against a fresh T4 and a fresh etcd {etcd} with their defaults, while one well-behaved client
writes and reads on a connection of its own. Attackers, client and server share the cores of the
machine. Peak memory is the most that the process has in RAM during the attack (`VmHWM`; for etcd
with the pages of its file that are mapped); p50, p99 and max are those of the well-behaved client.
To repeat it: `cargo xtask floods --etcd-bin PATH`, or without the flag for etcd 3.5.1.

{table}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &str) -> Result<Options> {
        Options::parse(args.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn flags_take_values_either_way() {
        let both = Options { etcd: Some("x".into()), only: Some("PING".into()) };
        assert_eq!(parse("--etcd-bin x --only PING").expect("flags"), both);
        assert_eq!(parse("--etcd-bin=x --only=PING").expect("flags"), both);
        assert_eq!(parse("").expect("no flags"), Options::default());
        assert!(parse("--only").is_err() && parse("all").is_err());
    }
}
