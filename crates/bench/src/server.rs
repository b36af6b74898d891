//! The two servers under measurement: starting and killing them, and reading
//! their resource use from the kernel.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use t4_proto::etcdserverpb::RangeRequest;
use t4_testkit::{PairFiles, Program, free_port};

use crate::certificates::Certificates;
use crate::client::Client;
use crate::transport::{Connection, Endpoint};

/// The longest that a start may take, whatever the data directory holds.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// The timeout of one request of the readiness probe. A single-member etcd that
/// has just started answers "no leader" only after seven seconds.
const PROBE_TIMEOUT: Duration = Duration::from_millis(250);
/// The pause between two probes of a port without a listener; the resolution of
/// [`Server::restart`].
const PROBE_PAUSE: Duration = Duration::from_millis(1);

/// The server that a measurement belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The one under test.
    T4,
    /// The reference.
    Etcd,
}

impl Side {
    /// Both, in the order of the tables.
    pub const BOTH: [Side; 2] = [Side::T4, Side::Etcd];

    /// Its name in tables and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Side::T4 => "t4",
            Side::Etcd => "etcd",
        }
    }
}

/// The command line that a binary takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    T4,
    Etcd,
}

/// A server binary. Either side may be either product: etcd against etcd shows
/// the overhead of the harness itself, which must be nothing.
#[derive(Clone, Debug)]
pub struct ServerBinary {
    side: Side,
    path: PathBuf,
    dialect: Dialect,
    version: String,
}

impl ServerBinary {
    /// Asks the binary for its version.
    ///
    /// # Errors
    /// If it cannot be run, or is neither t4 nor etcd.
    pub fn new(side: Side, path: &Path) -> anyhow::Result<ServerBinary> {
        let run = |argument: &str| {
            let output = Command::new(path).arg(argument).output();
            output.with_context(|| format!("run {} {argument}", path.display()))
        };
        let etcd = run("--version")?;
        let text = String::from_utf8_lossy(&etcd.stdout).into_owned();
        if let Some(version) = text.lines().find_map(|line| line.strip_prefix("etcd Version: ")) {
            let version = format!("etcd {version}");
            return Ok(ServerBinary { side, path: path.into(), dialect: Dialect::Etcd, version });
        }
        let t4 = run("version")?;
        let text = String::from_utf8_lossy(&t4.stdout).into_owned();
        let Some(version) = text.lines().find_map(|line| line.strip_prefix("t4 version: ")) else {
            bail!("{} is neither an etcd nor a t4", path.display());
        };
        let version = format!("t4 {version}");
        Ok(ServerBinary { side, path: path.into(), dialect: Dialect::T4, version })
    }

    /// The side that it plays.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// The version that it reports.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    fn command(&self, data_dir: &Path, place: &Place) -> Command {
        let Place { address, second, certificates } = place;
        let mut command = Command::new(&self.path);
        // Both also take flags from the environment; variables of the
        // benchmark's shell must not reach them.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("ETCD_") || text.starts_with("T4_") {
                command.env_remove(name);
            }
        }
        match self.dialect {
            Dialect::T4 => {
                command.args(["run", "--listen", &address.to_string()]);
                command.args(["--metrics-addr", &second.to_string(), "--log-level", "warn"]);
                if let Some(PairFiles { cert, key }) = certificates.as_ref().map(|c| &c.server) {
                    command.arg("--client-tls-cert").arg(cert).arg("--client-tls-key").arg(key);
                }
            }
            Dialect::Etcd => {
                let scheme = if certificates.is_some() { "https" } else { "http" };
                let client = format!("{scheme}://{address}");
                let peer = format!("http://{second}");
                command
                    .args(["--name", "bench", "--log-level", "warn"])
                    .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                    .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                    .args(["--initial-cluster", &format!("bench={peer}")]);
                if let Some(PairFiles { cert, key }) = certificates.as_ref().map(|c| &c.server) {
                    command.arg("--cert-file").arg(cert).arg("--key-file").arg(key);
                }
            }
        }
        // etcd's default of 2 GiB would end the runs with a million revisions.
        command.args(["--quota-backend-bytes", "8589934592"]).arg("--data-dir").arg(data_dir);
        command
    }
}

/// Where a server listens, and the certificates that it presents there.
#[derive(Clone, Debug)]
struct Place {
    address: SocketAddr,
    /// The address for etcd's peers, or for T4's metrics.
    second: SocketAddr,
    /// `None` for plain text.
    certificates: Option<Certificates>,
}

impl Place {
    /// The endpoint for a client that has never connected before.
    fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let tls = self.certificates.as_ref().map(Certificates::client).transpose()?;
        Ok(Endpoint { address: self.address, tls })
    }
}

/// A process's memory use, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// `VmRSS`: all of it.
    pub resident: u64,
    /// `RssAnon`: its own heap and stacks.
    pub anonymous: u64,
}

/// A running server, killed when dropped.
#[derive(Debug)]
pub struct Server {
    binary: ServerBinary,
    program: Program,
    place: Place,
    endpoint: Endpoint,
    data_dir: PathBuf,
}

impl Server {
    /// Starts a server on a directory and returns when it serves, over TLS if
    /// there are certificates.
    ///
    /// # Errors
    /// If it does not serve within two minutes.
    pub fn start(
        binary: &ServerBinary,
        data_dir: &Path,
        certificates: Option<&Certificates>,
    ) -> anyhow::Result<Server> {
        std::fs::create_dir_all(data_dir)?;
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let place = Place {
            address: local(free_port()),
            second: local(free_port()),
            certificates: certificates.cloned(),
        };
        let command = binary.command(&data_dir.join("data"), &place);
        let program = Program::start(binary.side.name(), command, &data_dir.join("log"))?;
        let mut server = Server {
            binary: binary.clone(),
            program,
            endpoint: place.endpoint()?,
            place,
            data_dir: data_dir.into(),
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Sends SIGKILL, then starts it on the same directory. Returns the time
    /// between exec and the answer to the first linearizable get.
    ///
    /// # Errors
    /// If it does not serve within two minutes.
    pub fn restart(&mut self) -> anyhow::Result<Duration> {
        self.program.kill()?;
        let data = self.data_dir.join("data");
        let command = self.binary.command(&data, &self.place);
        let log = self.data_dir.join("log");
        let began = Instant::now();
        self.program = Program::start(self.binary.side.name(), command, &log)?;
        self.wait_until_ready()?;
        Ok(began.elapsed())
    }

    /// The side that it plays.
    #[must_use]
    pub fn side(&self) -> Side {
        self.binary.side
    }

    /// The endpoint for clients.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// The same for a client that has never connected: with TLS, it has no
    /// session to resume and performs a full handshake.
    ///
    /// # Errors
    /// If its certificates are missing.
    pub fn unknown_client(&self) -> anyhow::Result<Endpoint> {
        self.place.endpoint()
    }

    /// The directory that holds its data and its log.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Whether it has `KV.RangeStream`: etcd has it since 3.7.
    #[must_use]
    pub fn has_range_stream(&self) -> bool {
        self.binary.dialect == Dialect::T4
    }

    /// Whether its process is still running.
    ///
    /// # Errors
    /// If the operating system cannot tell.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        self.program.is_running()
    }

    /// User and system time of the process since it started, according to
    /// `/proc/PID/stat`: in steps of a clock tick, 10 ms on Linux.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu_of(&self.pid().to_string())
            .with_context(|| format!("{} is gone:\n{}", self.side().name(), self.log_tail()))
    }

    /// Its current memory use, according to `/proc/PID/status`.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.program.pid()))?;
        Ok(Memory {
            resident: status_bytes(&status, "VmRSS:")?,
            anonymous: status_bytes(&status, "RssAnon:")?,
        })
    }

    /// Blocks until the process uses less than a tenth of a core and has
    /// stopped writing, so that work left over from one measurement is not
    /// charged to the next. Returns false if it is still busy after `deadline`.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn settle(&self, deadline: Duration) -> anyhow::Result<bool> {
        const LOOK: Duration = Duration::from_millis(100);
        const IDLE_BYTES: u64 = 64 << 10;
        let end = Instant::now() + deadline;
        loop {
            let (cpu, written) = (self.cpu()?, self.written()?);
            std::thread::sleep(LOOK);
            if self.cpu()? - cpu <= LOOK / 10 && self.written()? - written <= IDLE_BYTES {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
        }
    }

    /// Bytes that it has caused to be written to disk, according to `/proc/PID/io`.
    fn written(&self) -> anyhow::Result<u64> {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.pid()))?;
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
        Ok(line.context("no write_bytes in /proc/PID/io")?.trim().parse()?)
    }

    /// The last lines of its log, for messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.program.log_tail()
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + START_DEADLINE;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        loop {
            let probe =
                async { tokio::time::timeout(PROBE_TIMEOUT, first_get(self.endpoint())).await? };
            let Err(reason) = runtime.block_on(probe) else { return Ok(()) };
            let name = self.side().name();
            ensure!(self.program.is_running()?, "{name} ended:\n{}", self.log_tail());
            ensure!(
                Instant::now() < end,
                "{name} does not serve after {START_DEADLINE:?} ({reason:#}):\n{}",
                self.log_tail()
            );
            std::thread::sleep(PROBE_PAUSE);
        }
    }
}

/// Connects and reads a key that is never written, linearizably.
async fn first_get(endpoint: Endpoint) -> anyhow::Result<()> {
    let mut client = Client::new(Connection::open(endpoint).await?);
    let key = Bytes::from_static(b"is anybody there");
    client.kv.range(RangeRequest { key, ..RangeRequest::default() }).await?;
    Ok(())
}

/// User and system time of a process; `pid` may be `self`.
///
/// # Errors
/// If there is no such process.
pub fn cpu_of(pid: &str) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(ticks(ticks_in(&stat).context("/proc/PID/stat is not as proc(5) has it")?))
}

/// Converts clock ticks, the kernel's unit of CPU time, to time.
#[must_use]
pub fn ticks(count: u64) -> Duration {
    Duration::from_nanos(count * 1_000_000_000 / rustix::param::clock_ticks_per_second())
}

/// Fields 14 and 15 of proc_pid_stat(5). The second field is the program's name
/// in brackets and may hold anything, so counting starts after it.
fn ticks_in(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn status_bytes(status: &str, field: &str) -> anyhow::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    Ok(kib.with_context(|| format!("no {field} in /proc/PID/status"))?.trim().parse::<u64>()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_counted_behind_a_name_with_brackets_and_spaces() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 900 0 0 0 31 11 0 0 20 0 1 0 12 1000 300 1";
        assert_eq!(ticks_in(stat), Some(42));
        assert_eq!(ticks_in("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\n";
        assert_eq!(status_bytes(status, "VmRSS:").expect("there"), 2 << 20);
        assert_eq!(status_bytes(status, "RssAnon:").expect("there"), 1 << 20);
        assert!(status_bytes(status, "RssFile:").is_err());
    }

    #[test]
    fn this_process_has_used_some_cpu() {
        let before = cpu_of("self").expect("own stat");
        let mut state = 1_u64;
        while cpu_of("self").expect("own stat") == before {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
        assert_ne!(state, 0);
    }

    #[test]
    fn a_binary_that_is_neither_is_refused() {
        let error = ServerBinary::new(Side::T4, Path::new("/bin/true")).expect_err("neither");
        assert!(error.to_string().contains("neither"), "{error}");
    }
}
