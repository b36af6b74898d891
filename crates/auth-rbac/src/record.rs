//! What is kept of a user and of a role, and what follows from it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::intervals::Intervals;
use crate::permission::Permission;

/// The user and the role that are in charge of everything.
pub const ROOT: &str = "root";

/// What a user, a role, a granted role and a permission take beside their names
/// and keys, in bytes.
pub(crate) const RECORD_BYTES: u64 = 64;

/// A bcrypt hash of a password, as text. Empty: no password fits. What it
/// looks like is `password`'s affair; here it is bytes that are kept.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PasswordHash(pub Bytes);

/// What a role takes of a user that has it: its name is written down again.
pub(crate) fn granted_role_bytes(role: &str) -> u64 {
    RECORD_BYTES + role.len() as u64
}

/// Not shown, so that no log can show it.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// The keys that may be read, and those that may be written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) read: Intervals,
    pub(crate) write: Intervals,
}

impl Access {
    fn of_permissions(permissions: &[Permission]) -> Access {
        let ranges: Vec<_> = permissions.iter().map(|own| (own.kind, own.range())).collect();
        let of = |wanted: fn(crate::PermissionKind) -> bool| {
            Intervals::union_of(
                ranges.iter().filter(|(kind, _)| wanted(*kind)).map(|(_, range)| range),
            )
        };
        Access { read: of(crate::PermissionKind::reads), write: of(crate::PermissionKind::writes) }
    }

    /// What several roles allow together. That of one role alone is shared
    /// with all users that have only that role.
    pub(crate) fn together(roles: &[&Arc<Access>]) -> Arc<Access> {
        match roles {
            [one] => Arc::clone(one),
            all => Arc::new(Access {
                read: Intervals::union(all.iter().map(|access| &access.read)),
                write: Intervals::union(all.iter().map(|access| &access.write)),
            }),
        }
    }
}

/// A role. Never changed: a change makes a new one.
#[derive(Debug)]
pub(crate) struct Role {
    /// Ascending by key; those of the same key in the order in which they were
    /// granted. No (key, range_end) twice, all valid.
    pub(crate) permissions: Vec<Permission>,
    /// Worked out when first asked for: a role that is filled permission by
    /// permission must not pay for each step.
    access: OnceLock<Arc<Access>>,
}

impl Role {
    pub(crate) fn new(permissions: Vec<Permission>) -> Role {
        Role { permissions, access: OnceLock::new() }
    }

    /// What it takes under this name, in bytes.
    pub(crate) fn bytes(&self, name: &str) -> u64 {
        let permissions = self.permissions.iter().map(Permission::bytes);
        RECORD_BYTES + name.len() as u64 + permissions.sum::<u64>()
    }

    /// Where the permission on exactly this range is, or where it would be
    /// inserted: behind all of the same key, as etcd sorts.
    ///
    /// etcd looks at the first of the key only. There, granting READ where
    /// READWRITE was granted leaves both behind if another permission has the
    /// same key, and the user can still write. Here it is replaced.
    pub(crate) fn place(&self, key: &[u8], range_end: &[u8]) -> Result<usize, usize> {
        let first = self.permissions.partition_point(|own| own.key.as_ref() < key);
        let same_key = self.permissions[first..].iter().take_while(|own| own.key.as_ref() == key);
        let mut behind = first;
        for own in same_key {
            if own.range_end.as_ref() == range_end {
                return Ok(behind);
            }
            behind += 1;
        }
        Err(behind)
    }

    /// Whether two permissions are on the same range.
    pub(crate) fn has_twins(&self) -> bool {
        self.permissions.chunk_by(|one, next| one.key == next.key).any(|same_key| {
            let mut ends: Vec<&Bytes> = same_key.iter().map(|own| &own.range_end).collect();
            ends.sort_unstable();
            ends.windows(2).any(|pair| pair[0] == pair[1])
        })
    }

    pub(crate) fn access(&self) -> &Arc<Access> {
        self.access.get_or_init(|| Arc::new(Access::of_permissions(&self.permissions)))
    }
}

/// A user. Never changed: a change of it or of one of its roles makes a new
/// one.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: Arc<str>,
    pub(crate) password: PasswordHash,
    /// It logs in by certificate only; the password is empty.
    pub(crate) no_password: bool,
    /// Ascending, none twice. Each exists, but `root`, which need not.
    pub(crate) roles: Vec<Arc<str>>,
    /// The auth revision at which the user was added, its password was last set,
    /// or authentication was switched off. What was proven before counts no more.
    pub(crate) credential_revision: u64,
    /// What its roles allow, worked out when first asked for. Fits the roles
    /// of every state that holds this user: a change of a role replaces its
    /// users.
    access: OnceLock<Arc<Access>>,
}

impl User {
    pub(crate) fn new(
        name: Arc<str>,
        password: PasswordHash,
        no_password: bool,
        roles: Vec<Arc<str>>,
        credential_revision: u64,
    ) -> User {
        let access = OnceLock::new();
        User { name, password, no_password, roles, credential_revision, access }
    }

    /// The same user with other roles, or with its roles changed.
    pub(crate) fn with_roles(&self, roles: Vec<Arc<str>>) -> User {
        User::new(
            self.name.clone(),
            self.password.clone(),
            self.no_password,
            roles,
            self.credential_revision,
        )
    }

    /// What it takes, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let own = self.name.len() + self.password.0.len();
        RECORD_BYTES
            + own as u64
            + self.roles.iter().map(|role| granted_role_bytes(role)).sum::<u64>()
    }

    pub(crate) fn has_role(&self, role: &str) -> bool {
        self.roles.binary_search_by(|own| own.as_ref().cmp(role)).is_ok()
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.has_role(ROOT)
    }

    pub(crate) fn access(&self, together: impl FnOnce() -> Arc<Access>) -> &Access {
        self.access.get_or_init(together)
    }
}
