//! The naive model. Users, roles and permissions are lists; a permission is
//! the set of points that it contains; a request is the list of what it needs.

use std::sync::Arc;

use bytes::Bytes;
use t4_auth_rbac::{AuthError, Command, Identity, PermissionKind};
use t4_kv_types::{KeyRange, LeaseId, RangeEnd, TxnOp};

use crate::prng::Prng;
use crate::requests::Request;
use crate::universe;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

type Need = (Access, KeyRange);

#[derive(Clone, Debug)]
struct Permission {
    kind: PermissionKind,
    key: Bytes,
    end: Bytes,
}

#[derive(Debug)]
struct User {
    name: Arc<str>,
    roles: Vec<Arc<str>>,
    /// Told apart from every other user that ever had the name, and from itself
    /// before authentication was off.
    made_at: u64,
}

#[derive(Debug)]
pub(crate) struct Model {
    enabled: bool,
    revision: u64,
    users: Vec<User>,
    roles: Vec<(Arc<str>, Vec<Permission>)>,
    points: Vec<Vec<u8>>,
    /// `made_at` of the user of each session when it was opened.
    sessions: Vec<Option<u64>>,
}

impl Default for Model {
    fn default() -> Self {
        Model {
            enabled: false,
            revision: 1,
            users: Vec::new(),
            roles: Vec::new(),
            points: universe::points(),
            sessions: Vec::new(),
        }
    }
}

impl Model {
    /// A command that had an effect.
    pub(crate) fn take(&mut self, command: &Command) {
        self.revision += 1;
        match command {
            Command::Enable => {
                self.enabled = true;
                self.revision -= 1;
            }
            Command::Disable => {
                self.enabled = false;
                self.users.iter_mut().for_each(|user| user.made_at = self.revision);
            }
            Command::UserAdd { name, .. } => self.users.push(User {
                name: name.clone(),
                roles: Vec::new(),
                made_at: self.revision,
            }),
            Command::UserDelete { name } => self.users.retain(|user| user.name != *name),
            Command::UserGrantRole { user, role } => {
                self.users.iter_mut().filter(|found| found.name == *user).for_each(|found| {
                    found.roles.push(role.clone());
                });
            }
            Command::UserRevokeRole { user, role } => {
                self.users.iter_mut().filter(|found| found.name == *user).for_each(|found| {
                    found.roles.retain(|own| own != role);
                });
            }
            Command::RoleAdd { name } => self.roles.push((name.clone(), Vec::new())),
            Command::RoleDelete { name } => {
                self.roles.retain(|(found, _)| found != name);
                self.users.iter_mut().for_each(|user| user.roles.retain(|own| own != name));
            }
            Command::RoleGrantPermission { role, permission: Some(granted) } => {
                let (key, end) = (granted.key.clone(), granted.range_end.clone());
                let list = self.permissions(role);
                list.retain(|own| own.key != key || own.end != end);
                list.push(Permission { kind: granted.kind, key, end });
            }
            Command::RoleRevokePermission { role, key, range_end } => {
                self.permissions(role).retain(|own| own.key != *key || own.end != *range_end);
            }
            other => panic!("not of this test: {other:?}"),
        }
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    fn permissions(&mut self, role: &str) -> &mut Vec<Permission> {
        let (_, list) = self.roles.iter_mut().find(|(name, _)| name.as_ref() == role).unwrap();
        list
    }

    /// One that a role has.
    pub(crate) fn some_permission(&self, role: &str, prng: &mut Prng) -> Option<(Bytes, Bytes)> {
        let (_, list) = self.roles.iter().find(|(name, _)| name.as_ref() == role)?;
        let some = if list.is_empty() { None } else { Some(prng.pick(list)) };
        some.map(|permission| (permission.key.clone(), permission.end.clone()))
    }

    pub(crate) fn authorize(
        &self,
        who: &Identity,
        request: &Request,
        leases: &[(LeaseId, Vec<Bytes>)],
    ) -> Result<(), AuthError> {
        if !self.enabled || *who == Identity::Server {
            return Ok(());
        }
        let Identity::User { name, revision } = who else { return Err(AuthError::UserEmpty) };
        if name.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        let user = self.users.iter().find(|user| user.name == *name);
        let admin = user.is_some_and(|user| user.roles.iter().any(|role| role.as_ref() == "root"));
        let made = revision.unwrap_or(u64::MAX);
        let outlived = user.is_some_and(|user| made < user.made_at);
        let leased = match request {
            Request::Admin => {
                return match user {
                    None => Err(AuthError::UserNotFound),
                    Some(_) if outlived => Err(AuthError::AuthOldRevision),
                    Some(_) if !admin => Err(AuthError::PermissionDenied),
                    Some(_) => Ok(()),
                };
            }
            Request::Authenticated | Request::WriteLease(_) | Request::ReadLease(_) => true,
            _ => false,
        };
        let needs = needs_of(request, leases);
        if leased {
            if user.is_none() {
                return Err(AuthError::PermissionDenied);
            }
            if outlived {
                return Err(AuthError::AuthOldRevision);
            }
            if admin || needs.is_empty() {
                return Ok(());
            }
        }
        if made < self.revision {
            return Err(AuthError::AuthOldRevision);
        }
        let user = user.ok_or(AuthError::PermissionDenied)?;
        let denied = needs.iter().any(|(access, range)| !self.has(user, *access, range));
        if denied && !admin { Err(AuthError::PermissionDenied) } else { Ok(()) }
    }

    /// Whether it is a user whose permissions decide.
    pub(crate) fn is_plain_user(&self, who: &Identity) -> bool {
        let user = self.users.iter().find(|user| Some(user.name.as_ref()) == who.name());
        let admin = |user: &User| user.roles.iter().any(|role| role.as_ref() == "root");
        self.enabled && user.is_some_and(|user| !admin(user))
    }

    /// Whether every point of the range is in some permission.
    fn has(&self, user: &User, access: Access, range: &KeyRange) -> bool {
        let covered = |point: &Vec<u8>| {
            let roles = self.roles.iter().filter(|(name, _)| user.roles.contains(name));
            roles.flat_map(|(_, list)| list).any(|own| own.allows(access) && own.contains(point))
        };
        let start = if range.start.is_empty() { &b"\0"[..] } else { &range.start };
        match &range.end {
            RangeEnd::Single => !range.start.is_empty() && covered(&range.start.to_vec()),
            RangeEnd::Open => {
                self.points.iter().filter(|point| point.as_slice() >= start).all(covered)
            }
            RangeEnd::Before(end) if end.as_ref() > start => self
                .points
                .iter()
                .filter(|point| point.as_slice() >= start && point.as_slice() < end.as_ref())
                .all(covered),
            // Empty: where it starts.
            RangeEnd::Before(_) => covered(&start.to_vec()),
        }
    }

    pub(crate) fn open_session(&mut self, who: &Identity) {
        let user = self.users.iter().find(|user| Some(user.name.as_ref()) == who.name());
        self.sessions.push(user.map(|user| user.made_at));
    }

    pub(crate) fn session_reads(&self, place: usize, who: &Identity, range: &KeyRange) -> bool {
        if !self.enabled || *who == Identity::Server {
            return true;
        }
        let user = self.users.iter().find(|user| Some(user.name.as_ref()) == who.name());
        let Some(user) = user.filter(|user| self.sessions[place] == Some(user.made_at)) else {
            return false;
        };
        let admin = user.roles.iter().any(|role| role.as_ref() == "root");
        admin || self.has(user, Access::Read, range)
    }
}

impl Permission {
    fn allows(&self, access: Access) -> bool {
        match self.kind {
            PermissionKind::ReadWrite => true,
            PermissionKind::Read => access == Access::Read,
            PermissionKind::Write => access == Access::Write,
        }
    }

    fn contains(&self, point: &[u8]) -> bool {
        let key = self.key.as_ref();
        if self.end.is_empty() {
            return point == key;
        }
        point >= key && (self.end.as_ref() == b"\0" || point < self.end.as_ref())
    }
}

/// All that a request needs, in one list.
fn needs_of(request: &Request, leases: &[(LeaseId, Vec<Bytes>)]) -> Vec<Need> {
    let mut needs: Vec<Need> = Vec::new();
    let mut ops = Vec::new();
    let lease_keys = |lease: LeaseId, access: Access| {
        let of = leases.iter().filter(move |(id, _)| *id == lease).flat_map(|(_, keys)| keys);
        of.map(move |key| (access, KeyRange::single(key.clone()))).collect::<Vec<Need>>()
    };
    match request {
        Request::Authenticated | Request::Admin => {}
        Request::Watch(range) => needs.push((Access::Read, range.clone())),
        Request::WriteLease(lease) => needs.extend(lease_keys(*lease, Access::Write)),
        Request::ReadLease(lease) => needs.extend(lease_keys(*lease, Access::Read)),
        Request::Range(range) => ops.push(TxnOp::Range(range.clone())),
        Request::Put(put) => ops.push(TxnOp::Put(put.clone())),
        Request::Delete(delete) => ops.push(TxnOp::DeleteRange(delete.clone())),
        Request::Txn(txn) => ops.push(TxnOp::Txn(txn.clone())),
    }
    while let Some(op) = ops.pop() {
        match op {
            TxnOp::Range(range) => needs.push((Access::Read, range.range)),
            TxnOp::Put(put) => {
                needs.push((Access::Write, KeyRange::single(put.key.clone())));
                if put.prev_kv {
                    needs.push((Access::Read, KeyRange::single(put.key)));
                }
                if put.lease != LeaseId(0) {
                    needs.extend(lease_keys(put.lease, Access::Write));
                }
            }
            TxnOp::DeleteRange(delete) => {
                if delete.prev_kv {
                    needs.push((Access::Read, delete.range.clone()));
                }
                needs.push((Access::Write, delete.range));
            }
            TxnOp::Txn(txn) => {
                needs.extend(txn.compares.into_iter().map(|one| (Access::Read, one.range)));
                ops.extend(txn.success);
                ops.extend(txn.failure);
            }
        }
    }
    needs
}
