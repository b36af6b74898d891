//! Addresses to listen on, and URLs to advertise.

use t4_server::ListenAddress;

/// An address to listen on, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    /// Without TLS if there was no scheme.
    address: ListenAddress,
    has_scheme: bool,
}

impl Listen {
    /// The address; one written without a scheme uses TLS if `by_default`.
    pub(crate) fn address(self, by_default: bool) -> ListenAddress {
        let tls = if self.has_scheme { self.address.tls } else { by_default };
        ListenAddress { tls, ..self.address }
    }
}

/// An address to listen on.
pub(crate) fn listen(text: &str) -> Result<Listen, String> {
    let address = text.parse().map_err(|error: t4_server::AddressError| {
        format!(
            "{}; use HOST:PORT with an IP address or localhost, http://HOST:PORT, \
             https://HOST:PORT, unix:///PATH or unixs:///PATH",
            error.why
        )
    })?;
    Ok(Listen { address, has_scheme: text.contains("://") })
}

/// The same for metrics; empty or `off`: none. The word is for the environment,
/// where empty means unset.
pub(crate) fn metrics(text: &str) -> Result<Option<ListenAddress>, String> {
    match text {
        "" | "off" => Ok(None),
        text => match listen(text) {
            // Metrics are plain text unless TLS is requested: the scraper may
            // not know the certificate of the client port.
            Ok(listen) => Ok(Some(listen.address(false))),
            Err(why) => Err(format!("{why}; an empty value or off switches it off")),
        },
    }
}

/// An advertised URL: etcd's clients expect scheme, host and port, and nothing
/// else.
pub(crate) fn advertised_url(text: &str) -> Result<String, String> {
    let refused = |why: &str| Err(format!("{why}; use http://HOST:PORT or https://HOST:PORT"));
    let Some((scheme, rest)) = text.split_once("://") else {
        return refused("the scheme is missing");
    };
    match scheme {
        "http" | "https" => {}
        "unix" | "unixs" if !rest.is_empty() => return Ok(text.to_owned()),
        _ => return refused("the scheme is not known"),
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let Some((host, port)) = authority.rsplit_once(':') else {
        return refused("the port is missing");
    };
    if port.parse::<u16>().map_or(true, |port| port == 0) {
        return refused("the port is not a number from 1 to 65535");
    }
    if !is_host(host) {
        return refused("the host is not a name or an IP address");
    }
    Ok(format!("{scheme}://{authority}"))
}

pub(super) fn is_host(host: &str) -> bool {
    if let Some(ip) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return ip.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !host.is_empty() && host.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let shown = |text: &str, by_default| listen(text).unwrap().address(by_default).to_string();
        assert_eq!(shown("127.0.0.1:1", false), "http://127.0.0.1:1");
        assert_eq!(shown("127.0.0.1:1", true), "https://127.0.0.1:1");
        assert_eq!(shown("http://127.0.0.1:1", true), "http://127.0.0.1:1");
        assert_eq!(shown("https://127.0.0.1:1", false), "https://127.0.0.1:1");
        assert_eq!(shown("unixs:///s", false), "unixs:///s");
        let told = listen("gopher://127.0.0.1:1").unwrap_err();
        assert!(told.starts_with("the scheme is not known; use HOST:PORT"), "{told}");
        assert!(listen("").is_err());
    }

    #[test]
    fn metrics_can_be_switched_off() {
        assert_eq!((metrics(""), metrics("off")), (Ok(None), Ok(None)));
        assert!(metrics("127.0.0.1:9090").unwrap().is_some());
        assert!(metrics("nowhere").unwrap_err().ends_with("an empty value or off switches it off"));
    }

    #[test]
    fn urls() {
        for sound in ["http://a.b:1", "https://10.0.0.1:2379", "http://[::1]:5", "unix:///run/t4"] {
            assert_eq!(advertised_url(sound), Ok(sound.to_owned()));
        }
        assert_eq!(advertised_url("http://a:1/"), Ok("http://a:1".to_owned()));
        let wrong = [
            "",
            "a:1",
            "ftp://a:1",
            "http://a",
            "http://:1",
            "http://a:0",
            "http://a:x",
            "http://a:1/path",
            "http://a b:1",
            "http://::1:5",
            "http://a:70000",
            "unix://",
        ];
        for wrong in wrong {
            assert!(advertised_url(wrong).is_err(), "{wrong}");
        }
    }
}
