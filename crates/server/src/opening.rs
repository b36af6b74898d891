//! The first bytes of a connection, and how long they may take.
//!
//! From HTTP/2's preface on a connection is probed (keepalive), and HTTP/1 has
//! a bound for the head of a request. Before it is clear which of them is
//! spoken nothing else watches a connection that stays silent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a client may take for its first [`OPENING_BYTES`]. grpc-go gives
/// 120 s, but for TLS too.
pub(crate) const OPENING_TIMEOUT: Duration = Duration::from_secs(60);

/// The length of HTTP/2's preface. No request of HTTP/1.1 is shorter.
const OPENING_BYTES: usize = 24;

/// A connection that fails to be read when it has not begun in time.
pub(crate) struct Opening<S> {
    stream: S,
    /// `None`: it has begun.
    awaited: Option<Awaited>,
}

struct Awaited {
    /// Bytes still missing, above 0.
    bytes: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Opening<S> {
    /// The time counts from now.
    pub(crate) fn new(stream: S) -> Self {
        let deadline = Box::pin(tokio::time::sleep(OPENING_TIMEOUT));
        Opening { stream, awaited: Some(Awaited { bytes: OPENING_BYTES, deadline }) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(awaited) = &mut this.awaited else {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        };
        let before = buffer.filled().len();
        let Poll::Ready(outcome) = Pin::new(&mut this.stream).poll_read(cx, buffer) else {
            ready!(awaited.deadline.as_mut().poll(cx));
            let why = "the client did not say in time what it speaks";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        };
        awaited.bytes = awaited.bytes.saturating_sub(buffer.filled().len() - before);
        if awaited.bytes == 0 {
            this.awaited = None;
        }
        Poll::Ready(outcome)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_begin_ends() {
        // Nothing, and all but the last byte, however they are spread.
        for said in [0, OPENING_BYTES - 1] {
            let (mut client, server) = tokio::io::duplex(64);
            let (start, mut server) = (Instant::now(), Opening::new(server));
            let dripping = tokio::spawn(async move {
                for _ in 0..said {
                    client.write_all(b"P").await.unwrap();
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                client
            });
            let error = server.read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(start.elapsed() >= OPENING_TIMEOUT);
            drop(dripping.await.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_begun_may_be_silent() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Opening::new(server);
        client.write_all(&[7; OPENING_BYTES]).await.unwrap();
        let reading = tokio::spawn(async move {
            let mut found = Vec::new();
            server.read_to_end(&mut found).await.map(|_| found.len())
        });
        tokio::time::sleep(10 * OPENING_TIMEOUT).await;
        client.write_all(b"late").await.unwrap();
        drop(client);
        assert_eq!(reading.await.unwrap().unwrap(), OPENING_BYTES + 4);
    }
}
