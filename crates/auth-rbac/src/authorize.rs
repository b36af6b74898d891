//! Permission checks: etcd's rules, applied to requests as they arrive.
//!
//! Every operation of the API is one of [`Operation`], so that none can be forgotten.
//! A transaction is checked as a whole: compares, both branches, anything nested in
//! them, and each operation exactly as if it came alone (in etcd each of these was
//! fixed by an advisory: GHSA-rfx7-8w68-q57q for nesting, GHSA-x35m-3gp4-4fh5 for
//! `prev_kv` and leases).

use bytes::Bytes;
use t4_kv_types::{
    DeleteRangeRequest, KeyRange, LeaseId, PutRequest, RangeRequest, TxnOp, TxnRequest,
};

use crate::error::AuthError;
use crate::identity::Identity;
use crate::record::Access;
use crate::state::AuthState;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// Read: READ on the range.
    Range(&'a RangeRequest),
    /// Put: WRITE on the key; WRITE on every key that the given lease has,
    /// because ending the lease deletes them; READ on the key for `prev_kv`.
    Put(&'a PutRequest),
    /// Delete: WRITE on the range; READ on it for `prev_kv`.
    DeleteRange(&'a DeleteRangeRequest),
    /// All that is in it.
    Txn(&'a TxnRequest),
    /// Watch: READ on the range.
    Watch(&'a KeyRange),
    /// Revoke a lease or keep it alive: WRITE on every key it has.
    WriteLease(LeaseId),
    /// List the keys of a lease: READ on each. To list leases: of each lease.
    ReadLease(LeaseId),
    /// What any user may do, but no unauthenticated caller: grant a lease, read a lease's
    /// time, the members, the status, the alarms.
    Authenticated,
    /// What needs the role `root`: compaction, members, maintenance, users,
    /// roles, and a snapshot.
    Admin,
}

/// The keys of leases, as they are where the decision falls.
pub trait LeaseKeys {
    /// Whether `holds` is true of every key attached to `lease`. True if
    /// there is none. Asks no further once it is not.
    fn every_key(&self, lease: LeaseId, holds: &mut dyn FnMut(&Bytes) -> bool) -> bool;
}

impl<F> LeaseKeys for F
where
    F: Fn(LeaseId, &mut dyn FnMut(&Bytes) -> bool) -> bool,
{
    fn every_key(&self, lease: LeaseId, holds: &mut dyn FnMut(&Bytes) -> bool) -> bool {
        self(lease, holds)
    }
}

/// What an identity may do with keys.
#[derive(Clone, Copy)]
enum Standing<'a> {
    /// Everything: authentication is off, or it is the administrator or the
    /// server itself.
    Everything,
    Some(&'a Access),
}

impl Standing<'_> {
    fn reads(self, range: &KeyRange) -> bool {
        match self {
            Standing::Everything => true,
            Standing::Some(access) => access.read.covers(range),
        }
    }

    fn reads_key(self, key: &[u8]) -> bool {
        match self {
            Standing::Everything => true,
            Standing::Some(access) => access.read.contains(key),
        }
    }

    fn writes(self, range: &KeyRange) -> bool {
        match self {
            Standing::Everything => true,
            Standing::Some(access) => access.write.covers(range),
        }
    }

    fn writes_key(self, key: &[u8]) -> bool {
        match self {
            Standing::Everything => true,
            Standing::Some(access) => access.write.contains(key),
        }
    }

    fn writes_lease(self, lease: LeaseId, leases: &dyn LeaseKeys) -> bool {
        match self {
            Standing::Everything => true,
            Standing::Some(access) => {
                leases.every_key(lease, &mut |key| access.write.contains(key))
            }
        }
    }

    fn puts(self, put: &PutRequest, leases: &dyn LeaseKeys) -> bool {
        self.writes_key(&put.key)
            && (!put.lease.is_some() || self.writes_lease(put.lease, leases))
            && (!put.prev_kv || self.reads_key(&put.key))
    }

    fn deletes(self, delete: &DeleteRangeRequest) -> bool {
        self.writes(&delete.range) && (!delete.prev_kv || self.reads(&delete.range))
    }

    fn transacts(self, txn: &TxnRequest, leases: &dyn LeaseKeys) -> bool {
        let operation = |op: &TxnOp| match op {
            TxnOp::Range(range) => self.reads(&range.range),
            TxnOp::Put(put) => self.puts(put, leases),
            TxnOp::DeleteRange(delete) => self.deletes(delete),
            TxnOp::Txn(nested) => self.transacts(nested, leases),
        };
        txn.compares.iter().all(|compare| self.reads(&compare.range))
            && txn.success.iter().chain(&txn.failure).all(operation)
    }
}

impl AuthState {
    /// Whether `who` may do `operation` in this state. `leases` knows the keys of
    /// leases; it is asked only if a lease is named and the identity may not do
    /// everything anyway.
    ///
    /// # Errors
    /// Of operations on keys, in this order: [`AuthError::UserEmpty`]
    /// without a user, [`AuthError::AuthOldRevision`] for a proof that is out of
    /// date, else [`AuthError::PermissionDenied`], also for a user
    /// that does not exist. Of the others: see [`Self::authorize_user`] and
    /// [`Self::authorize_admin`].
    pub fn authorize(
        &self,
        who: &Identity,
        operation: Operation<'_>,
        leases: &dyn LeaseKeys,
    ) -> Result<(), AuthError> {
        let allowed = match operation {
            Operation::Range(range) => self.standing(who)?.reads(&range.range),
            Operation::Watch(range) => self.standing(who)?.reads(range),
            Operation::Put(put) => self.standing(who)?.puts(put, leases),
            Operation::DeleteRange(delete) => self.standing(who)?.deletes(delete),
            Operation::Txn(txn) => self.standing(who)?.transacts(txn, leases),
            Operation::WriteLease(lease) => {
                self.each_lease_key(who, lease, leases, |standing, key| standing.writes_key(key))?
            }
            Operation::ReadLease(lease) => {
                self.each_lease_key(who, lease, leases, |standing, key| standing.reads_key(key))?
            }
            Operation::Authenticated => return self.authorize_user(who),
            Operation::Admin => return self.authorize_admin(who),
        };
        if allowed { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    /// Whether `who` may read all of `range`.
    ///
    /// # Errors
    /// As [`Self::authorize`].
    pub fn can_read(&self, who: &Identity, range: &KeyRange) -> Result<(), AuthError> {
        if self.standing(who)?.reads(range) { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    /// Whether `who` may write all of `range`.
    ///
    /// # Errors
    /// As [`Self::authorize`].
    pub fn can_write(&self, who: &Identity, range: &KeyRange) -> Result<(), AuthError> {
        if self.standing(who)?.writes(range) { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    /// Whether `who` is a user at all.
    ///
    /// # Errors
    /// [`AuthError::UserEmpty`] without a user; [`AuthError::PermissionDenied`]
    /// for a user that does not exist, where etcd lets any name of a
    /// certificate pass; [`AuthError::AuthOldRevision`] for a proof from
    /// before the user's password was set, which etcd lets pass until it
    /// expires.
    pub fn authorize_user(&self, who: &Identity) -> Result<(), AuthError> {
        let Some(name) = self.checked_name(who)? else { return Ok(()) };
        let user = self.users.get(name).ok_or(AuthError::PermissionDenied)?;
        check_age(who, user.credential_revision)
    }

    /// Whether `who` is an administrator: while authentication is on, only users with
    /// the role `root` are. As in etcd, a proof that is out of date is accepted here as
    /// long as the user's password is the same: otherwise an administrator would have
    /// to log in again after each of its own changes.
    ///
    /// # Errors
    /// [`AuthError::UserEmpty`] without a user, [`AuthError::UserNotFound`],
    /// [`AuthError::AuthOldRevision`] as for [`Self::authorize_user`],
    /// [`AuthError::PermissionDenied`].
    pub fn authorize_admin(&self, who: &Identity) -> Result<(), AuthError> {
        let Some(name) = self.checked_name(who)? else { return Ok(()) };
        let user = self.users.get(name).ok_or(AuthError::UserNotFound)?;
        check_age(who, user.credential_revision)?;
        if user.is_admin() { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    /// The name of the user that is to be checked; None if nothing is.
    fn checked_name<'a>(&self, who: &'a Identity) -> Result<Option<&'a str>, AuthError> {
        match who {
            _ if !self.enabled => Ok(None),
            Identity::Server => Ok(None),
            Identity::User { name, .. } if !name.is_empty() => Ok(Some(name)),
            Identity::User { .. } | Identity::Anonymous => Err(AuthError::UserEmpty),
        }
    }

    fn standing(&self, who: &Identity) -> Result<Standing<'_>, AuthError> {
        let Some(name) = self.checked_name(who)? else { return Ok(Standing::Everything) };
        check_age(who, self.revision)?;
        let user = self.users.get(name).ok_or(AuthError::PermissionDenied)?;
        if user.is_admin() {
            return Ok(Standing::Everything);
        }
        Ok(Standing::Some(self.access_of(user)))
    }

    /// A lease without keys is anybody's, of those who are somebody. The age
    /// of a proof counts only where there are keys to check, as in etcd.
    fn each_lease_key(
        &self,
        who: &Identity,
        lease: LeaseId,
        leases: &dyn LeaseKeys,
        allowed: fn(Standing<'_>, &[u8]) -> bool,
    ) -> Result<bool, AuthError> {
        self.authorize_user(who)?;
        if self.authorize_admin(who).is_ok() {
            return Ok(true);
        }
        let standing = self.standing(who);
        let mut age = Ok(());
        let every = leases.every_key(lease, &mut |key| match &standing {
            Ok(standing) => allowed(*standing, key),
            Err(refused) => {
                age = Err(*refused);
                false
            }
        });
        age.map(|()| every)
    }
}

/// A proof that carries the revision it was made at counts if nothing has
/// moved since `oldest`.
fn check_age(who: &Identity, oldest: u64) -> Result<(), AuthError> {
    match who {
        Identity::User { revision: Some(made), .. } if *made < oldest => {
            Err(AuthError::AuthOldRevision)
        }
        _ => Ok(()),
    }
}
