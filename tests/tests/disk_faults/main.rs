//! A disk that fails, call by call: strace makes system calls of the real
//! server fail while clients write, and then lets go of it.
//!
//! Whatever fails, no acknowledged write is lost, no refused one comes back, and
//! the server either goes on (having refused what it could not write) or ends
//! with exit code 1 and names the file. It never goes on after a failed flush.
//!
//! * `start`: calls that fail while the server starts.
//! * `log`: appends, and the segments of the log.
//! * `state`: seals and collections.
//! * `frozen`: a disk that does not answer at all (`fsfreeze`).
//!
//! Which of the calls fails is drawn from a seed, which is printed. Where strace
//! cannot be used the suites say so and pass, or fail if `T4_INJECTION` is `required`.

mod cases;
mod frozen;
mod injection;
mod log;
mod start;
mod state;
mod writers;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use t4_testkit::{Program, Scratch, free_port, t4_binary};

const DEADLINE: Duration = Duration::from_secs(60);
const READY: &str = "ready to serve client requests";
const COMMAND: &str = "cargo test -p t4-tests --test disk_faults";

/// A server whose process is known, on a directory that stays.
struct Server {
    scratch: Scratch,
    endpoint: String,
    metrics: String,
    program: Program,
}

impl Server {
    fn start() -> Server {
        let scratch = Scratch::new("disk_faults").expect("scratch");
        let endpoint = format!("127.0.0.1:{}", free_port());
        let metrics = format!("127.0.0.1:{}", free_port());
        let log = scratch.join("t4.log");
        let command = run(&scratch.join("data"), &endpoint, &metrics);
        let program = Program::start("t4", command, &log).expect("start");
        program.wait_for_line(READY, DEADLINE).expect("ready");
        Server { scratch, endpoint, metrics, program }
    }

    fn data(&self, path: &str) -> String {
        self.scratch.join("data").join(path).display().to_string()
    }

    /// The segment of the log that is being written.
    fn newest_segment(&self) -> String {
        let names = fs::read_dir(self.data("log")).expect("the log");
        let paths = names.map(|entry| entry.expect("an entry").path());
        let newest = paths.filter(|path| path.extension().is_some_and(|e| e == "wal")).max();
        newest.expect("a segment").display().to_string()
    }

    /// Ends it as a crash would, and starts it again without faults.
    fn start_again(&mut self) {
        self.program.kill().expect("kill");
        let log = self.scratch.join("again.log");
        let command = run(&self.scratch.join("data"), &self.endpoint, &self.metrics);
        self.program = Program::start("t4", command, &log).expect("start");
        self.program.wait_for_line(READY, DEADLINE).expect("ready after the fault");
    }
}

/// `t4 run`, without the suite's own variables, with small segments of the log.
fn run(data: &Path, endpoint: &str, metrics: &str) -> Command {
    let mut command = Command::new(t4_binary().expect("a t4 to test"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("T4_") {
            command.env_remove(name);
        }
    }
    command
        .args(["run", "--segment-max-size-mb=2", "--listen", endpoint, "--metrics-addr", metrics])
        .arg("--data-dir")
        .arg(data);
    command
}

/// That a disk fails is no reason for a panic.
fn assert_no_backtrace(log: &[String], what: &str) {
    let panicked =
        log.iter().any(|line| line.contains("panicked") || line.contains("RUST_BACKTRACE"));
    assert!(!panicked, "{what}:\n{}", log.join("\n"));
}
