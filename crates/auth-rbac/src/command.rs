//! The changes that clients ask for, and the decision about each: a command becomes an
//! effect, nothing, or an error.
//!
//! Commands are decided on the newest state, committed plus in flight, where the log is
//! ordered; [`effect`](crate::effect) makes the changes. The checks come in etcd's
//! order.

use std::sync::Arc;

use bytes::Bytes;

use crate::effect::Effect;
use crate::error::AuthError;
use crate::identity::Identity;
use crate::permission::Permission;
use crate::record::{PasswordHash, RECORD_BYTES, ROOT, Role, User, granted_role_bytes};
use crate::state::AuthState;
use crate::tokens::{TokenHash, TokenId};

/// A requested change. Passwords are hashed, and tokens made, before that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Turn authentication on. Nothing to do if it is on.
    Enable,
    /// Turn it off; all tokens end. Nothing to do if it is off.
    Disable,
    /// Add a user without roles.
    UserAdd {
        /// Its name.
        name: Arc<str>,
        /// It may log in by certificate only; `password` is ignored.
        no_password: bool,
        /// The hash of its password; None if the request held none that can
        /// be read.
        password: Option<PasswordHash>,
    },
    /// Remove a user; its tokens end.
    UserDelete {
        /// Its name.
        name: Arc<str>,
    },
    /// Set a user's password; its tokens end. A user that was added without a password
    /// keeps none.
    UserChangePassword {
        /// Its name.
        name: Arc<str>,
        /// As of `UserAdd`. An empty hash makes logins impossible.
        password: Option<PasswordHash>,
    },
    /// Give a user a role; nothing to do if it has it. The role `root` need
    /// not exist.
    UserGrantRole {
        /// The user.
        user: Arc<str>,
        /// The role.
        role: Arc<str>,
    },
    /// Take a role from a user.
    UserRevokeRole {
        /// The user.
        user: Arc<str>,
        /// The role.
        role: Arc<str>,
    },
    /// Add a role without permissions.
    RoleAdd {
        /// Its name.
        name: Arc<str>,
    },
    /// Remove a role, from all users too.
    RoleDelete {
        /// Its name.
        name: Arc<str>,
    },
    /// Give a role a permission. One on exactly the same range is replaced.
    RoleGrantPermission {
        /// The role.
        role: Arc<str>,
        /// The permission; None if the request had none.
        permission: Option<Permission>,
    },
    /// Take from a role its permission on exactly this range.
    RoleRevokePermission {
        /// The role.
        role: Arc<str>,
        /// The permission's key.
        key: Bytes,
        /// The permission's end, as it was granted.
        range_end: Bytes,
    },
    /// Give a user, whose password has been verified, a token. Needs no
    /// permission.
    ///
    /// A user's share and the whole table are bounded
    /// ([`USER_TOKENS_MAX`](crate::USER_TOKENS_MAX),
    /// [`TOKENS_MAX`](crate::TOKENS_MAX)): beyond the first, the user's oldest
    /// token ends, beyond the second the one nearest to expiry.
    IssueToken {
        /// The user.
        user: Arc<str>,
        /// The hash of the token.
        hash: TokenHash,
        /// The auth revision of the [`Credentials`](crate::Credentials) that
        /// the password was verified against.
        verified_at: u64,
        /// The token nearest to expiry
        /// ([`TokenClock::nearest`](crate::TokenClock::nearest)): it is evicted if the
        /// table is full. If it is None or gone already, the oldest is.
        nearest: Option<TokenId>,
    },
    /// End expired tokens
    /// ([`TokenClock::take_expired`](crate::TokenClock::take_expired)); those
    /// that are gone do not matter. Needs no permission, and no client can ask
    /// for it.
    ExpireTokens {
        /// Which.
        ids: Vec<TokenId>,
    },
}

/// What a hash that is made here takes: a new password is never refused for that.
const HASH_BYTES: u64 = 60;

impl AuthState {
    /// Decides what `command` does to this state. `None`: nothing, and that is
    /// a success. The effect fits this state and must be the next that is
    /// [applied](Self::apply) to it.
    ///
    /// # Errors
    /// Permission first ([`Self::authorize_admin`]), then what is wrong with
    /// the command.
    pub fn evaluate(&self, who: &Identity, command: &Command) -> Result<Option<Effect>, AuthError> {
        match command {
            Command::IssueToken { .. } | Command::ExpireTokens { .. } => {}
            _ => self.authorize_admin(who)?,
        }
        self.decide(command)
    }

    /// How many bytes `command` adds to [`bytes`](Self::bytes) of this state, but for a
    /// new password of the usual length. 0 if it adds nothing or is wrong: a full store
    /// must let it through, so that rights can be lowered and errors are its own.
    #[must_use]
    pub fn growth(&self, command: &Command) -> u64 {
        match self.decide(command) {
            Ok(Some(effect)) => self.growth_by(&effect),
            Ok(None) | Err(_) => 0,
        }
    }

    fn growth_by(&self, effect: &Effect) -> u64 {
        match effect {
            Effect::UserAdd { name, password, .. } => {
                RECORD_BYTES + name.len() as u64 + password.0.len() as u64
            }
            Effect::UserPassword { name, password } => {
                let present = self.users.get(name).map_or(0, |user| user.password.0.len() as u64);
                (password.0.len() as u64).saturating_sub(present.max(HASH_BYTES))
            }
            Effect::UserGrantRole { role, .. } => granted_role_bytes(role),
            Effect::RoleAdd { name } => RECORD_BYTES + name.len() as u64,
            Effect::RoleGrant { role, permission } => {
                let replaces =
                    |role: &Arc<Role>| role.place(&permission.key, &permission.range_end).is_ok();
                if self.roles.get(role).is_some_and(replaces) { 0 } else { permission.bytes() }
            }
            Effect::Enable
            | Effect::Disable
            | Effect::UserDelete { .. }
            | Effect::UserRevokeRole { .. }
            | Effect::RoleDelete { .. }
            | Effect::RoleRevoke { .. }
            | Effect::TokenIssue { .. }
            | Effect::TokensEnd { .. } => 0,
        }
    }

    /// As [`evaluate`](Self::evaluate), for a caller that may do it.
    fn decide(&self, command: &Command) -> Result<Option<Effect>, AuthError> {
        match command {
            Command::Enable => self.enable(),
            Command::Disable => Ok(self.enabled.then_some(Effect::Disable)),
            Command::UserAdd { name, no_password, password } => {
                self.user_add(name, *no_password, password.as_ref()).map(Some)
            }
            Command::UserDelete { name } => self.user_delete(name).map(Some),
            Command::UserChangePassword { name, password } => {
                self.user_change_password(name, password.as_ref()).map(Some)
            }
            Command::UserGrantRole { user, role } => self.user_grant_role(user, role),
            Command::UserRevokeRole { user, role } => self.user_revoke_role(user, role).map(Some),
            Command::RoleAdd { name } => self.role_add(name).map(Some),
            Command::RoleDelete { name } => self.role_delete(name).map(Some),
            Command::RoleGrantPermission { role, permission } => {
                self.role_grant(role, permission.as_ref()).map(Some)
            }
            Command::RoleRevokePermission { role, key, range_end } => {
                self.role_revoke(role, key, range_end).map(Some)
            }
            Command::IssueToken { user, hash, verified_at, nearest } => {
                self.issue_token(user, *hash, *verified_at, *nearest).map(Some)
            }
            Command::ExpireTokens { ids } => Ok(self.expire_tokens(ids)),
        }
    }

    fn user(&self, name: &str) -> Result<&Arc<User>, AuthError> {
        self.users.get(name).ok_or(AuthError::UserNotFound)
    }

    fn role(&self, name: &str) -> Result<&Arc<Role>, AuthError> {
        self.roles.get(name).ok_or(AuthError::RoleNotFound)
    }

    fn enable(&self) -> Result<Option<Effect>, AuthError> {
        if self.enabled {
            return Ok(None);
        }
        let root = self.users.get(ROOT).ok_or(AuthError::RootUserNotExist)?;
        if root.is_admin() { Ok(Some(Effect::Enable)) } else { Err(AuthError::RootRoleNotExist) }
    }

    fn user_add(
        &self,
        name: &Arc<str>,
        no_password: bool,
        password: Option<&PasswordHash>,
    ) -> Result<Effect, AuthError> {
        if name.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        if self.users.contains_key(name) {
            return Err(AuthError::UserAlreadyExist);
        }
        let password = password_of(no_password, password)?;
        Ok(Effect::UserAdd { name: name.clone(), no_password, password })
    }

    fn user_delete(&self, name: &Arc<str>) -> Result<Effect, AuthError> {
        if self.enabled && name.as_ref() == ROOT {
            return Err(AuthError::InvalidAuthManagement);
        }
        self.user(name)?;
        Ok(Effect::UserDelete { name: name.clone() })
    }

    fn user_change_password(
        &self,
        name: &Arc<str>,
        password: Option<&PasswordHash>,
    ) -> Result<Effect, AuthError> {
        let password = password_of(self.user(name)?.no_password, password)?;
        Ok(Effect::UserPassword { name: name.clone(), password })
    }

    fn user_grant_role(
        &self,
        user: &Arc<str>,
        role: &Arc<str>,
    ) -> Result<Option<Effect>, AuthError> {
        let found = self.user(user)?;
        if role.as_ref() != ROOT {
            self.role(role)?;
        }
        let new = !found.has_role(role);
        Ok(new.then(|| Effect::UserGrantRole { user: user.clone(), role: role.clone() }))
    }

    fn user_revoke_role(&self, user: &Arc<str>, role: &Arc<str>) -> Result<Effect, AuthError> {
        if self.enabled && user.as_ref() == ROOT && role.as_ref() == ROOT {
            return Err(AuthError::InvalidAuthManagement);
        }
        if !self.user(user)?.has_role(role) {
            return Err(AuthError::RoleNotGranted);
        }
        Ok(Effect::UserRevokeRole { user: user.clone(), role: role.clone() })
    }

    fn role_add(&self, name: &Arc<str>) -> Result<Effect, AuthError> {
        if name.is_empty() {
            return Err(AuthError::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(AuthError::RoleAlreadyExist);
        }
        Ok(Effect::RoleAdd { name: name.clone() })
    }

    fn role_delete(&self, name: &Arc<str>) -> Result<Effect, AuthError> {
        if self.enabled && name.as_ref() == ROOT {
            return Err(AuthError::InvalidAuthManagement);
        }
        self.role(name)?;
        Ok(Effect::RoleDelete { name: name.clone() })
    }

    fn role_grant(
        &self,
        role: &Arc<str>,
        permission: Option<&Permission>,
    ) -> Result<Effect, AuthError> {
        let permission = permission.ok_or(AuthError::PermissionNotGiven)?;
        if !permission.is_valid() {
            return Err(AuthError::InvalidAuthManagement);
        }
        self.role(role)?;
        Ok(Effect::RoleGrant { role: role.clone(), permission: permission.clone() })
    }

    fn role_revoke(
        &self,
        role: &Arc<str>,
        key: &Bytes,
        range_end: &Bytes,
    ) -> Result<Effect, AuthError> {
        if self.role(role)?.place(key, range_end).is_err() {
            return Err(AuthError::PermissionNotGranted);
        }
        let (role, key, range_end) = (role.clone(), key.clone(), range_end.clone());
        Ok(Effect::RoleRevoke { role, key, range_end })
    }

    fn issue_token(
        &self,
        user: &Arc<str>,
        hash: TokenHash,
        verified_at: u64,
        nearest: Option<TokenId>,
    ) -> Result<Effect, AuthError> {
        if !self.enabled {
            return Err(AuthError::AuthNotEnabled);
        }
        let found = self.users.get(user).ok_or(AuthError::AuthFailed)?;
        if found.no_password {
            return Err(AuthError::NoPasswordUser);
        }
        // etcd repeats the login if anything has changed since; only what the
        // verification rests on need be the same. A hash in use is a token
        // that was proposed twice.
        if verified_at < found.credential_revision || self.tokens.find(&hash).is_some() {
            return Err(AuthError::RepeatLogin);
        }
        let ended = self.tokens.one_too_many(user, nearest);
        Ok(Effect::TokenIssue { id: self.tokens.next(), user: user.clone(), hash, ended })
    }

    fn expire_tokens(&self, ids: &[TokenId]) -> Option<Effect> {
        let mut ids: Vec<TokenId> = ids.iter().copied().filter(|id| self.has_token(*id)).collect();
        ids.sort_unstable();
        ids.dedup();
        (!ids.is_empty()).then_some(Effect::TokensEnd { ids })
    }
}

/// etcd answers a hash that cannot be read with the words for users without a
/// password.
fn password_of(
    no_password: bool,
    password: Option<&PasswordHash>,
) -> Result<PasswordHash, AuthError> {
    if no_password {
        return Ok(PasswordHash::default());
    }
    password.cloned().ok_or(AuthError::NoPasswordUser)
}
