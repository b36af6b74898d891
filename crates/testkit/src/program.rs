//! A child process with a captured log, killed when dropped.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long the last lines of a program that has ended may take to come.
const REST_DEADLINE: Duration = Duration::from_secs(20);

/// A running program. Its standard output and error share one pipe, so that they keep
/// their order, and are copied line by line into a log file and into memory. Dropping it
/// kills it with SIGKILL and reaps it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: Arc<Log>,
    log_path: PathBuf,
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Lines>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    text: Vec<String>,
    // The pipe has ended: there will be no more lines.
    closed: bool,
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        // A reader thread that panicked leaves only whole lines, which stay
        // usable.
        self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Program {
    /// Starts `command` under the name `name` (for messages), appending its
    /// output to the file `log_path`.
    ///
    /// # Errors
    /// When the program cannot be started or the log file cannot be opened.
    pub fn start(name: &str, mut command: Command, log_path: &Path) -> anyhow::Result<Program> {
        let file = File::options().create(true).append(true).open(log_path);
        let file = file.with_context(|| log_path.display().to_string())?;
        let (output, input) = std::io::pipe().context("a pipe")?;
        command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
        let child = command.spawn().with_context(|| format!("start {name}: {command:?}"))?;
        let log = Arc::new(Log::default());
        // `command` owns this process's ends of the pipe, and is dropped at the end of
        // this function.
        capture(output, Arc::clone(&log), file);
        Ok(Program { name: name.to_owned(), child, log, log_path: log_path.to_path_buf() })
    }

    /// Blocks until a line of the output contains `text`, and returns that
    /// line.
    ///
    /// # Errors
    /// When the program ends first, or `deadline` passes; with the log's tail.
    pub fn wait_for_line(&self, text: &str, deadline: Duration) -> anyhow::Result<String> {
        let end = Instant::now() + deadline;
        let mut lines = self.log.lines();
        let mut seen = 0;
        loop {
            if let Some(line) = lines.text[seen..].iter().find(|line| line.contains(text)) {
                return Ok(line.clone());
            }
            seen = lines.text.len();
            if lines.closed {
                bail!("{} ended before it said {text:?}:\n{}", self.name, tail(&lines));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{} did not say {text:?} in {deadline:?}:\n{}", self.name, tail(&lines));
            }
            lines = match self.log.grown.wait_timeout(lines, left) {
                Ok((lines, _)) => lines,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Every line received so far, in the order printed; all lines have been received
    /// once [`wait`](Self::wait) or [`kill`](Self::kill) has returned. A line printed at
    /// the time of an answer or of a metric may be received later than those: wait for it
    /// with [`wait_for_line`](Self::wait_for_line).
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lines().text.clone()
    }

    /// The last lines of the output, for messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log.lines())
    }

    /// The file that holds its output.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    /// When the operating system does not report it.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends SIGKILL, and waits until the kernel has removed the process and all its
    /// output has been received.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        let status = self.kill_now()?;
        self.wait_for_the_rest();
        Ok(status)
    }

    fn kill_now(&mut self) -> anyhow::Result<ExitStatus> {
        // A process that has already ended cannot be killed; `wait` returns its
        // status.
        let _ = self.child.kill();
        self.child.wait().with_context(|| format!("wait for {}", self.name))
    }

    /// Sends SIGTERM and returns at once.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends SIGINT (what Ctrl-C sends) and returns at once.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn interrupt(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::INT)
    }

    /// Blocks until it ends by itself and all its output has been received.
    ///
    /// # Errors
    /// When it still runs after `deadline`; with the log's tail.
    pub fn wait(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        let end = crate::poll_until(&what, deadline, || match self.child.try_wait()? {
            Some(status) => Ok(status),
            None => bail!("it runs"),
        });
        let status = end.with_context(|| self.log_tail())?;
        self.wait_for_the_rest();
        Ok(status)
    }

    /// Blocks until the pipe has ended, but for at most [`REST_DEADLINE`]: a surviving
    /// child of the program keeps the pipe open.
    fn wait_for_the_rest(&self) {
        let is_open = |lines: &mut Lines| !lines.closed;
        drop(self.log.grown.wait_timeout_while(self.log.lines(), REST_DEADLINE, is_open));
    }

    fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        // Until it is reaped (only by `&mut self` methods), its id is not
        // reused.
        let raw = i32::try_from(self.child.id())?;
        let Some(pid) = Pid::from_raw(raw) else { bail!("{} has no process id", self.name) };
        kill_process(pid, signal).with_context(|| format!("signal {} ({signal:?})", self.name))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = self.kill_now() {
            eprintln!("{error:#}");
        }
    }
}

fn tail(lines: &Lines) -> String {
    let from = lines.text.len().saturating_sub(40);
    lines.text[from..].join("\n")
}

// The thread ends when the program and all its children have closed their ends.
fn capture(pipe: impl Read + Send + 'static, log: Arc<Log>, mut file: File) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            // Tests read the log in memory; a full disk only costs the file.
            let _ = writeln!(file, "{line}");
            log.lines().text.push(line);
            log.grown.notify_all();
        }
        log.lines().closed = true;
        log.grown.notify_all();
    });
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::Program;
    use crate::Scratch;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn shell(script: &str, scratch: &Scratch) -> Program {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        Program::start("shell", command, &scratch.join("log")).expect("start")
    }

    #[test]
    fn a_line_of_either_stream_is_found_and_logged() {
        let scratch = Scratch::new("program").expect("scratch");
        let mut program = shell("echo one; echo two >&2; read nothing", &scratch);
        assert_eq!(program.wait_for_line("tw", DEADLINE).expect("line"), "two");
        assert_eq!(program.wait_for_line("one", DEADLINE).expect("line"), "one");
        let status = program.wait(DEADLINE).expect("end");
        assert!(!status.success(), "`read` fails on an empty input");
        let text = std::fs::read_to_string(scratch.join("log")).expect("log");
        assert!(text.contains("one\n") && text.contains("two\n"), "{text}");
    }

    /// All of the output, in order, from both streams.
    #[test]
    fn what_was_printed_before_a_line_or_the_end_has_come() {
        let scratch = Scratch::new("program").expect("scratch");
        let lines = |range: &str, end: &str| {
            format!("for n in $(seq {range}); do echo $n; echo -$n >&2; done; {end}")
        };
        for round in 0..10 {
            let script = [lines("1 100", "echo up"), lines("101 200", "exit 0")].join("\n");
            let mut program = shell(&script, &scratch);
            program.wait_for_line("up", DEADLINE).expect("up");
            let both = |n: i32| [n.to_string(), format!("-{n}")];
            let expected: Vec<String> = (1..=100).flat_map(both).collect();
            assert_eq!(program.log()[..200], expected, "round {round}");
            program.wait(DEADLINE).expect("end");
            let expected: Vec<String> = (101..=200).flat_map(both).collect();
            assert_eq!(program.log()[201..], expected, "round {round}");
        }
    }

    #[test]
    fn an_early_end_is_told_with_the_log() {
        let scratch = Scratch::new("program").expect("scratch");
        let program = shell("echo the reason; exit 3", &scratch);
        let error = program.wait_for_line("never said", DEADLINE).expect_err("ended");
        assert!(error.to_string().contains("the reason"), "{error}");
    }

    #[test]
    fn signals_reach_the_process() {
        let scratch = Scratch::new("program").expect("scratch");
        let script = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done";
        let mut program = shell(script, &scratch);
        program.wait_for_line("up", DEADLINE).expect("up");
        program.terminate().expect("signal");
        assert_eq!(program.wait(DEADLINE).expect("end").code(), Some(5));
        assert!(!program.is_running().expect("status"));
        let mut program = shell("echo up; while :; do sleep 0.05; done", &scratch);
        program.wait_for_line("up", DEADLINE).expect("up");
        assert_eq!(program.kill().expect("killed").code(), None);
    }
}
