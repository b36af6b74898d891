//! What the operating system says of this process.

use std::fs;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The process at one moment.
pub(crate) struct Process {
    pub(crate) cpu: Duration,
    pub(crate) resident_bytes: u64,
    pub(crate) virtual_bytes: u64,
    pub(crate) fds_open: u64,
    pub(crate) fds_max: u64,
    pub(crate) virtual_max: u64,
    /// Bytes received and sent by IP in the network namespace of the process,
    /// which is what Go's Prometheus client calls those of the process.
    pub(crate) network: Option<(u64, u64)>,
    pub(crate) threads: u64,
    /// Since the start of Unix time.
    pub(crate) started: Duration,
}

/// Linux reports CPU time in units of 1/100 s on every architecture.
const TICKS_PER_S: u64 = 100;

impl Process {
    /// Reads `/proc/self`; what cannot be read is 0.
    pub(crate) fn read() -> Process {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The command, in parentheses, may hold anything.
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let field = |n: usize| -> u64 {
            after.split_whitespace().nth(n).and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let page = rustix::param::page_size() as u64;
        let ticks = |ticks: u64| Duration::from_millis(ticks * 1000 / TICKS_PER_S);
        Process {
            cpu: ticks(field(11) + field(12)),
            threads: field(17),
            started: boot_time() + ticks(field(19)),
            virtual_bytes: field(20),
            resident_bytes: field(21) * page,
            fds_open: count_open_files().unwrap_or(0),
            fds_max: open_files_max(),
            virtual_max: getrlimit(Resource::As).current.unwrap_or(u64::MAX),
            network: network(&fs::read_to_string("/proc/self/net/netstat").unwrap_or_default()),
        }
    }
}

fn count_open_files() -> Option<u64> {
    // Looking is done through one.
    fs::read_dir("/proc/self/fd").ok().map(|dir| (dir.count() as u64).saturating_sub(1))
}

/// How many files are open, or what a server has at its start as a rule where
/// the system does not tell.
pub(crate) fn open_files() -> u64 {
    count_open_files().unwrap_or(48)
}

/// The arguments of the process, the program among them.
pub(crate) fn command_line() -> Vec<String> {
    let bytes = fs::read("/proc/self/cmdline").unwrap_or_default();
    let arguments = bytes.strip_suffix(b"\0").unwrap_or(&bytes).split(|byte| *byte == 0);
    arguments.map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

/// How many files the process may have open.
pub(crate) fn open_files_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// `InOctets` and `OutOctets` of `/proc/self/net/netstat`: a line of names, and
/// one of numbers behind it, for each protocol.
fn network(netstat: &str) -> Option<(u64, u64)> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let of = |wanted: &str| {
        let at = names.split_whitespace().position(|name| name == wanted)?;
        numbers.split_whitespace().nth(at)?.parse().ok()
    };
    Some((of("InOctets")?, of("OutOctets")?))
}

fn boot_time() -> Duration {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime_s: f64 =
        uptime.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    now.saturating_sub(Duration::from_secs_f64(uptime_s))
}

/// Allows as many open files as the system lets this process have, and says
/// how many those are.
pub(crate) fn raise_open_files_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    open_files_max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_the_network() {
        let text = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets X\n\
                    IpExt: 0 7 9 1\n";
        assert_eq!(network(text), Some((7, 9)));
        assert_eq!(network("IpExt: InOctets\nIpExt: 7\n"), None);
        assert_eq!(network(""), None);
    }

    #[test]
    fn this_process_has_numbers() {
        let process = Process::read();
        assert!(process.resident_bytes > 0 && process.virtual_bytes >= process.resident_bytes);
        assert!(process.fds_open > 0 && process.fds_open <= process.fds_max);
        assert!(process.threads > 0);
        assert!(process.virtual_max >= process.virtual_bytes);
        assert!(process.started > Duration::from_secs(1_000_000_000));
    }
}
