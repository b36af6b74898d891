//! What was asked for in the way of TLS, hosts and origins: plain data that
//! both command lines, T4's and etcd's, are turned into.

use std::path::PathBuf;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Security {
    /// The ports of clients, and metrics over https.
    pub(crate) client: Surface,
    /// The port of peers.
    pub(crate) peer: Surface,
    pub(crate) versions: Versions,
    /// By IANA's or Go's names; empty: all that are safe.
    pub(crate) cipher_suites: Vec<String>,
    /// How long a certificate of ours is valid, in years of 365 days. Default 1.
    pub(crate) self_signed_years: u32,
    /// Hosts that plain HTTP requests may name; empty: all.
    pub(crate) host_whitelist: Vec<String>,
    /// Origins that browsers may send requests from; empty: all.
    pub(crate) cors: Vec<String>,
}

/// One side that faces the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Surface {
    /// What it shows of itself.
    pub(crate) pair: Option<Pair>,
    /// What it shows where it is the client; `None`: `pair`.
    pub(crate) outgoing: Option<Pair>,
    /// Who may sign the certificates of the other side. Given, a certificate
    /// is mandatory.
    pub(crate) ca: Option<PathBuf>,
    /// A certificate is mandatory, and its common name is who calls.
    pub(crate) cert_auth: bool,
    /// Certificates that were revoked.
    pub(crate) crl: Option<PathBuf>,
    /// Common names that the other side may have; empty: all.
    pub(crate) allowed_cns: Vec<String>,
    /// Hosts that the certificate of the other side must be for one of; empty:
    /// it need not.
    pub(crate) allowed_hostnames: Vec<String>,
    /// Make a certificate if there is none.
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

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TlsVersion {
    Tls12,
    Tls13,
}

/// Which versions are spoken.
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
    /// Whether it can speak TLS.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.pair.is_some() || self.auto
    }
}

/// `*` among the names allows all, which an empty list stands for.
pub(crate) fn allowed(names: Vec<String>) -> Vec<String> {
    if names.iter().any(|name| name == "*") { Vec::new() } else { names }
}
