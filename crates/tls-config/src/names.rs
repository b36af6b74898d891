//! The names that a peer's certificate must have: allowed common names and
//! allowed host names. Pure.

use std::net::IpAddr;

use crate::identity::PeerIdentity;

/// The names of peers that may connect, once verified. Empty lists allow every
/// name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AllowedNames {
    /// Common names, compared exactly.
    pub(crate) common_names: Vec<String>,
    /// Host names; one of them must be in the certificate.
    pub(crate) hostnames: Vec<String>,
}

/// Why a verified peer is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameRefused {
    /// The text that etcd's page shows for `--peer-cert-allowed-cn`.
    #[error("CommonName authentication failed")]
    CommonName,
    /// etcd's text for `--client-cert-allowed-hostname`.
    #[error("client certificate authentication failed")]
    Hostname,
}

impl AllowedNames {
    pub(crate) fn check(&self, peer: &PeerIdentity) -> Result<(), NameRefused> {
        let own = peer.common_name.as_deref();
        if !self.common_names.is_empty()
            && !self.common_names.iter().any(|allowed| Some(allowed.as_str()) == own)
        {
            return Err(NameRefused::CommonName);
        }
        let valid_for = |host: &String| is_valid_for(&peer.dns_names, &peer.ip_addresses, host);
        if !self.hostnames.is_empty() && !self.hostnames.iter().any(valid_for) {
            return Err(NameRefused::Hostname);
        }
        Ok(())
    }
}

/// Whether a certificate with these names is valid for `host`, by Go's rules
/// (`x509.Certificate.VerifyHostname`): an IP address must be among the
/// addresses; a name must be among the DNS names, where `*` stands for exactly
/// one label, the first. The common name is not used.
pub(crate) fn is_valid_for(dns_names: &[String], ip_addresses: &[IpAddr], host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return ip_addresses.contains(&address);
    }
    dns_names.iter().any(|pattern| matches_host(pattern, host))
}

fn matches_host(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let (mut pattern, mut host) = (pattern.split('.').peekable(), host.split('.').peekable());
    let mut first = true;
    while let (Some(wanted), Some(own)) = (pattern.next(), host.next()) {
        let wildcard = first && wanted == "*" && pattern.peek().is_some();
        if own.is_empty() || (!wildcard && !wanted.eq_ignore_ascii_case(own)) {
            return false;
        }
        if pattern.peek().is_none() != host.peek().is_none() {
            return false;
        }
        first = false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_as_in_go() {
        for (pattern, host, matches) in [
            ("m1.etcd.local", "m1.etcd.local", true),
            ("m1.etcd.local", "M1.ETCD.LOCAL", true),
            ("m1.etcd.local", "m1.etcd.local.", true),
            ("m1.etcd.local", "m2.etcd.local", false),
            ("*.etcd.local", "m1.etcd.local", true),
            ("*.etcd.local", "a.m1.etcd.local", false),
            ("*.etcd.local", "etcd.local", false),
            ("*.etcd.local", ".etcd.local", false),
            ("m*.etcd.local", "m1.etcd.local", false),
            ("a.*.local", "a.b.local", false),
            ("*", "localhost", false),
            ("", "", false),
            ("localhost", "localhost", true),
        ] {
            assert_eq!(matches_host(pattern, host), matches, "{pattern} {host}");
        }
    }

    #[test]
    fn addresses_match_addresses_only() {
        let address = IpAddr::from([10, 0, 0, 1]);
        assert!(is_valid_for(&[], &[address], "10.0.0.1"));
        assert!(is_valid_for(&[], &["::1".parse().unwrap()], "[::1]"));
        assert!(!is_valid_for(&[], &[address], "10.0.0.2"));
        assert!(!is_valid_for(&["10.0.0.1".to_owned()], &[], "10.0.0.1"));
    }
}
