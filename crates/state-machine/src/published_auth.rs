//! Authentication state readable from all threads: the applied users, roles and
//! tokens, with a mark that one load reads to tell whether authentication is on
//! and whether the state has changed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use t4_auth_rbac::AuthState;

/// Identifies a published state: equal marks mean equal states.
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

/// The applied state of authentication, for all threads.
///
/// It is published in log order, before later revisions become visible. So if a
/// reader finds the same mark before and after its read, it has read nothing
/// that a change forbids.
#[derive(Debug)]
pub struct PublishedAuth {
    /// The mark of `state`. Written under its lock.
    mark: AtomicU64,
    state: RwLock<Published>,
}

#[derive(Debug)]
struct Published {
    newest: Arc<AuthState>,
    /// The number of changes of rights, not counting the start and end of tokens.
    rights: u64,
    /// The states after the most recent of them, with their numbers.
    recent: VecDeque<(u64, Arc<AuthState>)>,
}

/// The number of changes of rights whose states are kept for streams that lag
/// behind. The states share their unchanged parts.
const RECENT_MAX: usize = 256;

impl PublishedAuth {
    pub(crate) fn new(state: AuthState) -> Self {
        let mark = AtomicU64::new(AuthMark::new(0, &state).0);
        let (newest, recent) = (Arc::new(state), VecDeque::new());
        PublishedAuth { mark, state: RwLock::new(Published { newest, rights: 0, recent }) }
    }

    /// The newest mark, read with one load.
    #[must_use]
    pub fn mark(&self) -> AuthMark {
        AuthMark(self.mark.load(Ordering::Acquire))
    }

    /// The newest state and its mark.
    #[must_use]
    pub fn state(&self) -> (AuthMark, Arc<AuthState>) {
        let state = self.state.read();
        (self.mark(), state.newest.clone())
    }

    /// The newest state, and the number of the last change of rights in it.
    #[must_use]
    pub fn rights(&self) -> (u64, Arc<AuthState>) {
        let state = self.state.read();
        (state.rights, state.newest.clone())
    }

    /// The states after each change of rights since number `seen`, oldest
    /// first; only the newest ones if there are very many.
    #[must_use]
    pub fn rights_after(&self, seen: u64) -> Vec<(u64, Arc<AuthState>)> {
        let state = self.state.read();
        state.recent.iter().filter(|(number, _)| *number > seen).cloned().collect()
    }

    /// Publishes `state`; `rights` tells whether rights changed.
    pub(crate) fn publish(&self, state: &AuthState, rights: bool) {
        let mut published = self.state.write();
        let mark = AuthMark::new(self.mark().changes() + 1, state);
        published.newest = Arc::new(state.clone());
        if rights {
            published.rights += 1;
            let kept = (published.rights, published.newest.clone());
            published.recent.push_back(kept);
            if published.recent.len() > RECENT_MAX {
                published.recent.pop_front();
            }
        }
        self.mark.store(mark.0, Ordering::Release);
    }
}
