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
    #[error(
        "cannot listen on {address}: {source}. Is another process using it, or is it not an address of this machine?"
    )]
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
