//! The naive model of commands: lists, searched from end to end.

use std::sync::Arc;

use t4_auth_rbac::{
    AuthError, Command, Credentials, Identity, PasswordHash, Permission, TokenHash, TokenId,
};

#[derive(Debug)]
struct User {
    name: Arc<str>,
    password: Option<PasswordHash>,
    roles: Vec<Arc<str>>,
    proven_from: u64,
}

#[derive(Debug)]
struct Role {
    name: Arc<str>,
    /// In the order in which they were granted.
    permissions: Vec<Permission>,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) enabled: bool,
    pub(crate) revision: u64,
    users: Vec<User>,
    roles: Vec<Role>,
    pub(crate) tokens: Vec<(TokenId, TokenHash, Arc<str>)>,
    tokens_ever: u64,
}

impl Default for Model {
    fn default() -> Self {
        Model {
            enabled: false,
            revision: 1,
            users: Vec::new(),
            roles: Vec::new(),
            tokens: Vec::new(),
            tokens_ever: 0,
        }
    }
}

impl Model {
    /// Whether the command had an effect, or why it was refused.
    pub(crate) fn run(&mut self, who: &Identity, command: &Command) -> Result<bool, AuthError> {
        let open = matches!(command, Command::IssueToken { .. } | Command::ExpireTokens { .. });
        if !open {
            self.admin(who)?;
        }
        let root = self.find("root").is_some_and(|root| root.roles.contains(&"root".into()));
        match command {
            Command::Enable if self.enabled => Ok(false),
            Command::Enable => {
                self.find("root").ok_or(AuthError::RootUserNotExist)?;
                self.enabled = root;
                if root { Ok(true) } else { Err(AuthError::RootRoleNotExist) }
            }
            Command::Disable if !self.enabled => Ok(false),
            Command::Disable => {
                self.enabled = false;
                self.tokens.clear();
                // What was proven before counts no more.
                let now = self.revision + 1;
                self.users.iter_mut().for_each(|user| user.proven_from = now);
                self.changed()
            }
            Command::UserAdd { name, no_password, password } => {
                if name.is_empty() {
                    return Err(AuthError::UserEmpty);
                }
                if self.find(name).is_some() {
                    return Err(AuthError::UserAlreadyExist);
                }
                let password = match (no_password, password) {
                    (true, _) => None,
                    (false, Some(hash)) => Some(hash.clone()),
                    (false, None) => return Err(AuthError::NoPasswordUser),
                };
                let (name, roles) = (name.clone(), Vec::new());
                self.users.push(User { name, password, roles, proven_from: self.revision + 1 });
                self.changed()
            }
            Command::UserDelete { name } => {
                if self.enabled && name.as_ref() == "root" {
                    return Err(AuthError::InvalidAuthManagement);
                }
                self.find(name).ok_or(AuthError::UserNotFound)?;
                self.users.retain(|user| user.name != *name);
                self.tokens.retain(|token| token.2 != *name);
                self.changed()
            }
            Command::UserChangePassword { name, password } => {
                let set_at = self.revision + 1;
                let user = self.find_mut(name).ok_or(AuthError::UserNotFound)?;
                if user.password.is_some() {
                    user.password = Some(password.clone().ok_or(AuthError::NoPasswordUser)?);
                }
                user.proven_from = set_at;
                self.tokens.retain(|token| token.2 != *name);
                self.changed()
            }
            Command::UserGrantRole { user, role } => {
                self.find(user).ok_or(AuthError::UserNotFound)?;
                if role.as_ref() != "root" {
                    self.role(role).ok_or(AuthError::RoleNotFound)?;
                }
                let user = self.find_mut(user).expect("it was found");
                if user.roles.contains(role) {
                    return Ok(false);
                }
                user.roles.push(role.clone());
                self.changed()
            }
            Command::UserRevokeRole { user, role } => {
                if self.enabled && (user.as_ref(), role.as_ref()) == ("root", "root") {
                    return Err(AuthError::InvalidAuthManagement);
                }
                let user = self.find_mut(user).ok_or(AuthError::UserNotFound)?;
                if !user.roles.contains(role) {
                    return Err(AuthError::RoleNotGranted);
                }
                user.roles.retain(|own| own != role);
                self.changed()
            }
            Command::RoleAdd { name } => {
                if name.is_empty() {
                    return Err(AuthError::RoleEmpty);
                }
                if self.role(name).is_some() {
                    return Err(AuthError::RoleAlreadyExist);
                }
                self.roles.push(Role { name: name.clone(), permissions: Vec::new() });
                self.changed()
            }
            Command::RoleDelete { name } => {
                if self.enabled && name.as_ref() == "root" {
                    return Err(AuthError::InvalidAuthManagement);
                }
                self.role(name).ok_or(AuthError::RoleNotFound)?;
                self.roles.retain(|role| role.name != *name);
                self.users.iter_mut().for_each(|user| user.roles.retain(|own| own != name));
                self.changed()
            }
            Command::RoleGrantPermission { role, permission } => {
                self.grant(role, permission.as_ref())
            }
            Command::RoleRevokePermission { role, key, range_end } => {
                let found = self.roles.iter_mut().find(|found| found.name == *role);
                let list = &mut found.ok_or(AuthError::RoleNotFound)?.permissions;
                let before = list.len();
                list.retain(|own| own.key != *key || own.range_end != *range_end);
                if list.len() == before {
                    return Err(AuthError::PermissionNotGranted);
                }
                self.changed()
            }
            Command::IssueToken { user, hash, verified_at, .. } => {
                if !self.enabled {
                    return Err(AuthError::AuthNotEnabled);
                }
                let found = self.find(user).ok_or(AuthError::AuthFailed)?;
                found.password.as_ref().ok_or(AuthError::NoPasswordUser)?;
                let twice = self.tokens.iter().any(|token| token.1 == *hash);
                if *verified_at < found.proven_from || twice {
                    return Err(AuthError::RepeatLogin);
                }
                self.tokens_ever += 1;
                self.tokens.push((TokenId(self.tokens_ever), *hash, user.clone()));
                Ok(true)
            }
            Command::ExpireTokens { ids } => {
                let before = self.tokens.len();
                self.tokens.retain(|token| !ids.contains(&token.0));
                Ok(self.tokens.len() < before)
            }
        }
    }

    fn grant(&mut self, role: &str, permission: Option<&Permission>) -> Result<bool, AuthError> {
        let permission = permission.ok_or(AuthError::PermissionNotGiven)?;
        let (key, end) = (&permission.key, &permission.range_end);
        let open = end.as_ref() == b"\0";
        if key.is_empty() || !(end.is_empty() || open || key < end) {
            return Err(AuthError::InvalidAuthManagement);
        }
        let found = self.roles.iter_mut().find(|found| found.name.as_ref() == role);
        let list = &mut found.ok_or(AuthError::RoleNotFound)?.permissions;
        let same = list.iter_mut().find(|own| own.key == *key && own.range_end == *end);
        match same {
            Some(own) => own.kind = permission.kind,
            None => list.push(permission.clone()),
        }
        self.changed()
    }

    fn changed(&mut self) -> Result<bool, AuthError> {
        self.revision += 1;
        Ok(true)
    }

    fn find(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name.as_ref() == name)
    }

    fn find_mut(&mut self, name: &str) -> Option<&mut User> {
        self.users.iter_mut().find(|user| user.name.as_ref() == name)
    }

    fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.name.as_ref() == name)
    }

    fn admin(&self, who: &Identity) -> Result<(), AuthError> {
        let (name, made) = match who {
            _ if !self.enabled => return Ok(()),
            Identity::Server => return Ok(()),
            Identity::Anonymous => return Err(AuthError::UserEmpty),
            Identity::User { name, .. } if name.is_empty() => return Err(AuthError::UserEmpty),
            Identity::User { name, revision } => (name, revision.unwrap_or(u64::MAX)),
        };
        let user = self.find(name).ok_or(AuthError::UserNotFound)?;
        if made < user.proven_from {
            return Err(AuthError::AuthOldRevision);
        }
        let admin = user.roles.iter().any(|role| role.as_ref() == "root");
        if admin { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    pub(crate) fn user_list(&self, who: &Identity) -> Result<Vec<Arc<str>>, AuthError> {
        self.admin(who)?;
        let mut names: Vec<_> = self.users.iter().map(|user| user.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    pub(crate) fn role_list(&self, who: &Identity) -> Result<Vec<Arc<str>>, AuthError> {
        self.admin(who)?;
        let mut names: Vec<_> = self.roles.iter().map(|role| role.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    pub(crate) fn user_get(&self, who: &Identity, name: &str) -> Result<Vec<Arc<str>>, AuthError> {
        if who.name() != Some(name) {
            self.admin(who)?;
        }
        let mut roles = self.find(name).ok_or(AuthError::UserNotFound)?.roles.clone();
        roles.sort();
        Ok(roles)
    }

    pub(crate) fn role_get(
        &self,
        who: &Identity,
        name: &str,
    ) -> Result<Vec<Permission>, AuthError> {
        let caller = who.name().and_then(|caller| self.find(caller));
        if !caller.is_some_and(|user| user.roles.iter().any(|role| role.as_ref() == name)) {
            self.admin(who)?;
        }
        let mut permissions = self.role(name).ok_or(AuthError::RoleNotFound)?.permissions.clone();
        if name == "root" {
            return Ok(vec![Permission::root()]);
        }
        // Stable: those of one key stay in the order in which they were granted.
        permissions.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(permissions)
    }

    pub(crate) fn credentials(&self, name: &str) -> Result<Credentials, AuthError> {
        if !self.enabled {
            return Err(AuthError::AuthNotEnabled);
        }
        Ok(match self.find(name) {
            None => Credentials::Unknown,
            Some(User { password: None, .. }) => Credentials::NoPassword,
            Some(User { password: Some(hash), .. }) => {
                Credentials::Password { hash: hash.clone(), revision: self.revision }
            }
        })
    }
}
