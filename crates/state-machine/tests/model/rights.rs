//! Authorisation, written as naively as possible: lists that are searched from
//! end to end, and ranges as sets of points where something can change.

use bytes::Bytes;
use t4_auth_rbac::{AuthError, AuthState, Command, Identity, Permission};
use t4_kv_types::*;
use t4_state_machine::Request;

#[derive(Clone, Debug)]
struct User {
    name: String,
    roles: Vec<String>,
    has_password: bool,
    /// The auth revision at which the user was added, its password was set, or
    /// authentication was switched off.
    since: u64,
}

#[derive(Clone, Debug)]
struct Role {
    name: String,
    permissions: Vec<Permission>,
}

#[derive(Clone, Debug)]
pub(crate) struct Rights {
    pub(crate) enabled: bool,
    pub(crate) revision: u64,
    users: Vec<User>,
    roles: Vec<Role>,
    /// (id, first byte of the hash, user), and the number ever created.
    pub(crate) tokens: Vec<(u64, u8, String)>,
    tokens_ever: u64,
}

impl Default for Rights {
    fn default() -> Self {
        let (users, roles, tokens) = Default::default();
        Rights { enabled: false, revision: 1, users, roles, tokens, tokens_ever: 0 }
    }
}

type Verdict = Result<(), AuthError>;

impl Rights {
    /// `attached`: the keys of a lease.
    pub(crate) fn may(
        &self,
        who: &Identity,
        request: &Request,
        attached: &dyn Fn(LeaseId) -> Vec<Bytes>,
    ) -> Verdict {
        if !self.enabled || *who == Identity::Server {
            return Ok(());
        }
        match request {
            Request::Put(put) => self.needs(who, &put_needs(put, attached)),
            Request::DeleteRange(delete) => self.needs(who, &delete_needs(delete)),
            Request::Txn(txn) => self.needs(who, &txn_needs(txn, attached)),
            Request::LeaseGrant(..) => self.user(who).map(drop),
            Request::LeaseRevoke(id) => {
                let (admin, keys) = (self.user(who)?, attached(*id));
                if admin || keys.is_empty() {
                    return Ok(());
                }
                self.needs(who, &writes(keys))
            }
            Request::Compact(_) | Request::SetAlarm(..) | Request::Member(..) => self.admin(who),
            Request::Auth(Command::IssueToken { .. }) => Ok(()),
            Request::Auth(Command::ExpireTokens { .. })
            | Request::Barrier(_)
            | Request::LeasesLeft(_) => Err(AuthError::PermissionDenied),
            Request::Auth(_) => self.admin(who),
        }
    }

    fn named<'a>(&self, who: &'a Identity) -> Result<(&'a str, u64), AuthError> {
        match who {
            Identity::User { name, revision } if !name.is_empty() => {
                Ok((name, revision.unwrap_or(u64::MAX)))
            }
            _ => Err(AuthError::UserEmpty),
        }
    }

    fn find(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// Whether the user is an administrator; an error if there is no such user.
    fn user(&self, who: &Identity) -> Result<bool, AuthError> {
        let (name, made) = self.named(who)?;
        let user = self.find(name).ok_or(AuthError::PermissionDenied)?;
        if made < user.since {
            return Err(AuthError::AuthOldRevision);
        }
        Ok(user.roles.iter().any(|role| role == "root"))
    }

    fn admin(&self, who: &Identity) -> Verdict {
        let (name, _) = self.named(who)?;
        self.find(name).ok_or(AuthError::UserNotFound)?;
        if self.user(who)? { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    fn needs(&self, who: &Identity, needs: &[Need]) -> Verdict {
        let (name, made) = self.named(who)?;
        if made < self.revision {
            return Err(AuthError::AuthOldRevision);
        }
        let user = self.find(name).ok_or(AuthError::PermissionDenied)?;
        let admin = user.roles.iter().any(|role| role == "root");
        if admin || needs.iter().all(|need| self.has(user, need)) {
            return Ok(());
        }
        Err(AuthError::PermissionDenied)
    }

    /// Whether every point of the range at which something can change is
    /// covered by some permission.
    fn has(&self, user: &User, (writes, range): &Need) -> bool {
        let roles = self.roles.iter().filter(|role| user.roles.contains(&role.name));
        let allows = |own: &&Permission| {
            if *writes { own.kind.writes() } else { own.kind.reads() }
        };
        let own: Vec<&Permission> =
            roles.flat_map(|role| &role.permissions).filter(allows).collect();
        let start = if range.start.is_empty() { vec![0] } else { range.start.to_vec() };
        let inside = |point: &[u8]| match &range.end {
            RangeEnd::Single => false,
            RangeEnd::Open => point > start.as_slice(),
            RangeEnd::Before(end) => point > start.as_slice() && point < end.as_ref(),
        };
        let mut points = vec![start.clone()];
        for permission in &own {
            let behind = [&permission.key[..], &[0]].concat();
            let ends = [permission.key.to_vec(), behind, permission.range_end.to_vec()];
            points.extend(ends.into_iter().filter(|point| inside(point)));
        }
        points.iter().all(|point| own.iter().any(|permission| contains(permission, point)))
    }

    pub(crate) fn run(&mut self, command: &Command) -> Verdict {
        use AuthError::*;
        let root_is_admin = |user: &User| user.name == "root" && user.roles.contains(&text("root"));
        match command {
            Command::Enable if self.enabled => return Ok(()),
            Command::Enable => {
                self.find("root").ok_or(RootUserNotExist)?;
                if !self.users.iter().any(root_is_admin) {
                    return Err(RootRoleNotExist);
                }
                self.enabled = true;
                return Ok(());
            }
            Command::Disable if !self.enabled => return Ok(()),
            Command::Disable => {
                self.enabled = false;
                self.tokens.clear();
                let since = self.revision + 1;
                self.users.iter_mut().for_each(|user| user.since = since);
            }
            Command::UserAdd { name, no_password, .. } => {
                if self.find(name).is_some() {
                    return Err(UserAlreadyExist);
                }
                self.users.push(User {
                    name: text(name),
                    roles: vec![],
                    has_password: !no_password,
                    since: self.revision + 1,
                });
            }
            Command::UserDelete { name } => {
                self.guard(name)?;
                self.find(name).ok_or(UserNotFound)?;
                self.users.retain(|user| user.name != name.as_ref());
                self.tokens.retain(|token| token.2 != name.as_ref());
            }
            Command::UserChangePassword { name, .. } => {
                let since = self.revision + 1;
                self.find_mut(name)?.since = since;
                self.tokens.retain(|token| token.2 != name.as_ref());
            }
            Command::UserGrantRole { user, role } => {
                self.find(user).ok_or(UserNotFound)?;
                if role.as_ref() != "root" {
                    self.role(role)?;
                }
                let user = self.find_mut(user)?;
                if user.roles.contains(&text(role)) {
                    return Ok(());
                }
                user.roles.push(text(role));
            }
            Command::UserRevokeRole { user, role } => {
                if role.as_ref() == "root" {
                    self.guard(user)?;
                }
                let user = self.find_mut(user)?;
                if !user.roles.contains(&text(role)) {
                    return Err(RoleNotGranted);
                }
                user.roles.retain(|own| own != role.as_ref());
            }
            Command::RoleAdd { name } => {
                if self.role(name).is_ok() {
                    return Err(RoleAlreadyExist);
                }
                self.roles.push(Role { name: text(name), permissions: vec![] });
            }
            Command::RoleDelete { name } => {
                self.guard(name)?;
                self.role(name)?;
                self.roles.retain(|role| role.name != name.as_ref());
                self.users
                    .iter_mut()
                    .for_each(|user| user.roles.retain(|own| own != name.as_ref()));
            }
            Command::RoleGrantPermission { role, permission } => {
                let granted = permission.clone().expect("the test gives one");
                let list = self.role(role)?;
                let range = |own: &Permission| (own.key.clone(), own.range_end.clone());
                match list.iter_mut().find(|own| range(own) == range(&granted)) {
                    Some(own) => own.kind = granted.kind,
                    None => list.push(granted),
                }
            }
            Command::RoleRevokePermission { role, key, range_end } => {
                let list = self.role(role)?;
                let before = list.len();
                list.retain(|own| (&own.key, &own.range_end) != (key, range_end));
                if list.len() == before {
                    return Err(PermissionNotGranted);
                }
            }
            Command::IssueToken { user, hash, verified_at, .. } => {
                if !self.enabled {
                    return Err(AuthNotEnabled);
                }
                let found = self.find(user).ok_or(AuthFailed)?;
                if !found.has_password {
                    return Err(NoPasswordUser);
                }
                let twice = self.tokens.iter().any(|token| token.1 == hash.0[0]);
                if *verified_at < found.since || twice {
                    return Err(RepeatLogin);
                }
                self.tokens_ever += 1;
                self.tokens.push((self.tokens_ever, hash.0[0], text(user)));
                return Ok(());
            }
            Command::ExpireTokens { ids } => {
                self.tokens.retain(|token| !ids.iter().any(|id| id.0 == token.0));
                return Ok(());
            }
        }
        self.revision += 1;
        Ok(())
    }

    fn guard(&self, name: &str) -> Verdict {
        let kept = self.enabled && name == "root";
        if kept { Err(AuthError::InvalidAuthManagement) } else { Ok(()) }
    }

    fn find_mut(&mut self, name: &str) -> Result<&mut User, AuthError> {
        self.users.iter_mut().find(|user| user.name == name).ok_or(AuthError::UserNotFound)
    }

    fn role(&mut self, name: &str) -> Result<&mut Vec<Permission>, AuthError> {
        let found = self.roles.iter_mut().find(|role| role.name == name);
        found.map(|role| &mut role.permissions).ok_or(AuthError::RoleNotFound)
    }

    pub(crate) fn compare(&self, state: &AuthState) {
        let server = Identity::Server;
        assert_eq!((state.is_enabled(), state.revision()), (self.enabled, self.revision));
        let mut users: Vec<&str> = self.users.iter().map(|user| user.name.as_str()).collect();
        users.sort_unstable();
        let found = state.user_list(&server).unwrap();
        assert_eq!(found.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), users);
        for user in &self.users {
            let mut roles: Vec<&str> = user.roles.iter().map(String::as_str).collect();
            roles.sort_unstable();
            let found = state.user_get(&server, &user.name).unwrap();
            assert_eq!(found.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), roles);
        }
        assert_eq!(state.role_list(&server).unwrap().len(), self.roles.len());
        for role in self.roles.iter().filter(|role| role.name != "root") {
            let mut permissions = role.permissions.clone();
            permissions.sort_by(|one, other| one.key.cmp(&other.key));
            assert_eq!(state.role_get(&server, &role.name), Ok(permissions));
        }
        let tokens = state.tokens().map(|(id, token)| (id.0, token.hash.0[0], text(&token.user)));
        assert_eq!(tokens.collect::<Vec<_>>(), self.tokens);
    }
}

fn text(name: &str) -> String {
    name.to_owned()
}

fn contains(permission: &Permission, point: &[u8]) -> bool {
    match permission.range_end.as_ref() {
        [] => point == permission.key.as_ref(),
        [0] => point >= permission.key.as_ref(),
        end => point >= permission.key.as_ref() && point < end,
    }
}

/// Whether it is a write (else a read), and of which range.
type Need = (bool, KeyRange);

fn writes(keys: Vec<Bytes>) -> Vec<Need> {
    keys.into_iter().map(|key| (true, KeyRange::single(key))).collect()
}

fn put_needs(put: &PutRequest, attached: &dyn Fn(LeaseId) -> Vec<Bytes>) -> Vec<Need> {
    let mut needs = writes(vec![put.key.clone()]);
    if put.lease.0 != 0 {
        needs.extend(writes(attached(put.lease)));
    }
    if put.prev_kv {
        needs.push((false, KeyRange::single(put.key.clone())));
    }
    needs
}

fn delete_needs(delete: &DeleteRangeRequest) -> Vec<Need> {
    let mut needs = vec![(true, delete.range.clone())];
    if delete.prev_kv {
        needs.push((false, delete.range.clone()));
    }
    needs
}

fn txn_needs(txn: &TxnRequest, attached: &dyn Fn(LeaseId) -> Vec<Bytes>) -> Vec<Need> {
    let compares = txn.compares.iter().map(|compare| (false, compare.range.clone()));
    let mut needs: Vec<Need> = compares.collect();
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            TxnOp::Range(range) => needs.push((false, range.range.clone())),
            TxnOp::Put(put) => needs.extend(put_needs(put, attached)),
            TxnOp::DeleteRange(delete) => needs.extend(delete_needs(delete)),
            TxnOp::Txn(nested) => needs.extend(txn_needs(nested, attached)),
        }
    }
    needs
}
