//! Flags about monitoring, and about etcd's internals.

use crate::etcd::flag::Kind::{Choice, Duration, List, Signed, Switch, Text, Unsigned, Urls};
use crate::etcd::flag::{Flag, Meaning, given_up, governed, honoured, never};

const TRACING: &str = "traces are not made; metrics and logs are";
const NO_ROTATION: &str = "log files are not rotated by the server. They are opened for appending: \
                           let logrotate do it, with copytruncate";
const CHECKSUMS: &str = "every record on the disk has a checksum that is verified when it is read, and \
                         there is one member: nobody to compare with";
const COMPACTION: &str = "space is reclaimed segment by segment in the background; no reply waits";
const NO_V2: &str = "the v2 API is not served";
const NO_PROXY: &str = "there is no v2 proxy";
const LEASES: &str = "a clean stop keeps what is left of each lease; after a crash each has its full time \
                      again";
const INSIDE: &str = "it is about etcd's inside";

pub(super) const MONITORING: &[Flag] = &[
    honoured(
        "metrics",
        Choice(&["basic", "extensive"]),
        "basic",
        "Histograms of handling times: basic has those of methods that were called, extensive \
         those of all.",
    ),
    honoured(
        "listen-metrics-urls",
        Urls,
        "",
        "Where /metrics and /health are served beside; https shows the clients' certificate.",
    ),
    governed(
        "enable-pprof",
        Switch,
        "false",
        "there is no Go runtime to profile; use perf: the binary has line tables",
    ),
    governed("enable-distributed-tracing", Switch, "false", TRACING),
    governed("distributed-tracing-address", Text, "localhost:4317", TRACING),
    governed("distributed-tracing-service-name", Text, "etcd", TRACING),
    governed("distributed-tracing-instance-id", Text, "", TRACING),
    governed("distributed-tracing-sampling-rate", Signed, "0", TRACING),
];

pub(super) const LOGGING: &[Flag] = &[
    honoured("logger", Text, "zap", "zap; it stands for structured logs."),
    honoured(
        "log-outputs",
        List,
        "default",
        "Where logs go: default (standard error), stderr, stdout, systemd/journal (standard \
         error, which systemd keeps), or files.",
    ),
    honoured(
        "log-level",
        Text,
        "info",
        "Log what is at least this grave: debug, info, warn, error, panic or fatal, in capitals \
         or not.",
    ),
    honoured(
        "log-format",
        Choice(&["json", "console"]),
        "json",
        "How a log line is written: json or console.",
    ),
    never("enable-log-rotation", NO_ROTATION),
    governed(
        "log-rotation-config-json",
        Text,
        r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#,
        "log files are not rotated by the server",
    ),
    honoured(
        "warning-apply-duration",
        Duration,
        "100ms",
        "Log reads, and evaluations of writes, that take longer.",
    ),
    honoured(
        "warning-unary-request-duration",
        Duration,
        "300ms",
        "Log unary calls that take longer.",
    ),
];

pub(super) const FEATURES: &[Flag] = &[
    honoured(
        "watch-progress-notify-interval",
        Duration,
        "10m",
        "How often an idle watcher that asked for it is told of progress; at least 100ms.",
    ),
    governed("corrupt-check-time", Duration, "0s", CHECKSUMS),
    governed("compact-hash-check-time", Duration, "1m", CHECKSUMS),
    governed("compaction-batch-limit", Signed, "1000", COMPACTION),
    governed("compaction-sleep-interval", Duration, "10ms", COMPACTION),
    governed("bootstrap-defrag-threshold-megabytes", Unsigned, "0", COMPACTION),
    governed("downgrade-check-time", Duration, "5s", "a cluster cannot be downgraded yet"),
];

pub(super) const UNSAFE: &[Flag] = &[
    never(
        "force-new-cluster",
        "it makes a cluster of one member out of what is left of a larger one, and there is one \
         member anyway: leave it out",
    ),
    never("unsafe-no-fsync", "a write that is acknowledged is on the disk, always: leave it out"),
];

pub(super) const OLDER: &[Flag] = &[
    never("enable-v2", NO_V2),
    governed(
        "v2-deprecation",
        Choice(&["write-only", "write-only-drop-data", "gone"]),
        "gone",
        NO_V2,
    ),
    Flag {
        name: "proxy",
        kind: Text,
        default: "off",
        help: "",
        meaning: Meaning::Only(&["off"], NO_PROXY),
    },
    governed("proxy-failure-wait", Unsigned, "5000", NO_PROXY),
    governed("proxy-refresh-interval", Unsigned, "30000", NO_PROXY),
    governed("proxy-dial-timeout", Unsigned, "1000", NO_PROXY),
    governed("proxy-write-timeout", Unsigned, "5000", NO_PROXY),
    governed("proxy-read-timeout", Unsigned, "0", NO_PROXY),
    governed("experimental-initial-corrupt-check", Switch, "false", CHECKSUMS),
    governed("experimental-compact-hash-check-enabled", Switch, "false", CHECKSUMS),
    governed("experimental-enable-lease-checkpoint", Switch, "false", LEASES),
    governed("experimental-enable-lease-checkpoint-persist", Switch, "false", LEASES),
    governed("experimental-stop-grpc-service-on-defrag", Switch, "false", COMPACTION),
    governed("experimental-txn-mode-write-with-shared-buffer", Switch, "true", INSIDE),
    governed(
        "experimental-set-member-localaddr",
        Switch,
        "false",
        "one member connects to no peers",
    ),
    given_up("ca-file", "use --trusted-ca-file and --client-cert-auth"),
    given_up("peer-ca-file", "use --peer-trusted-ca-file and --peer-client-cert-auth"),
];
