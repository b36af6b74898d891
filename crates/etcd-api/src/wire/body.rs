//! Response bodies: nothing, one message, or many.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tonic::Status;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const OK: HeaderValue = HeaderValue::from_static("0");

/// The body of a response: framed messages, then the status as trailers.
pub struct ResponseBody(Kind);

enum Kind {
    /// The status is in the headers already.
    Empty,
    /// One message, then OK. `None`: it has been sent.
    Message(Option<Bytes>),
    Stream(StreamBody),
}

impl ResponseBody {
    /// The one message and the trailers behind it, if that is all there is.
    ///
    /// # Errors
    /// The body as it was: it has no message, or many.
    pub fn into_message(self) -> Result<(Bytes, HeaderMap), ResponseBody> {
        match self.0 {
            Kind::Message(Some(message)) => Ok((message, trailers_of(Ok(())))),
            kind => Err(ResponseBody(kind)),
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

/// A body whose messages are made while it is sent.
struct StreamBody {
    /// What makes them; `None` once it has ended.
    work: Option<Work>,
    /// Where it puts them.
    slot: Arc<Mutex<Option<Bytes>>>,
    /// The status, once there is one and it has not been sent.
    trailers: Option<HeaderMap>,
}

/// Where the work of a streamed response puts its messages.
///
/// It holds one chunk: work that is ahead of the client waits.
pub(crate) struct Outlet {
    slot: Arc<Mutex<Option<Bytes>>>,
}

impl Outlet {
    /// Waits until what was sent before is on its way.
    pub(crate) async fn ready(&self) {
        poll_fn(|_| if self.slot.lock().is_some() { Poll::Pending } else { Poll::Ready(()) }).await;
    }

    /// Sends framed messages, as soon as what was sent before is on its way.
    pub(crate) async fn send(&self, chunk: Bytes) {
        let mut chunk = Some(chunk);
        // No waker: the body drains the slot before it polls the work again,
        // and nobody else fills or empties it.
        poll_fn(|_| {
            let mut slot = self.slot.lock();
            if slot.is_some() {
                return Poll::Pending;
            }
            *slot = chunk.take();
            Poll::Ready(())
        })
        .await;
    }
}

/// A response with one framed message and the status OK.
pub(crate) fn unary_response(frame: Bytes) -> Response<ResponseBody> {
    response(ResponseBody(Kind::Message(Some(frame))))
}

/// A response without a message.
pub(crate) fn error_response(status: &Status) -> Response<ResponseBody> {
    let mut response = response(ResponseBody(Kind::Empty));
    add_status(response.headers_mut(), status);
    response
}

/// A response whose messages are what `work` sends to the outlet. The work
/// runs only while the client takes them; it is dropped with the body.
pub(crate) fn streaming_response<F>(work: impl FnOnce(Outlet) -> F) -> Response<ResponseBody>
where
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let slot = Arc::new(Mutex::new(None));
    let work = Box::pin(work(Outlet { slot: slot.clone() }));
    response(ResponseBody(Kind::Stream(StreamBody { work: Some(work), slot, trailers: None })))
}

fn response(body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

fn add_status(headers: &mut HeaderMap, status: &Status) {
    if status.add_header(headers).is_err() {
        // A text that no header can carry: the code alone must do.
        let bare = Status::new(status.code(), "");
        let _ = bare.add_header(headers);
    }
}

fn trailers_of(result: Result<(), Status>) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    match result {
        Ok(()) => {
            trailers.insert(Status::GRPC_STATUS, OK);
        }
        Err(status) => add_status(&mut trailers, &status),
    }
    trailers
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Message(message) => {
                let frame = match message.take() {
                    Some(message) => Frame::data(message),
                    None => {
                        self.0 = Kind::Empty;
                        Frame::trailers(trailers_of(Ok(())))
                    }
                };
                Poll::Ready(Some(Ok(frame)))
            }
            Kind::Stream(stream) => stream.poll_frame(cx).map(|frame| frame.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Message(_) => false,
            Kind::Stream(stream) => stream.work.is_none() && stream.trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Message(_) | Kind::Stream(_) => SizeHint::default(),
        }
    }
}

impl StreamBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        if let Some(work) = &mut self.work {
            // Sent before, and taken only now that the client wants more: the
            // work never runs more than one chunk ahead.
            if let Poll::Ready(result) = work.as_mut().poll(cx) {
                self.work = None;
                self.trailers = Some(trailers_of(result));
            }
        }
        if let Some(chunk) = self.slot.lock().take() {
            return Poll::Ready(Some(Frame::data(chunk)));
        }
        match self.trailers.take() {
            Some(trailers) => Poll::Ready(Some(Frame::trailers(trailers))),
            None if self.work.is_none() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Empty => "ResponseBody::Empty",
            Kind::Message(_) => "ResponseBody::Message",
            Kind::Stream(_) => "ResponseBody::Stream",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    /// The data frames and the trailers of a body.
    async fn collect(mut body: ResponseBody) -> (Vec<Bytes>, Option<HeaderMap>) {
        let (mut data, mut trailers) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            match frame.unwrap().into_data() {
                Ok(chunk) => data.push(chunk),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        assert!(body.is_end_stream());
        (data, trailers)
    }

    fn code(headers: &HeaderMap) -> &str {
        headers[Status::GRPC_STATUS].to_str().unwrap()
    }

    #[tokio::test]
    async fn one_message_then_ok() {
        let response = unary_response(Bytes::from_static(b"m"));
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc");
        let (data, trailers) = collect(response.into_body()).await;
        assert_eq!(data, ["m"]);
        assert_eq!(code(&trailers.unwrap()), "0");
    }

    #[tokio::test]
    async fn an_error_is_in_the_headers() {
        let response = error_response(&Status::not_found("no lease"));
        assert_eq!(code(response.headers()), "5");
        assert_eq!(response.headers()[Status::GRPC_MESSAGE], "no%20lease");
        assert!(response.body().is_end_stream());
        assert_eq!(collect(response.into_body()).await, (vec![], None));
    }

    #[tokio::test]
    async fn streams_send_everything_before_the_status() {
        let response = streaming_response(|outlet| async move {
            outlet.send(Bytes::from_static(b"a")).await;
            tokio::task::yield_now().await;
            outlet.send(Bytes::from_static(b"b")).await;
            outlet.send(Bytes::from_static(b"c")).await;
            Err(Status::unavailable("gone"))
        });
        let (data, trailers) = collect(response.into_body()).await;
        assert_eq!(data, ["a", "b", "c"]);
        assert_eq!(code(&trailers.unwrap()), "14");
    }

    #[tokio::test]
    async fn work_does_not_run_ahead_of_the_client() {
        let sent = Arc::new(Mutex::new(0));
        let count = sent.clone();
        let mut body = streaming_response(|outlet| async move {
            loop {
                outlet.send(Bytes::from_static(b"x")).await;
                *count.lock() += 1;
            }
        })
        .into_body();
        for taken in 1..=5 {
            body.frame().await.unwrap().unwrap();
            assert!(*sent.lock() <= taken);
        }
    }
}
