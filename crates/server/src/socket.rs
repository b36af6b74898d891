//! Accepted connections: TCP or Unix, with TLS or without, as hyper wants them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};

use crate::opening::Opening;

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

/// A connection that hyper can serve.
///
/// It says that it takes no vectored writes. Then h2 copies payloads below
/// 1 KiB into the buffer of their headers, and a small response is one write
/// to the socket instead of two: a fifth less server CPU per read.
pub(crate) struct Connection<S> {
    stream: TokioIo<Opening<S>>,
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
        Connection { stream: TokioIo::new(Opening::new(stream)) }
    }
}

impl<S: AsyncRead + Unpin> Read for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> Write for Connection<S> {
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

    fn is_write_vectored(&self) -> bool {
        false
    }
}
