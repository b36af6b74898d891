//! The identity in a peer's certificate.

use std::net::IpAddr;
use std::time::SystemTime;

use crate::certificate::{Certificate, SerialNumber};

/// The identity of a connection's peer after the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Whether the certificate leads to a trusted root and passed every check.
    /// False only if no certificate was requested or presented: then all other
    /// fields are empty.
    pub verified: bool,
    /// The common name: the user's name where certificates authenticate.
    pub common_name: Option<String>,
    /// The DNS names of the certificate, unchanged.
    pub dns_names: Vec<String>,
    /// The IP addresses of the certificate.
    pub ip_addresses: Vec<IpAddr>,
    /// Its serial number.
    pub serial: Option<SerialNumber>,
    /// When it expires.
    pub not_after: Option<SystemTime>,
}

impl PeerIdentity {
    /// A peer that presented no certificate.
    pub const ANONYMOUS: PeerIdentity = PeerIdentity {
        verified: false,
        common_name: None,
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
        serial: None,
        not_after: None,
    };

    /// The identity that a certificate claims, not yet verified.
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
