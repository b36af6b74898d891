//! Flags about the members of the cluster.

use crate::etcd::flag::Kind::{Choice, Duration, List, Signed, Switch, Text, Urls};
use crate::etcd::flag::{Flag, empty, governed, honoured};

const ONE_MEMBER: &str = "there is one member";
const NO_DISCOVERY: &str = "discovery finds the other members of a cluster, and there is one member: \
                            name it in --initial-cluster, or leave that out";
const NO_DISCOVERY_USED: &str = "discovery is not used: there is one member";

pub(super) const CLUSTERING: &[Flag] = &[
    honoured(
        "initial-advertise-peer-urls",
        Urls,
        "http://localhost:2380",
        "Where peers reach this member, as member lists show it.",
    ),
    honoured(
        "initial-cluster",
        Text,
        "default=http://localhost:2380",
        "The members: NAME=URL, separated by commas. One, until the cluster exists.",
    ),
    honoured(
        "initial-cluster-state",
        Choice(&["new", "existing"]),
        "new",
        "new; existing is taken when the data directory holds a member already.",
    ),
    honoured(
        "initial-cluster-token",
        Text,
        "etcd-cluster",
        "What the ids of a new cluster and of its member are made of, beside the URLs of peers; \
         as etcd's.",
    ),
    honoured(
        "advertise-client-urls",
        Urls,
        "http://localhost:2379",
        "Where clients reach this member, as member lists show it; needed with \
         --listen-client-urls.",
    ),
    governed("strict-reconfig-check", Switch, "true", ONE_MEMBER),
    governed("pre-vote", Switch, "true", ONE_MEMBER),
    governed("max-learners", Signed, "1", ONE_MEMBER),
    honoured(
        "auto-compaction-mode",
        Text,
        "periodic",
        "What --auto-compaction-retention counts: periodic (time) or revision.",
    ),
    honoured(
        "auto-compaction-retention",
        Text,
        "0",
        "History that is kept when older history is given up by itself: hours (5) or a duration \
         (10m), or a number of revisions; 0 is off.",
    ),
    empty("discovery", Text, NO_DISCOVERY),
    empty("discovery-token", Text, NO_DISCOVERY),
    empty("discovery-endpoints", List, NO_DISCOVERY),
    empty("discovery-srv", Text, NO_DISCOVERY),
    empty("discovery-srv-name", Text, NO_DISCOVERY),
    empty("discovery-proxy", Text, NO_DISCOVERY),
    honoured("discovery-fallback", Choice(&["exit", "proxy"]), "exit", "exit; there is no proxy."),
    governed("discovery-dial-timeout", Duration, "2s", NO_DISCOVERY_USED),
    governed("discovery-request-timeout", Duration, "5s", NO_DISCOVERY_USED),
    governed("discovery-keepalive-time", Duration, "2s", NO_DISCOVERY_USED),
    governed("discovery-keepalive-timeout", Duration, "6s", NO_DISCOVERY_USED),
    governed("discovery-insecure-transport", Switch, "true", NO_DISCOVERY_USED),
    governed("discovery-insecure-skip-tls-verify", Switch, "false", NO_DISCOVERY_USED),
    governed("discovery-cert", Text, "", NO_DISCOVERY_USED),
    governed("discovery-key", Text, "", NO_DISCOVERY_USED),
    governed("discovery-cacert", Text, "", NO_DISCOVERY_USED),
    governed("discovery-user", Text, "", NO_DISCOVERY_USED),
    governed("discovery-password", Text, "", NO_DISCOVERY_USED),
];
