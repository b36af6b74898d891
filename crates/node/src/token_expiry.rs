//! Ending tokens whose time is over: which, and when to look again. The write
//! loop asks, and logs what is found.

use std::time::Duration;

use t4_auth_rbac::{Applied, TokenId};
use t4_state_machine::StateMachine;

use crate::shared::Shared;

/// Tokens ended in one go when the time of many is over together.
const EXPIRED_MAX: usize = 500;

/// What the write loop remembers of expired tokens.
#[derive(Default)]
pub(crate) struct TokenExpiry {
    /// Those whose end is in flight.
    ending: Vec<TokenId>,
    /// The log has refused; until then it is not tried again.
    retry_at: Option<Duration>,
}

impl TokenExpiry {
    /// The tokens to end now. Their end must be proposed, and what comes of it
    /// reported.
    pub(crate) fn take(&mut self, shared: &Shared, state: &StateMachine) -> Vec<TokenId> {
        if state.auth().token_count() == 0 {
            return Vec::new();
        }
        let now = shared.now();
        if self.retry_at.is_some_and(|at| now < at) {
            return Vec::new();
        }
        self.retry_at = None;
        let ids = shared.tokens.write().take_expired(now, EXPIRED_MAX);
        self.ending.extend_from_slice(&ids);
        ids
    }

    /// When to [`take`](Self::take) next.
    pub(crate) fn deadline(&self, shared: &Shared, state: &StateMachine) -> Option<Duration> {
        if state.auth().token_count() == 0 {
            return None;
        }
        let next = shared.tokens.write().next_deadline()?;
        Some(self.retry_at.map_or(next, |retry_at| retry_at.max(next)))
    }

    /// A batch was applied that did this to the tokens.
    pub(crate) fn applied(&mut self, shared: &Shared, state: &StateMachine, tokens: &[Applied]) {
        if tokens.is_empty() {
            return;
        }
        let (mut clock, now) = (shared.tokens.write(), shared.now());
        for applied in tokens {
            clock.follow(applied, now);
        }
        self.ending.retain(|id| state.auth().has_token(*id));
    }

    /// The log has refused what was in flight.
    pub(crate) fn refused(&mut self, shared: &Shared, retry_at: Duration) {
        if !self.ending.is_empty() {
            shared.tokens.write().unreport(&self.ending);
            self.ending.clear();
            self.retry_at = Some(retry_at);
        }
    }
}
