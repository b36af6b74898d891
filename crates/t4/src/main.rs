//! The `t4` binary: allocator, command line, exit code.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

/// Requests allocate small pieces on one thread and free them on another,
/// which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often freed memory goes back to the system.
const GIVE_BACK: Duration = Duration::from_secs(1);
/// Memory of this size has pages of its own, which nothing touches.
const LARGE_BYTES: usize = 64 << 20;

fn main() -> ExitCode {
    // It helps, and nothing depends on it.
    let _ = std::thread::Builder::new().name("t4-memory".to_owned()).spawn(give_back);
    t4_cli::run(std::env::args_os())
}

/// The allocator gives freed pages back some milliseconds after they were freed,
/// but looks at the clock only when large memory is freed: a server that was
/// busy and is idle would keep what it had at its worst moment.
fn give_back() {
    loop {
        std::thread::sleep(GIVE_BACK);
        drop(black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
    }
}
