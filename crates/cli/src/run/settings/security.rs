//! Converts `t4 run`'s security flags into settings, and rejects combinations
//! that do not work.

use t4_server::{AuthConfig, ListenAddress};

use crate::run::flags::SecurityArgs;
use crate::run::security::{Pair, Security, Surface, TlsVersion, Versions, allowed};
use crate::sources::Sources;
use crate::usage::UsageError;
use crate::value;

/// Maximum validity of a generated certificate, in years: more is a mistake.
pub(crate) const SELF_SIGNED_YEARS_MAX: u32 = 100;
/// The costs that bcrypt supports.
pub(crate) const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=31;

/// Resolves the settings from `args` and the sources after them.
pub(super) fn resolve(
    args: &SecurityArgs,
    sources: &Sources<'_>,
) -> Result<(Security, AuthConfig), UsageError> {
    let client = client(args, sources)?;
    let peer = peer(args, sources)?;
    let versions = versions(args, sources, client.speaks_tls())?;
    let suites = sources.many("cipher-suites", args.cipher_suites.clone(), value::cipher_suite)?;
    let cipher_suites = suites.unwrap_or_default();
    if !cipher_suites.is_empty() && !client.speaks_tls() {
        return refused(
            "--cipher-suites needs TLS: give --client-tls-cert and --client-tls-key, or --auto-tls",
        );
    }
    if versions.min == TlsVersion::Tls13 && !cipher_suites.is_empty() {
        return refused("--cipher-suites cannot be set when only TLS1.3 is spoken: it has its own");
    }
    let years = sources.one(
        "self-signed-cert-validity",
        args.self_signed_cert_validity.clone(),
        |text| value::number(text, 1..=SELF_SIGNED_YEARS_MAX),
    )?;
    if years.is_some() && !client.auto && !peer.auto {
        return refused(
            "--self-signed-cert-validity is about certificates that are made: give --auto-tls or \
             --peer-auto-tls",
        );
    }
    let hosts = sources.many("host-whitelist", args.host_whitelist.clone(), value::host_or_all)?;
    let origins = sources.many("cors", args.cors.clone(), value::origin)?;
    let security = Security {
        client,
        peer,
        versions,
        // T4's peers use one version, whatever clients use.
        peer_versions: Versions { min: TlsVersion::Tls13, max: TlsVersion::Tls13 },
        cipher_suites,
        self_signed_years: years.unwrap_or(1),
        host_whitelist: allowed(hosts.unwrap_or_default()),
        cors: allowed(origins.unwrap_or_default()),
    };
    Ok((security, auth(args, sources)?))
}

fn client(args: &SecurityArgs, sources: &Sources<'_>) -> Result<Surface, UsageError> {
    let files =
        [("client-tls-cert", &args.client_tls_cert), ("client-tls-key", &args.client_tls_key)];
    let names = args.client_cert_allowed_hostname.clone();
    let names = sources.many("client-cert-allowed-hostname", names, value::host)?;
    let surface = Surface {
        pair: pair(files, sources)?,
        ca: sources.one("client-tls-ca", args.client_tls_ca.clone(), value::file)?,
        cert_auth: switch("client-cert-auth", &args.client_cert_auth, sources)?,
        crl: sources.one("client-crl-file", args.client_crl_file.clone(), value::file)?,
        allowed_hostnames: names.unwrap_or_default(),
        auto: switch("auto-tls", &args.auto_tls, sources)?,
        ..Surface::default()
    };
    let asks = surface.ca.is_some()
        || surface.cert_auth
        || surface.crl.is_some()
        || !surface.allowed_hostnames.is_empty();
    if asks && !surface.speaks_tls() {
        return refused(
            "--client-tls-ca, --client-cert-auth, --client-crl-file and \
             --client-cert-allowed-hostname need TLS: give --client-tls-cert and \
             --client-tls-key, or --auto-tls",
        );
    }
    let verifies = surface.ca.is_some() || surface.cert_auth;
    if (surface.crl.is_some() || !surface.allowed_hostnames.is_empty()) && !verifies {
        return refused(
            "--client-crl-file and --client-cert-allowed-hostname say which certificates of \
             clients are taken, and none is asked for: give --client-tls-ca",
        );
    }
    Ok(surface)
}

fn peer(args: &SecurityArgs, sources: &Sources<'_>) -> Result<Surface, UsageError> {
    let files = [("peer-tls-cert", &args.peer_tls_cert), ("peer-tls-key", &args.peer_tls_key)];
    let cns = args.peer_cert_allowed_cn.clone();
    let cns = sources.many("peer-cert-allowed-cn", cns, value::common_name)?;
    let hosts = args.peer_cert_allowed_hostname.clone();
    let hosts = sources.many("peer-cert-allowed-hostname", hosts, value::host)?;
    let skip = &args.peer_skip_client_san_verification;
    let surface = Surface {
        pair: pair(files, sources)?,
        ca: sources.one("peer-tls-ca", args.peer_tls_ca.clone(), value::file)?,
        crl: sources.one("peer-crl-file", args.peer_crl_file.clone(), value::file)?,
        allowed_cns: cns.unwrap_or_default(),
        allowed_hostnames: hosts.unwrap_or_default(),
        auto: switch("peer-auto-tls", &args.peer_auto_tls, sources)?,
        skip_san_check: switch("peer-skip-client-san-verification", skip, sources)?,
        ..Surface::default()
    };
    if surface.pair.is_some() != surface.ca.is_some() {
        return refused(
            "--peer-tls-ca, --peer-tls-cert and --peer-tls-key belong together: peers verify each \
             other. Give all three",
        );
    }
    if surface.auto && surface.pair.is_some() {
        return refused("--peer-auto-tls makes a certificate, and --peer-tls-cert is one: choose");
    }
    let is_about_certificates = surface.crl.is_some()
        || !surface.allowed_cns.is_empty()
        || !surface.allowed_hostnames.is_empty()
        || surface.skip_san_check;
    if is_about_certificates && surface.pair.is_none() {
        return refused(
            "--peer-crl-file, --peer-cert-allowed-cn, --peer-cert-allowed-hostname and \
             --peer-skip-client-san-verification say which certificates of peers are taken: they \
             need --peer-tls-ca, --peer-tls-cert and --peer-tls-key",
        );
    }
    if !surface.allowed_cns.is_empty() && !surface.allowed_hostnames.is_empty() {
        return refused(
            "--peer-cert-allowed-cn and --peer-cert-allowed-hostname exclude each other: choose one",
        );
    }
    Ok(surface)
}

fn pair(
    [(cert_flag, cert), (key_flag, key)]: [(&'static str, &Option<String>); 2],
    sources: &Sources<'_>,
) -> Result<Option<Pair>, UsageError> {
    let cert = sources.one(cert_flag, cert.clone(), value::file)?;
    let key = sources.one(key_flag, key.clone(), value::file)?;
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(Pair { cert, key })),
        (None, None) => Ok(None),
        _ => refused(format!("--{cert_flag} and --{key_flag} belong together: give both")),
    }
}

fn versions(
    args: &SecurityArgs,
    sources: &Sources<'_>,
    speaks_tls: bool,
) -> Result<Versions, UsageError> {
    let default = Versions::default();
    let given = |flag, value: &Option<String>| sources.one(flag, value.clone(), value::tls_version);
    let min = given("tls-min-version", &args.tls_min_version)?;
    let max = given("tls-max-version", &args.tls_max_version)?;
    let is_given = min.is_some() || max.is_some();
    let (min, max) = (min.unwrap_or(default.min), max.unwrap_or(default.max));
    if min > max {
        return refused("--tls-min-version is greater than --tls-max-version: no version is left");
    }
    if is_given && !speaks_tls {
        return refused(
            "--tls-min-version and --tls-max-version need TLS: give --client-tls-cert and \
             --client-tls-key, or --auto-tls",
        );
    }
    Ok(Versions { min, max })
}

fn auth(args: &SecurityArgs, sources: &Sources<'_>) -> Result<AuthConfig, UsageError> {
    let default = AuthConfig::default();
    let ttl = sources.one("token-ttl", args.token_ttl.clone(), value::seconds)?;
    let token = sources.one("auth-token", args.auth_token.clone(), value::auth_token)?;
    let cost = sources
        .one("bcrypt-cost", args.bcrypt_cost.clone(), |text| value::number(text, BCRYPT_COSTS))?;
    Ok(AuthConfig {
        required: switch("auth-enabled", &args.auth_enabled, sources)?,
        token_ttl: ttl.unwrap_or(default.token_ttl),
        token: token.unwrap_or(default.token),
        bcrypt_cost: cost.unwrap_or(default.bcrypt_cost),
    })
}

/// Checks that listeners and TLS settings fit each other.
pub(super) fn check_listeners(
    client: &Surface,
    listen: &[ListenAddress],
    metrics: &[ListenAddress],
) -> Result<(), UsageError> {
    let mut all = listen.iter().chain(metrics);
    if client.speaks_tls() {
        return match all.any(|address| address.tls) {
            true => Ok(()),
            false => refused(
                "a certificate for clients is given, and no address speaks TLS: write https:// in \
                 --listen, or no scheme",
            ),
        };
    }
    match all.find(|address| address.tls) {
        None => Ok(()),
        Some(address) => refused(format!(
            "{address} asks for TLS: give --client-tls-cert and --client-tls-key, or --auto-tls"
        )),
    }
}

fn switch(
    flag: &'static str,
    given: &Option<String>,
    sources: &Sources<'_>,
) -> Result<bool, UsageError> {
    Ok(sources.one(flag, given.clone(), value::boolean)?.unwrap_or(false))
}

fn refused<T>(why: impl Into<String>) -> Result<T, UsageError> {
    Err(UsageError::Combination { why: why.into() })
}

#[cfg(test)]
mod tests;
