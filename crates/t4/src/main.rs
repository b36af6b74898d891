//! The `t4` binary: allocator, command line, exit code.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

/// Requests allocate small pieces on one thread and free them on another,
/// which is slow with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often freed memory is returned to the system.
const GIVE_BACK: Duration = Duration::from_secs(1);
/// An allocation of this size gets pages of its own, which are never touched.
const LARGE_BYTES: usize = 64 << 20;

fn main() -> ExitCode {
    // An optimisation: a failure is harmless.
    let _ = std::thread::Builder::new().name("t4-memory".to_owned()).spawn(give_back);
    t4_cli::run(std::env::args_os())
}

/// Frees a large allocation every second. The allocator returns freed pages after
/// some milliseconds, but checks the clock only when a large allocation is freed:
/// otherwise an idle server would keep its peak memory.
fn give_back() {
    loop {
        std::thread::sleep(GIVE_BACK);
        drop(black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
    }
}
