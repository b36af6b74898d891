//! The methods that are served, by their path on the wire.

/// How many messages a call has in each direction. The names are those of the
/// label `grpc_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// One message each way.
    Unary,
    /// One request, many responses.
    ServerStream,
    /// Many messages each way.
    BidiStream,
}

impl CallKind {
    /// The value of the label `grpc_type`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            CallKind::Unary => "unary",
            CallKind::ServerStream => "server_stream",
            CallKind::BidiStream => "bidi_stream",
        }
    }
}

macro_rules! methods {
    ($($variant:ident = $service:literal, $name:literal, $kind:ident;)*) => {
        /// A method of a service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Method {
            $(
                #[doc = concat!("`/", $service, "/", $name, "`")]
                $variant,
            )*
        }

        impl Method {
            /// Every method; the index of each is its value as a number.
            pub const ALL: &[Method] = &[$(Method::$variant),*];

            /// The method with this path.
            #[must_use]
            pub fn from_path(path: &str) -> Option<Method> {
                match path {
                    $(concat!("/", $service, "/", $name) => Some(Method::$variant),)*
                    _ => None,
                }
            }

            /// The full name of its service: the label `grpc_service`.
            #[must_use]
            pub const fn service(self) -> &'static str {
                match self { $(Method::$variant => $service,)* }
            }

            /// Its name: the label `grpc_method`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Method::$variant => $name,)* }
            }

            /// How many messages it has.
            #[must_use]
            pub const fn kind(self) -> CallKind {
                match self { $(Method::$variant => CallKind::$kind,)* }
            }
        }
    };
}

// What is called most comes first: paths are compared in this order.
methods! {
    Range = "etcdserverpb.KV", "Range", Unary;
    Put = "etcdserverpb.KV", "Put", Unary;
    Txn = "etcdserverpb.KV", "Txn", Unary;
    DeleteRange = "etcdserverpb.KV", "DeleteRange", Unary;
    Compact = "etcdserverpb.KV", "Compact", Unary;
    RangeStream = "etcdserverpb.KV", "RangeStream", ServerStream;
    Watch = "etcdserverpb.Watch", "Watch", BidiStream;
    LeaseGrant = "etcdserverpb.Lease", "LeaseGrant", Unary;
    LeaseRevoke = "etcdserverpb.Lease", "LeaseRevoke", Unary;
    LeaseKeepAlive = "etcdserverpb.Lease", "LeaseKeepAlive", BidiStream;
    LeaseTimeToLive = "etcdserverpb.Lease", "LeaseTimeToLive", Unary;
    LeaseLeases = "etcdserverpb.Lease", "LeaseLeases", Unary;
    Lock = "v3lockpb.Lock", "Lock", Unary;
    Unlock = "v3lockpb.Lock", "Unlock", Unary;
    Campaign = "v3electionpb.Election", "Campaign", Unary;
    Proclaim = "v3electionpb.Election", "Proclaim", Unary;
    Leader = "v3electionpb.Election", "Leader", Unary;
    Observe = "v3electionpb.Election", "Observe", ServerStream;
    Resign = "v3electionpb.Election", "Resign", Unary;
    MemberAdd = "etcdserverpb.Cluster", "MemberAdd", Unary;
    MemberRemove = "etcdserverpb.Cluster", "MemberRemove", Unary;
    MemberUpdate = "etcdserverpb.Cluster", "MemberUpdate", Unary;
    MemberList = "etcdserverpb.Cluster", "MemberList", Unary;
    MemberPromote = "etcdserverpb.Cluster", "MemberPromote", Unary;
    Alarm = "etcdserverpb.Maintenance", "Alarm", Unary;
    Status = "etcdserverpb.Maintenance", "Status", Unary;
    Defragment = "etcdserverpb.Maintenance", "Defragment", Unary;
    Hash = "etcdserverpb.Maintenance", "Hash", Unary;
    HashKv = "etcdserverpb.Maintenance", "HashKV", Unary;
    Snapshot = "etcdserverpb.Maintenance", "Snapshot", ServerStream;
    MoveLeader = "etcdserverpb.Maintenance", "MoveLeader", Unary;
    Downgrade = "etcdserverpb.Maintenance", "Downgrade", Unary;
    HealthCheck = "grpc.health.v1.Health", "Check", Unary;
    HealthWatch = "grpc.health.v1.Health", "Watch", ServerStream;
    HealthList = "grpc.health.v1.Health", "List", Unary;
    AuthEnable = "etcdserverpb.Auth", "AuthEnable", Unary;
    AuthDisable = "etcdserverpb.Auth", "AuthDisable", Unary;
    AuthStatus = "etcdserverpb.Auth", "AuthStatus", Unary;
    Authenticate = "etcdserverpb.Auth", "Authenticate", Unary;
    UserAdd = "etcdserverpb.Auth", "UserAdd", Unary;
    UserGet = "etcdserverpb.Auth", "UserGet", Unary;
    UserList = "etcdserverpb.Auth", "UserList", Unary;
    UserDelete = "etcdserverpb.Auth", "UserDelete", Unary;
    UserChangePassword = "etcdserverpb.Auth", "UserChangePassword", Unary;
    UserGrantRole = "etcdserverpb.Auth", "UserGrantRole", Unary;
    UserRevokeRole = "etcdserverpb.Auth", "UserRevokeRole", Unary;
    RoleAdd = "etcdserverpb.Auth", "RoleAdd", Unary;
    RoleGet = "etcdserverpb.Auth", "RoleGet", Unary;
    RoleList = "etcdserverpb.Auth", "RoleList", Unary;
    RoleDelete = "etcdserverpb.Auth", "RoleDelete", Unary;
    RoleGrantPermission = "etcdserverpb.Auth", "RoleGrantPermission", Unary;
    RoleRevokePermission = "etcdserverpb.Auth", "RoleRevokePermission", Unary;
}

impl Method {
    /// Whether a service of this name is served.
    pub(crate) fn serves(service: &str) -> bool {
        Method::ALL.iter().any(|method| method.service() == service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_back_to_methods() {
        for (index, &method) in Method::ALL.iter().enumerate() {
            assert_eq!(method as usize, index);
            let path = format!("/{}/{}", method.service(), method.name());
            assert_eq!(Method::from_path(&path), Some(method));
        }
        assert_eq!(Method::from_path("/etcdserverpb.KV/range"), None);
        assert_eq!(Method::from_path("etcdserverpb.KV/Range"), None);
    }

    /// The servers generated from the `.proto` files know the same services.
    #[test]
    fn services_are_the_generated_ones() {
        use t4_proto::etcdserverpb as pb;
        let generated = [
            pb::kv_server::SERVICE_NAME,
            pb::watch_server::SERVICE_NAME,
            pb::lease_server::SERVICE_NAME,
            pb::cluster_server::SERVICE_NAME,
            pb::maintenance_server::SERVICE_NAME,
            pb::auth_server::SERVICE_NAME,
            t4_proto::v3lockpb::lock_server::SERVICE_NAME,
            t4_proto::v3electionpb::election_server::SERVICE_NAME,
            t4_proto::grpc_health_v1::health_server::SERVICE_NAME,
        ];
        for service in generated {
            assert!(Method::serves(service), "{service}");
        }
        assert!(Method::ALL.iter().all(|method| generated.contains(&method.service())));
    }
}
