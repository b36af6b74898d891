//! On whose behalf a handle on the replica acts.

use std::sync::Arc;

use t4_auth_rbac::Identity;

/// A user who asks, as the protocol has proven it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user's name.
    pub user: Arc<str>,
    /// The auth revision that the proof was made at; counts if it is `pinned`.
    pub auth_revision: u64,
    /// The proof says itself what revision it was made at (a signed token):
    /// once the state has moved beyond that, operations on keys are refused
    /// with [`AuthOldRevision`](t4_kv_types::AuthError::AuthOldRevision). Else
    /// it counts as made now, and the user's rights are looked at again where
    /// the operation takes place.
    pub pinned: bool,
}

impl From<Caller> for Identity {
    fn from(caller: Caller) -> Self {
        let revision = caller.pinned.then_some(caller.auth_revision);
        Identity::User { name: caller.user, revision }
    }
}
