//! TLS and access, with etcd's checks (reference: etcd's
//! `configureClientListeners`, `TLSInfo.baseConfig`, `Config.Validate`).

use std::time::Duration;

use t4_server::AuthConfig;

use super::error::{EtcdError, invalid};
use super::given::Given;
use super::url::Url;
use crate::run::notice::Notices;
use crate::run::security::{Pair, Security, Surface, TlsVersion, Versions, allowed};
use crate::run::{BCRYPT_COSTS, SELF_SIGNED_YEARS_MAX};
use crate::value;

/// In seconds; the value that etcd uses for 0.
const TOKEN_TTL_DEFAULT: u32 = 300;

/// The flags of one side.
struct Names {
    cert: &'static str,
    key: &'static str,
    outgoing_cert: &'static str,
    outgoing_key: &'static str,
    cert_auth: &'static str,
    ca: &'static str,
    crl: &'static str,
    cns: &'static str,
    hostnames: &'static str,
    auto: &'static str,
    skip_san: &'static str,
}

const CLIENT: Names = Names {
    cert: "cert-file",
    key: "key-file",
    outgoing_cert: "client-cert-file",
    outgoing_key: "client-key-file",
    cert_auth: "client-cert-auth",
    ca: "trusted-ca-file",
    crl: "client-crl-file",
    cns: "client-cert-allowed-cn",
    hostnames: "client-cert-allowed-hostname",
    auto: "auto-tls",
    skip_san: "client-skip-client-san-verification",
};

const PEER: Names = Names {
    cert: "peer-cert-file",
    key: "peer-key-file",
    outgoing_cert: "peer-client-cert-file",
    outgoing_key: "peer-client-key-file",
    cert_auth: "peer-client-cert-auth",
    ca: "peer-trusted-ca-file",
    crl: "peer-crl-file",
    cns: "peer-cert-allowed-cn",
    hostnames: "peer-cert-allowed-hostname",
    auto: "peer-auto-tls",
    skip_san: "peer-skip-client-san-verification",
};

/// The security settings for listeners on the given URLs.
pub(super) fn security(given: &Given, notices: &mut Notices) -> Result<Security, EtcdError> {
    let versions = versions(given)?;
    let cipher_suites = given.list("cipher-suites");
    for suite in &cipher_suites {
        value::cipher_suite(suite).map_err(|why| {
            EtcdError::Invalid(format!("unexpected TLS cipher suite {suite:?}: {why}"))
        })?;
    }
    if versions.min == TlsVersion::Tls13 && !cipher_suites.is_empty() {
        return invalid("cipher suites cannot be configured when only TLS1.3 is enabled");
    }
    let client = surface(given, &CLIENT)?;
    let peer = surface(given, &PEER)?;
    for (names, surface) in [(&CLIENT, &client), (&PEER, &peer)] {
        if surface.auto && surface.pair.is_some() {
            notices.warn(names.auto, "ignored, since a certificate and a key are given");
        }
    }
    Ok(Security {
        self_signed_years: self_signed_years(given, client.auto || peer.auto)?,
        client: Surface { auto: client.auto && client.pair.is_none(), ..client },
        peer: Surface { auto: peer.auto && peer.pair.is_none(), ..peer },
        versions,
        peer_versions: versions,
        cipher_suites,
        host_whitelist: allowed(given.list("host-whitelist")),
        cors: allowed(origins(given)?),
    })
}

fn surface(given: &Given, names: &Names) -> Result<Surface, EtcdError> {
    let (cert, key) = (given.text(names.cert), given.text(names.key));
    let pair = pair(&cert, &key).ok_or_else(|| {
        EtcdError::Invalid(format!(
            "KeyFile and CertFile must both be present[key: {key}, cert: {cert}] (--{}, --{})",
            names.key, names.cert
        ))
    })?;
    let (cert, key) = (given.text(names.outgoing_cert), given.text(names.outgoing_key));
    let outgoing = self::pair(&cert, &key).ok_or_else(|| {
        EtcdError::Invalid(format!(
            "ClientKeyFile and ClientCertFile must both be present or both absent: key: {key}, \
             cert: {cert} (--{}, --{})",
            names.outgoing_key, names.outgoing_cert
        ))
    })?;
    let surface = Surface {
        pair,
        outgoing,
        ca: given.file(names.ca),
        cert_auth: given.switch(names.cert_auth),
        crl: given.file(names.crl),
        allowed_cns: given.list(names.cns),
        allowed_hostnames: given.list(names.hostnames),
        auto: given.switch(names.auto),
        skip_san_check: given.switch(names.skip_san),
    };
    if !surface.allowed_cns.is_empty() && !surface.allowed_hostnames.is_empty() {
        return invalid(format!(
            "AllowedCNs and AllowedHostnames are mutually exclusive (cns={:?}, hostnames={:?})",
            surface.allowed_cns, surface.allowed_hostnames
        ));
    }
    check_effect(&surface, names)?;
    Ok(surface)
}

/// etcd silently ignores options that cannot take effect.
fn check_effect(surface: &Surface, names: &Names) -> Result<(), EtcdError> {
    let narrowing = [
        (names.crl, surface.crl.is_some()),
        (names.cns, !surface.allowed_cns.is_empty()),
        (names.hostnames, !surface.allowed_hostnames.is_empty()),
    ];
    let verifies = surface.ca.is_some() || surface.cert_auth;
    let Names { cert, key, auto, ca, .. } = names;
    for (name, is_given) in narrowing {
        if is_given && !verifies {
            return invalid(format!(
                "--{name} says which certificates are taken, and none is asked for: give --{ca}"
            ));
        }
    }
    for (name, is_given) in narrowing.into_iter().chain([(names.ca, surface.ca.is_some())]) {
        if is_given && !surface.speaks_tls() {
            return invalid(format!("--{name} needs TLS: give --{cert} and --{key}, or --{auto}"));
        }
    }
    Ok(())
}

/// `None`: one of the two is missing.
fn pair(cert: &str, key: &str) -> Option<Option<Pair>> {
    match (cert.is_empty(), key.is_empty()) {
        (true, true) => Some(None),
        (false, false) => Some(Some(Pair { cert: cert.into(), key: key.into() })),
        _ => None,
    }
}

fn versions(given: &Given) -> Result<Versions, EtcdError> {
    let version = |name, default| match given.text(name).as_str() {
        "" => Ok(default),
        text => value::tls_version(text).map_err(|_| {
            EtcdError::Invalid(format!(
                "unexpected TLS version {text:?} (must be one of: TLS1.2, TLS1.3)"
            ))
        }),
    };
    let default = Versions::default();
    let min = version("tls-min-version", default.min)?;
    let max = version("tls-max-version", default.max)?;
    if min > max {
        let (min, max) = (given.text("tls-min-version"), given.text("tls-max-version"));
        return invalid(format!("min version ({min}) is greater than max version ({max})"));
    }
    Ok(Versions { min, max })
}

fn self_signed_years(given: &Given, makes_some: bool) -> Result<u32, EtcdError> {
    match u32::try_from(given.number("self-signed-cert-validity")) {
        Ok(0) if makes_some => {
            invalid("selfSignedCertValidity is invalid,it should be greater than 0")
        }
        Ok(years) if years <= SELF_SIGNED_YEARS_MAX => Ok(years.max(1)),
        _ => invalid(format!("--self-signed-cert-validity: at most {SELF_SIGNED_YEARS_MAX} years")),
    }
}

fn origins(given: &Given) -> Result<Vec<String>, EtcdError> {
    let origin = |text: &String| {
        value::origin(text).map_err(|why| EtcdError::Invalid(format!("--cors: {text:?}: {why}")))
    };
    given.list("cors").iter().map(origin).collect()
}

/// Checks client listeners: those that need TLS without a certificate, and
/// those that have a certificate and do not use it.
pub(super) fn check_client_urls(
    surface: &Surface,
    client: &[Url],
    metrics: &[Url],
    notices: &mut Notices,
) -> Result<(), EtcdError> {
    for url in client {
        if url.tls() && !surface.speaks_tls() {
            return invalid(format!(
                "TLS key/cert (--cert-file, --key-file) must be provided for client url {url} with \
                 HTTPS scheme"
            ));
        }
        if !url.tls() && surface.speaks_tls() {
            notices.warn(
                "listen-client-urls",
                format!(
                    "scheme is http or unix while key and cert files are present; ignoring key and \
                     cert files for {url}"
                ),
            );
        }
        if !url.tls() && surface.cert_auth {
            notices.warn(
                "client-cert-auth",
                format!(
                    "scheme is http or unix while --client-cert-auth is enabled; ignoring client \
                     cert auth for {url}"
                ),
            );
        }
    }
    match metrics.iter().find(|url| url.tls() && !surface.speaks_tls()) {
        Some(url) => invalid(format!(
            "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url \
             {url}"
        )),
        None => Ok(()),
    }
}

/// The same for peers.
pub(super) fn check_peer_urls(
    surface: &Surface,
    urls: &[Url],
    notices: &mut Notices,
) -> Result<(), EtcdError> {
    for url in urls {
        if url.tls() && !surface.speaks_tls() {
            return invalid(format!(
                "cannot listen on TLS for {url}: KeyFile and CertFile are not presented \
                 (--peer-cert-file, --peer-key-file)"
            ));
        }
        if !url.tls() && surface.speaks_tls() {
            notices.warn(
                "listen-peer-urls",
                format!(
                    "scheme is HTTP while key and cert files are present; ignoring key and cert \
                     files for {url}"
                ),
            );
        }
    }
    Ok(())
}

/// Tokens and passwords.
pub(super) fn auth(given: &Given, notices: &mut Notices) -> Result<AuthConfig, EtcdError> {
    let default = AuthConfig::default();
    let token = value::auth_token(&given.text("auth-token"))
        .map_err(|why| EtcdError::Invalid(format!("auth: invalid auth options: {why}")))?;
    let ttl = match u32::try_from(given.number("auth-token-ttl")) {
        Ok(0) => TOKEN_TTL_DEFAULT,
        Ok(ttl) => ttl,
        Err(_) => return invalid(format!("--auth-token-ttl: at most {} seconds", u32::MAX)),
    };
    let cost = u32::try_from(given.number("bcrypt-cost")).ok();
    let bcrypt_cost = match cost.filter(|cost| BCRYPT_COSTS.contains(cost)) {
        Some(cost) => cost,
        None => {
            let instead =
                format!("use default bcrypt cost {}: 4 to 31 are valid", default.bcrypt_cost);
            notices.warn("bcrypt-cost", instead);
            default.bcrypt_cost
        }
    };
    Ok(AuthConfig {
        required: false,
        token,
        token_ttl: Duration::from_secs(ttl.into()),
        bcrypt_cost,
    })
}
