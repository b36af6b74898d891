//! Converts texts into the configuration of a node, a server and the log.

pub(crate) mod security;

use std::time::Duration;

use t4_node::AutoCompaction;
use t4_server::{ListenAddress, SocketAddress};
use tracing::Level;

use super::flags::{RunArgs, flag_names};
use super::security::Security;
use crate::config_file::ConfigFile;
use crate::logging::{Format, Logging, Output};
use crate::sources::{Environment, Found, Sources};
use crate::usage::UsageError;
use crate::value;
use crate::value::RetentionMode;

const MIB: u64 = 1 << 20;
/// The longest payload of a log entry is 256 MiB, and a batch has more than
/// one request in it.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 << 20;
/// Pinging every few milliseconds is a mistake.
pub(crate) const KEEPALIVE_MIN: Duration = Duration::from_secs(1);
/// "Never" as a timer duration.
pub(crate) const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
pub(crate) const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// All settings of a server, whichever command line they came from.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) node: t4_node::Config,
    pub(crate) server: t4_server::Config,
    pub(crate) security: Security,
    pub(crate) logging: Logging,
}

impl Settings {
    /// Reads the config file, if one is named, and resolves every setting; also
    /// returns which of them are not left at their defaults. `host` is the
    /// host's name.
    pub(crate) fn resolve_with_origins(
        args: RunArgs,
        environment: Environment<'_>,
        host: &str,
    ) -> Result<(Settings, Vec<Found>), UsageError> {
        let mut known = flag_names();
        // Precedence would be unclear if a file could name another file.
        known.retain(|flag| flag != "config-file");
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let path = Sources::new(environment, None).one(
            "config-file",
            args.config_file.clone(),
            value::path,
        )?;
        let file = path.map(|path| ConfigFile::load(&path, &known)).transpose()?;
        let sources = Sources::new(environment, file);
        one_node(&args, &sources)?;

        let logging = logging(&args, &sources)?;
        let (security, auth) = security::resolve(&args.security, &sources)?;
        let server = server(&args, &sources, security.client.speaks_tls())?;
        let server = t4_server::Config { auth, ..server };
        security::check_listeners(&security.client, &server.listen, &server.metrics_listen)?;
        let node = node(&args, &sources, &server.listen, host)?;
        accepted_without_effect(&args, &sources)?;
        Ok((Settings { node, server, security, logging }, sources.found()))
    }

    /// Only the settings.
    #[cfg(test)]
    pub(crate) fn resolve(
        args: RunArgs,
        environment: Environment<'_>,
        host: &str,
    ) -> Result<Settings, UsageError> {
        Self::resolve_with_origins(args, environment, host).map(|(settings, _)| settings)
    }
}

/// The flags with which T4's operators start a cluster. They must not be
/// ignored: each node would accept writes on its own. Single nodes set them to
/// empty.
fn one_node(args: &RunArgs, sources: &Sources<'_>) -> Result<(), UsageError> {
    let refused = |text: &str| if text.is_empty() { Ok(()) } else { Err(ONE_NODE.to_owned()) };
    sources.one("peer-listen", args.peer_listen.clone(), refused)?;
    sources.one("advertise-peer", args.advertise_peer.clone(), refused)?;
    Ok(())
}

const ONE_NODE: &str = "this version runs one node, and the cluster comes with a later one; leave \
                        --peer-listen and --advertise-peer out to run one node (--peer-tls-… may \
                        stay)";

fn logging(args: &RunArgs, sources: &Sources<'_>) -> Result<Logging, UsageError> {
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    let formats = [("text", Format::Text), ("json", Format::Json)];
    let level = sources.one("log-level", args.log_level.clone(), |text| {
        let lower = text.to_ascii_lowercase();
        value::choice(if lower == "warning" { "warn" } else { &lower }, &levels)
    })?;
    let format =
        sources.one("log-format", args.log_format.clone(), |text| value::choice(text, &formats))?;
    let level = level.unwrap_or(Level::INFO);
    let format = format.unwrap_or(Format::Text);
    Ok(Logging { level, format, outputs: vec![Output::Stderr] })
}

/// A smaller value would not hold the largest requests of a few clients.
const CLIENT_MEMORY_BYTES_MIN: u64 = 16 << 20;

fn server(
    args: &RunArgs,
    sources: &Sources<'_>,
    tls_by_default: bool,
) -> Result<t4_server::Config, UsageError> {
    let mut config = t4_server::Config::default();
    let listen = sources.many("listen", args.listen.clone(), value::listen)?;
    config.listen = match listen {
        Some(listen) => listen.into_iter().map(|one| one.address(tls_by_default)).collect(),
        None => config
            .listen
            .into_iter()
            .map(|it| ListenAddress { tls: tls_by_default, ..it })
            .collect(),
    };
    let metrics = sources.one("metrics-addr", args.metrics_addr.clone(), value::metrics)?;
    config.metrics_listen = metrics.map_or(config.metrics_listen, |one| one.into_iter().collect());
    let request = sources.one("max-request-bytes", args.max_request_bytes.clone(), |text| {
        value::size(text, 1..=REQUEST_BYTES_MAX as u64).map(|bytes| bytes as usize)
    })?;
    config.max_request_bytes = request.unwrap_or(config.max_request_bytes);
    for (flag, given, allowed, place) in [
        ("max-txn-ops", &args.max_txn_ops, 1..=1_000_000, &mut config.max_txn_ops),
        ("io-threads", &args.io_threads, 1..=1024, &mut config.io_threads),
    ] {
        let value = sources.one(flag, given.clone(), |text| value::number(text, allowed))?;
        *place = value.unwrap_or(*place);
    }
    let streams =
        sources.one("max-concurrent-streams", args.max_concurrent_streams.clone(), |text| {
            value::number(text, 1..=u32::MAX)
        })?;
    config.max_concurrent_streams = streams.unwrap_or(config.max_concurrent_streams);
    let sets = [("basic", false), ("extensive", true)];
    let extensive =
        sources.one("metrics", args.metrics.clone(), |text| value::choice(text, &sets))?;
    config.extensive_metrics = extensive.unwrap_or(config.extensive_metrics);
    let memory = args.client_memory_bytes.clone();
    let memory = sources.one("client-memory-bytes", memory, |text| {
        value::size(text, CLIENT_MEMORY_BYTES_MIN..=1 << 40)
    })?;
    config.client_memory_bytes = memory.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    intervals(args, sources, &mut config)?;
    Ok(config)
}

fn intervals(
    args: &RunArgs,
    sources: &Sources<'_>,
    config: &mut t4_server::Config,
) -> Result<(), UsageError> {
    let progress = sources.one(
        "watch-progress-notify-interval",
        args.watch_progress_notify_interval.clone(),
        |text| at_least(text, PROGRESS_INTERVAL_MIN, "100ms"),
    )?;
    config.watch_progress_notify_interval =
        progress.unwrap_or(config.watch_progress_notify_interval);
    let interval =
        sources.one("grpc-keepalive-interval", args.grpc_keepalive_interval.clone(), |text| {
            match value::duration(text)? {
                Duration::ZERO => Ok(NEVER),
                _ => at_least(text, KEEPALIVE_MIN, "1s, or 0 for never"),
            }
        })?;
    config.keepalive_interval = interval.unwrap_or(config.keepalive_interval);
    let timeout =
        sources.one("grpc-keepalive-timeout", args.grpc_keepalive_timeout.clone(), |text| {
            at_least(text, KEEPALIVE_MIN, "1s")
        })?;
    config.keepalive_timeout = timeout.unwrap_or(config.keepalive_timeout);
    for (flag, given, place) in [
        (
            "warning-apply-duration",
            &args.warning_apply_duration,
            &mut config.warning_apply_duration,
        ),
        (
            "warning-unary-request-duration",
            &args.warning_unary_request_duration,
            &mut config.warning_unary_request_duration,
        ),
    ] {
        let longest = sources.one(flag, given.clone(), value::duration)?;
        *place = longest.unwrap_or(*place);
    }
    Ok(())
}

fn at_least(text: &str, least: Duration, written: &str) -> Result<Duration, String> {
    let duration = value::duration(text)?;
    if duration < least { Err(format!("use at least {written}")) } else { Ok(duration) }
}

fn node(
    args: &RunArgs,
    sources: &Sources<'_>,
    listen: &[ListenAddress],
    host: &str,
) -> Result<t4_node::Config, UsageError> {
    let data_dir = sources.one("data-dir", args.data_dir.clone(), value::path)?;
    let mut config = t4_node::Config::new(data_dir.unwrap_or_else(|| DATA_DIR.into()));
    let name = sources.one("node-id", args.node_id.clone(), value::name)?;
    config.name = name.unwrap_or_else(|| host.to_owned());
    let urls = sources.many(
        "advertise-client-urls",
        args.advertise_client_urls.clone(),
        value::advertised_url,
    )?;
    config.advertise_client_urls = urls.unwrap_or_else(|| derived_urls(listen, host));
    let quota =
        sources.one("quota-backend-bytes", args.quota_backend_bytes.clone(), value::quota)?;
    config.quota_bytes = quota.unwrap_or(config.quota_bytes);
    config.auto_compaction = auto_compaction(args, sources)?;
    let cache = sources
        .one("cache-bytes", args.cache_bytes.clone(), |text| value::size(text, 0..=1 << 40))?;
    config.cache_bytes = cache.unwrap_or(config.cache_bytes);
    let segment = sources.one("segment-max-size-mb", args.segment_max_size_mb.clone(), |text| {
        value::number(text, 1..=4096)
    })?;
    config.log_segment_bytes = segment.unwrap_or(SEGMENT_MIB) * MIB;
    Ok(config)
}

/// The default data directory.
pub(crate) const DATA_DIR: &str = "/var/lib/t4";
/// The default that T4's operators know.
const SEGMENT_MIB: u64 = 50;

fn auto_compaction(args: &RunArgs, sources: &Sources<'_>) -> Result<AutoCompaction, UsageError> {
    let modes = [("periodic", RetentionMode::Periodic), ("revision", RetentionMode::Revision)];
    let mode = sources.one("auto-compaction-mode", args.auto_compaction_mode.clone(), |text| {
        value::choice(text, &modes)
    })?;
    let mode = mode.unwrap_or(RetentionMode::Periodic);
    let given = args.auto_compaction_retention.clone();
    let retention =
        sources.one("auto-compaction-retention", given, |text| value::retention(text, mode))?;
    Ok(retention.unwrap_or(AutoCompaction::Off))
}

/// The advertised URLs if the operator sets none. A listener on every address
/// is advertised under the host's name. A listener whose port the system
/// chooses has no URL yet, and is omitted.
fn derived_urls(listen: &[ListenAddress], host: &str) -> Vec<String> {
    let url = |address: &ListenAddress| match &address.socket {
        SocketAddress::Tcp(socket) if socket.port() == 0 => None,
        SocketAddress::Tcp(socket) if socket.ip().is_unspecified() => {
            Some(format!("{}://{host}:{}", address.scheme(), socket.port()))
        }
        _ => Some(address.to_string()),
    };
    listen.iter().filter_map(url).collect()
}

/// Settings of etcd and T4 that have no effect here must still be valid.
fn accepted_without_effect(args: &RunArgs, sources: &Sources<'_>) -> Result<(), UsageError> {
    let consistencies = [("linearizable", ()), ("serializable", ())];
    sources.one("read-consistency", args.read_consistency.clone(), |text| {
        value::choice(text, &consistencies)
    })?;
    let min_time = args.grpc_keepalive_min_time.clone();
    sources.one("grpc-keepalive-min-time", min_time, value::duration)?;
    let permit = args.grpc_keepalive_permit_without_stream.clone();
    sources.one("grpc-keepalive-permit-without-stream", permit, value::boolean)?;
    Ok(())
}

#[cfg(test)]
mod tests;
