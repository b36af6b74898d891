//! Flags about one member: its data, listeners and limits.

use crate::etcd::flag::Kind::{Choice, Duration, List, Signed, Switch, Text, Unsigned, Urls};
use crate::etcd::flag::{Flag, empty, governed, honoured};

const CHECKPOINTS: &str = "the key space is sealed into segments by size, and the log is cut behind \
                           them; no reply waits for it";
const BACKEND: &str = "there is no bbolt: a write is durable once its log entry is, and entries are \
                       gathered while the log is busy";
const TIMERS: &str = "one member has no heartbeats and no elections";
const PEER_TIMEOUTS: &str = "one member has no connections to peers";

pub(super) const MEMBER: &[Flag] = &[
    honoured("name", Text, "default", "Human-readable name of this member."),
    honoured("data-dir", Text, "", "Directory of the data (default: the name, and `.etcd`)."),
    governed("wal-dir", Text, "", "the log is kept in --data-dir, beside the key space"),
    honoured(
        "listen-client-urls",
        Urls,
        "http://localhost:2379",
        "Where clients connect: http, https, unix or unixs, with an IP address or localhost. \
         https and http on one address share the port.",
    ),
    honoured(
        "listen-client-http-urls",
        Urls,
        "",
        "Where clients connect with HTTP alone; then --listen-client-urls takes gRPC alone.",
    ),
    honoured(
        "listen-peer-urls",
        Urls,
        "http://localhost:2380",
        "Where peers connect. Checked; nothing listens there while there is one member.",
    ),
    honoured(
        "quota-backend-bytes",
        Signed,
        "0",
        "Bytes of keys and values in use at which writes are refused until some are freed: 0 is \
         2 GiB, a negative number is no quota.",
    ),
    honoured("max-txn-ops", Unsigned, "128", "The most operations in a transaction."),
    honoured("max-request-bytes", Unsigned, "1572864", "The largest request of a client in bytes."),
    honoured(
        "max-concurrent-streams",
        Unsigned,
        "4294967295",
        "The most streams that a client may have open on a connection.",
    ),
    honoured(
        "grpc-keepalive-interval",
        Duration,
        "2h",
        "How often an idle client is probed; 0 switches it off.",
    ),
    honoured(
        "grpc-keepalive-timeout",
        Duration,
        "20s",
        "How long a probe may stay unanswered before the connection is closed.",
    ),
    governed(
        "grpc-keepalive-min-time",
        Duration,
        "5s",
        "clients may probe as often as they like; none is disconnected for it",
    ),
    honoured(
        "socket-reuse-port",
        Switch,
        "false",
        "Allow other processes to bind the same ports (SO_REUSEPORT).",
    ),
    governed(
        "socket-reuse-address",
        Switch,
        "false",
        "addresses in TIME_WAIT are always bound again (SO_REUSEADDR)",
    ),
    governed("snapshot-count", Unsigned, "10000", CHECKPOINTS),
    governed("snapshot-catchup-entries", Unsigned, "5000", CHECKPOINTS),
    governed("max-wals", Unsigned, "5", CHECKPOINTS),
    governed("max-snapshots", Unsigned, "5", CHECKPOINTS),
    governed("heartbeat-interval", Unsigned, "100", TIMERS),
    governed("election-timeout", Unsigned, "1000", TIMERS),
    governed("initial-election-tick-advance", Switch, "true", TIMERS),
    governed("raft-read-timeout", Duration, "5s", PEER_TIMEOUTS),
    governed("raft-write-timeout", Duration, "5s", PEER_TIMEOUTS),
    governed("backend-bbolt-freelist-type", Choice(&["map", "array"]), "map", BACKEND),
    governed("backend-batch-interval", Duration, "", BACKEND),
    governed("backend-batch-limit", Signed, "0", BACKEND),
    governed(
        "memory-mlock",
        Switch,
        "false",
        "nothing is locked into memory: keys are in memory, values come from the page cache",
    ),
    governed(
        "enable-grpc-gateway",
        Switch,
        "true",
        "the JSON gateway is not part of this version; /v3/ answers that it is not implemented",
    ),
    honoured(
        "feature-gates",
        List,
        "",
        "Names=true or false, of etcd's gates; all are about its inside and change nothing here.",
    ),
    empty("experimental-enable-v2v3", Text, "the v2 API is not served"),
];
