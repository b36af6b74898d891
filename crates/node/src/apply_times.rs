//! How long the write loop took for each kind of request: its evaluation on the
//! newest state. What it takes to apply a batch of them is with the commit.

use std::time::Duration;

use t4_auth_rbac::Command;
use t4_state_machine::Request;

use crate::histogram::{Histogram, HistogramSnapshot};

macro_rules! operations {
    ($($variant:ident = $name:literal,)*) => {
        /// A kind of request, by etcd's name for it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum ApplyOp {
            $($variant,)*
        }

        impl ApplyOp {
            const NAMES: &[&str] = &[$($name),*];
        }
    };
}

operations! {
    Put = "Put",
    DeleteRange = "DeleteRange",
    Txn = "Txn",
    Compaction = "Compaction",
    LeaseGrant = "LeaseGrant",
    LeaseRevoke = "LeaseRevoke",
    LeaseCheckpoint = "LeaseCheckpoint",
    Alarm = "Alarm",
    Barrier = "Barrier",
    Member = "ClusterMemberAttrSet",
    Authenticate = "Authenticate",
    TokensExpire = "TokensExpire",
    AuthEnable = "AuthEnable",
    AuthDisable = "AuthDisable",
    UserAdd = "AuthUserAdd",
    UserDelete = "AuthUserDelete",
    UserChangePassword = "AuthUserChangePassword",
    UserGrantRole = "AuthUserGrantRole",
    UserRevokeRole = "AuthUserRevokeRole",
    RoleAdd = "AuthRoleAdd",
    RoleDelete = "AuthRoleDelete",
    RoleGrantPermission = "AuthRoleGrantPermission",
    RoleRevokePermission = "AuthRoleRevokePermission",
}

impl ApplyOp {
    pub(crate) fn of(request: &Request) -> ApplyOp {
        match request {
            Request::Put(_) => ApplyOp::Put,
            Request::DeleteRange(_) => ApplyOp::DeleteRange,
            Request::Txn(_) => ApplyOp::Txn,
            Request::Compact(_) => ApplyOp::Compaction,
            Request::LeaseGrant(..) => ApplyOp::LeaseGrant,
            Request::LeaseRevoke(_) => ApplyOp::LeaseRevoke,
            Request::SetAlarm(..) => ApplyOp::Alarm,
            Request::Barrier(_) => ApplyOp::Barrier,
            Request::LeasesLeft(_) => ApplyOp::LeaseCheckpoint,
            Request::Member(..) => ApplyOp::Member,
            Request::Auth(command) => ApplyOp::of_command(command),
        }
    }

    fn of_command(command: &Command) -> ApplyOp {
        match command {
            Command::Enable => ApplyOp::AuthEnable,
            Command::Disable => ApplyOp::AuthDisable,
            Command::UserAdd { .. } => ApplyOp::UserAdd,
            Command::UserDelete { .. } => ApplyOp::UserDelete,
            Command::UserChangePassword { .. } => ApplyOp::UserChangePassword,
            Command::UserGrantRole { .. } => ApplyOp::UserGrantRole,
            Command::UserRevokeRole { .. } => ApplyOp::UserRevokeRole,
            Command::RoleAdd { .. } => ApplyOp::RoleAdd,
            Command::RoleDelete { .. } => ApplyOp::RoleDelete,
            Command::RoleGrantPermission { .. } => ApplyOp::RoleGrantPermission,
            Command::RoleRevokePermission { .. } => ApplyOp::RoleRevokePermission,
            Command::IssueToken { .. } => ApplyOp::Authenticate,
            Command::ExpireTokens { .. } => ApplyOp::TokensExpire,
        }
    }

    /// etcd's name, where it has such a request.
    pub(crate) fn name(self) -> &'static str {
        ApplyOp::NAMES[self as usize]
    }
}

/// A histogram per kind of request and outcome.
#[derive(Debug)]
pub struct ApplyTimes {
    /// By operation; those that failed come behind all that succeeded.
    histograms: Box<[Histogram]>,
}

impl Default for ApplyTimes {
    fn default() -> Self {
        let histogram = |_| Histogram::seconds(Duration::from_micros(100), 20);
        ApplyTimes { histograms: (0..2 * ApplyOp::NAMES.len()).map(histogram).collect() }
    }
}

impl ApplyTimes {
    pub(crate) fn observe(&self, op: ApplyOp, success: bool, took: Duration) {
        let failed = if success { 0 } else { ApplyOp::NAMES.len() };
        self.histograms[op as usize + failed].observe(took);
    }

    /// (operation, whether it succeeded, times) of what there has been.
    pub fn snapshots(&self) -> impl Iterator<Item = (&'static str, bool, HistogramSnapshot)> + '_ {
        let count = ApplyOp::NAMES.len();
        let all = self.histograms.iter().enumerate().map(move |(n, histogram)| {
            (ApplyOp::NAMES[n % count], n < count, histogram.snapshot())
        });
        all.filter(|(.., snapshot)| snapshot.count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use t4_kv_types::{LeaseId, Revision};

    #[test]
    fn each_kind_and_outcome_is_apart() {
        let times = ApplyTimes::default();
        let grant = ApplyOp::of(&Request::LeaseGrant(LeaseId(1), 5));
        times.observe(grant, true, Duration::from_micros(50));
        times.observe(grant, true, Duration::from_secs(60));
        let compact = ApplyOp::of(&Request::Compact(Revision(3)));
        times.observe(compact, false, Duration::from_micros(150));
        let seen: Vec<_> = times.snapshots().collect();
        let names: Vec<_> = seen.iter().map(|(name, success, _)| (*name, *success)).collect();
        assert_eq!(names, [("LeaseGrant", true), ("Compaction", false)]);
        assert_eq!(
            (seen[0].2.count, seen[0].2.cumulative[0], seen[0].2.cumulative.len()),
            (2, (0.0001, 1), 20)
        );
        assert_eq!(seen[1].2.cumulative[..2], [(0.0001, 0), (0.0002, 1)]);
    }

    #[test]
    fn names_are_there_once() {
        let mut names = ApplyOp::NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ApplyOp::RoleRevokePermission as usize + 1);
        assert_eq!(ApplyOp::RoleRevokePermission.name(), "AuthRoleRevokePermission");
    }
}
