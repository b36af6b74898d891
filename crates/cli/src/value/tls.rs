//! Settings of TLS and access: versions, suites, hosts, origins, kinds of
//! tokens.

use super::address::is_host;
use crate::run::TlsVersion;

/// A TLS version, by etcd's names.
pub(crate) fn tls_version(text: &str) -> Result<TlsVersion, String> {
    super::choice(text, &[("TLS1.2", TlsVersion::Tls12), ("TLS1.3", TlsVersion::Tls13)])
}

/// Go's older names of two cipher suites, which `tls-config` accepts too.
const LEGACY_SUITES: [&str; 2] =
    ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"];

/// A supported cipher suite.
pub(crate) fn cipher_suite(text: &str) -> Result<String, String> {
    let names = t4_tls_config::cipher_suite_names();
    if names.iter().any(|name| name == text) || LEGACY_SUITES.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(format!("use one of {}", names.join(", ")))
    }
}

/// A host, as it appears in certificates and in the `Host` header: a name or an
/// IP address.
pub(crate) fn host(text: &str) -> Result<String, String> {
    if is_host(text) || text.parse::<std::net::Ipv6Addr>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("use a host name or an IP address, without a port".to_owned())
    }
}

/// A host, or `*` for all.
pub(crate) fn host_or_all(text: &str) -> Result<String, String> {
    if text == "*" { Ok(text.to_owned()) } else { host(text) }
}

/// A common name of a certificate.
pub(crate) fn common_name(text: &str) -> Result<String, String> {
    let is_sound = !text.is_empty() && !text.chars().any(char::is_control);
    if is_sound { Ok(text.to_owned()) } else { Err("use a common name".to_owned()) }
}

/// An origin in the browsers' format, or `*` for all.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let origin = text.strip_suffix('/').unwrap_or(text);
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let is_sound = authority.is_some_and(|authority| match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => is_host(host) && port.parse::<u16>().is_ok(),
        _ => is_host(authority),
    });
    if is_sound || text == "*" {
        Ok(origin.to_owned())
    } else {
        Err("use an origin such as https://example.com, or *".to_owned())
    }
}

/// The syntax of etcd's `--auth-token`; the files and options of `jwt` are
/// checked where the token provider is created.
pub(crate) fn auth_token(text: &str) -> Result<String, String> {
    let (kind, options) = text.split_once(',').unwrap_or((text, ""));
    let mut seen = Vec::new();
    for option in options.split(',').filter(|_| text.contains(',')) {
        match option.split('=').collect::<Vec<_>>()[..] {
            [name, _] if !seen.contains(&name) => seen.push(name),
            _ => return Err(AUTH_TOKEN.to_owned()),
        }
    }
    match kind {
        "simple" | "jwt" | "" => Ok(text.to_owned()),
        _ => Err(AUTH_TOKEN.to_owned()),
    }
}

const AUTH_TOKEN: &str = "use simple, or jwt,sign-method=METHOD,pub-key=FILE,priv-key=FILE,ttl=10m";

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(parse: fn(&str) -> Result<String, String>, cases: &[&str]) {
        for case in cases {
            assert_eq!(parse(case).as_deref(), Ok(*case));
        }
    }

    fn wrong(parse: fn(&str) -> Result<String, String>, cases: &[&str]) {
        for case in cases {
            assert!(parse(case).is_err(), "{case:?}");
        }
    }

    #[test]
    fn versions() {
        assert_eq!(tls_version("TLS1.2"), Ok(TlsVersion::Tls12));
        assert_eq!(tls_version("TLS1.1"), Err("use one of TLS1.2, TLS1.3".to_owned()));
    }

    #[test]
    fn names_of_suites() {
        sound(cipher_suite, &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", LEGACY_SUITES[0]]);
        wrong(cipher_suite, &["", "ECDHE-RSA-AES128-GCM-SHA256", "TLS_RSA_WITH_RC4_128_SHA"]);
        let told = cipher_suite("TLS_RSA_WITH_RC4_128_SHA").unwrap_err();
        assert!(told.contains("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"), "{told}");
    }

    #[test]
    fn hosts_and_names() {
        sound(host, &["a.example", "10.0.0.1", "::1", "localhost"]);
        wrong(host, &["", "*", "a:1", "http://a", "a b"]);
        sound(host_or_all, &["*", "a"]);
        sound(common_name, &["etcd peer", "m1.etcd.local"]);
        wrong(common_name, &["", "a\n"]);
    }

    #[test]
    fn origins() {
        sound(
            origin,
            &["*", "https://a.example", "http://a:8080", "http://[::1]", "http://[::1]:1"],
        );
        assert_eq!(origin("http://a/").as_deref(), Ok("http://a"));
        wrong(origin, &["", "a.example", "ftp://a", "http://", "http://a:x", "http://a/b"]);
    }

    #[test]
    fn kinds_of_tokens() {
        sound(auth_token, &["simple", "", "jwt,sign-method=HS256,priv-key=/k", "simple,a=b"]);
        wrong(auth_token, &["x", "jwt,", "jwt,a", "jwt,a=b=c", "jwt,a=b,a=c", "JWT"]);
    }
}
