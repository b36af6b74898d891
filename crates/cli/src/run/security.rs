//! The settings for TLS, hosts and origins: plain data that both command lines,
//! T4's and etcd's, are converted into.

use std::path::{Path, PathBuf};

use t4_server::{ListenAddress, SocketAddress};
use t4_tls_config::{ClientOptions, PairSource, Protocol, SelfSigned, ServerOptions, TlsError};

pub(crate) use t4_tls_config::TlsVersion;

use super::notice::Notices;

/// All security settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Security {
    /// The ports of clients, and metrics over https.
    pub(crate) client: Surface,
    /// The port of peers.
    pub(crate) peer: Surface,
    pub(crate) versions: Versions,
    /// TLS versions for peers.
    pub(crate) peer_versions: Versions,
    /// By IANA's or Go's names; empty: all that are safe.
    pub(crate) cipher_suites: Vec<String>,
    /// Validity of generated certificates, in years of 365 days. Default 1.
    pub(crate) self_signed_years: u32,
    /// Hosts that plain HTTP requests may name; empty: all.
    pub(crate) host_whitelist: Vec<String>,
    /// Origins that browsers may send requests from; empty: all.
    pub(crate) cors: Vec<String>,
}

/// One side that faces the network: clients or peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Surface {
    /// The certificate it presents as a server.
    pub(crate) pair: Option<Pair>,
    /// The certificate it presents as a client; `None`: `pair`.
    pub(crate) outgoing: Option<Pair>,
    /// The CAs that may sign the other side's certificates. If set, a
    /// certificate is mandatory.
    pub(crate) ca: Option<PathBuf>,
    /// A certificate is mandatory, and its common name identifies the caller.
    pub(crate) cert_auth: bool,
    /// Revoked certificates.
    pub(crate) crl: Option<PathBuf>,
    /// Common names that the other side may have; empty: all.
    pub(crate) allowed_cns: Vec<String>,
    /// Hosts, one of which the other side's certificate must be for; empty: no
    /// restriction.
    pub(crate) allowed_hostnames: Vec<String>,
    /// Generate a certificate if there is none.
    pub(crate) auto: bool,
    /// Do not compare the certificate of the other side with its address.
    pub(crate) skip_san_check: bool,
}

/// A certificate and its key, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// TLS versions that are enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) min: TlsVersion,
    pub(crate) max: TlsVersion,
}

impl Default for Security {
    fn default() -> Self {
        Security {
            client: Surface::default(),
            peer: Surface::default(),
            versions: Versions::default(),
            peer_versions: Versions::default(),
            cipher_suites: Vec::new(),
            self_signed_years: 1,
            host_whitelist: Vec::new(),
            cors: Vec::new(),
        }
    }
}

impl Default for Versions {
    fn default() -> Self {
        Versions { min: TlsVersion::Tls12, max: TlsVersion::Tls13 }
    }
}

impl Surface {
    /// Whether it can use TLS.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.pair.is_some() || self.auto
    }

    /// Whether its certificate is generated.
    pub(crate) fn makes(&self) -> bool {
        self.pair.is_none() && self.auto
    }

    /// Whether the other side must present a certificate.
    pub(crate) fn asks_for_certificates(&self) -> bool {
        self.ca.is_some() || self.cert_auth
    }
}

impl Security {
    /// Converts the settings for the server.
    ///
    /// # Errors
    /// TLS rejects the options; the files are not read yet.
    pub(crate) fn for_server(
        self,
        node: &t4_node::Config,
        server: &t4_server::Config,
    ) -> Result<t4_server::Security, TlsError> {
        let hosts = hosts(server.listen.iter().chain(&server.http_listen), node);
        let protocol = self.protocol(self.versions);
        let client = self.client.server_options(
            &protocol,
            &fixtures(node, "client"),
            hosts,
            self.self_signed_years,
        )?;
        // Metrics use the same files; clients that connect there are compared
        // with their certificate, like peers.
        let speaks_tls = server.metrics_listen.iter().any(|address| address.tls);
        let metrics = client.clone().filter(|_| speaks_tls).map(|client| ServerOptions {
            check_remote_san: !self.client.skip_san_check,
            ..client
        });
        let protocol = self.protocol(self.peer_versions);
        let hosts = peer_hosts(node);
        let dir = fixtures(node, "peer");
        let peer = self.peer.server_options(&protocol, &dir, hosts, self.self_signed_years)?;
        let peer =
            peer.map(|peer| ServerOptions { check_remote_san: !self.peer.skip_san_check, ..peer });
        let mut outgoing = Vec::new();
        if let Some(peer) = &peer {
            let to_peers = self.peer.client_options(&protocol, &peer.pair);
            outgoing.push(("peer-client".to_owned(), to_peers));
        }
        if let Some(pair) = &self.client.outgoing {
            let pair = PairSource::from(pair.clone());
            let options = self.client.client_options(&self.protocol(self.versions), &pair);
            outgoing.push(("client-client".to_owned(), options));
        }
        Ok(t4_server::Security {
            client,
            metrics,
            peer,
            outgoing,
            common_name_is_user: self.client.cert_auth,
            host_whitelist: self.host_whitelist,
            cors: self.cors,
        })
    }

    /// Settings that may mean something else than intended, as in Go.
    pub(crate) fn notices(&self) -> Notices {
        let mut notices = Notices::default();
        let chosen: Vec<&str> = self.cipher_suites.iter().map(String::as_str).collect();
        let (of_tls12, of_tls13): (Vec<&str>, Vec<&str>) =
            chosen.into_iter().partition(|suite| is_of_tls12(suite));
        if of_tls13.is_empty() {
            return notices;
        }
        let mut text = format!(
            "--cipher-suites: the suites of TLS 1.3 cannot be chosen, and naming {} changes nothing \
             about them",
            of_tls13.join(", ")
        );
        if of_tls12.is_empty() && self.versions.max == TlsVersion::Tls13 {
            text.push_str(
                "; no suite of TLS 1.2 is named, so it is off: name one, or, if that is what is \
                 meant, give --tls-min-version TLS1.3 instead",
            );
        }
        notices.warn("cipher-suites", text);
        notices
    }

    fn protocol(&self, versions: Versions) -> Protocol {
        // TLS 1.3 has its own suites.
        let has_tls12 = versions.min == TlsVersion::Tls12;
        let cipher_suites = if has_tls12 { self.cipher_suites.clone() } else { Vec::new() };
        Protocol { min_version: versions.min, max_version: Some(versions.max), cipher_suites }
    }
}

impl Surface {
    fn server_options(
        &self,
        protocol: &Protocol,
        dir: &Path,
        hosts: Vec<String>,
        years: u32,
    ) -> Result<Option<ServerOptions>, TlsError> {
        let pair = match &self.pair {
            Some(pair) => PairSource::from(pair.clone()),
            None if self.auto => PairSource::SelfSigned(SelfSigned::in_dir(dir, hosts, years)?),
            None => return Ok(None),
        };
        Ok(Some(ServerOptions {
            client_ca: self.ca.clone(),
            require_client_cert: self.cert_auth,
            crl: self.crl.clone(),
            allowed_cns: self.allowed_cns.clone(),
            allowed_hostnames: self.allowed_hostnames.clone(),
            protocol: protocol.clone(),
            ..ServerOptions::new(pair)
        }))
    }

    /// Options for connections to servers of its kind, to which `own` is
    /// presented unless there is a separate certificate.
    fn client_options(&self, protocol: &Protocol, own: &PairSource) -> ClientOptions {
        let pair = self.outgoing.clone().map_or_else(|| own.clone(), PairSource::from);
        ClientOptions {
            ca: self.ca.clone().filter(|_| !self.auto),
            pair: Some(pair),
            // Generated certificates are not signed by a CA.
            insecure_skip_verify: self.auto,
            protocol: protocol.clone(),
            ..ClientOptions::default()
        }
    }
}

impl From<Pair> for PairSource {
    fn from(Pair { cert, key }: Pair) -> Self {
        PairSource::Files { cert, key }
    }
}

/// IANA's names of older suites name a key exchange `WITH` a cipher; those of
/// TLS 1.3 name only the cipher.
pub(super) fn is_of_tls12(suite: &str) -> bool {
    suite.contains("_WITH_")
}

/// The directory in which etcd keeps generated certificates.
fn fixtures(node: &t4_node::Config, surface: &str) -> PathBuf {
    node.data_dir.join("fixtures").join(surface)
}

/// The hosts for which a client-facing certificate is generated: where clients
/// connect.
fn hosts<'a>(
    listen: impl Iterator<Item = &'a ListenAddress>,
    node: &t4_node::Config,
) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for address in listen {
        let SocketAddress::Tcp(socket) = &address.socket else { continue };
        hosts.push(socket.ip().to_string());
        if socket.ip().is_loopback() {
            hosts.push("localhost".to_owned());
        }
    }
    hosts.extend(node.advertise_client_urls.iter().filter_map(|url| host_of(url)));
    distinct(hosts)
}

fn peer_hosts(node: &t4_node::Config) -> Vec<String> {
    distinct(node.advertise_peer_urls.iter().filter_map(|url| host_of(url)).collect())
}

fn distinct(mut hosts: Vec<String>) -> Vec<String> {
    hosts.sort_unstable();
    hosts.dedup();
    if hosts.is_empty() { vec!["localhost".to_owned()] } else { hosts }
}

fn host_of(url: &str) -> Option<String> {
    let (scheme, authority) = url.split_once("://")?;
    let (host, _) = authority.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (scheme.starts_with("http") && !host.is_empty()).then(|| host.to_owned())
}

/// A `*` among the names allows all, which an empty list stands for.
pub(crate) fn allowed(names: Vec<String>) -> Vec<String> {
    if names.iter().any(|name| name == "*") { Vec::new() } else { names }
}
