//! A real etcd on free ports, in its own directory.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::{EtcdDistro, Memory, MemoryGroup, PairFiles, Program, Scratch, free_port};

const START_DEADLINE: Duration = Duration::from_secs(60);

/// The options for starting an etcd.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// Whether it fsyncs its log. Default: true. Without fsync it is several
    /// times faster, and its answers are the same as long as the machine stays
    /// up.
    pub fsync: bool,
    /// `--quota-backend-bytes`. Default: etcd's own (2 GiB).
    pub quota_backend_bytes: Option<u64>,
    /// Its certificate and key; clients must then use TLS. Default: none, plain
    /// text.
    pub tls: Option<PairFiles>,
    /// Additional flags, passed as they are. Default: none.
    pub flags: Vec<String>,
    /// A different etcd than that of [`EtcdDistro`]. Default: that one.
    pub binary: Option<PathBuf>,
    /// The group that limits its memory. Default: none.
    pub group: Option<Arc<MemoryGroup>>,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        EtcdOptions {
            fsync: true,
            quota_backend_bytes: None,
            tls: None,
            flags: Vec::new(),
            binary: None,
            group: None,
        }
    }
}

/// A running etcd, the only member of its cluster. Killed when dropped.
#[derive(Debug)]
pub struct Etcd {
    program: Option<Program>,
    options: EtcdOptions,
    binary: PathBuf,
    endpoint: String,
    peer_url: String,
    // Last, so that the directory is removed after the process has ended.
    scratch: Scratch,
}

impl Etcd {
    /// Starts an etcd and returns once it serves.
    ///
    /// # Errors
    /// When there is no etcd to start, or it does not serve within a minute.
    pub fn start(options: EtcdOptions) -> anyhow::Result<Etcd> {
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => EtcdDistro::find()?.etcd(),
        };
        let mut etcd = Etcd {
            program: None,
            options,
            binary,
            endpoint: format!("127.0.0.1:{}", free_port()),
            peer_url: format!("http://127.0.0.1:{}", free_port()),
            scratch: Scratch::new("etcd")?,
        };
        etcd.start_again()?;
        Ok(etcd)
    }

    /// `host:port` of the client listener.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its process.
    ///
    /// # Panics
    /// After [`kill`](Self::kill) and before [`start_again`](Self::start_again).
    pub fn program(&mut self) -> &mut Program {
        self.program.as_mut().expect("etcd is running")
    }

    /// The memory of its process; valid until it is restarted.
    ///
    /// # Panics
    /// As [`program`](Self::program).
    #[must_use]
    pub fn memory(&self) -> Memory {
        Memory::of(self.program.as_ref().expect("etcd is running"))
    }

    /// SIGKILL. The data directory stays.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut program) = self.program.take() {
            program.kill()?;
        }
        Ok(())
    }

    /// Restarts it with the same directory and ports, after a kill.
    ///
    /// # Errors
    /// When it does not serve within a minute.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.begin_start()?;
        self.program()
            .wait_for_line("ready to serve client requests", START_DEADLINE)
            .context("etcd does not start")?;
        Ok(())
    }

    /// Like [`start_again`](Self::start_again), but does not wait until it
    /// serves.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn begin_start(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        let log = self.scratch.join("etcd.log");
        self.program = Some(Program::start("etcd", self.command(), &log)?);
        Ok(())
    }

    fn command(&self) -> Command {
        let scheme = if self.options.tls.is_some() { "https" } else { "http" };
        let client_url = format!("{scheme}://{}", self.endpoint);
        let mut command = match &self.options.group {
            Some(group) => group.command(&self.binary),
            None => Command::new(&self.binary),
        };
        // etcd reads ETCD_ variables as flags; the suite's environment must not
        // affect it.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCD") {
                command.env_remove(name);
            }
        }
        command
            .arg("--data-dir")
            .arg(self.scratch.join("data"))
            .args(["--name", "default"])
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &self.peer_url])
            .args(["--initial-advertise-peer-urls", &self.peer_url])
            .args(["--initial-cluster", &format!("default={}", self.peer_url)])
            .args(["--log-level", "info"]);
        if !self.options.fsync {
            command.arg("--unsafe-no-fsync");
        }
        if let Some(bytes) = self.options.quota_backend_bytes {
            command.args(["--quota-backend-bytes", &bytes.to_string()]);
        }
        if let Some(PairFiles { cert, key }) = &self.options.tls {
            command.arg("--cert-file").arg(cert).arg("--key-file").arg(key);
        }
        command.args(&self.options.flags);
        command
    }
}
