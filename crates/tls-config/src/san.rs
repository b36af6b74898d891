//! Whether a peer connects from an address that its certificate allows: etcd's
//! rules for the subject alternative names of peers (`client/pkg/transport/
//! listener_tls.go`; `reference` section 5.4), with its texts.
//!
//! 1. No names at all: any address is allowed.
//! 2. IP addresses: the remote address may be one of them. If it is not, and
//!    there are no DNS names, the peer is rejected.
//! 3. DNS names: a name of the remote address (reverse look-up) that equals one
//!    of them, or ends with the part after the `*` of one; otherwise an address
//!    of a name that is not a wildcard (forward look-up) that equals the remote
//!    one.
//!
//! Wildcards therefore trust whatever answers reverse look-ups; that is etcd's
//! rule. To avoid it, use `--peer-skip-client-san-verification` or IP
//! addresses.

use std::io;
use std::net::IpAddr;

use crate::resolver::Resolver;

/// Why a peer is rejected; the texts are etcd's and Go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SanRefused {
    /// There are only addresses, and the remote one is not among them.
    #[error("x509: certificate is valid for {}, not {remote}", joined(.valid))]
    Address {
        /// The addresses of the certificate.
        valid: Vec<IpAddr>,
        /// The peer's address.
        remote: IpAddr,
    },
    /// No DNS name leads to the remote address or back.
    #[error("tls: \"{remote}\" does not match any of DNSNames {}{detail}", quoted(.names))]
    Names {
        /// The peer's address.
        remote: IpAddr,
        /// The DNS names of the certificate.
        names: Vec<String>,
        /// The last look-up's error in parentheses, or empty.
        detail: String,
    },
}

fn joined(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("[{}]", quoted.join(","))
}

/// Maximum number of names looked up for one certificate, so that a certificate
/// cannot cause thousands of queries.
const LOOK_UPS_MAX: usize = 64;

/// Checks whether a certificate with these names may connect from `remote`.
///
/// # Errors
///
/// It may not; the text is the one that etcd logs.
pub async fn check_remote_san(
    dns_names: &[String],
    ip_addresses: &[IpAddr],
    remote: IpAddr,
    resolver: &dyn Resolver,
) -> Result<(), SanRefused> {
    let remote = remote.to_canonical();
    if dns_names.is_empty() && ip_addresses.is_empty() {
        return Ok(());
    }
    if ip_addresses.iter().any(|address| address.to_canonical() == remote) {
        return Ok(());
    }
    if dns_names.is_empty() {
        return Err(SanRefused::Address { valid: ip_addresses.to_vec(), remote });
    }
    match leads_to(dns_names, remote, resolver).await {
        Ok(true) => Ok(()),
        missed => Err(SanRefused::Names {
            remote,
            names: dns_names.to_vec(),
            detail: missed.err().map(|error| format!(" ({error})")).unwrap_or_default(),
        }),
    }
}

/// Whether a look-up connects the names and the address; if none does, the last
/// error of those that failed.
async fn leads_to(names: &[String], remote: IpAddr, resolver: &dyn Resolver) -> io::Result<bool> {
    let mut failed = None;
    match resolver.names_of(remote).await {
        Ok(found) if found.iter().any(|name| is_named(names, name)) => return Ok(true),
        Ok(_) => {}
        Err(error) => failed = Some(error),
    }
    for name in names.iter().filter(|name| !name.starts_with("*.")).take(LOOK_UPS_MAX) {
        match resolver.addresses_of(name).await {
            Ok(found) if found.iter().any(|address| address.to_canonical() == remote) => {
                return Ok(true);
            }
            Ok(_) => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(false), Err)
}

/// Whether a name from a reverse look-up is one of the certificate's.
fn is_named(names: &[String], found: &str) -> bool {
    let found = found.strip_suffix('.').unwrap_or(found);
    names.iter().any(|name| match name.strip_prefix('*') {
        Some(rest) if rest.starts_with('.') => found.ends_with(rest),
        _ => name == found,
    })
}
