//! What a connection says about its client.

use std::net::SocketAddr;
use std::sync::Arc;

/// The client of a connection, as far as the connection itself identifies it. Tokens
/// belong to each call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The common name of the verified certificate that the client has shown,
    /// if such a name identifies a user. Default none.
    pub common_name: Option<Arc<str>>,
    /// Where the client is; `None`, the default: on a Unix socket, or in this
    /// process.
    pub address: Option<SocketAddr>,
}
