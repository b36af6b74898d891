//! The connecting side, for connections from a peer to other peers.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::error::TlsError;
use crate::file_set::FileSet;
use crate::live::{Live, Loaded, Outcome, Recipe, ReloadStats};
use crate::rejection::{Failure, Rejection};
use crate::reloader::Reload;
use crate::roots::Roots;
use crate::server::{HANDSHAKE_LIMIT, PairSource};
use crate::verifier::{REFUSED, ServerVerifier};
use crate::versions::Protocol;

/// Options for outgoing connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// PEM bundle of the CAs that servers are verified with; `None`, the
    /// default: the system's roots.
    pub ca: Option<PathBuf>,
    /// The certificate presented to servers that ask for one. Default none.
    pub pair: Option<PairSource>,
    /// The name that servers must have; `None`, the default: the name used to
    /// connect.
    pub server_name: Option<String>,
    /// Trusts every server: only for peers with self-signed certificates
    /// (`--peer-auto-tls`), where TLS encrypts and does not authenticate.
    /// Default false.
    pub insecure_skip_verify: bool,
    /// TLS versions and cipher suites.
    pub protocol: Protocol,
    /// Application protocols, in order of preference. Default `h2`.
    pub alpn: Vec<String>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            ca: None,
            pair: None,
            server_name: None,
            insecure_skip_verify: false,
            protocol: Protocol::default(),
            alpn: vec!["h2".to_owned()],
        }
    }
}

impl ClientOptions {
    fn check(&self) -> Result<(), TlsError> {
        if self.insecure_skip_verify && self.ca.is_some() {
            return Err(TlsError::Options(
                "a CA file is given, and would never be looked at: servers are not verified"
                    .to_owned(),
            ));
        }
        if let Some(name) = &self.server_name {
            parse_name(name).map_err(TlsError::Options)?;
        }
        Ok(())
    }
}

fn parse_name(name: &str) -> Result<ServerName<'static>, String> {
    // URLs write IPv6 addresses in brackets.
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    ServerName::try_from(bare.to_owned())
        .map_err(|_| format!("{name:?} is neither a DNS name nor an IP address"))
}

impl Recipe for ClientOptions {
    type Product = Arc<ClientConfig>;

    fn paths(&self) -> Vec<PathBuf> {
        let pair = self.pair.iter().flat_map(|pair| [pair.cert().into(), pair.key().into()]);
        pair.chain(self.ca.clone()).collect()
    }

    fn prepare(&self, now: SystemTime) -> Result<(), TlsError> {
        self.pair.as_ref().map_or(Ok(()), |pair| pair.prepare(now))
    }

    fn build(&self, files: &FileSet, now: SystemTime) -> Result<Loaded<Self::Product>, TlsError> {
        let mut certificates = Vec::new();
        let roots = match &self.ca {
            _ if self.insecure_skip_verify => None,
            Some(path) => {
                let roots = Roots::from_pem(path, files.bytes(path), now)?;
                certificates.extend(roots.loaded_from(path));
                Some(roots)
            }
            None => Some(Roots::from_system()?),
        };
        let versions = self.protocol.versions()?;
        let builder = ClientConfig::builder_with_provider(self.protocol.provider()?)
            .with_protocol_versions(&versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerVerifier { roots }));
        let mut config = match &self.pair {
            Some(pair) => {
                let pair = pair.load(files, now)?;
                certificates.extend(pair.certificates().iter().cloned());
                builder.with_client_cert_resolver(Arc::new(pair))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        Ok(Loaded { product: Arc::new(config), certificates })
    }
}

/// A TLS connection, from the side that opened it.
pub type ClientStream<IO> = tokio_rustls::client::TlsStream<IO>;

/// A live client configuration. Clones share it.
#[derive(Clone, Debug)]
pub struct ClientTls {
    live: Arc<Live<ClientOptions>>,
}

impl ClientTls {
    /// Reads and checks all files in the options.
    ///
    /// # Errors
    ///
    /// Options that contradict each other; a file that is missing, malformed,
    /// expired or of the wrong kind: the error names the file.
    pub fn load(options: ClientOptions) -> Result<Self, TlsError> {
        options.check()?;
        Ok(ClientTls { live: Arc::new(Live::load(options, SystemTime::now())?) })
    }

    /// The options that it was loaded with.
    pub fn options(&self) -> &ClientOptions {
        self.live.recipe()
    }

    /// The configuration currently in force.
    pub fn current(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.live.current().product)
    }

    /// Performs a handshake with the server at the other end of `io`, with the
    /// current configuration, within [`HANDSHAKE_LIMIT`]. `name`: the DNS name
    /// or IP address used to connect, unless the options name another.
    ///
    /// # Errors
    ///
    /// The handshake failed, or the server's certificate is not for that name.
    pub async fn connect<IO>(&self, io: IO, name: &str) -> Result<ClientStream<IO>, Rejection>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.options().server_name.as_deref().unwrap_or(name);
        let rejected = |failure| Rejection::new(None, Some(name.to_owned()), failure);
        let server_name = parse_name(name)
            .map_err(|why| rejected(io::Error::new(io::ErrorKind::InvalidInput, why).into()))?;
        let slot = Arc::default();
        let shaking = TlsConnector::from(self.current()).connect(server_name, io);
        let shaking = REFUSED.scope(Arc::clone(&slot), shaking);
        match tokio::time::timeout(HANDSHAKE_LIMIT, shaking).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(rejected(match slot.lock().take() {
                Some(refused) => Failure::Refused(Box::new(refused)),
                None => Failure::Io(error),
            })),
            Err(_) => Err(rejected(Failure::TimedOut)),
        }
    }
}

impl Reload for ClientTls {
    fn look(&self, now: SystemTime, force: bool) -> Outcome {
        self.live.look(now, force)
    }

    fn stats(&self) -> ReloadStats {
        self.live.stats()
    }
}
