//! `cargo xtask test`: all tests, without any preparation.
//!
//! Needs the pinned toolchain and pip. Fetches the real etcd, builds the `t4`
//! binary that the black-box suites run, and runs every test of the workspace.
//! Arguments go to `cargo test` unchanged: `cargo xtask test -- some_name`.

use std::process::Command;

use anyhow::Result;
use t4_testkit::{EtcdDistro, t4_binary, target_dir};

use crate::{cargo, protoc, succeed};

/// Tests against the crate `etcd-client` are behind a feature, because its
/// build script calls `protoc`, which a plain `cargo test` must not need.
pub(crate) const RUST_CLIENT: &str = "t4-tests/rust-client";

/// Runs the verb.
pub(crate) fn run(args: Vec<String>) -> Result<()> {
    let etcd = EtcdDistro::fetch()?;
    println!("etcd: {}", etcd.etcd().display());
    succeed(cargo().args(["build", "--profile", "blackbox", "--package", "t4"]))?;
    println!("t4: {}", t4_binary()?.display());
    let mut test = cargo();
    test.args(["test", "--workspace", "--features", RUST_CLIENT]);
    succeed(with_protoc(&mut test)?.args(args))
}

/// Sets `PROTOC` to this program, which acts as `protoc` when called by that
/// name.
pub(crate) fn with_protoc(command: &mut Command) -> Result<&mut Command> {
    let protoc = protoc::install(&target_dir())?;
    Ok(command.env("PROTOC", protoc))
}
