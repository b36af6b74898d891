//! Probes of a connection on which nothing is heard.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

use crate::config::Config;

/// Tokio's clock ends somewhere; this is as good as never.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Asks a peer that is silent for an interval, and gives it up if it stays
/// silent. Any bytes are a sign of life, whether they are the answer or not.
pub(super) struct Keepalive {
    pings: PingPong,
    interval: Duration,
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
    /// When the peer was asked; `None`: it has not been since it was heard.
    asked: Option<Instant>,
}

impl Keepalive {
    pub(super) fn new(pings: PingPong, config: &Config) -> Self {
        let interval = config.keepalive_interval.min(FAR);
        let timer = Box::pin(tokio::time::sleep(interval));
        let timeout = config.keepalive_timeout.min(FAR);
        Keepalive { pings, interval, timeout, timer, asked: None }
    }

    /// Ready when the peer is to be given up; it was last heard `heard`.
    pub(super) fn poll_dead(&mut self, cx: &mut Context<'_>, heard: Instant) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.asked.is_some_and(|asked| heard <= asked) {
                return Poll::Ready(());
            }
            self.asked = None;
            let due = heard + self.interval;
            if due > Instant::now() {
                self.timer.as_mut().reset(due);
                continue;
            }
            self.ask(cx);
            let now = Instant::now();
            self.asked = Some(now);
            self.timer.as_mut().reset(now + self.timeout);
        }
    }

    fn ask(&mut self, cx: &mut Context<'_>) {
        // The answer to the last ping, if it came, makes room for the next. A
        // ping that cannot be sent is not answered: so the connection ends.
        let _ = self.pings.poll_pong(cx);
        let _ = self.pings.send_ping(Ping::opaque());
    }
}
