//! Where a listener is bound, and whether it speaks TLS: `http://`, `https://`,
//! `unix://` and `unixs://`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// What a socket is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SocketAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket at a path.
    Unix(PathBuf),
}

/// Where a listener is bound, and what is spoken there. Two with the same
/// socket, one with TLS and one without, share the port: the first byte of a
/// connection tells them apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenAddress {
    /// Where.
    pub socket: SocketAddress,
    /// Whether clients speak TLS there.
    pub tls: bool,
}

/// Why a text is not an address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{text:?} is not an address to listen on: {why}. Use HOST:PORT with an IP address or localhost, http://HOST:PORT, https://HOST:PORT, unix:///path or unixs:///path"
)]
pub struct AddressError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl ListenAddress {
    /// A TCP address without TLS.
    #[must_use]
    pub fn tcp(address: impl Into<SocketAddr>) -> Self {
        ListenAddress { socket: SocketAddress::Tcp(address.into()), tls: false }
    }

    /// The scheme of its URL.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match (&self.socket, self.tls) {
            (SocketAddress::Tcp(_), false) => "http",
            (SocketAddress::Tcp(_), true) => "https",
            (SocketAddress::Unix(_), false) => "unix",
            (SocketAddress::Unix(_), true) => "unixs",
        }
    }
}

/// Without a scheme it is a TCP address without TLS.
impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let failed = |why| AddressError { text: text.to_owned(), why };
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let tls = matches!(scheme, "https" | "unixs");
        let socket = match scheme {
            "unix" | "unixs" if rest.is_empty() => return Err(failed("the path is missing")),
            "unix" | "unixs" => SocketAddress::Unix(rest.into()),
            "http" | "https" => SocketAddress::Tcp(tcp_address(rest).map_err(failed)?),
            _ => return Err(failed("the scheme is not known")),
        };
        Ok(ListenAddress { socket, tls })
    }
}

fn tcp_address(text: &str) -> Result<SocketAddr, &'static str> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    let port: u16 = port.parse().map_err(|_| "the port is not a number below 65536")?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let ip = match host {
        "localhost" => std::net::Ipv4Addr::LOCALHOST.into(),
        "" => std::net::Ipv6Addr::UNSPECIFIED.into(),
        host => host.parse().map_err(|_| "the host is not an IP address")?,
    };
    Ok(SocketAddr::new(ip, port))
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.socket)
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketAddress::Tcp(address) => write!(f, "{address}"),
            SocketAddress::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str, tls: bool) -> Result<ListenAddress, AddressError> {
        Ok(ListenAddress { tls, ..ListenAddress::tcp(text.parse::<SocketAddr>().unwrap()) })
    }

    #[test]
    fn addresses() {
        assert_eq!("0.0.0.0:3379".parse(), tcp("0.0.0.0:3379", false));
        assert_eq!("http://localhost:1/".parse(), tcp("127.0.0.1:1", false));
        assert_eq!("https://1.2.3.4:5".parse(), tcp("1.2.3.4:5", true));
        assert_eq!("[::1]:5".parse(), tcp("[::1]:5", false));
        assert_eq!(":3379".parse(), tcp("[::]:3379", false));
        for (text, tls) in [("unix:///run/t4", false), ("unixs:///run/t4", true)] {
            let socket = SocketAddress::Unix("/run/t4".into());
            assert_eq!(text.parse(), Ok(ListenAddress { socket, tls }));
        }
        for wrong in ["", "host:1", "1.2.3.4", "1.2.3.4:x", "ftp://1.2.3.4:5", "unix://"] {
            assert!(wrong.parse::<ListenAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_is_shown_as_it_is_read() {
        for text in ["http://127.0.0.1:1", "https://[::1]:2", "unix:///s", "unixs:///s"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
    }
}
