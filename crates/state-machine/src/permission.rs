//! Maps each request to the rights it needs, in the terms of `t4-auth-rbac`:
//! keys, a lease, or the administrator.

use t4_auth_rbac::{AuthState, Command, Identity, LeaseKeys, Operation};
use t4_kv_types::AuthError;

use crate::request::Request;

/// Whether `who` may make `request`, according to the newest users, roles and
/// keys: rights checked before it was submitted may have changed since.
pub(crate) fn check(
    auth: &AuthState,
    who: &Identity,
    request: &Request,
    leases: &dyn LeaseKeys,
) -> Result<(), AuthError> {
    let operation = match request {
        Request::Put(put) => Operation::Put(put),
        Request::DeleteRange(delete) => Operation::DeleteRange(delete),
        Request::Txn(txn) => Operation::Txn(txn),
        Request::LeaseGrant(..) => Operation::Authenticated,
        Request::LeaseRevoke(id) => Operation::WriteLease(*id),
        Request::Compact(_) | Request::SetAlarm(..) | Request::Member(..) => Operation::Admin,
        // Only the replica itself makes these requests.
        Request::Barrier(_)
        | Request::LeasesLeft(_)
        | Request::Auth(Command::ExpireTokens { .. }) => return server_only(who),
        // Decided along with the command, in etcd's order.
        Request::Auth(_) => return Ok(()),
    };
    auth.authorize(who, operation, leases)
}

fn server_only(who: &Identity) -> Result<(), AuthError> {
    if *who == Identity::Server { Ok(()) } else { Err(AuthError::PermissionDenied) }
}
