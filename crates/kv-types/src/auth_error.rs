//! Why a call about users, roles, permissions or tokens was refused.
//!
//! One variant for each thing that etcd tells apart; `etcd-api` has the texts
//! and codes of the wire, those here are for logs. `t4-auth-rbac` decides; the
//! words are here because every operation can be refused with them.

use thiserror::Error;

/// Why a call was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum AuthError {
    /// Authentication cannot be enabled without a user `root`. Add it first.
    #[error("user root does not exist")]
    RootUserNotExist,
    /// Authentication cannot be enabled before the user `root` has the role
    /// `root`. Grant it first.
    #[error("user root does not have the role root")]
    RootRoleNotExist,
    /// There is such a user already.
    #[error("the user exists already")]
    UserAlreadyExist,
    /// No user is named, or authentication is on and the call names none.
    #[error("the user name is empty")]
    UserEmpty,
    /// There is no such user.
    #[error("the user does not exist")]
    UserNotFound,
    /// There is such a role already.
    #[error("the role exists already")]
    RoleAlreadyExist,
    /// There is no such role.
    #[error("the role does not exist")]
    RoleNotFound,
    /// No role is named.
    #[error("the role name is empty")]
    RoleEmpty,
    /// The name or the password is wrong.
    #[error("authentication failed, invalid user name or password")]
    AuthFailed,
    /// A password for a user that logs in by certificate only; or a hash that
    /// is none where a password was to be set (etcd's word for both).
    #[error("authentication failed, password was given for no password user")]
    NoPasswordUser,
    /// A grant without a permission in it.
    #[error("the permission is missing")]
    PermissionNotGiven,
    /// The user may not do that.
    #[error("permission denied")]
    PermissionDenied,
    /// The user does not have the role.
    #[error("the role is not granted to the user")]
    RoleNotGranted,
    /// The role does not have exactly this permission.
    #[error("the permission is not granted to the role")]
    PermissionNotGranted,
    /// Nobody logs in while authentication is off.
    #[error("authentication is not enabled")]
    AuthNotEnabled,
    /// The token is unknown, expired or revoked. Log in again.
    #[error("invalid auth token")]
    InvalidAuthToken,
    /// It would take the administrator out of charge, or it is no range of
    /// keys.
    #[error("invalid auth management")]
    InvalidAuthManagement,
    /// Users or roles changed after the credentials were made. Log in again.
    #[error("the revision of the credentials is old")]
    AuthOldRevision,
    /// The password changed between its verification and the token. Verify it
    /// again, with a new token; no client sees this.
    #[error("the user changed while it logged in")]
    RepeatLogin,
}
