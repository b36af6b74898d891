//! One run of a program with its output in files, so that it can be read while
//! the program runs, and a deadline.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use t4_testkit::poll_until;

const DEADLINE: Duration = Duration::from_secs(60);
// `check perf` alone measures for a minute.
const END_DEADLINE: Duration = Duration::from_secs(300);

/// A running program. Killed when dropped.
#[derive(Debug)]
pub(super) struct Call {
    child: Child,
    // Kept open: an interactive command ends when its input does.
    input: Option<ChildStdin>,
    out: PathBuf,
    err: PathBuf,
}

/// What a program that has ended left.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) out: String,
    pub(super) err: String,
    /// -1 when a signal ended it.
    pub(super) code: i32,
}

impl Call {
    /// Starts it; the output goes to files in `dir` whose names begin with `name`.
    pub(super) fn start(mut command: Command, dir: &Path, name: &str) -> anyhow::Result<Call> {
        let (out, err) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")));
        command.stdin(Stdio::piped()).stdout(File::create(&out)?).stderr(File::create(&err)?);
        let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let input = child.stdin.take();
        Ok(Call { child, input, out, err })
    }

    /// Writes to its input.
    pub(super) fn say(&mut self, text: &str) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("the input is closed")?;
        input.write_all(text.as_bytes())?;
        Ok(input.flush()?)
    }

    /// Blocks until its output contains `text`.
    pub(super) fn see(&mut self, text: &str) -> anyhow::Result<()> {
        poll_until(&format!("the output {text:?}"), DEADLINE, || {
            let seen = std::fs::read_to_string(&self.out)?;
            if seen.contains(text) {
                return Ok(());
            }
            bail!("{seen:?} and {:?}", std::fs::read_to_string(&self.err)?)
        })
    }

    /// Sends SIGTERM, which etcdctl takes as it takes Ctrl-C. SIGINT it would
    /// not hear where it was started by a shell that ignores it, as shells do
    /// for what they run in the background.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("a process id")?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Closes its input and blocks until it has ended.
    pub(super) fn wait(mut self) -> anyhow::Result<Ended> {
        drop(self.input.take());
        let status = poll_until("the end of the command", END_DEADLINE, || {
            match self.child.try_wait()? {
                Some(status) => Ok(status),
                None => bail!("it runs; {:?}", std::fs::read_to_string(&self.out)?),
            }
        })?;
        let read = |path: &Path| anyhow::Ok(String::from_utf8_lossy(&std::fs::read(path)?).into());
        Ok(Ended {
            out: read(&self.out)?,
            err: read(&self.err)?,
            code: status.code().unwrap_or(-1),
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and that is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
