//! What the log stores: changes that were decided, and how they are applied.
//!
//! An effect holds the change alone, not the object that it changes, so a grant takes
//! the same space in the log however large the role is. Its bytes are in
//! [`format`](crate::format).

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::permission::Permission;
use crate::record::{PasswordHash, Role, User};
use crate::state::AuthState;
use crate::tokens::{Token, TokenHash, TokenId};

/// One change of the state. What [`Command`](crate::Command) it comes from,
/// its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Authentication goes on. The auth revision stays.
    Enable,
    /// Authentication goes off; all tokens end.
    Disable,
    /// A user without roles.
    UserAdd {
        /// Its name.
        name: Arc<str>,
        /// It logs in by certificate only.
        no_password: bool,
        /// The hash of its password; empty with `no_password`.
        password: PasswordHash,
    },
    /// A user goes, and its tokens.
    UserDelete {
        /// Its name.
        name: Arc<str>,
    },
    /// A password is set; the user's tokens end.
    UserPassword {
        /// Its user.
        name: Arc<str>,
        /// The hash; empty for a user without a password.
        password: PasswordHash,
    },
    /// A user gets a role.
    UserGrantRole {
        /// The user.
        user: Arc<str>,
        /// The role.
        role: Arc<str>,
    },
    /// A user loses a role.
    UserRevokeRole {
        /// The user.
        user: Arc<str>,
        /// The role.
        role: Arc<str>,
    },
    /// A role without permissions.
    RoleAdd {
        /// Its name.
        name: Arc<str>,
    },
    /// A role goes, from all users too.
    RoleDelete {
        /// Its name.
        name: Arc<str>,
    },
    /// A role gets a permission, in place of one on the same range.
    RoleGrant {
        /// The role.
        role: Arc<str>,
        /// The permission; valid.
        permission: Permission,
    },
    /// A role loses a permission.
    RoleRevoke {
        /// The role.
        role: Arc<str>,
        /// The permission's key.
        key: Bytes,
        /// The permission's end.
        range_end: Bytes,
    },
    /// A token begins. The auth revision stays.
    TokenIssue {
        /// Its id, above all before it.
        id: TokenId,
        /// Its user.
        user: Arc<str>,
        /// The hash of its text.
        hash: TokenHash,
        /// The token that makes room for it.
        ended: Option<TokenId>,
    },
    /// Tokens end. The auth revision stays.
    TokensEnd {
        /// Which: ascending, at least one.
        ids: Vec<TokenId>,
    },
}

/// What an effect did to the tokens, for the clock that keeps their time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The token that began.
    pub begun: Option<TokenId>,
    /// The tokens that ended, ascending.
    pub ended: Vec<TokenId>,
}

/// The effect does not fit the state: it was decided on another one. The log
/// and the state do not belong together; do not go on with this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an effect on authentication does not fit the state: {what}")]
pub struct Diverged {
    /// What does not fit.
    pub what: &'static str,
}

type Outcome = Result<Applied, Diverged>;

impl AuthState {
    /// Makes a change that was decided on exactly this state.
    ///
    /// # Errors
    /// If it does not fit; then the state is not changed.
    pub fn apply(&mut self, effect: &Effect) -> Outcome {
        match effect {
            Effect::Enable => self.apply_enable(),
            Effect::Disable => self.apply_disable(),
            Effect::UserAdd { name, no_password, password } => {
                self.apply_user_add(name, *no_password, password)
            }
            Effect::UserDelete { name } => self.apply_user_delete(name),
            Effect::UserPassword { name, password } => self.apply_password(name, password),
            Effect::UserGrantRole { user, role } => self.apply_grant_role(user, role),
            Effect::UserRevokeRole { user, role } => self.apply_revoke_role(user, role),
            Effect::RoleAdd { name } => self.apply_role_add(name),
            Effect::RoleDelete { name } => self.apply_role_delete(name),
            Effect::RoleGrant { role, permission } => self.apply_grant(role, permission),
            Effect::RoleRevoke { role, key, range_end } => self.apply_revoke(role, key, range_end),
            Effect::TokenIssue { id, user, hash, ended } => {
                self.apply_token(*id, user, *hash, *ended)
            }
            Effect::TokensEnd { ids } => self.apply_tokens_end(ids),
        }
    }

    fn apply_enable(&mut self) -> Outcome {
        if self.enabled || !self.is_admin(crate::ROOT) {
            return Err(Diverged { what: "authentication cannot be enabled" });
        }
        self.enabled = true;
        Ok(Applied::default())
    }

    fn apply_disable(&mut self) -> Outcome {
        if !self.enabled {
            return Err(Diverged { what: "authentication is off already" });
        }
        self.enabled = false;
        Ok(self.bumped(|state| {
            // All tokens end, so what was opened with them ends too, once it
            // matters again who calls.
            state.renew_credentials();
            state.tokens.clear()
        }))
    }

    fn apply_user_add(
        &mut self,
        name: &Arc<str>,
        no_password: bool,
        password: &PasswordHash,
    ) -> Outcome {
        if self.users.contains_key(name) {
            return Err(Diverged { what: "the user exists" });
        }
        let made = self.revision + 1;
        let user = User::new(name.clone(), password.clone(), no_password, Vec::new(), made);
        Ok(self.bumped(|state| {
            state.put_user(user);
            Vec::new()
        }))
    }

    fn apply_user_delete(&mut self, name: &Arc<str>) -> Outcome {
        if !self.users.contains_key(name) {
            return Err(Diverged { what: "the user to delete does not exist" });
        }
        Ok(self.bumped(|state| {
            state.remove_user(name);
            state.tokens.remove_user(name)
        }))
    }

    fn apply_password(&mut self, name: &Arc<str>, password: &PasswordHash) -> Outcome {
        let user = self.user_of_effect(name)?;
        let (roles, made) = (user.roles.clone(), self.revision + 1);
        let user = User::new(name.clone(), password.clone(), user.no_password, roles, made);
        Ok(self.bumped(|state| {
            state.put_user(user);
            state.tokens.remove_user(name)
        }))
    }

    fn apply_grant_role(&mut self, user: &Arc<str>, role: &Arc<str>) -> Outcome {
        if role.as_ref() != crate::ROOT && !self.roles.contains_key(role) {
            return Err(Diverged { what: "the role to grant does not exist" });
        }
        let user = self.user_of_effect(user)?;
        let mut roles = user.roles.clone();
        let Err(place) = roles.binary_search(role) else {
            return Err(Diverged { what: "the role is granted already" });
        };
        roles.insert(place, role.clone());
        let user = user.with_roles(roles);
        Ok(self.bumped(|state| {
            state.put_user(user);
            Vec::new()
        }))
    }

    fn apply_revoke_role(&mut self, user: &Arc<str>, role: &Arc<str>) -> Outcome {
        let user = self.user_of_effect(user)?;
        let mut roles = user.roles.clone();
        let Ok(place) = roles.binary_search(role) else {
            return Err(Diverged { what: "the role to take is not granted" });
        };
        roles.remove(place);
        let user = user.with_roles(roles);
        Ok(self.bumped(|state| {
            state.put_user(user);
            Vec::new()
        }))
    }

    fn apply_role_add(&mut self, name: &Arc<str>) -> Outcome {
        if self.roles.contains_key(name) {
            return Err(Diverged { what: "the role exists" });
        }
        Ok(self.bumped(|state| {
            state.put_role(name.clone(), Role::new(Vec::new()));
            Vec::new()
        }))
    }

    fn apply_role_delete(&mut self, name: &Arc<str>) -> Outcome {
        if !self.roles.contains_key(name) {
            return Err(Diverged { what: "the role to delete does not exist" });
        }
        Ok(self.bumped(|state| {
            state.remove_role(name);
            state.replace_users_of(name, |user| {
                user.roles.iter().filter(|role| *role != name).cloned().collect()
            });
            Vec::new()
        }))
    }

    fn apply_grant(&mut self, role: &Arc<str>, permission: &Permission) -> Outcome {
        let found = self.role_of_effect(role)?;
        if !permission.is_valid() {
            return Err(Diverged { what: "the permission is about no keys" });
        }
        let mut permissions = found.permissions.clone();
        match found.place(&permission.key, &permission.range_end) {
            Ok(place) => permissions[place].kind = permission.kind,
            Err(place) => permissions.insert(place, permission.clone()),
        }
        Ok(self.put_permissions(role, permissions))
    }

    fn apply_revoke(&mut self, role: &Arc<str>, key: &Bytes, range_end: &Bytes) -> Outcome {
        let found = self.role_of_effect(role)?;
        let Ok(place) = found.place(key, range_end) else {
            return Err(Diverged { what: "the permission to take is not granted" });
        };
        let mut permissions = found.permissions.clone();
        permissions.remove(place);
        Ok(self.put_permissions(role, permissions))
    }

    fn apply_token(
        &mut self,
        id: TokenId,
        user: &Arc<str>,
        hash: TokenHash,
        ended: Option<TokenId>,
    ) -> Outcome {
        if !self.enabled {
            return Err(Diverged { what: "a token while authentication is off" });
        }
        let user = self.user_of_effect(user)?.name.clone();
        if ended.is_some_and(|ended| !self.has_token(ended)) {
            return Err(Diverged { what: "the token that makes room is not alive" });
        }
        if !self.tokens.insert(id, Token { hash, user }) {
            return Err(Diverged { what: "a token is issued twice" });
        }
        if let Some(ended) = ended {
            self.tokens.remove(ended);
        }
        Ok(Applied { begun: Some(id), ended: ended.into_iter().collect() })
    }

    fn apply_tokens_end(&mut self, ids: &[TokenId]) -> Outcome {
        if ids.iter().any(|id| !self.has_token(*id)) {
            return Err(Diverged { what: "the token to end is not alive" });
        }
        for id in ids {
            self.tokens.remove(*id);
        }
        Ok(Applied { begun: None, ended: ids.to_vec() })
    }

    fn user_of_effect(&self, name: &str) -> Result<&Arc<User>, Diverged> {
        self.users.get(name).ok_or(Diverged { what: "the user does not exist" })
    }

    fn role_of_effect(&self, name: &str) -> Result<&Arc<Role>, Diverged> {
        self.roles.get(name).ok_or(Diverged { what: "the role does not exist" })
    }

    /// Makes a change that raises the auth revision; returns the tokens that end.
    fn bumped(&mut self, change: impl FnOnce(&mut AuthState) -> Vec<TokenId>) -> Applied {
        self.revision += 1;
        Applied { begun: None, ended: change(self) }
    }

    /// What any user has proven so far counts no more.
    fn renew_credentials(&mut self) {
        let users: Vec<Arc<User>> = self.users.values().cloned().collect();
        for user in users {
            let (name, password, roles) =
                (user.name.clone(), user.password.clone(), user.roles.clone());
            self.put_user(User::new(name, password, user.no_password, roles, self.revision));
        }
    }

    fn put_permissions(&mut self, name: &Arc<str>, permissions: Vec<Permission>) -> Applied {
        self.bumped(|state| {
            state.put_role(name.clone(), Role::new(permissions));
            // What they may do is worked out anew.
            state.replace_users_of(name, |user| user.roles.clone());
            Vec::new()
        })
    }

    fn replace_users_of(&mut self, role: &str, roles: impl Fn(&User) -> Vec<Arc<str>>) {
        let having = self.users.values().filter(|user| user.has_role(role));
        let replaced: Vec<User> = having.map(|user| user.with_roles(roles(user))).collect();
        for user in replaced {
            self.put_user(user);
        }
    }
}
