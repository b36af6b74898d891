//! Calls to one server with tokens.

use anyhow::Context;
use t4_proto::authpb::{Permission, permission::Type};
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::auth_client::AuthClient;
use t4_testkit::Rpc;
use tonic::Request;
use tonic::transport::Channel;

/// A connection to one server.
pub(crate) struct Session {
    pub(crate) rpc: Rpc,
    pub(crate) auth: AuthClient<Channel>,
}

/// A message with a token; without one if that is empty.
pub(crate) fn shown<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        request.metadata_mut().insert("token", token.parse().expect("a token is ASCII"));
    }
    request
}

pub(crate) fn permission(kind: Type, key: &str, end: &str) -> Option<Permission> {
    let (key, range_end) = (key.to_owned().into(), end.to_owned().into());
    Some(Permission { perm_type: kind.into(), key, range_end })
}

impl Session {
    pub(crate) async fn connect(endpoint: &str) -> anyhow::Result<Session> {
        Ok(Session::over(Rpc::connect(endpoint).await?))
    }

    pub(crate) fn over(rpc: Rpc) -> Session {
        let auth = AuthClient::new(rpc.channel.clone());
        Session { rpc, auth }
    }

    pub(crate) async fn login(&mut self, name: &str, password: &str) -> anyhow::Result<String> {
        let request = pb::AuthenticateRequest { name: name.into(), password: password.into() };
        let response = self.auth.authenticate(request).await;
        Ok(response.with_context(|| format!("log in as {name}"))?.into_inner().token)
    }

    /// While authentication is off.
    pub(crate) async fn user(
        &mut self,
        name: &str,
        password: &str,
        roles: &[&str],
    ) -> anyhow::Result<()> {
        let request = pb::AuthUserAddRequest {
            name: name.into(),
            password: password.into(),
            ..Default::default()
        };
        self.auth.user_add(request).await?;
        for role in roles {
            let request =
                pb::AuthUserGrantRoleRequest { user: name.into(), role: (*role).to_owned() };
            self.auth.user_grant_role(request).await?;
        }
        Ok(())
    }

    /// The same.
    pub(crate) async fn role(
        &mut self,
        name: &str,
        permissions: &[(Type, &str, &str)],
    ) -> anyhow::Result<()> {
        self.auth.role_add(pb::AuthRoleAddRequest { name: name.into() }).await?;
        for (kind, key, end) in permissions {
            let perm = permission(*kind, key, end);
            let request = pb::AuthRoleGrantPermissionRequest { name: name.into(), perm };
            self.auth.role_grant_permission(request).await?;
        }
        Ok(())
    }

    pub(crate) async fn enable(&mut self) -> anyhow::Result<()> {
        self.auth.auth_enable(pb::AuthEnableRequest {}).await?;
        Ok(())
    }
}
