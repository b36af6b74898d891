//! Accepted connections: TCP or Unix, with TLS or without, as the HTTP
//! libraries want them.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::opening::Opening;
use crate::pace::Pace;

/// A connection before it belongs to a runtime.
pub(crate) enum Accepted {
    /// And where it comes from.
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// A connection of the present runtime.
pub(crate) enum Registered {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What TCP and Unix connections have in common.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {
    /// The first byte that the client has sent, which stays to be read; `None`:
    /// it has closed the connection.
    fn peek(&self) -> impl Future<Output = io::Result<Option<u8>>> + Send;
}

impl Socket for TcpStream {
    async fn peek(&self) -> io::Result<Option<u8>> {
        self.async_io(Interest::READABLE, || look_at_first(self)).await
    }
}

impl Socket for UnixStream {
    async fn peek(&self) -> io::Result<Option<u8>> {
        self.async_io(Interest::READABLE, || look_at_first(self)).await
    }
}

fn look_at_first(socket: &impl AsFd) -> io::Result<Option<u8>> {
    let mut first = [0];
    let (received, _) = recv(socket, &mut first, RecvFlags::PEEK)?;
    Ok((received > 0).then_some(first[0]))
}

/// What a connection over HTTP/2 begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that can be served, over either version of HTTP.
///
/// It takes no vectored writes (the default of [`AsyncWrite`]). So h2 copies
/// payloads below 1 KiB into the buffer of their headers, and a small response
/// is one write to the socket instead of two: a fifth less server CPU per read.
pub(crate) struct Connection<S> {
    stream: Opening<S>,
    /// What was read to see which version it is, to be read again: a part of
    /// `first`. Its end never comes before its beginning.
    again: std::ops::Range<usize>,
    first: [u8; PREFACE.len()],
    /// `None`: it is read as fast as it comes.
    pace: Option<Arc<Pace>>,
}

impl Accepted {
    /// Where the client is; `None`: at the other end of a Unix socket.
    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        match self {
            Accepted::Tcp(_, remote) => Some(*remote),
            Accepted::Unix(_) => None,
        }
    }

    /// Registers the connection with the present runtime.
    pub(crate) fn register(self) -> io::Result<Registered> {
        Ok(match self {
            Accepted::Tcp(stream, _) => {
                // Responses are small and leave in one write: waiting to
                // gather more would only delay them (40 ms with delayed ACKs).
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Registered::Tcp(TcpStream::from_std(stream)?)
            }
            Accepted::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Registered::Unix(UnixStream::from_std(stream)?)
            }
        })
    }
}

impl<S> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        Connection {
            stream: Opening::new(stream),
            again: 0..0,
            first: [0; PREFACE.len()],
            pace: None,
        }
    }

    /// From here on it is read in turns.
    pub(crate) fn read_in_turns(&mut self) -> Arc<Pace> {
        self.pace.insert(Arc::new(Pace::new())).clone()
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    /// Whether HTTP/2 is spoken, of which the preface tells. What was read for
    /// it is read again. To be called before anything is read.
    pub(crate) async fn is_http2(&mut self) -> io::Result<bool> {
        loop {
            let read = self.again.end;
            if read == PREFACE.len() || self.first[..read] != PREFACE[..read] {
                return Ok(self.first[..read] == PREFACE[..read]);
            }
            let Connection { stream, first, .. } = self;
            let mut buffer = ReadBuf::new(&mut first[read..]);
            poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buffer)).await?;
            match buffer.filled().len() {
                0 => return Ok(false),
                more => self.again.end += more,
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.again.is_empty() {
            let length = buffer.remaining().min(this.again.len());
            let end = this.again.start + length;
            buffer.put_slice(&this.first[this.again.start..end]);
            this.again.start = end;
            return Poll::Ready(Ok(()));
        }
        let Some(pace) = &this.pace else {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        };
        ready!(pace.poll_turn(cx));
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut this.stream).poll_read(cx, buffer));
        pace.heard(buffer.filled().len() - before);
        Poll::Ready(outcome)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Some(pace) = &self.pace {
            match &outcome {
                Poll::Pending => pace.wrote(None),
                Poll::Ready(Ok(bytes)) => pace.wrote(Some(*bytes)),
                Poll::Ready(Err(_)) => {}
            }
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        if let Some(pace) = &self.pace {
            pace.flushed(outcome.is_pending(), cx);
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn the_version_is_told_and_nothing_is_lost() {
        let cases: [(&[u8], bool); 6] = [
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more", true),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", false),
            (b"POST /v3/kv/range HTTP/1.1\r\n", false),
            (b"G", false),
            (b"", false),
        ];
        for (said, http2) in cases {
            // All at once, and byte by byte.
            for capacity in [64, 1] {
                let (mut client, server) = tokio::io::duplex(capacity);
                let saying = async move {
                    client.write_all(said).await.unwrap();
                    drop(client);
                };
                let hearing = async move {
                    let mut server = Connection::new(server);
                    let found = server.is_http2().await.unwrap();
                    let mut heard = Vec::new();
                    server.read_to_end(&mut heard).await.unwrap();
                    (found, heard)
                };
                let ((), (found, heard)) = tokio::join!(saying, hearing);
                assert_eq!((found, &heard[..]), (http2, said));
            }
        }
    }
}
