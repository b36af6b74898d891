//! What a connection says of who calls on it.

use std::net::SocketAddr;
use std::sync::Arc;

/// Who is at the other end of a connection, as far as the connection itself
/// shows it. Tokens are each call's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The common name of the verified certificate that the client has shown,
    /// if such a name tells who calls. Default none.
    pub common_name: Option<Arc<str>>,
    /// Where the client is; `None`, the default: on a Unix socket, or in this
    /// process.
    pub address: Option<SocketAddr>,
}
