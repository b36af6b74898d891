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
    /// Until then no token's time is over, so the clock, which every use of a
    /// token shares, is left alone; `None`: not known. Uses and new tokens do
    /// not make it wrong: what they set is later than what there is.
    quiet_until: Option<Duration>,
}

impl TokenExpiry {
    /// The tokens to end now. Their end must be proposed, and what comes of it
    /// reported.
    pub(crate) fn take(&mut self, shared: &Shared, state: &StateMachine) -> Vec<TokenId> {
        if state.auth().token_count() == 0 {
            return Vec::new();
        }
        let now = shared.now();
        if self.quiet_until.is_some_and(|at| now < at) {
            return Vec::new();
        }
        self.quiet_until = None;
        let ids = shared.tokens.write().take_expired(now, EXPIRED_MAX);
        self.ending.extend_from_slice(&ids);
        ids
    }

    /// When to [`take`](Self::take) next.
    pub(crate) fn deadline(&mut self, shared: &Shared, state: &StateMachine) -> Option<Duration> {
        if state.auth().token_count() == 0 {
            return None;
        }
        if self.quiet_until.is_none() {
            self.quiet_until = shared.tokens.write().next_deadline();
        }
        self.quiet_until
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

    /// The log has refused what was in flight: not before `retry_at` again.
    pub(crate) fn refused(&mut self, shared: &Shared, retry_at: Duration) {
        if !self.ending.is_empty() {
            shared.tokens.write().unreport(&self.ending);
            self.ending.clear();
            self.quiet_until = Some(retry_at);
        }
    }
}
