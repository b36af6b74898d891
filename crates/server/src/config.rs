//! What a server can be told: plain data with documented defaults.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// Where a listener is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket at a path.
    Unix(std::path::PathBuf),
}

/// Why a text is not an address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{text:?} is not an address to listen on: {why}. Use HOST:PORT with an IP address or localhost, http://HOST:PORT, or unix:///path"
)]
pub struct AddressError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let failed = |why| AddressError { text: text.to_owned(), why };
        let rest = match text.split_once("://") {
            Some(("unix", "")) => return Err(failed("the path is missing")),
            Some(("unix", path)) => return Ok(ListenAddress::Unix(path.into())),
            Some(("http", rest)) => rest,
            Some(("https" | "unixs", _)) => {
                return Err(failed("TLS is not available in this version"));
            }
            Some(_) => return Err(failed("the scheme is not known")),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| failed("the port is missing"))?;
        let port: u16 = port.parse().map_err(|_| failed("the port is not a number below 65536"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let ip = match host {
            "localhost" => std::net::Ipv4Addr::LOCALHOST.into(),
            "" => std::net::Ipv6Addr::UNSPECIFIED.into(),
            host => host.parse().map_err(|_| failed("the host is not an IP address"))?,
        };
        Ok(ListenAddress::Tcp(SocketAddr::new(ip, port)))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => write!(f, "http://{address}"),
            ListenAddress::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// What a server needs to run, beside the node's own configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect: gRPC and HTTP on the same port.
    pub listen: Vec<ListenAddress>,
    /// Where metrics and health are served beside; `None`: nowhere else.
    pub metrics_listen: Option<ListenAddress>,
    /// The largest write request in bytes. Default 1.5 MiB, as etcd's.
    pub max_request_bytes: usize,
    /// The most operations in a transaction. Default 128, as etcd's.
    pub max_txn_ops: usize,
    /// How often an idle watcher that asked for it is told of progress.
    /// Default 10 min, as etcd's.
    pub watch_progress_notify_interval: Duration,
    /// The most streams that one connection may have open at a time.
    /// Default 2³²-1, as etcd's.
    pub max_concurrent_streams: u32,
    /// How often an idle connection is probed. Default 2 h, as etcd's.
    pub keepalive_interval: Duration,
    /// How long a probe may stay unanswered. Default 20 s, as etcd's.
    pub keepalive_timeout: Duration,
    /// Threads that serve connections; default: one per core, at most 8.
    pub io_threads: usize,
    /// How long a stop waits for calls under way. Default 1.5 s.
    pub drain_timeout: Duration,
    /// Whether the time that calls take is measured, as a histogram per method.
    /// Costs two looks at the clock per call. Default off, as etcd's
    /// `--metrics basic`.
    pub measure_handling_time: bool,
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Config {
            listen: vec![ListenAddress::Tcp(([0, 0, 0, 0], 3379).into())],
            metrics_listen: Some(ListenAddress::Tcp(([0, 0, 0, 0], 9090).into())),
            max_request_bytes: 1_572_864,
            max_txn_ops: 128,
            watch_progress_notify_interval: Duration::from_secs(600),
            max_concurrent_streams: u32::MAX,
            keepalive_interval: Duration::from_secs(7200),
            keepalive_timeout: Duration::from_secs(20),
            io_threads: cores.min(8),
            drain_timeout: Duration::from_millis(1500),
            measure_handling_time: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let tcp = |text: &str| Ok(ListenAddress::Tcp(text.parse().unwrap()));
        assert_eq!("0.0.0.0:3379".parse(), tcp("0.0.0.0:3379"));
        assert_eq!("http://localhost:1/".parse(), tcp("127.0.0.1:1"));
        assert_eq!("[::1]:5".parse(), tcp("[::1]:5"));
        assert_eq!(":3379".parse(), tcp("[::]:3379"));
        assert_eq!("unix:///run/t4".parse(), Ok(ListenAddress::Unix("/run/t4".into())));
        for wrong in [
            "",
            "host:1",
            "1.2.3.4",
            "1.2.3.4:x",
            "ftp://1.2.3.4:5",
            "unix://",
            "https://1.2.3.4:5",
        ] {
            assert!(wrong.parse::<ListenAddress>().is_err(), "{wrong}");
        }
    }
}
