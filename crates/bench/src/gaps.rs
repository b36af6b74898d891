//! Stalls as clients see them: times during which no client got an answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tracks the answers to one kind of request across all clients.
#[derive(Debug)]
pub struct Gaps {
    base: Instant,
    last_ns: AtomicU64,
    longest_ns: AtomicU64,
    stalls: AtomicU64,
}

/// A gap of at least this length is a stall.
pub const STALL: Duration = Duration::from_millis(20);

impl Default for Gaps {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Gaps { base: Instant::now(), last_ns: zero(), longest_ns: zero(), stalls: zero() }
    }
}

/// The results of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The longest time without an answer.
    pub longest: Duration,
    /// The number of gaps of [`STALL`] or longer.
    pub stalls: u64,
}

impl Gaps {
    /// Records an answer.
    pub fn answered(&self) {
        let now = self.now_ns();
        // Two threads may swap in the wrong order; the resulting error is far
        // below a stall.
        let gap = now.saturating_sub(self.last_ns.swap(now, Ordering::AcqRel));
        self.longest_ns.fetch_max(gap, Ordering::AcqRel);
        if u128::from(gap) >= STALL.as_nanos() {
            self.stalls.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Ends a window, counting the time since the last answer as a gap too, and
    /// starts the next, empty one.
    pub fn end(&self) -> Seen {
        self.answered();
        Seen {
            longest: Duration::from_nanos(self.longest_ns.swap(0, Ordering::AcqRel)),
            stalls: self.stalls.swap(0, Ordering::AcqRel),
        }
    }

    fn now_ns(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spin(duration: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < duration {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn the_longest_silence_is_kept_and_the_last_one_counts() {
        let gaps = Gaps::default();
        let begun = Instant::now();
        gaps.end();
        spin(STALL);
        gaps.answered();
        gaps.answered();
        let seen = gaps.end();
        assert!(seen.longest >= STALL && seen.longest <= begun.elapsed(), "{seen:?}");
        assert_eq!(seen.stalls, 1);
        let begun = Instant::now();
        spin(Duration::from_millis(2));
        let seen = gaps.end();
        // A busy machine may lengthen it, but never shorten it.
        assert!(
            seen.longest >= Duration::from_millis(2) && seen.longest <= begun.elapsed() + STALL
        );
    }
}
