//! What of authentication everybody may look at: the applied users, roles and
//! tokens, with a mark that tells in one load whether there is anything to look
//! at, and whether it has changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use t4_auth_rbac::AuthState;

/// Which of the published states: equal marks, equal states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthMark(u64);

impl AuthMark {
    fn new(changes: u64, state: &AuthState) -> Self {
        AuthMark(changes << 1 | u64::from(state.is_enabled()))
    }

    /// Whether authentication is on.
    #[must_use]
    pub fn is_on(self) -> bool {
        self.0 & 1 == 1
    }

    fn changes(self) -> u64 {
        self.0 >> 1
    }
}

/// The applied state of authentication, for any thread.
///
/// It is published in the order of the log, before the revisions that come
/// after it become visible. So who has read, and then finds the mark that it
/// found before, has read nothing that a change forbids.
#[derive(Debug)]
pub struct PublishedAuth {
    /// Of `state`. Written under its lock.
    mark: AtomicU64,
    state: RwLock<Arc<AuthState>>,
}

impl PublishedAuth {
    pub(crate) fn new(state: AuthState) -> Self {
        let mark = AtomicU64::new(AuthMark::new(0, &state).0);
        PublishedAuth { mark, state: RwLock::new(Arc::new(state)) }
    }

    /// The newest mark. One load.
    #[must_use]
    pub fn mark(&self) -> AuthMark {
        AuthMark(self.mark.load(Ordering::Acquire))
    }

    /// The newest state and its mark.
    #[must_use]
    pub fn state(&self) -> (AuthMark, Arc<AuthState>) {
        let state = self.state.read();
        (self.mark(), state.clone())
    }

    pub(crate) fn publish(&self, state: &AuthState) {
        let mut published = self.state.write();
        let mark = AuthMark::new(self.mark().changes() + 1, state);
        *published = Arc::new(state.clone());
        self.mark.store(mark.0, Ordering::Release);
    }
}
