//! Which callers may use which method: one line for each, so that none is forgotten.
//!
//! Permissions on the keys of a request are checked where the keys are known: before
//! a read by `access`, and for a write by the node, where the order of writes is
//! decided. The rest is checked in `dispatch`, for all methods alike.

use crate::method::Method;

/// The callers that may use a method while authentication is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Every caller, authenticated or not. Such a method neither shows nor changes
    /// anything that is protected.
    Open,
    /// Every user.
    User,
    /// Users with the role `root`.
    Admin,
    /// Every user; changes need the role `root`, which the method checks.
    UserOrAdmin,
    /// Users with the role `root`, and others about themselves. The method checks.
    Own,
    /// Users with permissions on the keys that are named, or that are attached to a
    /// lease. The method checks, and rejects unauthenticated callers.
    Keys,
}

impl Method {
    /// The callers that may use it.
    pub(crate) const fn rule(self) -> Rule {
        match self {
            Method::HealthCheck
            | Method::HealthWatch
            | Method::HealthList
            | Method::AuthStatus
            | Method::Authenticate => Rule::Open,

            Method::MemberList | Method::Status => Rule::User,
            Method::Alarm => Rule::UserOrAdmin,

            Method::Compact
            | Method::MemberAdd
            | Method::MemberRemove
            | Method::MemberUpdate
            | Method::MemberPromote
            | Method::Defragment
            | Method::Hash
            | Method::HashKv
            | Method::Snapshot
            | Method::MoveLeader
            | Method::Downgrade
            | Method::AuthEnable
            | Method::AuthDisable
            | Method::UserAdd
            | Method::UserList
            | Method::UserDelete
            | Method::UserChangePassword
            | Method::UserGrantRole
            | Method::UserRevokeRole
            | Method::RoleAdd
            | Method::RoleList
            | Method::RoleDelete
            | Method::RoleGrantPermission
            | Method::RoleRevokePermission => Rule::Admin,

            Method::UserGet | Method::RoleGet => Rule::Own,

            Method::Range
            | Method::Put
            | Method::Txn
            | Method::DeleteRange
            | Method::RangeStream
            | Method::Watch
            | Method::LeaseGrant
            | Method::LeaseRevoke
            | Method::LeaseKeepAlive
            | Method::LeaseTimeToLive
            | Method::LeaseLeases
            | Method::Lock
            | Method::Unlock
            | Method::Campaign
            | Method::Proclaim
            | Method::Leader
            | Method::Observe
            | Method::Resign => Rule::Keys,
        }
    }

    /// Whether it is served while authentication is off and must not be
    /// (`--auth-enabled`): everything but what sets users up and what reports the
    /// state of the server.
    pub(crate) const fn is_served_before_auth(self) -> bool {
        match self.rule() {
            Rule::Open | Rule::User | Rule::Own => true,
            Rule::UserOrAdmin | Rule::Keys => false,
            Rule::Admin => matches!(
                self,
                Method::AuthEnable
                    | Method::AuthDisable
                    | Method::UserAdd
                    | Method::UserList
                    | Method::UserDelete
                    | Method::UserChangePassword
                    | Method::UserGrantRole
                    | Method::UserRevokeRole
                    | Method::RoleAdd
                    | Method::RoleList
                    | Method::RoleDelete
                    | Method::RoleGrantPermission
                    | Method::RoleRevokePermission
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules that etcd's own checks follow, service by service.
    #[test]
    fn whole_services_have_one_rule() {
        for &method in Method::ALL {
            let rule = method.rule();
            match method.service() {
                "etcdserverpb.Watch"
                | "etcdserverpb.Lease"
                | "v3lockpb.Lock"
                | "v3electionpb.Election" => assert_eq!(rule, Rule::Keys, "{method:?}"),
                "etcdserverpb.KV" => {
                    let admin = method == Method::Compact;
                    assert_eq!(rule, if admin { Rule::Admin } else { Rule::Keys }, "{method:?}");
                }
                "grpc.health.v1.Health" => assert_eq!(rule, Rule::Open, "{method:?}"),
                "etcdserverpb.Cluster" => {
                    let reads = method == Method::MemberList;
                    assert_eq!(rule, if reads { Rule::User } else { Rule::Admin }, "{method:?}");
                }
                "etcdserverpb.Maintenance" => assert_ne!(rule, Rule::Open, "{method:?}"),
                "etcdserverpb.Auth" => {
                    let open = matches!(method, Method::AuthStatus | Method::Authenticate);
                    assert_eq!(rule == Rule::Open, open, "{method:?}");
                    assert!(method.is_served_before_auth(), "{method:?}");
                }
                other => panic!("the service {other} has no rule"),
            }
        }
    }

    #[test]
    fn keys_wait_for_authentication() {
        for &method in Method::ALL {
            if method.rule() == Rule::Keys {
                assert!(!method.is_served_before_auth(), "{method:?}");
            }
        }
        assert!(!Method::Compact.is_served_before_auth());
        assert!(!Method::Snapshot.is_served_before_auth());
        assert!(Method::Status.is_served_before_auth());
    }
}
