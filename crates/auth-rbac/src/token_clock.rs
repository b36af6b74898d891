//! The deadlines of tokens: volatile, kept by the leading node. Time is an argument.
//!
//! A token lives for a fixed time after its last use. Uses are not logged, so a new
//! clock gives each token its full time again: none expires early because of a restart
//! or a change of leader. The expiry itself is logged
//! ([`Command::ExpireTokens`](crate::Command::ExpireTokens)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::effect::Applied;
use crate::tokens::TokenId;

/// The deadlines of the tokens that are alive.
///
/// `now` is the time since a fixed point on a monotonic clock, the same for
/// the life of the value. Times are kept in whole milliseconds, rounded up: a
/// token never ends early.
#[derive(Debug)]
pub struct TokenClock {
    ttl_ms: u64,
    tokens: BTreeMap<TokenId, Time>,
    /// When to look at which token: exactly the `(due, id)` of each of
    /// `tokens` whose `due` is set.
    agenda: BTreeSet<(u64, TokenId)>,
}

#[derive(Debug)]
struct Time {
    /// From this moment on, in milliseconds, the token has expired. Atomic, so
    /// that a use needs no more than shared access.
    deadline: AtomicU64,
    /// When to look at it; None after it was reported. `due <= deadline`: uses
    /// do not move it, so one that comes up early is put back.
    due: Option<u64>,
}

impl TokenClock {
    /// A clock for the tokens that are alive now, each with its full time.
    /// `ttl` is how long a token lives after its last use.
    #[must_use]
    pub fn start(ttl: Duration, alive: impl Iterator<Item = TokenId>, now: Duration) -> Self {
        let ttl_ms = millis_up(ttl);
        let mut clock = TokenClock { ttl_ms, tokens: BTreeMap::new(), agenda: BTreeSet::new() };
        for id in alive {
            clock.begin(id, now);
        }
        clock
    }

    /// Follows the state: call with what each effect did.
    pub fn follow(&mut self, applied: &Applied, now: Duration) {
        for id in &applied.ended {
            self.end(*id);
        }
        if let Some(id) = applied.begun {
            self.begin(id, now);
        }
    }

    /// Whether a token may be used now; if so, its full time begins again. False if it
    /// has expired, or is not known here.
    #[must_use]
    pub fn use_token(&self, id: TokenId, now: Duration) -> bool {
        let Some(Time { deadline, .. }) = self.tokens.get(&id) else { return false };
        let now_ms = millis_down(now);
        let later = millis_up(now).saturating_add(self.ttl_ms);
        // An expired one stays so; a thread that read the clock earlier does
        // not bring a deadline forward.
        let extend = |at: u64| (at > now_ms).then_some(at.max(later));
        deadline.fetch_update(Ordering::Relaxed, Ordering::Relaxed, extend).is_ok()
    }

    /// At most `max` of the expired tokens, the earliest first as far as they are
    /// found. Each is reported once; it stays unusable until the state has ended it.
    #[must_use = "these tokens are not reported again"]
    pub fn take_expired(&mut self, now: Duration, max: usize) -> Vec<TokenId> {
        let now_ms = millis_down(now);
        let mut expired = Vec::new();
        while expired.len() < max
            && let Some((due, id)) = self.first_true()
            && due <= now_ms
        {
            self.schedule(id, None);
            expired.push(id);
        }
        expired
    }

    /// Hands back tokens whose expiry could not be logged: they are reported again.
    pub fn unreport(&mut self, ids: &[TokenId]) {
        for id in ids {
            if let Some(time) = self.tokens.get_mut(id) {
                let deadline = *time.deadline.get_mut();
                self.schedule(*id, Some(deadline));
            }
        }
    }

    /// The token that is nearest to expiry, of those not yet reported.
    #[must_use]
    pub fn nearest(&mut self) -> Option<TokenId> {
        self.first_true().map(|(_, id)| id)
    }

    /// When [`Self::take_expired`] will have something to report at the
    /// earliest.
    #[must_use]
    pub fn next_deadline(&mut self) -> Option<Duration> {
        self.first_true().map(|(due, _)| Duration::from_millis(due))
    }

    fn begin(&mut self, id: TokenId, now: Duration) {
        let deadline = millis_up(now).saturating_add(self.ttl_ms);
        self.tokens.insert(id, Time { deadline: AtomicU64::new(deadline), due: None });
        self.schedule(id, Some(deadline));
    }

    fn end(&mut self, id: TokenId) {
        self.schedule(id, None);
        self.tokens.remove(&id);
    }

    /// Sets when to look at a token.
    fn schedule(&mut self, id: TokenId, due: Option<u64>) {
        let Some(time) = self.tokens.get_mut(&id) else { return };
        let former = std::mem::replace(&mut time.due, due);
        if let Some(former) = former {
            self.agenda.remove(&(former, id));
        }
        if let Some(due) = due {
            self.agenda.insert((due, id));
        }
    }

    /// The first of the agenda, after those before it that were used since
    /// have been put right.
    fn first_true(&mut self) -> Option<(u64, TokenId)> {
        loop {
            let (due, id) = *self.agenda.first()?;
            let deadline = self.tokens.get_mut(&id).map(|time| *time.deadline.get_mut());
            if deadline.is_none_or(|deadline| deadline <= due) {
                return Some((due, id));
            }
            self.schedule(id, deadline);
        }
    }
}

fn millis_up(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn millis_down(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
