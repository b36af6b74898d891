//! Accepted connections: TCP or Unix, as hyper wants them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use crate::opening::Opening;

/// A connection before it belongs to a runtime.
pub(crate) enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A connection that hyper can serve.
///
/// It says that it takes no vectored writes. Then h2 copies payloads below
/// 1 KiB into the buffer of their headers, and a small response is one write
/// to the socket instead of two: a fifth less server CPU per read.
pub(crate) struct Connection<S> {
    stream: TokioIo<Opening<S>>,
}

/// A connection of either kind.
pub(crate) enum AnyConnection {
    Tcp(Connection<TcpStream>),
    Unix(Connection<UnixStream>),
}

impl Accepted {
    /// Registers the connection with the present runtime.
    pub(crate) fn register(self) -> io::Result<AnyConnection> {
        Ok(match self {
            Accepted::Tcp(stream) => {
                // Responses are small and leave in one write: waiting to
                // gather more would only delay them (40 ms with delayed ACKs).
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                AnyConnection::Tcp(Connection::new(TcpStream::from_std(stream)?))
            }
            Accepted::Unix(stream) => {
                stream.set_nonblocking(true)?;
                AnyConnection::Unix(Connection::new(UnixStream::from_std(stream)?))
            }
        })
    }
}

impl<S> Connection<S> {
    fn new(stream: S) -> Self {
        Connection { stream: TokioIo::new(Opening::new(stream)) }
    }
}

impl<S: tokio::io::AsyncRead + Unpin> Read for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: tokio::io::AsyncWrite + Unpin> Write for Connection<S> {
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
