//! Changes of users and roles, for open streams.

use std::sync::Arc;

use t4_auth_rbac::AuthState;
use tokio::sync::watch;

use crate::error::Closed;
use crate::shared::Shared;

/// The changes of users, roles and permissions, and of whether authentication
/// is on, since this was made. From [`Node::auth_changes`](crate::Node::auth_changes).
pub struct AuthChanges {
    shared: Arc<Shared>,
    told: watch::Receiver<u64>,
    closed: watch::Receiver<Option<Closed>>,
    /// The number of the newest change that was taken.
    taken: u64,
}

/// The state after a change, and its number; numbers only grow.
pub type NumberedAuth = (u64, Arc<AuthState>);

impl AuthChanges {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let told = shared.rights_changed.subscribe();
        let closed = shared.closed.subscribe();
        let (taken, _) = shared.auth.rights();
        AuthChanges { shared, told, closed, taken }
    }

    /// Waits for a change. Dropping the future forgets nothing. False: the
    /// replica has stopped.
    pub async fn changed(&mut self) -> bool {
        tokio::select! {
            biased;
            told = self.told.changed() => told.is_ok(),
            _ = self.closed.wait_for(Option::is_some) => false,
        }
    }

    /// Whether there was a change since the last [`take`](Self::take). One load.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.told.has_changed().unwrap_or(false)
    }

    /// The states that were not taken before, oldest first: what was forbidden
    /// in between was forbidden, also if it is allowed now. After a great many
    /// changes at once the oldest are missing, and the newest is there.
    pub fn take(&mut self) -> Vec<NumberedAuth> {
        self.told.mark_unchanged();
        let states = self.shared.auth.rights_after(self.taken);
        self.taken = states.last().map_or(self.taken, |(number, _)| *number);
        states
    }
}
