//! What a server can be told about TLS and about who may ask: plain data with
//! documented defaults.

use t4_tls_config::{ClientOptions, ServerOptions};

/// TLS, and the rules for HTTP requests.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// TLS towards clients; needed where an address asks for it. Default none.
    pub client: Option<ServerOptions>,
    /// TLS of the addresses of metrics. Default none.
    pub metrics: Option<ServerOptions>,
    /// TLS of the port of peers. It is loaded, checked and followed; the port
    /// itself comes with the cluster. Default none.
    pub peer: Option<ServerOptions>,
    /// TLS of connections that this server opens, by a name for the log and the
    /// metrics. Loaded, checked and followed likewise. Default none.
    pub outgoing: Vec<(String, ClientOptions)>,
    /// Whether the common name of a client's certificate tells who calls, where
    /// authentication is enabled and the call has no token. Default no.
    pub common_name_is_user: bool,
    /// Hosts that HTTP requests without TLS may name; empty, the default: all.
    pub host_whitelist: Vec<String>,
    /// Origins that browsers may send requests from; empty, the default: all.
    pub cors: Vec<String>,
}
