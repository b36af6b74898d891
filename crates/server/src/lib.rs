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
//! Responses leave in one write each (`socket`). A client that does not begin
//! (`opening`), does not answer probes or does not read is cut off or held back.
//!
//! [`Server::stop`] drains: no new connections, no new writes, watch streams
//! end, calls under way finish, then the node closes its log.
//!
//! It knows nothing of flags and files (`t4-cli`) and nothing of etcd's
//! messages (`t4-etcd-api`).
#![doc = include_str!("../README.md")]

mod body;
mod config;
mod error;
mod exposition;
mod front;
mod health;
mod listener;
mod metrics;
mod opening;
mod process;
mod shard;
mod socket;

use std::sync::Arc;

use t4_etcd_api::ApiConfig;
use t4_node::{Closed, Node};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use config::{AddressError, Config, ListenAddress};
pub use error::StartError;
pub use t4_etcd_api::ETCD_VERSION;

use front::Front;
use listener::Listener;
use metrics::Metrics;
use shard::Shard;

/// A running server.
pub struct Server {
    node: Node,
    shards: Arc<Vec<Shard>>,
    accepting: JoinSet<()>,
    drain: watch::Sender<bool>,
    client_addresses: Vec<ListenAddress>,
    metrics_address: Option<ListenAddress>,
}

impl Server {
    /// Binds, opens the node, and serves. Calls are served from when this
    /// returns.
    ///
    /// # Errors
    /// See [`StartError`]; nothing keeps running.
    pub async fn start(node: t4_node::Config, config: Config) -> Result<Server, StartError> {
        let clients = config
            .listen
            .iter()
            .map(|address| Listener::bind(address, false))
            .collect::<Result<Vec<_>, _>>()?;
        if clients.is_empty() {
            return Err(StartError::NoAddress);
        }
        let metrics_listener = config
            .metrics_listen
            .as_ref()
            .map(|address| Listener::bind(address, true))
            .transpose()?;
        let open_files = process::raise_open_files_limit();
        tracing::debug!(open_files, "limit of open files");

        let node = Node::open(node).await?;
        let drain = watch::Sender::new(false);
        let shards = Arc::new(start_shards(&node, config, &drain)?);
        let client_addresses = clients.iter().map(|one| one.address().clone()).collect();
        let metrics_address = metrics_listener.as_ref().map(|one| one.address().clone());
        let mut accepting = JoinSet::new();
        for listener in clients.into_iter().chain(metrics_listener) {
            accepting.spawn(listener.accept(shards.clone(), drain.subscribe()));
        }
        Ok(Server { node, shards, accepting, drain, client_addresses, metrics_address })
    }

    /// Where clients connect, with the ports that the system chose.
    #[must_use]
    pub fn client_addresses(&self) -> &[ListenAddress] {
        &self.client_addresses
    }

    /// Where metrics are served, if they have an address of their own.
    #[must_use]
    pub fn metrics_address(&self) -> Option<&ListenAddress> {
        self.metrics_address.as_ref()
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
        let shards = self.shards;
        let joined = tokio::task::spawn_blocking(move || {
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

fn start_shards(
    node: &Node,
    config: Config,
    drain: &watch::Sender<bool>,
) -> Result<Vec<Shard>, StartError> {
    let api = ApiConfig {
        max_request_bytes: config.max_request_bytes,
        max_txn_ops: config.max_txn_ops,
        watch_progress_notify_interval: config.watch_progress_notify_interval,
        measure_handling_time: config.measure_handling_time,
        ..ApiConfig::default()
    };
    let services = t4_etcd_api::services(node.clone(), api);
    let metrics = Arc::new(Metrics::new(services.stats().clone()));
    let config = Arc::new(config);
    (0..config.io_threads.max(1))
        .map(|number| {
            let front =
                Front { services: services.clone(), node: node.clone(), metrics: metrics.clone() };
            Shard::start(number, config.clone(), front, drain.subscribe())
                .map_err(StartError::Thread)
        })
        .collect()
}
