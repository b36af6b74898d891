//! Raw gRPC clients of every etcd service over one connection.

use std::time::Duration;

use anyhow::Context;
use t4_proto::etcdserverpb::cluster_client::ClusterClient;
use t4_proto::etcdserverpb::kv_client::KvClient;
use t4_proto::etcdserverpb::lease_client::LeaseClient;
use t4_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use t4_proto::etcdserverpb::watch_client::WatchClient;
use t4_proto::v3electionpb::election_client::ElectionClient;
use t4_proto::v3lockpb::lock_client::LockClient;
use tonic::transport::{Channel, Endpoint};

// What a Go client accepts: everything.
const RECEIVE_BYTES_MAX: usize = i32::MAX as usize;
const CONNECT_DEADLINE: Duration = Duration::from_secs(20);

/// Clients of one server, all over one HTTP/2 connection. Cloning is cheap and
/// shares the connection.
#[derive(Clone, Debug)]
pub struct Rpc {
    /// The connection, for clients that are not here.
    pub channel: Channel,
    /// Keys and values.
    pub kv: KvClient<Channel>,
    /// Watches.
    pub watch: WatchClient<Channel>,
    /// Leases.
    pub lease: LeaseClient<Channel>,
    /// Members.
    pub cluster: ClusterClient<Channel>,
    /// Status, alarms, hashes.
    pub maintenance: MaintenanceClient<Channel>,
    /// The lock service.
    pub lock: LockClient<Channel>,
    /// The election service.
    pub election: ElectionClient<Channel>,
}

impl Rpc {
    /// Connects to `host:port` without TLS.
    ///
    /// # Errors
    /// When nobody answers there within 20 seconds.
    pub async fn connect(endpoint: &str) -> anyhow::Result<Rpc> {
        let target = Endpoint::from_shared(format!("http://{endpoint}"))?
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_DEADLINE);
        let channel = target.connect().await.with_context(|| format!("connect to {endpoint}"))?;
        Ok(Rpc::over(channel))
    }

    /// Clients over a connection that is there.
    #[must_use]
    pub fn over(channel: Channel) -> Rpc {
        Rpc {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(RECEIVE_BYTES_MAX),
            watch: WatchClient::new(channel.clone()).max_decoding_message_size(RECEIVE_BYTES_MAX),
            lease: LeaseClient::new(channel.clone()).max_decoding_message_size(RECEIVE_BYTES_MAX),
            cluster: ClusterClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel.clone())
                .max_decoding_message_size(RECEIVE_BYTES_MAX),
            lock: LockClient::new(channel.clone()),
            election: ElectionClient::new(channel.clone()),
            channel,
        }
    }
}
