//! The `t4` binary: allocator, command line, exit code.

use std::process::ExitCode;

/// Requests allocate small pieces on one thread and free them on another,
/// which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    t4_cli::run(std::env::args_os())
}
