//! What a server can be told: plain data with documented defaults.

use std::time::Duration;

use crate::address::ListenAddress;
use crate::security::Security;

/// What a server needs to run, beside the node's own configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect: gRPC, and HTTP too if `http_listen` is empty.
    pub listen: Vec<ListenAddress>,
    /// Where clients connect with HTTP only (etcd's `--listen-client-http-urls`).
    /// Default: nowhere; HTTP shares the port of gRPC.
    pub http_listen: Vec<ListenAddress>,
    /// Where metrics and health are served beside; empty: nowhere else.
    pub metrics_listen: Vec<ListenAddress>,
    /// Whether other processes may bind the same ports (`SO_REUSEPORT`).
    /// Default no.
    pub reuse_port: bool,
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
    /// Which histograms of handling times are served: with it, those of every
    /// method from the start, as with etcd's `--metrics extensive`; without it,
    /// the default, those of methods that have been called.
    pub extensive_metrics: bool,
    /// A read, or the evaluation of a write, that takes longer is told in the
    /// log. The node has the same for writes. Default 100 ms, as etcd's.
    pub warning_apply_duration: Duration,
    /// A unary call that takes longer is told in the log. Default 300 ms, as
    /// etcd's.
    pub warning_unary_request_duration: Duration,
    /// What `etcd_server_feature_enabled` shows: a name, its stage, whether it
    /// is on. Default none.
    pub features: Vec<Feature>,
    /// What clients may make the server hold in memory, in bytes: answers that
    /// they do not read, requests that they do not end, open calls, watchers and
    /// the history that these catch up with. Default: a quarter of the memory that
    /// the process may use, 32 MiB to 1 GiB.
    pub client_memory_bytes: Option<usize>,
    /// TLS, and which HTTP requests are answered.
    pub security: Security,
    /// How users are told apart.
    pub auth: AuthConfig,
}

/// A feature gate, as the metrics show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// `ALPHA`, `BETA`, or nothing once it is there for good.
    pub stage: &'static str,
    /// Whether it is on.
    pub enabled: bool,
}

/// How users are told apart, once authentication is enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Serve no key until authentication is enabled. Default no.
    pub required: bool,
    /// What tokens are, as etcd's `--auth-token` says it: `simple`,
    /// `jwt,…`, or nothing for none. Default `simple`.
    pub token: String,
    /// How long a token lives that is not used. Default 300 s, as etcd's.
    pub token_ttl: Duration,
    /// The cost of a password's hash, 4 to 31. Default 10, as etcd's.
    pub bcrypt_cost: u32,
}

impl Default for AuthConfig {
    fn default() -> Self {
        AuthConfig {
            required: false,
            token: "simple".to_owned(),
            token_ttl: Duration::from_secs(300),
            bcrypt_cost: 10,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Config {
            listen: vec![ListenAddress::tcp(([0, 0, 0, 0], 3379))],
            http_listen: Vec::new(),
            metrics_listen: vec![ListenAddress::tcp(([0, 0, 0, 0], 9090))],
            reuse_port: false,
            max_request_bytes: 1_572_864,
            max_txn_ops: 128,
            watch_progress_notify_interval: Duration::from_secs(600),
            max_concurrent_streams: u32::MAX,
            keepalive_interval: Duration::from_secs(7200),
            keepalive_timeout: Duration::from_secs(20),
            io_threads: cores.min(8),
            drain_timeout: Duration::from_millis(1500),
            extensive_metrics: false,
            warning_apply_duration: Duration::from_millis(100),
            warning_unary_request_duration: Duration::from_millis(300),
            features: Vec::new(),
            client_memory_bytes: None,
            security: Security::default(),
            auth: AuthConfig::default(),
        }
    }
}
