//! Who a peer's certificate says that it is.

use std::net::IpAddr;
use std::time::SystemTime;

use crate::certificate::{Certificate, SerialNumber};

/// What a connection knows of its peer once the handshake is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Whether the certificate leads to a trusted root and passed every check.
    /// False only where no certificate was asked for or shown: then everything
    /// below is empty.
    pub verified: bool,
    /// The common name: the user's name where certificates authenticate.
    pub common_name: Option<String>,
    /// The DNS names of the certificate, as written.
    pub dns_names: Vec<String>,
    /// The IP addresses of the certificate.
    pub ip_addresses: Vec<IpAddr>,
    /// Its serial number.
    pub serial: Option<SerialNumber>,
    /// When it expires.
    pub not_after: Option<SystemTime>,
}

impl PeerIdentity {
    /// A peer that showed no certificate.
    pub const ANONYMOUS: PeerIdentity = PeerIdentity {
        verified: false,
        common_name: None,
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
        serial: None,
        not_after: None,
    };

    /// What a certificate claims, not yet verified.
    pub(crate) fn claimed(certificate: Certificate) -> Self {
        PeerIdentity {
            verified: false,
            common_name: certificate.common_name,
            dns_names: certificate.dns_names,
            ip_addresses: certificate.ip_addresses,
            serial: Some(certificate.serial),
            not_after: Some(certificate.not_after),
        }
    }
}
