//! How fast one connection is read, and when something was last heard on it.
//!
//! The HTTP/2 library takes all frames that the socket has before it looks at
//! anything else. A client that sends as fast as it can would so keep a thread
//! from its other connections, and have the server hold whatever the frames
//! make it hold (streams that nobody has looked at, pieces of bodies). So a
//! connection is read in turns of [`TURN_BYTES`]: after each its calls get on,
//! and so do the other connections of the thread.
//!
//! A client that does not read, and has more calls than it may have, is not read
//! either until it does: even to refuse a call takes memory until it is heard.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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
    /// Bytes that were written.
    written: AtomicU64,
    /// The socket does not take all that is written to it.
    blocked: AtomicBool,
    /// Nothing is read while it does not.
    paused: AtomicBool,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Pace {
            left: AtomicUsize::new(TURN_BYTES),
            begun: Instant::now(),
            heard_us: AtomicU64::new(0),
            written: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            paused: AtomicBool::new(false),
        }
    }

    /// A turn begins.
    pub(crate) fn begin_turn(&self) {
        self.left.store(TURN_BYTES, Ordering::Relaxed);
    }

    /// Ready while the turn lasts. Otherwise the task is woken for its next one,
    /// behind all that is ready to run; in a pause, when that is over.
    pub(crate) fn poll_turn(&self, cx: &Context<'_>) -> Poll<()> {
        if self.paused.load(Ordering::Relaxed) && self.is_blocked() {
            return Poll::Pending;
        }
        if self.left.load(Ordering::Relaxed) > 0 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether the socket does not take all that is written to it.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// So many bytes were written, or the socket is full.
    pub(crate) fn wrote(&self, bytes: Option<usize>) {
        match bytes {
            Some(bytes) => _ = self.written.fetch_add(bytes as u64, Ordering::Relaxed),
            None => self.blocked.store(true, Ordering::Relaxed),
        }
    }

    /// Bytes that were written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// All that was written has left, or the socket is full.
    pub(crate) fn flushed(&self, is_full: bool, cx: &Context<'_>) {
        self.blocked.store(is_full, Ordering::Relaxed);
        if !is_full && self.paused.swap(false, Ordering::Relaxed) {
            cx.waker().wake_by_ref();
        }
    }

    /// Nothing is read any more while the socket does not take all that is
    /// written to it.
    pub(crate) fn pause_while_blocked(&self) {
        self.paused.store(true, Ordering::Relaxed);
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

    #[test]
    fn a_pause_lasts_while_the_socket_is_full() {
        let (pace, cx) = (Pace::new(), Context::from_waker(Waker::noop()));
        pace.wrote(None);
        assert!(pace.poll_turn(&cx).is_ready(), "calls within the bound are read");
        pace.pause_while_blocked();
        assert!(pace.poll_turn(&cx).is_pending());
        pace.wrote(Some(7));
        assert!(pace.poll_turn(&cx).is_pending(), "there may be more to write");
        pace.flushed(false, &cx);
        assert!(pace.poll_turn(&cx).is_ready());
        // The next time the socket is full is no pause.
        pace.wrote(None);
        assert!(pace.poll_turn(&cx).is_ready());
        // A refusal that can be sent is none either.
        pace.flushed(false, &cx);
        pace.pause_while_blocked();
        assert!(pace.poll_turn(&cx).is_ready());
    }

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
