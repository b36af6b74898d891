//! The flags of `t4 run`, as text: what they mean is for `settings`, because
//! the environment and the config file say the same things.

mod security;

use clap::CommandFactory;

pub(crate) use security::SecurityArgs;

const SERVING: &str = "Serving";
const KEEPING: &str = "Keeping data";
const LIMITS: &str = "Limits";
const TUNING: &str = "Tuning";

/// The settings, and what is not one.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(
    next_line_help = true,
    after_help = "These are the settings that most servers need; `t4 run --help` has all of them, \
        with their environment variables.",
    after_long_help = "A setting is taken from its flag, else from the environment variable shown, \
        else from the config file, else it has the default shown. An empty variable counts as \
        unset.\n\nSizes are numbers of bytes, or have a unit: 64MB is 64,000,000 bytes, 64MiB is \
        67,108,864. Durations have units, which add up: 500ms, 10s, 1h30m, 7d."
)]
pub(crate) struct RunCommand {
    /// Check settings, certificates and data directory, print the settings that count and where
    /// each comes from, and do not start. Exit code 0: it would start; 2: the settings are wrong;
    /// 1: a file or the directory is
    #[arg(long)]
    pub(crate) check: bool,

    #[command(flatten)]
    pub(crate) args: RunArgs,
}

/// Each is optional: what is not given is looked for elsewhere.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct RunArgs {
    /// YAML file with settings: `flag-name: value` or a list of values
    #[arg(long, value_name = "FILE")]
    pub(crate) config_file: Option<String>,

    /// Directory of the log and the key space; made if missing [default: /var/lib/t4]
    #[arg(long, value_name = "DIR", help_heading = KEEPING)]
    pub(crate) data_dir: Option<String>,

    /// Where clients connect: HOST:PORT, http:// or https://HOST:PORT, unix:///PATH or
    /// unixs:///PATH; repeatable [default: 0.0.0.0:3379]
    #[arg(long, value_name = "ADDRESS", help_heading = SERVING)]
    pub(crate) listen: Vec<String>,

    /// Where metrics and health are served, https:// for TLS; an empty value or `off`
    /// switches it off
    /// [default: 0.0.0.0:9090]
    #[arg(long, value_name = "ADDRESS", help_heading = SERVING)]
    pub(crate) metrics_addr: Option<String>,

    /// Which histograms of handling times /metrics has: basic, those of methods that were
    /// called; extensive, those of all [default: basic]
    #[arg(long, value_name = "SET", help_heading = SERVING)]
    pub(crate) metrics: Option<String>,

    /// The name of this member [default: the host's name]
    #[arg(long, value_name = "NAME", help_heading = SERVING)]
    pub(crate) node_id: Option<String>,

    /// URLs under which clients reach this member, as member lists show them; repeatable
    /// [default: from --listen; the host's name where that is 0.0.0.0 or [::]]
    #[arg(long, value_name = "URL", help_heading = SERVING)]
    pub(crate) advertise_client_urls: Vec<String>,

    /// The least severe messages that are logged: error, warn (or warning), info, debug or
    /// trace, in capitals or not [default: info]
    #[arg(long, value_name = "LEVEL", help_heading = SERVING)]
    pub(crate) log_level: Option<String>,

    /// Format of log lines and of the line that reports readiness: text or json [default: text]
    #[arg(long, value_name = "FORMAT", help_heading = SERVING)]
    pub(crate) log_format: Option<String>,

    /// Log reads, and evaluations of writes, that take longer than this [default: 100ms]
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, help_heading = SERVING)]
    pub(crate) warning_apply_duration: Option<String>,

    /// Log unary calls that take longer than this [default: 300ms]
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, help_heading = SERVING)]
    pub(crate) warning_unary_request_duration: Option<String>,

    /// Consistency of reads that do not ask for one: linearizable or serializable; on a
    /// single node every read is linearizable, so both are the same [default: linearizable]
    #[arg(long, value_name = "CONSISTENCY", help_heading = SERVING)]
    pub(crate) read_consistency: Option<String>,

    /// Bytes of keys and values in use at which writes are refused until some are freed:
    /// 0 is 2 GiB, a negative number is no quota [default: 0]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, help_heading = KEEPING)]
    pub(crate) quota_backend_bytes: Option<String>,

    /// What --auto-compaction-retention counts: periodic (time) or revision
    /// [default: periodic]
    #[arg(long, value_name = "MODE", help_heading = KEEPING)]
    pub(crate) auto_compaction_mode: Option<String>,

    /// How much history is kept while older history is compacted automatically: hours (5) or a
    /// duration (10m, 7d), or a number of revisions; 0 is off [default: 0]
    #[arg(long, value_name = "RETENTION", allow_negative_numbers = true, help_heading = KEEPING)]
    pub(crate) auto_compaction_retention: Option<String>,

    /// Size of a segment of the log in MiB [default: 50]
    #[arg(long, value_name = "MIB", allow_negative_numbers = true, help_heading = TUNING)]
    pub(crate) segment_max_size_mb: Option<String>,

    /// Bytes of values read from the disk that are kept in memory [default: 67108864]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, help_heading = TUNING)]
    pub(crate) cache_bytes: Option<String>,

    /// Threads that serve connections [default: one per core, at most 8]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = TUNING)]
    pub(crate) io_threads: Option<String>,

    /// The largest request in bytes [default: 1572864]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, help_heading = LIMITS)]
    pub(crate) max_request_bytes: Option<String>,

    /// The most operations in a transaction [default: 128]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = LIMITS)]
    pub(crate) max_txn_ops: Option<String>,

    /// The most streams that a connection may have open at a time [default: 4294967295]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = LIMITS)]
    pub(crate) max_concurrent_streams: Option<String>,

    /// Bytes that clients may make the server hold: unread answers, open calls and requests,
    /// watchers, their history [default: a quarter of the memory, at most 1 GiB]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, help_heading = LIMITS)]
    pub(crate) client_memory_bytes: Option<String>,

    /// How often an idle watcher that asked for progress notifications gets one; at least 100ms
    /// [default: 10m]
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, help_heading = TUNING)]
    pub(crate) watch_progress_notify_interval: Option<String>,

    /// How often an idle connection is probed; 0 switches it off [default: 2h]
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, help_heading = TUNING)]
    pub(crate) grpc_keepalive_interval: Option<String>,

    /// How long a probe may stay unanswered before the connection is closed [default: 20s]
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, help_heading = TUNING)]
    pub(crate) grpc_keepalive_timeout: Option<String>,

    /// Accepted for compatibility with etcd, without effect: clients may probe as often as they
    /// like and are never disconnected for it [default: 5s]
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, help_heading = TUNING)]
    pub(crate) grpc_keepalive_min_time: Option<String>,

    /// Accepted for compatibility with etcd, without effect: clients may always probe, with or without
    /// open streams [default: true]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = TUNING
    )]
    pub(crate) grpc_keepalive_permit_without_stream: Option<String>,

    /// Where peers will connect: refused with the reason until there are clusters
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub(crate) peer_listen: Option<String>,

    /// Where peers reach this member: refused like --peer-listen
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub(crate) advertise_peer: Option<String>,

    #[command(flatten)]
    pub(crate) security: SecurityArgs,
}

/// A command of its own, for asking which flags there are.
#[derive(clap::Parser)]
#[command(disable_help_flag = true)]
struct Alone {
    #[command(flatten)]
    _args: RunArgs,
}

/// The names of all flags, without dashes: the keys of a config file, plus `config-file` itself.
pub(crate) fn flag_names() -> Vec<String> {
    let command = Alone::command();
    command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect()
}
