//! Why a server does not start.

use std::io;

use thiserror::Error;

/// Why a server does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The node does not open.
    #[error(transparent)]
    Node(#[from] t4_node::OpenError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}. {}", bind_hint(address, source))]
    Bind {
        /// The address.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// An address asks for TLS, and there is no certificate to show.
    #[error("{address} asks for TLS, and no certificate and key were given")]
    NoCertificate {
        /// The address.
        address: String,
    },
    /// TLS cannot be set up as asked for.
    #[error("TLS ({surface}): {source}")]
    Tls {
        /// For whom: `client`, `metrics`, `peer`, or the name of an outgoing
        /// configuration.
        surface: String,
        /// What is wrong with it; names the file.
        source: Box<t4_tls_config::TlsError>,
    },
    /// `--auth-token` is not understood.
    #[error(transparent)]
    Tokens(#[from] t4_auth_rbac::TokenOptionsError),
    /// The keys of `--auth-token jwt,…` cannot be used; names the file.
    #[error(transparent)]
    TokenKeys(#[from] t4_auth_rbac::jwt::KeyError),
    /// The cost of hashes is none that bcrypt takes.
    #[error("a bcrypt cost of {cost} was asked for; it is between 4 and 31")]
    BcryptCost {
        /// What was asked for.
        cost: u32,
    },
    /// There is no address for clients.
    #[error("no address to listen on was given")]
    NoAddress,
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// What to look at; a socket of the file system and a port fail for different
/// reasons.
fn bind_hint(address: &str, source: &io::Error) -> &'static str {
    let is_socket = address.starts_with("unix");
    match source.kind() {
        io::ErrorKind::NotFound if is_socket => {
            "Its directory is missing: make it (systemd: RuntimeDirectory=), or give another path"
        }
        io::ErrorKind::PermissionDenied if is_socket => {
            "This user may not make files in its directory: change its owner, or give another path"
        }
        io::ErrorKind::PermissionDenied => {
            "Ports below 1024 need a privilege (CAP_NET_BIND_SERVICE): give a higher one"
        }
        _ if is_socket => "Is another process using it, or can no socket be made there?",
        io::ErrorKind::AddrInUse => "Another process is using it: stop that one, or give another",
        _ => "Is another process using it, or is it not an address of this machine?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_hint() {
        let told = |address: &str, kind: io::ErrorKind| {
            StartError::Bind { address: address.to_owned(), source: kind.into() }.to_string()
        };
        let missing = told("unix:///run/t4/t4.sock", io::ErrorKind::NotFound);
        assert!(missing.contains("Its directory is missing"), "{missing}");
        let low = told("http://0.0.0.0:80", io::ErrorKind::PermissionDenied);
        assert!(low.contains("CAP_NET_BIND_SERVICE"), "{low}");
        let taken = told("http://0.0.0.0:3379", io::ErrorKind::AddrInUse);
        assert!(taken.contains("Another process is using it"), "{taken}");
        let foreign = told("http://10.9.9.9:3379", io::ErrorKind::AddrNotAvailable);
        assert!(foreign.contains("not an address of this machine"), "{foreign}");
    }
}
