//! Production composition: bind, build, run, drain.
//!
//! [`Server::start`] binds the sockets, opens the node, and starts one thread
//! per core, each with a single-threaded runtime (`shard`), its own lane to the
//! node and its own copy of the services. Accepted connections go to the thread
//! with the fewest (`listener`), and stay there: a request touches no other
//! thread but the node's write loop.
//!
//! gRPC and HTTP share the client port (`front`): a request with gRPC's content
//! type goes to `t4-etcd-api`, everything else is metrics, health or version.
//! Responses leave in one write each (`socket`). An address may speak TLS
//! (`tls`), plain text, or both (`connection`); which hosts and origins HTTP
//! requests may come from is looked at in `access`.
//! HTTP/2 is served in `http2`, HTTP/1.1 by hyper. A client that does not begin
//! (`opening`), does not answer probes or does not read is cut off or held back,
//! and one that floods a connection is read in turns (`pace`).
//!
//! [`Server::stop`] drains: no new connections, no new writes, watch streams
//! end, calls under way finish, then the node closes its log.
//!
//! It knows nothing of flags and files (`t4-cli`) and nothing of etcd's
//! messages (`t4-etcd-api`).
#![doc = include_str!("../README.md")]

mod access;
mod address;
mod auth;
mod body;
mod client_metrics;
mod config;
mod connection;
mod debug_vars;
mod error;
mod exposition;
mod front;
mod health;
mod http2;
mod latency_metrics;
mod lent;
mod listener;
mod memory_limit;
mod metrics;
mod opening;
mod pace;
mod places;
mod process;
mod security;
mod shard;
mod socket;
mod tls;
mod tls_metrics;

use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};

use t4_etcd_api::ApiConfig;
use t4_node::{Closed, Node};
use t4_tls_config::Reloading;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use address::{AddressError, ListenAddress, SocketAddress};
pub use config::{AuthConfig, Config, Feature};
pub use error::StartError;
pub use security::Security;
pub use t4_etcd_api::ETCD_VERSION;

use access::Access;
use auth::KeyFollower;
use connection::Port;
use front::{Front, Purpose};
use http2::Http2Stats;
use listener::{Listener, plan};
use metrics::Metrics;
use places::Places;
use shard::Shard;
use tls::Tls;

/// A running server.
pub struct Server {
    node: Node,
    shards: Arc<Vec<Shard>>,
    accepting: JoinSet<()>,
    drain: watch::Sender<bool>,
    client_addresses: Vec<ListenAddress>,
    metrics_addresses: Vec<ListenAddress>,
    /// Follows the files of TLS.
    reloading: Option<Reloading>,
    /// Follows the keys of tokens.
    token_keys: Option<KeyFollower>,
}

/// Files that are being read anew.
#[derive(Debug)]
pub struct FileReload {
    pending: Vec<Receiver<()>>,
}

impl FileReload {
    /// Whether there are no files to read.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.pending.is_empty()
    }

    /// Blocks until all were read, whatever came of it: what is new and good is
    /// in force then.
    pub fn wait(self) {
        for pending in self.pending {
            // Disconnected: the server has ended, and nothing will be read.
            let _ = pending.recv();
        }
    }
}

impl Server {
    /// Binds, opens the node, and serves. Calls are served from when this
    /// returns.
    ///
    /// # Errors
    /// See [`StartError`]; nothing keeps running.
    pub async fn start(node: t4_node::Config, config: Config) -> Result<Server, StartError> {
        let listeners = bind(&config)?;
        let open_files = process::raise_open_files_limit();
        tracing::debug!(open_files, "limit of open files");

        let tls = Arc::new(Tls::load(&config.security)?);
        let auth = auth::load(&config.auth)?;
        let token_keys = KeyFollower::start(&auth.tokens)?;
        let node = t4_node::Config {
            token_ttl: config.auth.token_ttl,
            warning_apply_duration: config.warning_apply_duration,
            ..node
        };
        let node = Node::open(node).await?;
        let drain = watch::Sender::new(false);
        let places = Arc::new(OnceLock::new());
        let shards = Arc::new(start_shards(&node, config, auth, &tls, &drain, &places)?);
        // Now that all is open that is open while nobody is connected.
        let counted = node.on_own_authority();
        let places = places.get_or_init(|| {
            let others = process::open_files().saturating_sub(counted.open_files());
            Places::new(open_files, others, move || counted.files_needed())
        });
        let addresses = |of: fn(Purpose) -> bool| {
            let chosen = listeners.iter().filter(|listener| of(listener.plan.purpose));
            chosen.flat_map(Listener::addresses).collect()
        };
        let client_addresses = addresses(|purpose| purpose != Purpose::Metrics);
        let metrics_addresses = addresses(|purpose| purpose == Purpose::Metrics);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            let purpose = listener.plan.purpose;
            let handshaker = tls.of(purpose).filter(|_| listener.plan.tls);
            let port = Port { purpose, plain: listener.plan.plain, tls: handshaker };
            let (port, shards) = (Arc::new(port), shards.clone());
            accepting.spawn(listener.accept(port, shards, places.clone(), drain.subscribe()));
        }
        let reloading = tls.follow()?;
        Ok(Server {
            node,
            shards,
            accepting,
            drain,
            client_addresses,
            metrics_addresses,
            reloading,
            token_keys,
        })
    }

    /// Where clients connect, with the ports that the system chose.
    #[must_use]
    pub fn client_addresses(&self) -> &[ListenAddress] {
        &self.client_addresses
    }

    /// Where metrics are served, beside the clients' addresses.
    #[must_use]
    pub fn metrics_addresses(&self) -> &[ListenAddress] {
        &self.metrics_addresses
    }

    /// Reads all files of TLS, and the keys of tokens, anew, soon. They are
    /// followed anyway: this is for whoever cannot wait.
    pub fn reload_files(&self) -> FileReload {
        let tls = self.reloading.as_ref().map(Reloading::reload_now);
        let keys = self.token_keys.as_ref().map(KeyFollower::reload_now);
        FileReload { pending: tls.into_iter().chain(keys).collect() }
    }

    /// The node behind it.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Resolves when the node has closed by itself: the process should end.
    pub async fn closed(&self) -> Closed {
        self.node.closed().await
    }

    /// Drains and stops. Takes at most `drain_timeout` beside what the disk
    /// needs.
    pub async fn stop(mut self) -> Closed {
        self.drain.send_replace(true);
        while self.accepting.join_next().await.is_some() {}
        // Ends the watch streams, which no client would end by itself.
        let closed = self.node.stop().await;
        let (shards, reloading, token_keys) = (self.shards, self.reloading, self.token_keys);
        let joined = tokio::task::spawn_blocking(move || {
            drop((reloading, token_keys));
            if let Some(shards) = Arc::into_inner(shards) {
                for shard in shards {
                    shard.join();
                }
            }
        });
        let _ = joined.await;
        closed
    }
}

/// Whether a server would start as far as its files can tell: certificates,
/// keys, CAs, and the keys of tokens. Nothing is made, bound or kept; what signs
/// itself is made at a start, and not looked at.
///
/// # Errors
/// Those of [`Server::start`].
pub fn check(config: &Config) -> Result<(), StartError> {
    let mut security = config.security.clone();
    let is_read = |options: &t4_tls_config::ServerOptions| {
        matches!(options.pair, t4_tls_config::PairSource::Files { .. })
    };
    for surface in [&mut security.client, &mut security.metrics, &mut security.peer] {
        *surface = surface.take().filter(is_read);
    }
    security.outgoing.retain(|(_, options)| {
        !matches!(options.pair, Some(t4_tls_config::PairSource::SelfSigned(_)))
    });
    Tls::load(&security)?;
    auth::load(&config.auth)?;
    Ok(())
}

/// Binds everything that was asked for, before anything is touched on the disk.
fn bind(config: &Config) -> Result<Vec<Listener>, StartError> {
    if config.listen.is_empty() {
        return Err(StartError::NoAddress);
    }
    let client = if config.http_listen.is_empty() { Purpose::Client } else { Purpose::Grpc };
    let all = [
        (&config.listen, client),
        (&config.http_listen, Purpose::Http),
        (&config.metrics_listen, Purpose::Metrics),
    ];
    for (addresses, purpose) in &all {
        let tls = match purpose {
            Purpose::Metrics => &config.security.metrics,
            Purpose::Client | Purpose::Grpc | Purpose::Http => &config.security.client,
        };
        if let Some(address) = addresses.iter().find(|address| address.tls && tls.is_none()) {
            return Err(StartError::NoCertificate { address: address.to_string() });
        }
    }
    let plans = all.into_iter().flat_map(|(addresses, purpose)| plan(addresses, purpose));
    plans.map(|plan| Listener::bind(plan, config.reuse_port)).collect()
}

fn start_shards(
    node: &Node,
    config: Config,
    auth: t4_etcd_api::AuthConfig,
    tls: &Arc<Tls>,
    drain: &watch::Sender<bool>,
    places: &Arc<OnceLock<Arc<Places>>>,
) -> Result<Vec<Shard>, StartError> {
    let api = ApiConfig {
        max_request_bytes: config.max_request_bytes,
        max_txn_ops: config.max_txn_ops,
        watch_progress_notify_interval: config.watch_progress_notify_interval,
        warning_apply_duration: config.warning_apply_duration,
        warning_unary_request_duration: config.warning_unary_request_duration,
        client_memory_bytes: config
            .client_memory_bytes
            .unwrap_or_else(memory_limit::client_memory_bytes),
        auth,
        ..ApiConfig::default()
    };
    let services = t4_etcd_api::services(node.clone(), api);
    let http2 = Arc::new(Http2Stats::default());
    let metrics =
        Arc::new(Metrics::new(&services, tls.clone(), http2.clone(), places.clone(), &config));
    let access = Arc::new(Access::new(&config.security));
    let config = Arc::new(config);
    (0..config.io_threads.max(1))
        .map(|number| {
            let front = Front {
                services: services.clone(),
                // For health and metrics, which are nobody's in particular.
                node: node.on_own_authority(),
                metrics: metrics.clone(),
                access: access.clone(),
                http2: http2.clone(),
                tls: false,
            };
            Shard::start(number, config.clone(), front, drain.subscribe())
                .map_err(StartError::Thread)
        })
        .collect()
}
