//! A server to attack, T4 or a real etcd, and how it is reached: in plain text
//! or over TLS.

use std::sync::Arc;

use anyhow::Context;
use t4_testkit::{
    Etcd, EtcdOptions, Memory, PairFiles, Rpc, Scratch, T4, T4Options, TestAuthority,
};
use t4_tls_config::{ClientOptions, ClientTls, KeyType};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
}

impl Transport {
    pub(crate) const ALL: [Transport; 2] = [Transport::Plain, Transport::Tls];

    /// In this transport, a T4 with these options.
    pub(crate) fn t4(self, options: T4Options) -> (T4, Target) {
        let (shown, tls) = self.certificates();
        let t4 = T4::start(T4Options { tls: shown, ..options }).expect("start t4");
        let target = Target { endpoint: t4.endpoint().to_owned(), tls };
        (t4, target)
    }

    /// In this transport, a real etcd with these options.
    pub(crate) fn etcd(self, options: EtcdOptions) -> (Etcd, Target) {
        let (tls, client) = self.certificates();
        let etcd = Etcd::start(EtcdOptions { tls, ..options }).expect("start etcd");
        let target = Target { endpoint: etcd.endpoint().to_owned(), tls: client };
        (etcd, target)
    }

    /// What a server there shows, and how it is reached.
    pub(crate) fn target(self, endpoint: &str) -> (Option<PairFiles>, Target) {
        let (shown, tls) = self.certificates();
        (shown, Target { endpoint: endpoint.to_owned(), tls })
    }

    /// What the server shows, and what its clients trust.
    fn certificates(self) -> (Option<PairFiles>, Option<Arc<Trust>>) {
        if self == Transport::Plain {
            return (None, None);
        }
        let scratch = Scratch::new("hostile-tls").expect("scratch");
        let ca = TestAuthority::create(&scratch.join("ca"), KeyType::EcdsaP256).expect("a CA");
        let shown = ca.server().expect("a server's pair");
        let options = ClientOptions { ca: Some(ca.cert()), ..ClientOptions::default() };
        let client = ClientTls::load(options).expect("a client");
        (Some(shown), Some(Arc::new(Trust { client, _files: scratch })))
    }
}

/// A client's TLS, and the files of it and of its server.
struct Trust {
    client: ClientTls,
    _files: Scratch,
}

/// Where a server is, and how it is spoken to. Clones are cheap.
#[derive(Clone)]
pub(crate) struct Target {
    endpoint: String,
    tls: Option<Arc<Trust>>,
}

impl From<&str> for Target {
    /// In plain text.
    fn from(endpoint: &str) -> Target {
        Target { endpoint: endpoint.to_owned(), tls: None }
    }
}

impl From<&Target> for Target {
    fn from(target: &Target) -> Target {
        target.clone()
    }
}

/// A connection on which any bytes can be sent.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Target {
    /// Its `host:port`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A connection of bytes.
    pub(crate) async fn stream(&self) -> anyhow::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(&self.endpoint).await.context("connect")?;
        Ok(match &self.tls {
            Some(tls) => Box::new(tls.client.connect(stream, "127.0.0.1").await.context("TLS")?),
            None => Box::new(stream),
        })
    }

    /// Well-behaved clients.
    pub(crate) async fn rpc(&self) -> Rpc {
        self.try_rpc().await.expect("connect")
    }

    /// The same, of a server that may have been ended.
    pub(crate) async fn try_rpc(&self) -> anyhow::Result<Rpc> {
        match &self.tls {
            Some(tls) => Rpc::connect_tls(&self.endpoint, &tls.client).await,
            None => Rpc::connect(&self.endpoint).await,
        }
    }
}

/// A server whose kind does not matter.
pub(crate) enum Server {
    T4(T4),
    Etcd(Etcd),
}

impl Server {
    pub(crate) fn memory(&self) -> Memory {
        match self {
            Server::T4(t4) => t4.memory(),
            Server::Etcd(etcd) => etcd.memory(),
        }
    }
}
