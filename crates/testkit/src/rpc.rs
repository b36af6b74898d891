//! Raw gRPC clients of every etcd service over one connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::Context;
use hyper_util::rt::TokioIo;
use t4_proto::etcdserverpb::cluster_client::ClusterClient;
use t4_proto::etcdserverpb::kv_client::KvClient;
use t4_proto::etcdserverpb::lease_client::LeaseClient;
use t4_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use t4_proto::etcdserverpb::watch_client::WatchClient;
use t4_proto::v3electionpb::election_client::ElectionClient;
use t4_proto::v3lockpb::lock_client::LockClient;
use t4_tls_config::{ClientStream, ClientTls};
use tokio::net::TcpStream;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

// As large as a Go client accepts: no limit.
const RECEIVE_BYTES_MAX: usize = i32::MAX as usize;
const CONNECT_DEADLINE: Duration = Duration::from_secs(20);

/// Clients of one server, all over one HTTP/2 connection. Cloning is cheap and
/// shares the connection.
#[derive(Clone, Debug)]
pub struct Rpc {
    /// The connection, for clients that this struct does not have.
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
    /// When there is no answer within 20 seconds.
    pub async fn connect(endpoint: &str) -> anyhow::Result<Rpc> {
        let target = Endpoint::from_shared(format!("http://{endpoint}"))?
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_DEADLINE);
        let channel = target.connect().await.with_context(|| format!("connect to {endpoint}"))?;
        Ok(Rpc::over(channel))
    }

    /// Connects to `host:port` with TLS. A lost connection is reopened with the
    /// configuration that is current then.
    ///
    /// # Errors
    /// When there is no answer within 20 seconds, or the handshake fails.
    pub async fn connect_tls(endpoint: &str, tls: &ClientTls) -> anyhow::Result<Rpc> {
        let target =
            Endpoint::from_shared(format!("https://{endpoint}"))?.connect_timeout(CONNECT_DEADLINE);
        let connector = TlsConnector { tls: tls.clone() };
        let channel = target.connect_with_connector(connector).await;
        Ok(Rpc::over(channel.with_context(|| format!("connect to {endpoint} with TLS"))?))
    }

    /// Clients over an existing connection.
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

/// Opens the connections of a channel, with the TLS of `t4-tls-config` instead
/// of tonic's own, which would be a second path to rustls.
#[derive(Clone, Debug)]
struct TlsConnector {
    tls: ClientTls,
}

impl Service<Uri> for TlsConnector {
    type Response = TokioIo<ClientStream<TcpStream>>;
    type Error = anyhow::Error;
    type Future = Pin<Box<dyn Future<Output = anyhow::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<anyhow::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move {
            let authority = target.authority().context("an endpoint has an authority")?;
            let socket = TcpStream::connect(authority.as_str()).await?;
            socket.set_nodelay(true)?;
            Ok(TokioIo::new(tls.connect(socket, authority.host()).await?))
        })
    }
}
