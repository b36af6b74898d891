//! Random users and authentication requests.

use std::sync::Arc;

use bytes::Bytes;
use t4_auth_rbac::{
    Command, Identity, PasswordHash, Permission, PermissionKind, TokenHash, TokenId,
};

use crate::Rng;
use crate::rights::Rights;

const USERS: [&str; 4] = ["root", "alice", "bob", "ghost"];
const ROLES: [&str; 4] = ["root", "app", "logs", "ghost"];

impl Rng {
    /// The last one usually does not exist.
    fn name(&mut self, from: [&str; 4]) -> Arc<str> {
        let known = if self.one_in(8) { 4 } else { 3 };
        from[self.below(known) as usize].into()
    }

    fn user(&mut self) -> Arc<str> {
        self.name(USERS)
    }

    fn role(&mut self) -> Arc<str> {
        self.name(ROLES)
    }

    /// The caller: usually the administrator, so that most requests succeed.
    pub(crate) fn who(&mut self, rights: &Rights) -> Identity {
        match self.below(20) {
            0 => Identity::Anonymous,
            1 | 2 => Identity::Server,
            3..=7 => Identity::user(self.user()),
            8..=10 => {
                let made = rights.revision - self.below(3).min(rights.revision);
                Identity::user_at(self.user(), made)
            }
            _ => Identity::user("root"),
        }
    }

    /// Some permissions are narrow, and some cover most requests.
    fn permission(&mut self) -> Permission {
        let kind =
            self.pick(&[PermissionKind::Read, PermissionKind::Write, PermissionKind::ReadWrite]);
        let (one, other) = (self.key(), self.key());
        let (key, end) = match self.below(6) {
            0 => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
            1 => (one, Bytes::from_static(b"\0")),
            2 => (Bytes::from_static(b"k1"), Bytes::from_static(b"k2")),
            3 if one != other => (one.clone().min(other.clone()), one.max(other)),
            _ => (one, Bytes::new()),
        };
        Permission::new(kind, key, end)
    }

    pub(crate) fn command(&mut self, rights: &Rights) -> Command {
        let (user, role) = (self.user(), self.role());
        match self.below(40) {
            0..=4 => Command::Enable,
            5 if self.one_in(3) => Command::Disable,
            5..=9 => Command::UserAdd {
                name: user,
                no_password: self.one_in(5),
                password: Some(PasswordHash(Bytes::from_static(b"$2a$04$hash"))),
            },
            10 => Command::UserDelete { name: user },
            11 => {
                Command::UserChangePassword { name: user, password: Some(PasswordHash::default()) }
            }
            12..=14 => Command::UserGrantRole { user: "root".into(), role: "root".into() },
            15..=19 => Command::UserGrantRole { user, role },
            20 | 21 => Command::UserRevokeRole { user, role },
            22..=24 => Command::RoleAdd { name: role },
            25 => Command::RoleDelete { name: role },
            26..=31 => Command::RoleGrantPermission { role, permission: Some(self.permission()) },
            32 | 33 => {
                let Permission { key, range_end, .. } = self.permission();
                Command::RoleRevokePermission { role, key, range_end }
            }
            34..=37 => Command::IssueToken {
                user,
                hash: TokenHash([self.below(8) as u8; 32]),
                verified_at: rights.revision - self.below(3).min(rights.revision),
                nearest: None,
            },
            _ => {
                let newest = rights.tokens.last().map_or(1, |token| token.0);
                let ids = (0..2).map(|_| TokenId(newest.saturating_sub(self.below(3))));
                Command::ExpireTokens { ids: ids.collect() }
            }
        }
    }
}
