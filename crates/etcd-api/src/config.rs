//! The configuration of the API: plain data with documented defaults.

use std::sync::Arc;
use std::time::Duration;

use t4_auth_rbac::jwt::JwtKeys;
use t4_auth_rbac::password::Cost;

/// The version of etcd whose behaviour is followed, as `Status` and `/version`
/// report it: clients use it to decide what they may ask for.
pub const ETCD_VERSION: &str = "3.7.0";

/// How far a gRPC message may exceed `max_request_bytes`: room for what is
/// around keys and values.
const MESSAGE_OVERHEAD_BYTES: usize = 512 * 1024;

/// Largest metadata of a call, in bytes as HTTP/2 counts them.
pub(crate) const METADATA_BYTES_MAX: usize = 512 * 1024;

/// What the API needs beside the node.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Largest write, in encoded bytes. Default 1.5 MiB.
    pub max_request_bytes: usize,
    /// Longest list in a transaction. Default 128.
    pub max_txn_ops: usize,
    /// How often watchers that ask for it are notified of progress when nothing
    /// happens; each stream adds up to a tenth. Default 10 min.
    pub watch_progress_notify_interval: Duration,
    /// A stream that requires a leader ends after three times this long
    /// without one. Default 1 s.
    pub election_timeout: Duration,
    /// A read that takes longer is logged. Default 100 ms, as etcd's.
    pub warning_apply_duration: Duration,
    /// A unary call that takes longer is logged. Default 300 ms, as etcd's.
    pub warning_unary_request_duration: Duration,
    /// What clients may make the server hold in memory, in bytes: answers that
    /// they do not read, requests that they do not end, open calls, watchers and
    /// the history that these catch up with. Default 1 GiB.
    pub client_memory_bytes: usize,
    /// How users are identified.
    pub auth: AuthConfig,
}

/// How users are identified, once authentication is enabled.
#[derive(Clone, Debug, Default)]
pub struct AuthConfig {
    /// Serve no keys until authentication is enabled (T4's `--auth-enabled`).
    /// Default no.
    pub required: bool,
    /// What logins give out. Default simple tokens, whose lifetime is part of the
    /// node's configuration.
    pub tokens: Tokens,
    /// The work of a password's hash. Default 10.
    pub bcrypt_cost: Cost,
}

/// What logins give out, and what calls show.
#[derive(Clone, Debug, Default)]
pub enum Tokens {
    /// Random texts that the cluster remembers.
    #[default]
    Simple,
    /// Signed, self-contained texts. Whatever loads the keys is responsible for
    /// reloading them.
    Jwt(Arc<JwtKeys>),
    /// None: only certificates identify users.
    None,
}

impl Default for ApiConfig {
    fn default() -> Self {
        ApiConfig {
            max_request_bytes: 3 * 512 * 1024,
            max_txn_ops: 128,
            watch_progress_notify_interval: Duration::from_secs(600),
            election_timeout: Duration::from_secs(1),
            warning_apply_duration: Duration::from_millis(100),
            warning_unary_request_duration: Duration::from_millis(300),
            client_memory_bytes: 1 << 30,
            auth: AuthConfig::default(),
        }
    }
}

impl ApiConfig {
    /// Largest gRPC message that is taken, and the size at which the responses
    /// of watchers that allow it are split, in bytes.
    #[must_use]
    pub fn message_bytes_max(&self) -> usize {
        self.max_request_bytes.saturating_add(MESSAGE_OVERHEAD_BYTES)
    }
}
