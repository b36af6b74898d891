//! strace as a disk that fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure};
use t4_testkit::{Program, Scratch, poll_until_async};

const ATTACH: Duration = Duration::from_secs(20);

/// Which calls fail, and how.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Names of system calls, or a pattern of them after `/`.
    pub(crate) calls: &'static str,
    /// The error, by its name.
    pub(crate) error: &'static str,
    /// In strace's words: `3` for the third of each thread, `1+` for all,
    /// `1+7` for every seventh.
    pub(crate) when: String,
    /// Of these files alone; empty: of all.
    pub(crate) paths: Vec<String>,
}

impl Fault {
    fn arguments(&self) -> Vec<String> {
        let Fault { calls, error, when, paths } = self;
        let mut arguments = vec![
            format!("-etrace={calls}"),
            format!("-einject={calls}:error={error}:when={when}"),
            "-esignal=none".to_owned(),
        ];
        for path in paths {
            arguments.extend(["-P".to_owned(), path.clone()]);
        }
        arguments
    }
}

/// Whether strace can be used here. If not: a line that says why, or a failure
/// where it has to be there.
pub(crate) fn is_possible() -> bool {
    let Err(why) = try_it() else { return true };
    let told = format!("needs strace and the right to trace processes (ptrace): {why:#}");
    let required = std::env::var_os("T4_INJECTION").is_some_and(|value| value == "required");
    assert!(!required, "T4_INJECTION=required, but this {told}");
    eprintln!("SKIPPED: {told}");
    false
}

fn try_it() -> anyhow::Result<()> {
    let scratch = Scratch::new("strace")?;
    let mut sleeping = Command::new("sleep").arg("60").stdout(Stdio::null()).spawn()?;
    let fault = Fault { calls: "openat", error: "EIO", when: "1+".to_owned(), paths: vec![] };
    let attached = Injection::begin(sleeping.id(), &fault, &scratch.join("trace"));
    sleeping.kill()?;
    sleeping.wait()?;
    attached.map(drop)
}

/// A server's calls fail until this is ended.
pub(crate) struct Injection {
    strace: Program,
    trace: PathBuf,
}

impl Injection {
    /// Lets calls of a process fail from now on. `trace`: a file for strace.
    pub(crate) fn begin(pid: u32, fault: &Fault, trace: &Path) -> anyhow::Result<Injection> {
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid.to_string(), "-o"]).arg(trace).args(fault.arguments());
        let messages = trace.with_extension("messages");
        let strace = Program::start("strace", command, &messages)?;
        strace.wait_for_line("attached", ATTACH)?;
        Ok(Injection { strace, trace: trace.to_owned() })
    }

    /// Starts a program whose calls fail from the beginning, as often as the
    /// fault says. It is the program's process that is returned, not strace's.
    pub(crate) fn start(command: &Command, fault: &Fault, trace: &Path) -> anyhow::Result<Program> {
        let mut strace = Command::new("strace");
        strace.args(["-D", "-f", "--seccomp-bpf", "-qqq", "-o"]).arg(trace);
        strace.args(fault.arguments()).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => strace.env(name, value),
                None => strace.env_remove(name),
            };
        }
        Program::start("t4 under strace", strace, &trace.with_extension("log"))
    }

    /// How many calls have failed so far.
    pub(crate) fn count(&self) -> usize {
        injected(&self.trace)
    }

    /// Waits for the first.
    pub(crate) async fn wait_for_one(&self, deadline: Duration) -> anyhow::Result<()> {
        let failed = poll_until_async("a call fails", deadline, || async {
            ensure!(self.count() > 0, "none");
            Ok(())
        });
        failed.await
    }

    /// Calls succeed again. Returns how many have failed.
    pub(crate) fn end(mut self) -> anyhow::Result<usize> {
        self.strace.terminate()?;
        if self.strace.wait(ATTACH).is_err() {
            bail!("strace does not let go");
        }
        Ok(injected(&self.trace))
    }
}

/// How many calls have failed by a trace.
pub(crate) fn injected(trace: &Path) -> usize {
    let text = fs::read(trace).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter(|line| line.contains("(INJECTED)")).count()
}
