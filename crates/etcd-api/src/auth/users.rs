//! The users: added, shown, changed, removed.

use std::sync::Arc;

use t4_auth_rbac::password::{self, Cost};
use t4_auth_rbac::{Command, PasswordHash};
use t4_proto::etcdserverpb as pb;
use tonic::Status;

use super::authenticate::NAME_BYTES_MAX;
use crate::api::Api;
use crate::errors::ApiError;
use crate::login::Secret;
use crate::proof::Proof;

impl Api {
    /// A hash that the client sends is not looked at, as in etcd.
    pub(crate) async fn user_add(
        &self,
        proof: &Proof,
        request: pb::AuthUserAddRequest,
    ) -> Result<pb::AuthUserAddResponse, Status> {
        self.check_size(&request)?;
        if request.name.len() > NAME_BYTES_MAX {
            return Err(ApiError::RequestTooLarge.status());
        }
        let no_password = request.options.is_some_and(|options| options.no_password);
        let password = match no_password {
            true => None,
            false => Some(self.logins.hash(Secret::new(request.password)).await?),
        };
        let command = Command::UserAdd { name: request.name.into(), no_password, password };
        Ok(pb::AuthUserAddResponse { header: self.change(proof, command).await? })
    }

    pub(crate) async fn user_get(
        &self,
        proof: &Proof,
        request: pb::AuthUserGetRequest,
    ) -> Result<pb::AuthUserGetResponse, Status> {
        let (state, who) = self.ask(proof)?;
        let roles = state.user_get(&who, &request.name).map_err(ApiError::from)?;
        Ok(pb::AuthUserGetResponse { header: Some(self.header_now()), roles: texts(&roles) })
    }

    pub(crate) async fn user_list(
        &self,
        proof: &Proof,
        _: pb::AuthUserListRequest,
    ) -> Result<pb::AuthUserListResponse, Status> {
        let (state, who) = self.ask(proof)?;
        let users = state.user_list(&who).map_err(ApiError::from)?;
        Ok(pb::AuthUserListResponse { header: Some(self.header_now()), users: texts(&users) })
    }

    pub(crate) async fn user_delete(
        &self,
        proof: &Proof,
        request: pb::AuthUserDeleteRequest,
    ) -> Result<pb::AuthUserDeleteResponse, Status> {
        self.check_size(&request)?;
        let name: Arc<str> = request.name.into();
        let header = self.change(proof, Command::UserDelete { name: name.clone() }).await?;
        self.logins.forget(&name);
        Ok(pb::AuthUserDeleteResponse { header })
    }

    /// A password is hashed here; without one, the hash of the request is taken
    /// as it is. With neither, no password logs in as that user.
    pub(crate) async fn user_change_password(
        &self,
        proof: &Proof,
        request: pb::AuthUserChangePasswordRequest,
    ) -> Result<pb::AuthUserChangePasswordResponse, Status> {
        self.check_size(&request)?;
        let password = if request.password.is_empty() {
            let given = password::from_wire(&request.hashed_password);
            let given = given.ok().map(|hash| PasswordHash(hash.into()));
            self.warn_if_useless(&request.name, given.as_ref());
            given
        } else {
            Some(self.logins.hash(Secret::new(request.password)).await?)
        };
        let name: Arc<str> = request.name.into();
        let command = Command::UserChangePassword { name: name.clone(), password };
        let header = self.change(proof, command).await?;
        self.logins.forget(&name);
        Ok(pb::AuthUserChangePasswordResponse { header })
    }

    /// etcd accepts any bytes as a hash, and so do we; but it is logged.
    fn warn_if_useless(&self, user: &str, given: Option<&PasswordHash>) {
        if given.is_some_and(|hash| !self.logins.can_match(hash)) {
            let cost_max = Cost::VERIFIED_MAX;
            tracing::warn!(
                user,
                "the hash that is to be the password is not one of bcrypt, or costs more than \
                 {cost_max} and --bcrypt-cost: nobody can log in with it"
            );
        }
    }

    pub(crate) async fn user_grant_role(
        &self,
        proof: &Proof,
        request: pb::AuthUserGrantRoleRequest,
    ) -> Result<pb::AuthUserGrantRoleResponse, Status> {
        self.check_size(&request)?;
        let command =
            Command::UserGrantRole { user: request.user.into(), role: request.role.into() };
        Ok(pb::AuthUserGrantRoleResponse { header: self.change(proof, command).await? })
    }

    pub(crate) async fn user_revoke_role(
        &self,
        proof: &Proof,
        request: pb::AuthUserRevokeRoleRequest,
    ) -> Result<pb::AuthUserRevokeRoleResponse, Status> {
        self.check_size(&request)?;
        let command =
            Command::UserRevokeRole { user: request.name.into(), role: request.role.into() };
        Ok(pb::AuthUserRevokeRoleResponse { header: self.change(proof, command).await? })
    }
}

/// Names as messages carry them.
pub(super) fn texts(names: &[Arc<str>]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}
