//! The repository's own tool: `cargo xtask <verb>`.
//!
//! Each verb is a file of this folder with a `run` that takes the arguments
//! after the verb; this file only finds it.

mod bench;
mod codegen;

use std::path::Path;
use std::process::ExitCode;

/// A verb: its name, what `--help` says of it, and what it does.
type Verb = (&'static str, &'static str, fn(Vec<String>) -> anyhow::Result<()>);

/// Every verb, in the order of the help text.
const VERBS: &[Verb] = &[
    ("codegen", "write crates/proto/src/gen from proto/*.proto", codegen::run),
    ("bench", "compare T4 with a real etcd, and write docs/benchmarks.md", bench::run),
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_default();
    let Some((_, _, run)) = VERBS.iter().find(|(verb, ..)| *verb == name) else {
        return usage(&name);
    };
    match run(args.collect()) {
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
