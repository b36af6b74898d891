//! `cargo xtask bench`: builds T4 and the client, fetches etcd, and compares
//! them.
//!
//! `crates/bench` does the measuring; this only assembles the inputs. A full
//! run writes `docs/benchmarks.md`; a partial or quick run must not overwrite
//! the results of a full one.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use t4_testkit::{EtcdDistro, target_dir};

use crate::floods::{PAGE, UNDER_ATTACK};
use crate::{cargo, succeed};

/// Runs the verb. The arguments go to `t4-bench` unchanged; the binaries and
/// the page are added if missing.
pub(crate) fn run(args: Vec<String>) -> Result<()> {
    // Separately, so that the client's features do not change how the server is
    // built.
    build("t4-bench")?;
    let mut bench = Command::new(target_dir().join("release/t4-bench"));
    bench.args(&args);
    if asks_for_help(&args) {
        return succeed(&mut bench);
    }
    if !has(&args, "--t4-bin") {
        build("t4")?;
        bench.arg("--t4-bin").arg(target_dir().join("release/t4"));
    }
    if !has(&args, "--etcd-bin") {
        bench.arg("--etcd-bin").arg(EtcdDistro::fetch()?.etcd());
    }
    let Some(page) = page(&args) else { return succeed(&mut bench) };
    // Not measured here, and so kept.
    let under_attack = UNDER_ATTACK.take_from(&fs::read_to_string(&page).unwrap_or_default());
    succeed(bench.arg("--doc").arg(&page))?;
    if let Some(body) = under_attack {
        let text = fs::read_to_string(&page)?;
        fs::write(&page, UNDER_ATTACK.put_into(&text, &body))?;
    }
    Ok(())
}

/// The path of the page, unless the arguments set another one or make the run
/// partial.
fn page(args: &[String]) -> Option<PathBuf> {
    let partial = ["--doc", "--quick", "--only", "--rounds", "--t4-bin", "--etcd-bin"];
    let whole = !partial.iter().any(|flag| has(args, flag));
    whole.then(|| crate::root().join(PAGE))
}

fn has(args: &[String], flag: &str) -> bool {
    args.iter().any(|arg| arg.split('=').next() == Some(flag))
}

fn asks_for_help(args: &[String]) -> bool {
    ["-h", "--help", "-V", "--version"].iter().any(|flag| has(args, flag))
}

fn build(package: &str) -> Result<()> {
    succeed(cargo().args(["build", "--release", "--package", package]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn only_a_whole_run_writes_the_page() {
        assert!(page(&args("")).is_some_and(|page| page.ends_with("docs/benchmarks.md")));
        assert!(page(&args("--json out.json")).is_some());
        for partial in ["--quick", "--only put", "--only=put", "--rounds 1", "--t4-bin x"] {
            assert_eq!(page(&args(partial)), None, "{partial}");
        }
    }
}
