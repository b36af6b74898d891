//! A transport that comes back when its borrower is done with it.
//!
//! A handshake that fails drops its transport, and the kernel then resets the
//! connection if the client had sent anything more, as clients of TLS 1.3 do.
//! The reset overtakes the alert that says what was wrong. So the transport is
//! lent to the handshake, and closed in order.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// How long a client may take to hear why it was refused, and how much it may
/// send meanwhile.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES_MAX: usize = 64 * 1024;

/// A transport on loan.
#[derive(Debug)]
pub(crate) struct Lent<S> {
    /// There until it is dropped.
    io: Option<S>,
    back: Arc<Mutex<Option<S>>>,
}

/// Where it comes back to.
#[derive(Debug)]
pub(crate) struct Lender<S> {
    back: Arc<Mutex<Option<S>>>,
}

/// Lends a transport.
pub(crate) fn lend<S>(io: S) -> (Lent<S>, Lender<S>) {
    let back = Arc::new(Mutex::new(None));
    (Lent { io: Some(io), back: back.clone() }, Lender { back })
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lender<S> {
    /// Closes the transport, if it came back: says that there is nothing more
    /// to come, and reads what is under way, for a while.
    pub(crate) async fn close(self) {
        let io = self.back.lock().take();
        let Some(mut io) = io else { return };
        let farewell = async {
            io.shutdown().await?;
            let mut left = FAREWELL_BYTES_MAX;
            let mut buffer = [0; 2048];
            while left > 0 {
                match io.read(&mut buffer).await? {
                    0 => break,
                    read => left = left.saturating_sub(read),
                }
            }
            io::Result::Ok(())
        };
        // Gone, or too slow: then it is closed as it is.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

impl<S> Drop for Lent<S> {
    fn drop(&mut self) {
        *self.back.lock() = self.io.take();
    }
}

impl<S> Lent<S> {
    fn io(&mut self) -> io::Result<&mut S> {
        self.io.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.io()?).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io()?).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io()?).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io()?).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io()?).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    #[test]
    fn what_was_dropped_is_closed_in_order() {
        runtime().block_on(async {
            let (server, mut client) = tokio::io::duplex(1024);
            let (mut lent, lender) = lend(server);
            lent.write_all(b"alert").await.expect("written");
            client.write_all(b"a request that nobody reads").await.expect("written");
            drop(lent);
            let closing = tokio::spawn(lender.close());
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.expect("no reset");
            assert_eq!(heard, b"alert");
            drop(client);
            closing.await.expect("closed");
        });
    }

    #[test]
    fn what_is_still_lent_is_left_alone() {
        runtime().block_on(async {
            let (server, mut client) = tokio::io::duplex(1024);
            let (mut lent, lender) = lend(server);
            lender.close().await;
            lent.write_all(b"on").await.expect("still open");
            let mut heard = [0; 2];
            client.read_exact(&mut heard).await.expect("read");
            assert_eq!(&heard, b"on");
        });
    }
}
