//! The cheapest connection that the generated stubs can use.
//!
//! One TCP connection with `TCP_NODELAY`, TLS if the server has it, and one `h2` client on it,
//! driven by a task of the runtime that opened it. tonic's own channel would add a buffer, a
//! reconnect loop, a balancer and two task hops per call; all of that would be charged to both
//! servers alike and hide the difference between them, because client and server share the
//! cores.
//!
//! It keeps the properties of Go's client that affect a server's behaviour:
//! frames of at most 16 KiB, and many concurrent calls on one connection.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Request, Response, Uri};
use http_body::{Body as _, Frame};
use t4_tls_config::ClientTls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::body::Body;
use tower_service::Service;

/// The bytes that one stream and one connection may hold unread: enough that
/// the client never holds up a list of 100k keys.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// The address of a server and its protocol.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its address.
    pub address: SocketAddr,
    /// Its TLS configuration; `None` for plain text.
    pub tls: Option<ClientTls>,
}

impl From<SocketAddr> for Endpoint {
    /// Plain text.
    fn from(address: SocketAddr) -> Endpoint {
        Endpoint { address, tls: None }
    }
}

/// A connection to a server. Clones share the socket.
#[derive(Clone, Debug)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    origin: Uri,
}

impl Connection {
    /// Connects, and spawns the task that drives the socket onto the current
    /// runtime. The socket closes when the last clone is dropped.
    ///
    /// # Errors
    /// If the server does not accept, has the wrong identity, or does not speak HTTP/2.
    pub async fn open(to: impl Into<Endpoint>) -> anyhow::Result<Connection> {
        let Endpoint { address, tls } = to.into();
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (scheme, requests) = match tls {
            None => ("http", speak(socket).await?),
            Some(tls) => {
                let secure = tls.connect(socket, &address.ip().to_string()).await?;
                ("https", speak(secure).await?)
            }
        };
        Ok(Connection { requests, origin: format!("{scheme}://{address}").parse()? })
    }

    /// The scheme and authority of requests on it.
    #[must_use]
    pub fn origin(&self) -> Uri {
        self.origin.clone()
    }
}

/// Starts HTTP/2 on a connection.
async fn speak<IO>(io: IO) -> Result<SendRequest<Bytes>, h2::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, driver) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_push(false)
        .handshake(io)
        .await?;
    // The task ends with the connection; calls in flight report the error.
    tokio::spawn(driver);
    Ok(requests)
}

impl Service<Request<Body>> for Connection {
    type Response = Response<ResponseBody>;
    type Error = h2::Error;
    type Future = PendingResponse;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.requests.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> PendingResponse {
        let (head, body) = request.into_parts();
        match self.requests.send_request(Request::from_parts(head, ()), false) {
            Ok((response, stream)) => match send_ready(stream, body) {
                Ok(()) => PendingResponse::Sent(response),
                Err(error) => PendingResponse::Failed(Some(error)),
            },
            Err(error) => PendingResponse::Failed(Some(error)),
        }
    }
}

/// A response whose head has not arrived yet.
#[derive(Debug)]
pub enum PendingResponse {
    /// The request was sent.
    Sent(ResponseFuture),
    /// It could not be sent.
    Failed(Option<h2::Error>),
}

impl Future for PendingResponse {
    type Output = Result<Response<ResponseBody>, h2::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            PendingResponse::Sent(response) => {
                let response = ready!(Pin::new(response).poll(cx))?;
                Poll::Ready(Ok(response.map(|stream| ResponseBody { stream })))
            }
            PendingResponse::Failed(error) => {
                Poll::Ready(Err(error.take().unwrap_or_else(|| h2::Reason::CANCEL.into())))
            }
        }
    }
}

/// Sends the frames that the body has ready. For a unary call, that is all of
/// it, so that the message and the end of the stream share a frame and no task
/// is spawned. A body with more frames to come gets its own task.
fn send_ready(mut stream: SendStream<Bytes>, mut body: Body) -> Result<(), h2::Error> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut held: Option<Bytes> = None;
    loop {
        match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(earlier) = held.replace(data_of(frame)) {
                    stream.send_data(earlier, false)?;
                }
            }
            Poll::Ready(Some(Err(_))) => {
                stream.send_reset(h2::Reason::CANCEL);
                return Ok(());
            }
            Poll::Ready(None) => return stream.send_data(held.unwrap_or_default(), true),
            Poll::Pending => {
                if let Some(earlier) = held {
                    stream.send_data(earlier, false)?;
                }
                tokio::spawn(send_rest(stream, body));
                return Ok(());
            }
        }
    }
}

/// Sends the frames of a body as they become ready. Ends with the body, or when
/// the server ends the call, which the reader of the response sees.
async fn send_rest(mut stream: SendStream<Bytes>, mut body: Body) {
    loop {
        let frame = std::future::poll_fn(|cx| {
            if let Poll::Ready(closed) = stream.poll_reset(cx) {
                drop(closed);
                return Poll::Ready(None);
            }
            Pin::new(&mut body).poll_frame(cx).map(|frame| frame.and_then(Result::ok))
        });
        // The server closed a stream that accepts no more data: the reader of the
        // response sees why.
        let sent = match frame.await {
            Some(frame) => stream.send_data(data_of(frame), false),
            None => return drop(stream.send_data(Bytes::new(), true)),
        };
        if sent.is_err() {
            return;
        }
    }
}

/// A gRPC client sends no trailers, so a frame is data.
fn data_of(frame: Frame<Bytes>) -> Bytes {
    frame.into_data().unwrap_or_default()
}

/// The body of a response, read from its stream; flow-control capacity is
/// released as soon as data is read.
#[derive(Debug)]
pub struct ResponseBody {
    stream: RecvStream,
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                let released = self.stream.flow_control().release_capacity(data.len());
                Poll::Ready(Some(released.map(|()| Frame::data(data))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                let trailers = ready!(self.stream.poll_trailers(cx));
                Poll::Ready(trailers.transpose().map(|end| end.map(Frame::trailers)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}
