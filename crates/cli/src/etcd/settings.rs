//! Converts etcd's flags into the settings of a server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use t4_node::{AutoCompaction, Contents};
use t4_server::{Feature, ListenAddress};
use tracing::Level;

use super::bootstrap::{self, Resolve};
use super::error::{EtcdError, invalid};
use super::flag::{self, Flag, Meaning};
use super::given::{Given, Source};
use super::go::Value;
use super::security;
use super::url::{Url, joined};
use crate::logging::{Format, Logging, Output, Zap};
use crate::run::notice::Notices;
use crate::run::{KEEPALIVE_MIN, NEVER, PROGRESS_INTERVAL_MIN, REQUEST_BYTES_MAX, Settings};
use crate::value::{self, RetentionMode};

/// The inputs other than the flags.
pub(super) struct Surroundings<'a> {
    /// The host's name.
    pub(super) host: &'a str,
    /// The contents of the data directory, or why it cannot be one.
    pub(super) directory: &'a dyn Fn(&Path) -> Result<Contents, String>,
    pub(super) resolve: Resolve<'a>,
}

/// The resolved settings, and the notices about them.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) settings: Settings,
    pub(super) notices: Notices,
}

/// Resolves `given`: all flags, or variables, or settings of a file.
pub(super) fn resolve(
    given: &Given,
    surroundings: &Surroundings<'_>,
) -> Result<Resolved, EtcdError> {
    let mut notices = Notices::default();
    let logging = logging(given)?;
    let urls = ClientUrls::of(given)?;
    let listen_peer = given.urls("listen-peer-urls");
    addresses(&listen_peer)?;
    let advertise_peer = given.urls("initial-advertise-peer-urls");
    check_hosts(&advertise_peer).map_err(|why| {
        let urls = joined(&advertise_peer);
        EtcdError::Invalid(format!(
            "--initial-advertise-peer-urls {urls:?} must be \"host:port\" ({why})"
        ))
    })?;
    let advertise_client = advertise_client_urls(given, &urls.client, surroundings.host)?;

    let data_dir = data_dir(given);
    let contents = (surroundings.directory)(&data_dir).map_err(EtcdError::Invalid)?;
    let first_identity =
        bootstrap::check(given, contents == Contents::Fresh, surroundings.resolve)?;
    let auto_compaction = auto_compaction(given)?;
    let security = security::security(given, &mut notices)?;
    security::check_peer_urls(&security.peer, &listen_peer, &mut notices)?;
    let every_client_url: Vec<Url> = urls.client.iter().chain(&urls.http).cloned().collect();
    security::check_client_urls(&security.client, &every_client_url, &urls.metrics, &mut notices)?;
    let auth = security::auth(given, &mut notices)?;
    let features = feature_gates(given, &mut notices)?;
    what_is_not_honoured(given, &mut notices)?;
    let server = t4_server::Config { auth, features, ..server(given, &urls, &mut notices)? };
    let mut node = t4_node::Config::new(data_dir);
    node.first_identity = Some(first_identity);
    node.name = given.text("name");
    node.advertise_client_urls = advertise_client.iter().map(ToString::to_string).collect();
    node.advertise_peer_urls = advertise_peer.iter().map(ToString::to_string).collect();
    node.quota_bytes = value::quota(&given.number("quota-backend-bytes").to_string())
        .map_err(EtcdError::Invalid)?;
    node.auto_compaction = auto_compaction;
    Ok(Resolved { settings: Settings { node, server, security, logging }, notices })
}

/// The URLs that clients connect to.
struct ClientUrls {
    client: Vec<Url>,
    http: Vec<Url>,
    metrics: Vec<Url>,
}

impl ClientUrls {
    fn of(given: &Given) -> Result<Self, EtcdError> {
        let client = given.urls("listen-client-urls");
        let http = given.urls("listen-client-http-urls");
        let metrics = given.urls("listen-metrics-urls");
        let sockets: Vec<_> = addresses(&client)?.into_iter().map(|it| it.socket).collect();
        for (url, address) in http.iter().zip(addresses(&http)?) {
            if sockets.contains(&address.socket) {
                return invalid(format!(
                    "cannot bind both --listen-client-urls and --listen-client-http-urls on the \
                     same url {url}"
                ));
            }
        }
        addresses(&metrics)?;
        Ok(ClientUrls { client, http, metrics })
    }
}

fn addresses(urls: &[Url]) -> Result<Vec<ListenAddress>, EtcdError> {
    urls.iter().map(|url| url.listen_address().map_err(EtcdError::Invalid)).collect()
}

fn check_hosts(urls: &[Url]) -> Result<(), String> {
    urls.iter().try_for_each(Url::check_host)
}

fn advertise_client_urls(given: &Given, listen: &[Url], host: &str) -> Result<Vec<Url>, EtcdError> {
    let urls = given.urls("advertise-client-urls");
    check_hosts(&urls).map_err(|why| {
        let urls = joined(&urls);
        EtcdError::Invalid(format!(
            "--advertise-client-urls {urls:?} must be in the format \"host:port\", \
             \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" ({why})"
        ))
    })?;
    if given.is_set("advertise-client-urls") {
        return Ok(urls);
    }
    let in_a_file = given.iter().any(|(.., source)| matches!(source, Source::File(_)));
    if given.is_set("listen-client-urls") && !in_a_file {
        return invalid(
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        );
    }
    // Optional in a file. A listener on every address is then advertised under
    // the host's name; etcd advertises the address of the default route.
    let everywhere = listen.iter().find_map(|url| match url.host_and_port() {
        Some(("0.0.0.0", port)) => Some(url.with_host(host, port)),
        _ => None,
    });
    Ok(everywhere.map_or(urls, |url| vec![url]))
}

fn data_dir(given: &Given) -> PathBuf {
    given.file("data-dir").unwrap_or_else(|| format!("{}.etcd", given.text("name")).into())
}

fn logging(given: &Given) -> Result<Logging, EtcdError> {
    let logger = given.text("logger");
    if logger != "zap" {
        return invalid(format!("unknown logger option {logger:?}"));
    }
    let level = given.text("log-level");
    let level = match level.to_lowercase().as_str() {
        "debug" => Level::DEBUG,
        "info" | "" => Level::INFO,
        "warn" | "warning" => Level::WARN,
        "error" | "dpanic" | "panic" | "fatal" => Level::ERROR,
        // etcd panics, which ends a Go program with the exit code of a wrong
        // command line.
        _ => return Err(EtcdError::Syntax(format!("unrecognized level: {level:?}"))),
    };
    let zap = if given.text("log-format") == "json" { Zap::Json } else { Zap::Console };
    let format = Format::Zap(zap);
    let outputs = given.list("log-outputs");
    if outputs.len() > 1 && outputs.iter().any(|output| output == "default") {
        return invalid("multi logoutput for \"default\" is not supported yet");
    }
    let output = |name: &String| match name.as_str() {
        "default" | "stderr" | "systemd/journal" => Output::Stderr,
        "stdout" => Output::Stdout,
        path => Output::File(path.into()),
    };
    let outputs = if outputs.is_empty() {
        vec![Output::Stderr]
    } else {
        outputs.iter().map(output).collect()
    };
    Ok(Logging { level, format, outputs })
}

fn auto_compaction(given: &Given) -> Result<AutoCompaction, EtcdError> {
    let mode = match given.text("auto-compaction-mode").as_str() {
        "periodic" => RetentionMode::Periodic,
        "revision" => RetentionMode::Revision,
        "" => return invalid("undefined auto-compaction-mode"),
        other => return invalid(format!("unknown auto-compaction-mode {other:?}")),
    };
    let retention = given.text("auto-compaction-retention");
    let retention = if retention.is_empty() { "0" } else { &retention };
    value::retention(retention, mode).map_err(|why| {
        EtcdError::Invalid(format!("error parsing CompactionRetention: {retention:?}: {why}"))
    })
}

fn server(
    given: &Given,
    urls: &ClientUrls,
    notices: &mut Notices,
) -> Result<t4_server::Config, EtcdError> {
    let streams = given.number("max-concurrent-streams");
    let default = t4_server::Config::default();
    Ok(t4_server::Config {
        listen: addresses(&urls.client)?,
        http_listen: addresses(&urls.http)?,
        metrics_listen: addresses(&urls.metrics)?,
        reuse_port: given.switch("socket-reuse-port"),
        max_request_bytes: limit(given, "max-request-bytes", REQUEST_BYTES_MAX)?,
        max_txn_ops: limit(given, "max-txn-ops", 1_000_000)?,
        watch_progress_notify_interval: progress_interval(given, notices),
        // gRPC treats 0 as no limit.
        max_concurrent_streams: match u32::try_from(streams) {
            Ok(0) => u32::MAX,
            Ok(streams) => streams,
            Err(_) => return invalid(format!("--max-concurrent-streams: at most {}", u32::MAX)),
        },
        keepalive_interval: keepalive(given.duration("grpc-keepalive-interval")),
        keepalive_timeout: keepalive(given.duration("grpc-keepalive-timeout")),
        extensive_metrics: given.text("metrics") == "extensive",
        warning_apply_duration: given.duration("warning-apply-duration"),
        warning_unary_request_duration: given.duration("warning-unary-request-duration"),
        ..default
    })
}

fn limit(given: &Given, name: &'static str, max: usize) -> Result<usize, EtcdError> {
    match usize::try_from(given.number(name)) {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => invalid(format!("--{name}: use a number from 1 to {max}")),
    }
}

/// gRPC raises values below a second to one, and treats 0 as never.
fn keepalive(given: Duration) -> Duration {
    if given.is_zero() { NEVER } else { given.max(KEEPALIVE_MIN) }
}

fn progress_interval(given: &Given, notices: &mut Notices) -> Duration {
    const DEFAULT: Duration = Duration::from_secs(600);
    match given.duration("watch-progress-notify-interval") {
        Duration::ZERO => DEFAULT,
        short if short < PROGRESS_INTERVAL_MIN => {
            let text = "adjusted to the minimum period, 100ms";
            notices.warn("watch-progress-notify-interval", text);
            PROGRESS_INTERVAL_MIN
        }
        interval => interval,
    }
}

/// The gates that `--feature-gates` may name, with the stage of each in etcd
/// 3.7 and its default.
const GATES: [(&str, &str, bool); 11] = [
    ("StopGRPCServiceOnDefrag", "ALPHA", false),
    ("InitialCorruptCheck", "ALPHA", false),
    ("CompactHashCheck", "ALPHA", false),
    ("LeaseCheckpoint", "ALPHA", false),
    ("LeaseCheckpointPersist", "ALPHA", false),
    ("SetMemberLocalAddr", "ALPHA", false),
    ("PriorityRequest", "ALPHA", false),
    ("TxnModeWriteWithSharedBuffer", "BETA", true),
    ("FastLeaseKeepAlive", "BETA", true),
    ("AllAlpha", "ALPHA", false),
    ("AllBeta", "BETA", false),
];

/// All gates with their values; `AllAlpha` and `AllBeta` set the gates of their
/// stage that are not named.
fn feature_gates(given: &Given, notices: &mut Notices) -> Result<Vec<Feature>, EtcdError> {
    let mut named = Vec::new();
    for gate in given.list("feature-gates") {
        let Some((name, value)) = gate.split_once('=') else {
            return invalid(format!("--feature-gates: missing bool value for {gate}"));
        };
        if !GATES.iter().any(|(known, ..)| *known == name) {
            return invalid(format!("--feature-gates: unrecognized feature gate: {name}"));
        }
        let Some(enabled) = super::go::boolean(value) else {
            return invalid(format!("--feature-gates: invalid value of {name}={value}"));
        };
        named.push((name.to_owned(), enabled));
    }
    let said = |wanted: &str| {
        named.iter().rev().find(|(name, _)| name == wanted).map(|(_, enabled)| *enabled)
    };
    let is_on = |name: &str| said(name) == Some(true);
    if is_on("LeaseCheckpointPersist") && !is_on("LeaseCheckpoint") && !is_on("AllAlpha") {
        return invalid(
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate \
             LeaseCheckpoint",
        );
    }
    if given.is_set("feature-gates") {
        notices.info("feature-gates", "without effect: the gates are about etcd's inside");
    }
    let feature = |(name, stage, default): (&'static str, &'static str, bool)| {
        let all = if stage == "ALPHA" { said("AllAlpha") } else { said("AllBeta") };
        Feature { name, stage, enabled: said(name).or(all).unwrap_or(default) }
    };
    Ok(GATES.into_iter().map(feature).collect())
}

/// One line for each flag without effect, and an error for values that are not
/// allowed.
fn what_is_not_honoured(given: &Given, notices: &mut Notices) -> Result<(), EtcdError> {
    for (name, value, source) in given.iter() {
        let Some(flag) = flag::find_setting(name) else { continue };
        match flag.meaning {
            Meaning::Honoured => {}
            Meaning::Governed(instead) => {
                notices.info(name, format!("--{name} has no effect here: {instead}"));
            }
            Meaning::Only(taken, why) => only(flag, value, taken, why)?,
            Meaning::GivenUp(instead) => given_up(name, source, instead, notices)?,
        }
    }
    if given.is_set("listen-peer-urls") {
        let text = "nothing listens there: there is one member, which has no peers";
        notices.info("listen-peer-urls", text);
    }
    Ok(())
}

fn given_up(
    name: &'static str,
    source: Source,
    instead: &str,
    notices: &mut Notices,
) -> Result<(), EtcdError> {
    let (place, written) = match source {
        Source::Flag => {
            return Err(EtcdError::Syntax(format!(
                "flag provided but not defined: -{name}: etcd gave it up long ago; {instead}"
            )));
        }
        Source::Environment => ("environment variable", flag::variable(name)),
        Source::File(_) => ("key of the config file", name.to_owned()),
    };
    let text = format!("unrecognized {place}, without effect: etcd gave it up long ago; {instead}");
    notices.warn(written, text);
    Ok(())
}

fn only(flag: &Flag, value: &Value, taken: &[&str], why: &str) -> Result<(), EtcdError> {
    let text = match value {
        Value::Text(text) => text.clone(),
        Value::Switch(value) => value.to_string(),
        Value::List(list) => list.join(","),
        other => panic!("{}: no such value is limited: {other:?}", flag.name),
    };
    if taken.contains(&text.as_str()) {
        return Ok(());
    }
    invalid(format!("--{} is refused: {why}", flag.name))
}

#[cfg(test)]
mod tests;
