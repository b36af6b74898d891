//! `cargo xtask ci`: the checks that must pass before a change lands.
//!
//! Formatting, lints as errors, then `cargo xtask test`, which includes the
//! crate layers (`layers`) and the drift of generated files. With `lints`, only
//! the first two.

use anyhow::{Result, bail};

use crate::test::{RUST_CLIENT, with_protoc};
use crate::{cargo, succeed};

/// Runs the verb.
pub(crate) fn run(args: Vec<String>) -> Result<()> {
    let lints_only = match args.as_slice() {
        [] => false,
        [only] if only == "lints" => true,
        _ => bail!("`cargo xtask ci` takes no argument but `lints`"),
    };
    succeed(cargo().args(["fmt", "--all", "--check"]))?;
    let mut clippy = cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--features", RUST_CLIENT]);
    succeed(with_protoc(&mut clippy)?.args(["--", "-D", "warnings"]))?;
    if lints_only { Ok(()) } else { crate::test::run(Vec::new()) }
}
