//! The body of a response: gRPC's, or a text.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};

/// The body of a response.
pub(crate) enum ResponseBody {
    /// Of a gRPC call.
    Grpc(t4_etcd_api::ResponseBody),
    /// Of everything else.
    Text(Bytes),
}

impl From<t4_etcd_api::ResponseBody> for ResponseBody {
    fn from(body: t4_etcd_api::ResponseBody) -> Self {
        ResponseBody::Grpc(body)
    }
}

/// A body of which all is there.
pub(crate) struct Whole {
    pub(crate) data: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl ResponseBody {
    /// All of it, if it is there; otherwise the body.
    pub(crate) fn into_whole(self) -> Result<Whole, ResponseBody> {
        match self {
            ResponseBody::Grpc(body) => match body.into_message() {
                Ok((data, trailers)) => Ok(Whole { data, trailers: Some(trailers) }),
                Err(body) => Err(ResponseBody::Grpc(body)),
            },
            ResponseBody::Text(data) => Ok(Whole { data, trailers: None }),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            ResponseBody::Grpc(body) => Pin::new(body).poll_frame(cx),
            ResponseBody::Text(text) if text.is_empty() => Poll::Ready(None),
            ResponseBody::Text(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Grpc(body) => body.is_end_stream(),
            ResponseBody::Text(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Grpc(body) => body.size_hint(),
            ResponseBody::Text(text) => SizeHint::with_exact(text.len() as u64),
        }
    }
}

/// A response with a body of this type.
pub(crate) fn text(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Text(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Plain text.
pub(crate) const PLAIN: &str = "text/plain; charset=utf-8";
/// JSON.
pub(crate) const JSON: &str = "application/json";
