//! The roles: added, shown, filled with permissions, removed.

use t4_auth_rbac::{Command, Permission, PermissionKind};
use t4_proto::authpb;
use t4_proto::authpb::permission::Type;
use t4_proto::etcdserverpb as pb;
use tonic::Status;

use super::authenticate::NAME_BYTES_MAX;
use super::users::texts;
use crate::api::Api;
use crate::convert;
use crate::errors::ApiError;
use crate::proof::Proof;

impl Api {
    pub(crate) async fn role_add(
        &self,
        proof: &Proof,
        request: pb::AuthRoleAddRequest,
    ) -> Result<pb::AuthRoleAddResponse, Status> {
        self.check_size(&request)?;
        if request.name.len() > NAME_BYTES_MAX {
            return Err(ApiError::RequestTooLarge.status());
        }
        let command = Command::RoleAdd { name: request.name.into() };
        Ok(pb::AuthRoleAddResponse { header: self.change(proof, command).await? })
    }

    pub(crate) async fn role_get(
        &self,
        proof: &Proof,
        request: pb::AuthRoleGetRequest,
    ) -> Result<pb::AuthRoleGetResponse, Status> {
        let (state, who) = self.ask(proof)?;
        let permissions = state.role_get(&who, &request.role).map_err(ApiError::from)?;
        Ok(pb::AuthRoleGetResponse {
            header: Some(self.header_now()),
            perm: permissions.into_iter().map(shown).collect(),
        })
    }

    pub(crate) async fn role_list(
        &self,
        proof: &Proof,
        _: pb::AuthRoleListRequest,
    ) -> Result<pb::AuthRoleListResponse, Status> {
        let (state, who) = self.ask(proof)?;
        let roles = state.role_list(&who).map_err(ApiError::from)?;
        Ok(pb::AuthRoleListResponse { header: Some(self.header_now()), roles: texts(&roles) })
    }

    pub(crate) async fn role_delete(
        &self,
        proof: &Proof,
        request: pb::AuthRoleDeleteRequest,
    ) -> Result<pb::AuthRoleDeleteResponse, Status> {
        self.check_size(&request)?;
        let command = Command::RoleDelete { name: request.role.into() };
        Ok(pb::AuthRoleDeleteResponse { header: self.change(proof, command).await? })
    }

    pub(crate) async fn role_grant_permission(
        &self,
        proof: &Proof,
        request: pb::AuthRoleGrantPermissionRequest,
    ) -> Result<pb::AuthRoleGrantPermissionResponse, Status> {
        self.check_size(&request)?;
        let permission = request.perm.as_ref().map(granted).transpose()?;
        let command = Command::RoleGrantPermission { role: request.name.into(), permission };
        Ok(pb::AuthRoleGrantPermissionResponse { header: self.change(proof, command).await? })
    }

    pub(crate) async fn role_revoke_permission(
        &self,
        proof: &Proof,
        request: pb::AuthRoleRevokePermissionRequest,
    ) -> Result<pb::AuthRoleRevokePermissionResponse, Status> {
        self.check_size(&request)?;
        let command = Command::RoleRevokePermission {
            role: request.role.into(),
            key: convert::owned(&request.key),
            range_end: convert::owned(&request.range_end),
        };
        Ok(pb::AuthRoleRevokePermissionResponse { header: self.change(proof, command).await? })
    }
}

/// A permission of a kind that does not exist is refused; etcd keeps it, and it
/// allows nothing.
fn granted(permission: &authpb::Permission) -> Result<Permission, ApiError> {
    let kind = match Type::try_from(permission.perm_type) {
        Ok(Type::Read) => PermissionKind::Read,
        Ok(Type::Write) => PermissionKind::Write,
        Ok(Type::Readwrite) => PermissionKind::ReadWrite,
        Err(_) => return Err(ApiError::InvalidAuthManagement),
    };
    let (key, range_end) = (convert::owned(&permission.key), convert::owned(&permission.range_end));
    Ok(Permission { kind, key, range_end })
}

fn shown(permission: Permission) -> authpb::Permission {
    let kind = match permission.kind {
        PermissionKind::Read => Type::Read,
        PermissionKind::Write => Type::Write,
        PermissionKind::ReadWrite => Type::Readwrite,
    };
    authpb::Permission {
        perm_type: kind.into(),
        key: permission.key,
        range_end: permission.range_end,
    }
}
