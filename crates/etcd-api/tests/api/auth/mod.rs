//! The service Auth, and what it lets others do.

mod methods;
mod streams;
mod tokens;
mod users;

use t4_etcd_api::{ApiConfig, Services};
use t4_node::Config;
use t4_proto::authpb;
use t4_proto::authpb::permission::Type;
use t4_proto::etcdserverpb as pb;
use tonic::{Request, Status};

use crate::support::{Server, put};

/// A server with authentication on: `root`; `alice`, who may read and write
/// "a" to "b" (not in it); `eve`, who may nothing. Each one's password is its
/// name. "a1" and "secret" are there.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) root: String,
    pub(crate) alice: String,
    pub(crate) eve: String,
}

impl World {
    pub(crate) async fn start() -> World {
        World::start_with(|_| {}, |_| {}).await
    }

    pub(crate) async fn start_with(
        node: impl FnOnce(&mut Config),
        api: impl FnOnce(&mut ApiConfig),
    ) -> World {
        let server = Server::start_with(node, |config| {
            config.auth.bcrypt_cost = t4_auth_rbac::password::Cost::MIN;
            api(config);
        })
        .await;
        server.put("a1", "one").await;
        server.put("secret", "hidden").await;
        set_up(&server).await;
        let root = login(&server.services, "root", "root").await.unwrap();
        let alice = login(&server.services, "alice", "alice").await.unwrap();
        let eve = login(&server.services, "eve", "eve").await.unwrap();
        World { server, root, alice, eve }
    }

    /// A change by root.
    pub(crate) async fn revoke_alices_role(&self) {
        let request = pb::AuthUserRevokeRoleRequest { name: "alice".into(), role: "a".into() };
        self.server.auth().user_revoke_role(shown(&self.root, request)).await.unwrap();
    }

    pub(crate) async fn delete_alice(&self) {
        let request = pb::AuthUserDeleteRequest { name: "alice".into() };
        self.server.auth().user_delete(shown(&self.root, request)).await.unwrap();
    }

    pub(crate) async fn put_as_root(&self, key: &'static str, value: &'static str) {
        self.server.kv().put(shown(&self.root, put(key, value))).await.unwrap();
    }
}

/// A message with a token.
pub(crate) fn shown<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("token", token.parse().unwrap());
    request
}

pub(crate) async fn login(
    services: &Services,
    name: &str,
    password: &str,
) -> Result<String, Status> {
    let request = pb::AuthenticateRequest { name: name.into(), password: password.into() };
    let mut auth = pb::auth_client::AuthClient::new(services.clone());
    auth.authenticate(request).await.map(|response| response.into_inner().token)
}

pub(crate) fn user_add(name: &str, password: &str) -> pb::AuthUserAddRequest {
    pb::AuthUserAddRequest { name: name.into(), password: password.into(), ..Default::default() }
}

pub(crate) fn grant(
    role: &str,
    kind: Type,
    key: &str,
    range_end: &str,
) -> pb::AuthRoleGrantPermissionRequest {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    let perm = Some(authpb::Permission { perm_type: kind.into(), key, range_end });
    pb::AuthRoleGrantPermissionRequest { name: role.into(), perm }
}

async fn set_up(server: &Server) {
    let mut auth = server.auth();
    for name in ["root", "alice", "eve"] {
        auth.user_add(user_add(name, name)).await.unwrap();
    }
    auth.role_add(pb::AuthRoleAddRequest { name: "a".into() }).await.unwrap();
    auth.role_grant_permission(grant("a", Type::Readwrite, "a", "b")).await.unwrap();
    for (user, role) in [("root", "root"), ("alice", "a")] {
        let request = pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
        auth.user_grant_role(request).await.unwrap();
    }
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
}
