//! HTTP/2 on one connection, straight on `h2`.
//!
//! Not through hyper, because the limits of the library that close a whole
//! connection are not all within its reach (decision 0010). What hyper does
//! beside is little: probes (`keepalive`), one task per call (`exchange`), the
//! adapter of request bodies (`body`). What the limits are, and what keeps
//! clients that do nothing wrong far from them, is in `limits`.

mod body;
mod exchange;
mod keepalive;
mod late;
mod limits;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

pub(crate) use body::RequestBody;
pub(crate) use limits::Http2Stats;

use crate::config::Config;
use crate::front::{Front, Purpose};
use crate::pace::Pace;
use crate::socket::Connection;
use exchange::exchange;
use keepalive::Keepalive;
use late::LateBodies;

/// Serves a connection until it ends, or until `drain` turns true and what is
/// under way is done.
pub(crate) async fn serve<S>(
    mut io: Connection<S>,
    purpose: Purpose,
    config: &Config,
    front: Arc<Front>,
    mut drain: watch::Receiver<bool>,
) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let pace = io.read_in_turns();
    let late = LateBodies::new(drain.clone());
    let handshake = limits::builder(config).handshake::<_, Bytes>(io);
    let mut connection = tokio::select! {
        connection = handshake => connection?,
        _ = drain.wait_for(|drain| *drain) => return Ok(()),
    };
    let pings = connection.ping_pong();
    let keepalive = pings.map(|pings| Keepalive::new(pings, config));
    let mut serving = Serving { connection, keepalive, pace, late, purpose, front: front.clone() };
    let mut drained = pin!(async move { drain.wait_for(|drain| *drain).await.is_ok() });
    let mut draining = false;
    let outcome = poll_fn(|cx| {
        if !draining && drained.as_mut().poll(cx).is_ready() {
            draining = true;
            serving.connection.graceful_shutdown();
        }
        serving.poll(cx)
    })
    .await;
    if let Err(error) = &outcome {
        front.http2.connection_failed(error, front.peer());
    }
    outcome
}

struct Serving<S> {
    connection: h2::server::Connection<Connection<S>, Bytes>,
    keepalive: Option<Keepalive>,
    pace: Arc<Pace>,
    late: LateBodies,
    purpose: Purpose,
    front: Arc<Front>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Serving<S> {
    /// One turn: what came is taken, and its calls begin.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.pace.begin_turn();
        if let Some(keepalive) = &mut self.keepalive
            && keepalive.poll_dead(cx, self.pace.last_heard()).is_ready()
        {
            self.connection.abrupt_shutdown(Reason::NO_ERROR);
            // Once, as far as the socket takes it: the peer is gone.
            let _ = self.connection.poll_closed(cx);
            return Poll::Ready(Ok(()));
        }
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let late = self.late.clone();
                    let request = request.map(|stream| RequestBody::new(stream, late));
                    tokio::spawn(exchange(self.front.clone(), self.purpose, request, respond));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
