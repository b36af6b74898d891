//! The real `t4` binary, on free ports, in its own directory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::{Memory, MemoryGroup, PairFiles, Program, Scratch, free_port, target_dir};

const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// The binary under test: `T4_BIN`, else `target/blackbox/t4`.
///
/// # Errors
/// When it does not exist, with instructions. A suite that passes because it
/// had nothing to test would be worse than one that fails.
pub fn t4_binary() -> anyhow::Result<PathBuf> {
    let path = match std::env::var_os("T4_BIN") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => target_dir().join("blackbox").join("t4"),
    };
    ensure!(
        path.is_file(),
        "no t4 at {}: run `cargo build --profile blackbox -p t4` (`cargo xtask test` does), \
         or set T4_BIN",
        path.display()
    );
    Ok(path)
}

/// The options for starting a t4.
#[derive(Clone, Debug, Default)]
pub struct T4Options {
    /// Its certificate and key; clients must then use TLS. Default: none, plain
    /// text.
    pub tls: Option<PairFiles>,
    /// Additional flags of `t4 run`, passed as they are. Default: none.
    pub flags: Vec<String>,
    /// Environment variables. Default: none.
    pub env: Vec<(String, String)>,
    /// The group that limits its memory. Default: none.
    pub group: Option<Arc<MemoryGroup>>,
}

impl T4Options {
    /// These flags of `t4 run`, in plain text.
    #[must_use]
    pub fn flags(flags: &[&str]) -> T4Options {
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        T4Options { flags, ..T4Options::default() }
    }
}

/// A running `t4 run`. Killed when dropped.
#[derive(Debug)]
pub struct T4 {
    program: Option<Program>,
    options: T4Options,
    binary: PathBuf,
    endpoint: String,
    metrics: String,
    // Last, so that the directory is removed after the process has ended.
    scratch: Scratch,
}

impl T4 {
    /// Starts a t4 in a fresh directory and returns once it serves.
    ///
    /// # Errors
    /// When there is no binary, or it does not report that it serves within a
    /// minute.
    pub fn start(options: T4Options) -> anyhow::Result<T4> {
        let mut t4 = T4 {
            program: None,
            options,
            binary: t4_binary()?,
            endpoint: format!("127.0.0.1:{}", free_port()),
            metrics: format!("127.0.0.1:{}", free_port()),
            scratch: Scratch::new("t4")?,
        };
        t4.start_again()?;
        Ok(t4)
    }

    /// `host:port` of the client listener.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// `host:port` of the metrics and health listener.
    #[must_use]
    pub fn metrics_endpoint(&self) -> &str {
        &self.metrics
    }

    /// The path of its data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.scratch.join("data")
    }

    /// The file that holds the output of every start.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.scratch.join("t4.log")
    }

    /// The directory that contains both.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Its process.
    ///
    /// # Panics
    /// After a kill or stop and before [`start_again`](Self::start_again).
    pub fn program(&mut self) -> &mut Program {
        self.program.as_mut().expect("t4 is running")
    }

    /// The memory of its process; valid until it is restarted.
    ///
    /// # Panics
    /// As [`program`](Self::program).
    #[must_use]
    pub fn memory(&self) -> Memory {
        Memory::of(self.program.as_ref().expect("t4 is running"))
    }

    /// Sends SIGKILL, and waits until the process is gone. The data stays.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut program) = self.program.take() {
            program.kill()?;
        }
        Ok(())
    }

    /// Sends SIGTERM, and waits for a clean exit. The data stays.
    ///
    /// # Errors
    /// When it does not end within a minute, or fails.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut program) = self.program.take() {
            program.terminate()?;
            let status = program.wait(STOP_DEADLINE)?;
            ensure!(
                status.success(),
                "t4 ended with {status} after SIGTERM:\n{}",
                program.log_tail()
            );
        }
        Ok(())
    }

    /// Restarts it with the same directory and ports; kills it first if it
    /// runs.
    ///
    /// # Errors
    /// When it does not report that it serves within a minute, with its log's
    /// tail.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.begin_start()?;
        self.program()
            .wait_for_line("ready to serve client requests", START_DEADLINE)
            .context("t4 does not start")?;
        Ok(())
    }

    /// Like [`start_again`](Self::start_again), but does not wait until it
    /// serves.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn begin_start(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        let log = self.log_path();
        self.program = Some(Program::start("t4", self.command(), &log)?);
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = match &self.options.group {
            Some(group) => group.command(&self.binary),
            None => Command::new(&self.binary),
        };
        // t4 reads T4_ variables as configuration; those of the suites must not
        // affect it.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("T4_") {
                command.env_remove(name);
            }
        }
        command
            .arg("run")
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(["--listen", &self.endpoint, "--metrics-addr", &self.metrics])
            .args(&self.options.flags)
            .envs(self.options.env.iter().cloned());
        if let Some(PairFiles { cert, key }) = &self.options.tls {
            command.arg("--client-tls-cert").arg(cert).arg("--client-tls-key").arg(key);
        }
        command
    }
}
