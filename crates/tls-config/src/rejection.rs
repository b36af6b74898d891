//! Connections that failed, reported in etcd's form.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use rustls::{AlertDescription, Error as RustlsError, InvalidMessage};

use crate::identity::PeerIdentity;
use crate::san::SanRefused;
use crate::server::HANDSHAKE_LIMIT;
use crate::verifier::Refused;

/// Why a connection was rejected. The fields are those of etcd's log line
/// "rejected connection on client endpoint" (or "peer").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The remote address; `None`: a Unix socket.
    pub remote: Option<SocketAddr>,
    /// The requested server name (SNI), if any.
    pub server_name: Option<String>,
    /// The IP addresses in the peer's certificate.
    pub ip_addresses: Vec<IpAddr>,
    /// The DNS names in the peer's certificate.
    pub dns_names: Vec<String>,
    /// The kind of failure.
    pub kind: RejectionKind,
    /// The error, in etcd's and Go's words where they exist.
    pub error: String,
}

/// Kinds of rejections, for metrics and for the log level: etcd logs
/// [`RejectionKind::Closed`] at debug, because port scans and health checks
/// always cause it, and the others at warn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RejectionKind {
    /// The peer closed the connection before the handshake was done.
    Closed,
    /// The handshake took too long.
    TimedOut,
    /// The peer's certificate was missing or rejected.
    Certificate,
    /// The peer rejected us, typically our certificate.
    Remote,
    /// No common version or suite, or no TLS at all.
    Protocol,
}

impl RejectionKind {
    /// The value for metric labels: `closed`, `timed_out`, `certificate`,
    /// `remote`, `protocol`.
    pub fn as_str(self) -> &'static str {
        match self {
            RejectionKind::Closed => "closed",
            RejectionKind::TimedOut => "timed_out",
            RejectionKind::Certificate => "certificate",
            RejectionKind::Remote => "remote",
            RejectionKind::Protocol => "protocol",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl std::error::Error for Rejection {}

/// The cause of a failed handshake.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error of the transport, or of rustls inside an `io::Error`.
    Io(io::Error),
    /// The peer's certificate was rejected.
    Refused(Box<Refused>),
    /// A verified peer whose names do not match its address.
    Elsewhere(Box<Elsewhere>),
    /// The handshake took too long.
    TimedOut,
}

/// A peer that connected from an address that does not match its names.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub(crate) identity: PeerIdentity,
    pub(crate) reason: SanRefused,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

impl Rejection {
    pub(crate) fn new(
        remote: Option<SocketAddr>,
        server_name: Option<String>,
        failure: Failure,
    ) -> Self {
        let (peer, kind, error) = match failure {
            Failure::Refused(refused) => {
                (refused.claimed, RejectionKind::Certificate, refused.reason.to_string())
            }
            Failure::Elsewhere(elsewhere) => {
                let text = elsewhere.reason.to_string();
                (Some(elsewhere.identity), RejectionKind::Certificate, text)
            }
            Failure::TimedOut => {
                let text = format!("handshake not done within {} s", HANDSHAKE_LIMIT.as_secs());
                (None, RejectionKind::TimedOut, text)
            }
            Failure::Io(error) => {
                let (kind, text) = told(&error);
                (None, kind, text)
            }
        };
        let peer = peer.unwrap_or(PeerIdentity::ANONYMOUS);
        let (ip_addresses, dns_names) = (peer.ip_addresses, peer.dns_names);
        Rejection { remote, server_name, ip_addresses, dns_names, kind, error }
    }
}

/// A failed handshake in the words of Go's `crypto/tls`, which etcd's users
/// know and search for.
pub(crate) fn told(error: &io::Error) -> (RejectionKind, String) {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>());
    match inner {
        Some(RustlsError::NoCertificatesPresented) => {
            (RejectionKind::Certificate, "tls: client didn't provide a certificate".to_owned())
        }
        Some(RustlsError::InvalidCertificate(error)) => {
            (RejectionKind::Certificate, format!("tls: failed to verify certificate: {error}"))
        }
        Some(RustlsError::AlertReceived(alert)) => {
            (RejectionKind::Remote, format!("remote error: tls: {}", alert_words(*alert)))
        }
        Some(RustlsError::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        )) => (
            RejectionKind::Protocol,
            "tls: first record does not look like a TLS handshake".to_owned(),
        ),
        Some(error) => (RejectionKind::Protocol, format!("tls: {error}")),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof => (RejectionKind::Closed, "EOF".to_owned()),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                (RejectionKind::Closed, error.to_string())
            }
            _ => (RejectionKind::Protocol, error.to_string()),
        },
    }
}

/// Go's names of the alerts about certificates and versions.
fn alert_words(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::CertificateRequired => "certificate required",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::DecryptError => "error decrypting message",
        other => return format!("{other:?}"),
    };
    words.to_owned()
}
