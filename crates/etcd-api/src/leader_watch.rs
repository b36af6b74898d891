//! `hasleader` on a stream: it ends when there has been no leader for long.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::api::Api;
use crate::errors::ApiError;

/// How many looks in a row must find no leader.
const LOOKS: u32 = 3;

/// Looks for a leader now and then, if the stream requires one.
pub(crate) struct LeaderWatch {
    /// `None`: the stream requires no leader.
    looks: Option<Interval>,
    in_vain: u32,
}

impl LeaderWatch {
    /// Looks every `election_timeout` if `required`.
    pub(crate) fn new(required: bool, election_timeout: Duration) -> Self {
        let looks = required.then(|| {
            let mut looks =
                tokio::time::interval_at(Instant::now() + election_timeout, election_timeout);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            looks
        });
        LeaderWatch { looks, in_vain: 0 }
    }

    /// Waits until there has been no leader for three looks in a row. Dropping
    /// the future forgets nothing.
    pub(crate) async fn lost(&mut self, api: &Api) -> ApiError {
        self.lost_by(|| api.has_leader()).await
    }

    async fn lost_by(&mut self, has_leader: impl Fn() -> bool) -> ApiError {
        let Some(looks) = &mut self.looks else { return std::future::pending().await };
        loop {
            looks.tick().await;
            self.in_vain = if has_leader() { 0 } else { self.in_vain + 1 };
            if self.in_vain >= LOOKS {
                return ApiError::NoLeader;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn three_looks_in_a_row_must_be_in_vain() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let looks = Cell::new(0);
        // A leader is there at the third look, and never again.
        let has_leader = || {
            looks.set(looks.get() + 1);
            looks.get() == 3
        };
        let lost = LeaderWatch::new(true, second).lost_by(has_leader).await;
        assert_eq!(lost, ApiError::NoLeader);
        assert_eq!((looks.get(), start.elapsed()), (6, 6 * second));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_ask_needs_no_leader() {
        let mut watch = LeaderWatch::new(false, Duration::from_secs(1));
        let lost = watch.lost_by(|| false);
        assert!(tokio::time::timeout(Duration::from_secs(100), lost).await.is_err());
    }
}
