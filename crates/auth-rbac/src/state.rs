//! Users, roles and tokens as one value, and queries on it.
//!
//! Changes are decided in [`command`](crate::command) and applied in
//! [`effect`](crate::effect); permissions on keys are checked in
//! [`authorize`](crate::authorize).

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::error::AuthError;
use crate::identity::Identity;
use crate::permission::Permission;
use crate::record::{Access, PasswordHash, ROOT, Role, User};
use crate::tokens::{Token, TokenHash, TokenId, TokenTable};

/// The state of authentication. A clone costs a few counters and shares
/// everything with its origin, so a snapshot can be published after each
/// change, and a change costs what it touches.
#[derive(Clone, Debug)]
pub struct AuthState {
    pub(crate) enabled: bool,
    /// Starts at 1; one more with each change of users or roles and each
    /// `Disable`.
    pub(crate) revision: u64,
    pub(crate) users: RedBlackTreeMapSync<Arc<str>, Arc<User>>,
    pub(crate) roles: RedBlackTreeMapSync<Arc<str>, Arc<Role>>,
    /// What users and roles take, see [`AuthState::bytes`].
    pub(crate) bytes: u64,
    /// None while authentication is off. The users of all exist.
    pub(crate) tokens: TokenTable,
}

/// What a login is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// There is no such user. Spend the time of a check all the same.
    Unknown,
    /// It has no password by intention. Spend the time of a check.
    NoPassword,
    /// Check the password against this.
    Password {
        /// The stored hash; if it is empty, nothing fits.
        hash: PasswordHash,
        /// The auth revision now, for
        /// [`Command::IssueToken`](crate::Command::IssueToken) or the claim of
        /// a signed token.
        revision: u64,
    },
}

impl Default for AuthState {
    fn default() -> Self {
        AuthState {
            enabled: false,
            revision: 1,
            users: RedBlackTreeMapSync::new_sync(),
            roles: RedBlackTreeMapSync::new_sync(),
            bytes: 0,
            tokens: TokenTable::default(),
        }
    }
}

impl AuthState {
    /// Authentication off, no users, revision 1.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether authentication is on. While it is off, every caller may do
    /// everything, here as in etcd.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The auth revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What users, roles and permissions take, for a quota: names, hashes, keys,
    /// and a flat sum for each record. Tokens have bounds of their own.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the login of a user is checked against. The hash leaves through
    /// here only.
    ///
    /// # Errors
    /// [`AuthError::AuthNotEnabled`] while authentication is off.
    pub fn credentials(&self, user: &str) -> Result<Credentials, AuthError> {
        if !self.enabled {
            return Err(AuthError::AuthNotEnabled);
        }
        Ok(match self.users.get(user) {
            None => Credentials::Unknown,
            Some(user) if user.no_password => Credentials::NoPassword,
            Some(user) => {
                Credentials::Password { hash: user.password.clone(), revision: self.revision }
            }
        })
    }

    /// The live token with this hash. Whether its time has come is for the
    /// [`TokenClock`](crate::TokenClock) to say.
    #[must_use]
    pub fn token(&self, hash: &TokenHash) -> Option<(TokenId, &Token)> {
        self.tokens.find(hash)
    }

    /// The identity whose token has this hash, and the token's id for the
    /// [`TokenClock`](crate::TokenClock), which must be asked too.
    ///
    /// # Errors
    /// [`AuthError::InvalidAuthToken`] if no live token has it.
    pub fn identify(&self, hash: &TokenHash) -> Result<(TokenId, Identity), AuthError> {
        let (id, token) = self.tokens.find(hash).ok_or(AuthError::InvalidAuthToken)?;
        Ok((id, Identity::user(token.user.clone())))
    }

    /// Whether a token is alive.
    #[must_use]
    pub fn has_token(&self, id: TokenId) -> bool {
        self.tokens.get(id).is_some()
    }

    /// The tokens that are alive, ascending by id.
    pub fn tokens(&self) -> impl Iterator<Item = (TokenId, &Token)> {
        self.tokens.iter()
    }

    /// How many tokens are alive.
    #[must_use]
    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }

    /// The names of the users, ascending. For the administrator.
    pub fn user_list(&self, who: &Identity) -> Result<Vec<Arc<str>>, AuthError> {
        self.authorize_admin(who)?;
        Ok(self.users.keys().cloned().collect())
    }

    /// The names of the roles, ascending. For the administrator.
    pub fn role_list(&self, who: &Identity) -> Result<Vec<Arc<str>>, AuthError> {
        self.authorize_admin(who)?;
        Ok(self.roles.keys().cloned().collect())
    }

    /// The roles of a user, ascending. For the administrator and the user
    /// itself.
    pub fn user_get(&self, who: &Identity, user: &str) -> Result<Vec<Arc<str>>, AuthError> {
        self.authorize_admin(who).or_else(|refused| match who.name() {
            Some(own) if own == user => Ok(()),
            _ => Err(refused),
        })?;
        let user = self.users.get(user).ok_or(AuthError::UserNotFound)?;
        Ok(user.roles.clone())
    }

    /// The permissions of a role, ascending by key; for `root`, as in etcd,
    /// everything, whatever was granted. For the administrator and those who
    /// have the role.
    pub fn role_get(&self, who: &Identity, role: &str) -> Result<Vec<Permission>, AuthError> {
        self.authorize_admin(who).or_else(|refused| {
            let own = who.name().and_then(|name| self.users.get(name));
            if own.is_some_and(|user| user.has_role(role)) { Ok(()) } else { Err(refused) }
        })?;
        let found = self.roles.get(role).ok_or(AuthError::RoleNotFound)?;
        Ok(if role == ROOT { vec![Permission::root()] } else { found.permissions.clone() })
    }

    /// Whether a user exists and has the role `root`.
    #[must_use]
    pub fn is_admin(&self, user: &str) -> bool {
        self.users.get(user).is_some_and(|user| user.is_admin())
    }

    /// Puts a user in the place of the one of its name, if there is one.
    pub(crate) fn put_user(&mut self, user: User) {
        self.remove_user(&user.name.clone());
        self.bytes += user.bytes();
        self.users.insert_mut(user.name.clone(), Arc::new(user));
    }

    pub(crate) fn remove_user(&mut self, name: &str) {
        self.bytes -= self.users.get(name).map_or(0, |user| user.bytes());
        self.users.remove_mut(name);
    }

    /// Puts a role in the place of the one of its name, if there is one.
    pub(crate) fn put_role(&mut self, name: Arc<str>, role: Role) {
        self.remove_role(&name);
        self.bytes += role.bytes(&name);
        self.roles.insert_mut(name, Arc::new(role));
    }

    pub(crate) fn remove_role(&mut self, name: &str) {
        self.bytes -= self.roles.get(name).map_or(0, |role| role.bytes(name));
        self.roles.remove_mut(name);
    }

    pub(crate) fn access_of<'a>(&'a self, user: &'a User) -> &'a Access {
        user.access(|| {
            let roles = user.roles.iter().filter_map(|role| self.roles.get(role));
            let roles: Vec<&Arc<Access>> = roles.map(|role| role.access()).collect();
            Access::together(&roles)
        })
    }
}
