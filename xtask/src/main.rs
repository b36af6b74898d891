//! The repository's own tool: `cargo xtask <verb>`.
//!
//! Each verb is a file in this folder with a `run` that takes the arguments
//! after the verb; this file only dispatches.

mod bench;
mod certs;
mod ci;
mod codegen;
mod floods;
#[cfg(test)]
mod layers;
mod protoc;
mod section;
mod test;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};

/// A verb: its name, its help text, and its function.
type Verb = (&'static str, &'static str, fn(Vec<String>) -> anyhow::Result<()>);

/// Every verb, in the order of the help text.
const VERBS: &[Verb] = &[
    ("certs", "write certificates to test with to target/certs, or to a directory", certs::run),
    ("codegen", "write crates/proto/src/gen from proto/*.proto", codegen::run),
    ("test", "fetch etcd, build t4, run every test; arguments go to `cargo test`", test::run),
    ("ci", "check format and lints, then test; `lints`: only those", ci::run),
    ("bench", "compare T4 with a real etcd, and write docs/benchmarks.md", bench::run),
    ("floods", "attack T4 and a real etcd, and write \"Under attack\" in that page", floods::run),
];

fn main() -> ExitCode {
    let mut args = std::env::args();
    if args.next().is_some_and(|program| protoc::is_the_name(&program)) {
        return exit("protoc", protoc::run(args.collect()));
    }
    let name = args.next().unwrap_or_default();
    let Some((_, _, run)) = VERBS.iter().find(|(verb, ..)| *verb == name) else {
        return usage(&name);
    };
    exit(&name, run(args.collect()))
}

fn exit(name: &str, result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("xtask {name}: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage(name: &str) -> ExitCode {
    let asked = matches!(name, "-h" | "--help" | "help");
    if !asked && !name.is_empty() {
        eprintln!("xtask: no such verb: {name}\n");
    }
    eprintln!("usage: cargo xtask <verb> [arguments]\n");
    for (verb, help, _) in VERBS {
        eprintln!("  {verb:<10} {help}");
    }
    if asked { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

/// The root of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// The cargo that runs this, at the root of the workspace.
fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Prints the command, runs it, and returns an error if it fails.
fn succeed(command: &mut Command) -> anyhow::Result<()> {
    println!("$ {command:?}");
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}
