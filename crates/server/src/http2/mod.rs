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
mod unsent;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

pub(crate) use body::RequestBody;
pub(crate) use limits::Http2Stats;

use crate::config::Config;
use crate::front::{Front, Purpose};
use crate::pace::Pace;
use crate::socket::Connection;
use exchange::{Call, refuse};
use keepalive::Keepalive;
use late::LateBodies;
use unsent::Unsent;

/// Calls that begin in one turn of a connection, at most; then others have theirs.
const CALLS_PER_TURN: usize = 256;

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
    let unsent = Arc::new(Unsent::new(pace.clone()));
    let front_of_calls = front.clone();
    let mut serving = Serving {
        connection,
        keepalive,
        pace,
        late,
        unsent,
        purpose,
        front: front_of_calls,
        goes_on: false,
    };
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
    unsent: Arc<Unsent>,
    purpose: Purpose,
    front: Arc<Front>,
    /// The last turn ended before all of its calls had begun.
    goes_on: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Serving<S> {
    /// One turn: what came is taken, and its calls begin.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        if !std::mem::take(&mut self.goes_on) {
            self.pace.begin_turn();
        }
        if let Some(keepalive) = &mut self.keepalive
            && keepalive.poll_dead(cx, self.pace.last_heard()).is_ready()
        {
            self.connection.abrupt_shutdown(Reason::NO_ERROR);
            // Once, as far as the socket takes it: the peer is gone.
            let _ = self.connection.poll_closed(cx);
            return Poll::Ready(Ok(()));
        }
        for _ in 0..CALLS_PER_TURN {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    self.unsent.end_turn();
                    return Poll::Pending;
                }
            }
        }
        self.goes_on = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// A call begins, in a task of its own, or is refused.
    fn begin(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let late = self.late.clone();
        let request = request.map(|stream| RequestBody::new(stream, late));
        match self.front.open_call(&request) {
            Some(open) => {
                let call = Call { respond, open, unsent: self.unsent.clone() };
                exchange::begin(self.front.clone(), self.purpose, request, call);
            }
            None => {
                self.front.http2.call_refused(self.front.peer());
                // Refusals, too, take memory until they are sent.
                self.pace.pause_while_blocked();
                let refusal = Front::too_many_calls(&request, self.purpose);
                if let Err(error) = refuse(refusal, respond) {
                    tracing::debug!(%error, "a refusal was not sent");
                }
            }
        }
    }
}
