//! The flags of etcd 3.4 to 3.7, in the groups of its help.

mod clustering;
mod member;
mod operation;
mod security;

use super::flag::Group;

/// In the order of the help.
pub(super) const GROUPS: &[Group] = &[
    Group { title: "Member", flags: member::MEMBER },
    Group { title: "Clustering", flags: clustering::CLUSTERING },
    Group { title: "Security", flags: security::TLS },
    Group { title: "Auth", flags: security::AUTH },
    Group { title: "Profiling and Monitoring", flags: operation::MONITORING },
    Group { title: "Logging", flags: operation::LOGGING },
    Group { title: "Features", flags: operation::FEATURES },
    Group { title: "Unsafe features", flags: operation::UNSAFE },
    Group { title: "Of older releases", flags: operation::OLDER },
];
