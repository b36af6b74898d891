//! How fast one connection is read, and when something was last heard on it.
//!
//! The HTTP/2 library takes all frames that the socket has before it looks at
//! anything else. A client that sends as fast as it can would so keep a thread
//! from its other connections, and have the server hold whatever the frames
//! make it hold (streams that nobody has looked at, pieces of bodies). So a
//! connection is read in turns of [`TURN_BYTES`]: after each its calls get on,
//! and so do the other connections of the thread.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::time::{Duration, Instant};

/// What is read of a connection before others have their turn.
const TURN_BYTES: usize = 64 << 10;

/// Shared by a connection's socket and what serves it, which are on one
/// thread: nothing here orders anything.
pub(crate) struct Pace {
    /// What may still be read in this turn.
    left: AtomicUsize,
    begun: Instant,
    /// When the last bytes came, in microseconds since `begun`.
    heard_us: AtomicU64,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Pace {
            left: AtomicUsize::new(TURN_BYTES),
            begun: Instant::now(),
            heard_us: AtomicU64::new(0),
        }
    }

    /// A turn begins.
    pub(crate) fn begin_turn(&self) {
        self.left.store(TURN_BYTES, Ordering::Relaxed);
    }

    /// Ready while the turn lasts. Otherwise the task is woken for its next one,
    /// behind all that is ready to run.
    pub(crate) fn poll_turn(&self, cx: &Context<'_>) -> Poll<()> {
        if self.left.load(Ordering::Relaxed) > 0 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// So many bytes came.
    pub(crate) fn heard(&self, bytes: usize) {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(bytes), Ordering::Relaxed);
        let us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.heard_us.store(us, Ordering::Relaxed);
    }

    /// When the last bytes came.
    pub(crate) fn last_heard(&self) -> Instant {
        self.begun + Duration::from_micros(self.heard_us.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[tokio::test(start_paused = true)]
    async fn a_turn_ends_and_the_next_one_begins() {
        let (pace, cx) = (Pace::new(), Context::from_waker(Waker::noop()));
        pace.heard(TURN_BYTES - 1);
        assert!(pace.poll_turn(&cx).is_ready());
        pace.heard(8 << 10);
        assert!(pace.poll_turn(&cx).is_pending());
        pace.begin_turn();
        assert!(pace.poll_turn(&cx).is_ready());
        let before = Instant::now();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(pace.last_heard() <= before);
        pace.heard(1);
        assert_eq!(pace.last_heard(), before + Duration::from_secs(5));
    }
}
