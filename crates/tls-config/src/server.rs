//! The listening side: builds a live configuration from options, and performs
//! handshakes.
//!
//! Serves client listeners and peer listeners alike; the options express the
//! difference.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage};
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;

use crate::error::TlsError;
use crate::file_set::FileSet;
use crate::identity::PeerIdentity;
use crate::key_pair::KeyPair;
use crate::live::{Live, Loaded, Outcome, Recipe, ReloadStats};
use crate::names::AllowedNames;
use crate::rejection::{Elsewhere, Failure, Rejection};
use crate::reloader::Reload;
use crate::resolver::{Resolver, SystemResolver};
use crate::revocation::Revoked;
use crate::roots::{LoadedCertificate, Role, Roots};
use crate::san::check_remote_san;
use crate::self_signed::SelfSigned;
use crate::verifier::{ClientVerifier, REFUSED};
use crate::versions::{Protocol, prefers_chacha20};

/// Maximum duration of a handshake, including look-ups of the peer's names
/// (etcd's limit since GHSA-6vch-q96h-7gc3).
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// The location of our own certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairSource {
    /// Two PEM files, written by somebody else.
    Files {
        /// The certificate, followed by those that lead to a root.
        cert: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// Two PEM files, created and renewed here.
    SelfSigned(SelfSigned),
}

impl PairSource {
    pub(crate) fn cert(&self) -> &Path {
        match self {
            PairSource::Files { cert, .. } => cert,
            PairSource::SelfSigned(own) => &own.cert,
        }
    }

    pub(crate) fn key(&self) -> &Path {
        match self {
            PairSource::Files { key, .. } => key,
            PairSource::SelfSigned(own) => &own.key,
        }
    }

    pub(crate) fn load(&self, files: &FileSet, now: SystemTime) -> Result<KeyPair, TlsError> {
        let (cert, key) = (self.cert(), self.key());
        KeyPair::from_pem((cert, files.bytes(cert)), (key, files.bytes(key)), now)
    }

    pub(crate) fn prepare(&self, now: SystemTime) -> Result<(), TlsError> {
        match self {
            PairSource::Files { .. } => Ok(()),
            PairSource::SelfSigned(own) => own.ensure(now).map(drop),
        }
    }
}

/// Options for a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Our own certificate and key.
    pub pair: PairSource,
    /// PEM bundle of the CAs whose clients are accepted. Setting it makes
    /// client certificates mandatory, as in etcd.
    pub client_ca: Option<PathBuf>,
    /// Makes client certificates mandatory; without `client_ca` they are
    /// verified against the system's roots. Default false.
    pub require_client_cert: bool,
    /// Revocation lists, PEM or DER. Default none.
    pub crl: Option<PathBuf>,
    /// The accepted common names; empty, the default: all.
    pub allowed_cns: Vec<String>,
    /// The host names, one of which a client's certificate must have; empty,
    /// the default: no restriction.
    pub allowed_hostnames: Vec<String>,
    /// Whether a client's address must match its certificate's names: for peer
    /// listeners. Default false.
    pub check_remote_san: bool,
    /// TLS versions and cipher suites.
    pub protocol: Protocol,
    /// Application protocols, in order of preference. Default `h2`, `http/1.1`.
    pub alpn: Vec<String>,
}

impl ServerOptions {
    /// Options for a listener without client certificates.
    pub fn new(pair: PairSource) -> Self {
        ServerOptions {
            pair,
            client_ca: None,
            require_client_cert: false,
            crl: None,
            allowed_cns: Vec::new(),
            allowed_hostnames: Vec::new(),
            check_remote_san: false,
            protocol: Protocol::default(),
            alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
        }
    }

    fn wants_client_certs(&self) -> bool {
        self.require_client_cert || self.client_ca.is_some()
    }

    /// Rejects options that contradict each other, or would silently weaken
    /// security.
    fn check(&self) -> Result<(), TlsError> {
        if !self.allowed_cns.is_empty() && !self.allowed_hostnames.is_empty() {
            return Err(TlsError::Options(format!(
                "AllowedCNs and AllowedHostnames are mutually exclusive (cns={:?}, hostnames={:?})",
                self.allowed_cns, self.allowed_hostnames
            )));
        }
        if self.wants_client_certs() {
            return Ok(());
        }
        let idle = [
            (self.crl.is_some(), "a revocation list"),
            (!self.allowed_cns.is_empty(), "a list of allowed common names"),
            (!self.allowed_hostnames.is_empty(), "a list of allowed host names"),
        ];
        match idle.into_iter().find(|(given, _)| *given) {
            Some((_, what)) => Err(TlsError::Options(format!(
                "{what} is given, and would never be looked at: no client certificates are asked for. Require them, or name their CA"
            ))),
            None => Ok(()),
        }
    }
}

impl Recipe for ServerOptions {
    type Product = Product;

    fn paths(&self) -> Vec<PathBuf> {
        let pair = [self.pair.cert().to_owned(), self.pair.key().to_owned()];
        pair.into_iter().chain(self.client_ca.clone()).chain(self.crl.clone()).collect()
    }

    fn prepare(&self, now: SystemTime) -> Result<(), TlsError> {
        self.pair.prepare(now)
    }

    fn build(&self, files: &FileSet, now: SystemTime) -> Result<Loaded<Product>, TlsError> {
        let pair = self.pair.load(files, now)?;
        let mut certificates = pair.certificates().to_vec();
        let clients = self.client_verifier(files, now, &mut certificates)?.map(Arc::new);
        let versions = self.protocol.versions()?;
        let builder = ServerConfig::builder_with_provider(self.protocol.provider()?)
            .with_protocol_versions(&versions)?;
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients) as _),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(pair));
        config.alpn_protocols = self.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        // No session is resumed: a returning client is verified again, against
        // the current CAs and revocations. Go clients do not ask for
        // resumption, and the tickets were a tenth of each handshake
        // (measured).
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let by_client = Arc::new(config.clone());
        config.ignore_client_order = true;
        let product = Product { config: Arc::new(config), by_client, clients };
        Ok(Loaded { product, certificates })
    }
}

impl ServerOptions {
    fn client_verifier(
        &self,
        files: &FileSet,
        now: SystemTime,
        certificates: &mut Vec<LoadedCertificate>,
    ) -> Result<Option<ClientVerifier>, TlsError> {
        if !self.wants_client_certs() {
            return Ok(None);
        }
        let roots = match &self.client_ca {
            Some(path) => {
                let roots = Roots::from_pem(path, files.bytes(path), now)?;
                certificates.extend(roots.loaded_from(path));
                roots
            }
            None => Roots::from_system()?,
        };
        let revoked = match &self.crl {
            Some(path) => Revoked::from_file(path, files.bytes(path), &roots)?,
            None => Revoked::default(),
        };
        let allowed = AllowedNames {
            common_names: self.allowed_cns.clone(),
            hostnames: self.allowed_hostnames.clone(),
        };
        Ok(Some(ClientVerifier::new(roots, revoked, allowed)))
    }
}

/// The result of loading the files.
#[derive(Debug)]
pub(crate) struct Product {
    /// Chooses the suite by our order.
    config: Arc<ServerConfig>,
    /// The same, but chooses by the client's order.
    by_client: Arc<ServerConfig>,
    clients: Option<Arc<ClientVerifier>>,
}

impl Product {
    /// The configuration for a client. Only clients that prefer CHACHA20 decide
    /// the suite: AES is expensive for them, and CHACHA20 costs us little more.
    fn config_for(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let by_client = prefers_chacha20(hello.cipher_suites());
        Arc::clone(if by_client { &self.by_client } else { &self.config })
    }

    /// The identity of the peer on a connection whose handshake is complete and
    /// whose chain, if there is one, was verified.
    fn identify(&self, connection: &ServerConnection) -> PeerIdentity {
        match (&self.clients, connection.peer_certificates()) {
            (Some(clients), Some([leaf, ..])) => clients.already_verified(leaf),
            _ => PeerIdentity::ANONYMOUS,
        }
    }
}

/// A TLS connection, from the side that accepted it.
pub type ServerStream<IO> = tokio_rustls::server::TlsStream<IO>;

/// A live server configuration. Clones share it.
#[derive(Clone, Debug)]
pub struct ServerTls {
    live: Arc<Live<ServerOptions>>,
    resolver: Arc<dyn Resolver>,
}

impl ServerTls {
    /// Reads and checks all files in the options.
    ///
    /// # Errors
    ///
    /// Options that contradict each other; a file that is missing, malformed,
    /// expired or of the wrong kind: the error names the file.
    pub fn load(options: ServerOptions) -> Result<Self, TlsError> {
        Self::load_with_resolver(options, Arc::new(SystemResolver))
    }

    /// Like [`ServerTls::load`], with another resolver of names for
    /// [`ServerOptions::check_remote_san`].
    ///
    /// # Errors
    ///
    /// As for [`ServerTls::load`].
    pub fn load_with_resolver(
        options: ServerOptions,
        resolver: Arc<dyn Resolver>,
    ) -> Result<Self, TlsError> {
        options.check()?;
        let live = Arc::new(Live::load(options, SystemTime::now())?);
        Ok(ServerTls { live, resolver })
    }

    /// The options that it was loaded with.
    pub fn options(&self) -> &ServerOptions {
        self.live.recipe()
    }

    /// The configuration currently in force.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.live.current().product.config)
    }

    /// Performs a handshake with a client, with the current configuration,
    /// within [`HANDSHAKE_LIMIT`]. `remote`: the client's address; `None` for a
    /// Unix socket, where no address can be compared.
    ///
    /// # Errors
    ///
    /// The handshake failed, or the peer may not connect. The transport is then
    /// closed, and nothing of the attempt is kept.
    pub async fn accept<IO>(
        &self,
        io: IO,
        remote: Option<SocketAddr>,
    ) -> Result<(ServerStream<IO>, PeerIdentity), Rejection>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut server_name = None;
        let shaken = self.shake(io, remote, &mut server_name);
        let failure = match tokio::time::timeout(HANDSHAKE_LIMIT, shaken).await {
            Ok(Ok(accepted)) => return Ok(accepted),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::TimedOut,
        };
        Err(Rejection::new(remote, server_name, failure))
    }

    async fn shake<IO>(
        &self,
        io: IO,
        remote: Option<SocketAddr>,
        server_name: &mut Option<String>,
    ) -> Result<(ServerStream<IO>, PeerIdentity), Failure>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
        *server_name = start.client_hello().server_name().map(str::to_owned);
        let product = &self.live.current().product;
        let slot = Arc::default();
        let config = product.config_for(&start.client_hello());
        let shaking = start.into_stream(config);
        let shaken = REFUSED.scope(Arc::clone(&slot), shaking).await;
        let stream = shaken.map_err(|error| match slot.lock().take() {
            Some(refused) => Failure::Refused(Box::new(refused)),
            None => Failure::Io(error),
        })?;
        let identity = product.identify(stream.get_ref().1);
        self.check_origin(&identity, remote).await?;
        Ok((stream, identity))
    }

    async fn check_origin(
        &self,
        identity: &PeerIdentity,
        remote: Option<SocketAddr>,
    ) -> Result<(), Failure> {
        let Some(remote) = remote else { return Ok(()) };
        if !self.options().check_remote_san || !identity.verified {
            return Ok(());
        }
        let (names, addresses) = (&identity.dns_names, &identity.ip_addresses);
        let checked = check_remote_san(names, addresses, remote.ip(), self.resolver.as_ref()).await;
        checked.map_err(|reason| {
            Failure::Elsewhere(Box::new(Elsewhere { identity: identity.clone(), reason }))
        })
    }
}

impl Reload for ServerTls {
    fn look(&self, now: SystemTime, force: bool) -> Outcome {
        self.live.look(now, force)
    }

    fn stats(&self) -> ReloadStats {
        self.live.stats()
    }
}

impl Roots {
    pub(crate) fn loaded_from(&self, path: &Path) -> Vec<LoadedCertificate> {
        let own = |certificate: &crate::certificate::Certificate| LoadedCertificate {
            path: Some(path.to_owned()),
            role: Role::Ca,
            certificate: certificate.clone(),
        };
        self.certificates().iter().map(own).collect()
    }
}
