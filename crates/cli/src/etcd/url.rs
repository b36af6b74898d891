//! URLs in etcd's syntax, with its error messages (reference: etcd's
//! `types.NewURLs`, `checkBindURLs`, `checkHostURLs`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use t4_server::{ListenAddress, SocketAddress};

/// A listen URL or an advertised URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Url {
    scheme: &'static str,
    /// `host:port`, or the path of a socket. Checked by `parse`.
    rest: String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.rest)
    }
}

/// Parses a URL.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let scheme = match scheme {
        "http" => "http",
        "https" => "https",
        "unix" => "unix",
        "unixs" => "unixs",
        _ => return Err(format!("URL scheme must be http, https, unix, or unixs: {text}")),
    };
    let rest = if scheme.starts_with("http") { authority(rest, text)? } else { path(rest, text)? };
    Ok(Url { scheme, rest: rest.to_owned() })
}

fn authority<'a>(rest: &'a str, text: &str) -> Result<&'a str, String> {
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let wrong = || format!(r#"URL address does not have the form "host:port": {text}"#);
    let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
    let is_port = port.parse::<u16>().is_ok() && !port.starts_with('+');
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_host = match host.strip_prefix('[') {
        Some(ip) => ip.strip_suffix(']').is_some_and(|ip| ip.parse::<IpAddr>().is_ok()),
        None => host.chars().all(allowed),
    };
    if !is_port || !is_host {
        return Err(wrong());
    }
    if path.is_empty() {
        Ok(authority)
    } else {
        Err(format!("URL must not contain a path: {text}"))
    }
}

fn path<'a>(rest: &'a str, text: &str) -> Result<&'a str, String> {
    if rest.is_empty() { Err(format!("URL has no path of a socket: {text}")) } else { Ok(rest) }
}

impl Url {
    pub(super) fn tls(&self) -> bool {
        matches!(self.scheme, "https" | "unixs")
    }

    fn is_socket(&self) -> bool {
        matches!(self.scheme, "unix" | "unixs")
    }

    /// Host, without brackets, and port; `None`: a socket's path.
    pub(super) fn host_and_port(&self) -> Option<(&str, u16)> {
        if self.is_socket() {
            return None;
        }
        let (host, port) = self.rest.rsplit_once(':')?;
        Some((host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
    }

    /// The address to listen on: no names except localhost.
    pub(super) fn listen_address(&self) -> Result<ListenAddress, String> {
        let socket = match self.host_and_port() {
            None => SocketAddress::Unix(self.rest.clone().into()),
            Some((host, port)) => {
                let ip = match host {
                    "localhost" => Ipv4Addr::LOCALHOST.into(),
                    host => host
                        .parse()
                        .map_err(|_| format!("expected IP in URL for binding ({self})"))?,
                };
                SocketAddress::Tcp(SocketAddr::new(ip, port))
            }
        };
        Ok(ListenAddress { socket, tls: self.tls() })
    }

    /// Whether it can be advertised.
    pub(super) fn check_host(&self) -> Result<(), String> {
        match self.host_and_port() {
            Some(("", _)) => Err(format!("unexpected empty host ({self})")),
            _ => Ok(()),
        }
    }

    /// The same URL with another host and port.
    pub(super) fn with_host(&self, host: &str, port: u16) -> Url {
        Url { scheme: self.scheme, rest: format!("{host}:{port}") }
    }

    pub(super) fn scheme(&self) -> &'static str {
        self.scheme
    }
}

/// Several URLs in etcd's format.
pub(super) fn joined(urls: &[Url]) -> String {
    urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        parse(text).expect_err(text)
    }

    fn bound(text: &str) -> Result<String, String> {
        parse(text).expect(text).listen_address().map(|address| address.to_string())
    }

    #[test]
    fn sound_ones_are_shown_as_written() {
        for text in ["http://a.b:1", "https://[::1]:2", "unix:///s", "unixs://s:1", "http://:2379"]
        {
            assert_eq!(parse(text).map(|url| url.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(parse(" http://a:1 ").map(|url| url.to_string()).as_deref(), Ok("http://a:1"));
    }

    #[test]
    fn wrong_ones_are_told_in_etcds_words() {
        for text in ["", "a:1", "ftp://a:1", "HTTP://a:1"] {
            assert_eq!(
                told(text),
                format!("URL scheme must be http, https, unix, or unixs: {text}")
            );
        }
        for text in
            ["http://a", "http://a:x", "http://a:70000", "http://a b:1", "http://::1:5", "http://"]
        {
            let expected = format!("URL address does not have the form \"host:port\": {text}");
            assert_eq!(told(text), expected);
        }
        assert_eq!(told("http://a:1/"), "URL must not contain a path: http://a:1/");
        assert!(parse("unix://").is_err());
    }

    #[test]
    fn listeners_have_addresses_and_no_names() {
        assert_eq!(bound("http://localhost:1").as_deref(), Ok("http://127.0.0.1:1"));
        assert_eq!(bound("https://[::]:1").as_deref(), Ok("https://[::]:1"));
        assert_eq!(bound("unixs:///s").as_deref(), Ok("unixs:///s"));
        let told = "expected IP in URL for binding (http://a.example:1)";
        assert_eq!(bound("http://a.example:1"), Err(told.to_owned()));
        assert!(bound("http://:1").is_err());
    }

    #[test]
    fn a_host_is_needed_where_others_are_told() {
        let empty = parse("http://:1").expect("a URL").check_host();
        assert_eq!(empty, Err("unexpected empty host (http://:1)".to_owned()));
        assert!(parse("unix:///s").expect("a URL").check_host().is_ok());
    }
}
