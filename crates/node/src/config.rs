//! What a node can be told: plain data with documented defaults. Where the
//! values come from (flags, files) is the business of `cli`.

use std::path::PathBuf;
use std::time::Duration;

use t4_kv_types::{ClusterId, NodeId};

/// How a node trims its own history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Never.
    Off,
    /// Keep what happened within this time (etcd's mode `periodic`): the
    /// revision is sampled every tenth of `min(retention, 1 h)` and, once one
    /// retention has passed, history older than it goes every `min(retention, 1 h)`.
    Periodic(Duration),
    /// Keep this many revisions (etcd's mode `revision`), looked at every 5 min.
    Revision(i64),
}

/// What one replica needs to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the log, the segments and the identity live. Made if missing.
    pub data_dir: PathBuf,
    /// The ids of the cluster and of this member if the data directory is made
    /// now; one that is there keeps its own. Default: random ones.
    pub first_identity: Option<(ClusterId, NodeId)>,
    /// The name that members lists show.
    pub name: String,
    /// Where clients reach this member, as members lists show it.
    pub advertise_client_urls: Vec<String>,
    /// Where peers reach this member, as members lists show it.
    pub advertise_peer_urls: Vec<String>,
    /// Bytes of keys and values in use (live and not yet compacted) at which
    /// writes are refused; `None`: no quota. Default 2 GiB, as etcd's.
    pub quota_bytes: Option<u64>,
    /// How history is trimmed. Default off.
    pub auto_compaction: AutoCompaction,
    /// Shortest time to live of a lease; shorter grants are raised to it.
    /// Default 2 s, what etcd's default timers give.
    pub lease_ttl_min_s: i64,
    /// How long a simple token lives after its last use. Default 300 s, as
    /// etcd's.
    pub token_ttl: Duration,
    /// Writes admitted and not yet answered, at most; beyond it new ones are
    /// refused with [`TooManyRequests`](t4_kv_types::OpError). Default 5,000,
    /// the gap at which etcd refuses.
    pub commit_queue_requests_max: usize,
    /// Size of a log segment in bytes. Default 64 MiB.
    pub log_segment_bytes: u64,
    /// Size of the unsealed tail of the key space, in bytes, at which it is
    /// sealed into a segment. Default 32 MiB.
    pub seal_bytes: usize,
    /// Bound of the value cache in bytes. Default 64 MiB.
    pub cache_bytes: u64,
    /// How long a request waits for its answer, wherever it is, before it is
    /// told [`Timeout`](t4_kv_types::OpError): a write may have been made all
    /// the same. Default 7 s, as etcd's defaults give.
    pub request_timeout: Duration,
    /// A request whose evaluation takes longer is told in the log. Default
    /// 100 ms, as etcd's.
    pub warning_apply_duration: Duration,
}

impl Config {
    /// The defaults, with the data in `data_dir`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Config {
            data_dir: data_dir.into(),
            first_identity: None,
            name: "default".to_owned(),
            advertise_client_urls: Vec::new(),
            advertise_peer_urls: Vec::new(),
            quota_bytes: Some(2 << 30),
            auto_compaction: AutoCompaction::Off,
            lease_ttl_min_s: 2,
            token_ttl: t4_auth_rbac::SIMPLE_TOKEN_TTL_DEFAULT,
            commit_queue_requests_max: 5_000,
            log_segment_bytes: 64 << 20,
            seal_bytes: 32 << 20,
            cache_bytes: 64 << 20,
            request_timeout: Duration::from_secs(7),
            warning_apply_duration: Duration::from_millis(100),
        }
    }
}
