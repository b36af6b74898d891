//! Why a call about users, roles, permissions or tokens was refused.
//!
//! One variant for each case that etcd distinguishes; `etcd-api` has the texts
//! and codes of the wire, those here are for logs. `t4-auth-rbac` makes the
//! decisions; the type is here because every operation can fail with it.

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
    /// A user with this name exists already.
    #[error("the user exists already")]
    UserAlreadyExist,
    /// No user is named, or authentication is on and the call has no credentials.
    #[error("the user name is empty")]
    UserEmpty,
    /// There is no such user.
    #[error("the user does not exist")]
    UserNotFound,
    /// A role with this name exists already.
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
    /// A password for a user that logs in by certificate only, or an invalid
    /// hash where a password was to be set (etcd uses one error for both).
    #[error("authentication failed, password was given for no password user")]
    NoPasswordUser,
    /// A grant without a permission.
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
    /// Logins are impossible while authentication is off.
    #[error("authentication is not enabled")]
    AuthNotEnabled,
    /// The token is unknown, expired or revoked. Log in again.
    #[error("invalid auth token")]
    InvalidAuthToken,
    /// It would remove the administrator's rights, or its key range is invalid.
    #[error("invalid auth management")]
    InvalidAuthManagement,
    /// Users or roles changed after the credentials were created. Log in again.
    #[error("the revision of the credentials is old")]
    AuthOldRevision,
    /// The password changed between its verification and the creation of the
    /// token. Verify it again, with a new token; clients never see this error.
    #[error("the user changed while it logged in")]
    RepeatLogin,
}
