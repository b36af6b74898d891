//! What a request is for: gRPC, metrics, health, version.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use http_body_util::BodyExt;
use t4_etcd_api::{Caller, ETCD_VERSION, OpenCall, Services, Serving, UnaryCall};
use t4_node::Node;

use crate::access::{self, Access};
use crate::body::{JSON, PLAIN, ResponseBody, text};
use crate::debug_vars;
use crate::health::{self, Checks};
use crate::http2::Http2Stats;
use crate::metrics::Metrics;

/// How much of a body that nobody has a use for is read, in bytes, and for how
/// long is waited for it.
const UNUSED_BYTES_MAX: usize = 64 << 10;
const UNUSED_PATIENCE: Duration = Duration::from_secs(1);

/// What is served on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// gRPC and HTTP.
    Client,
    /// gRPC alone: HTTP has listeners of its own.
    Grpc,
    /// HTTP alone.
    Http,
    /// Metrics and health.
    Metrics,
}

/// Everything that one shard serves, or one connection.
pub(crate) struct Front {
    pub(crate) services: Services,
    pub(crate) node: Node,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: Arc<Access>,
    pub(crate) http2: Arc<Http2Stats>,
    /// Whether the connection is over TLS.
    pub(crate) tls: bool,
}

/// The body of a request, over whichever version of HTTP.
pub(crate) trait RequestBody: Body<Data = Bytes> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> RequestBody for B {}

impl Front {
    /// The same, with calls served on the runtime that this is called on.
    pub(crate) fn on_this_runtime(self) -> Front {
        Front { services: self.services.on_this_runtime(), ..self }
    }

    /// The same, for the calls of one connection.
    pub(crate) fn for_connection(&self, caller: Caller, tls: bool) -> Front {
        Front {
            services: self.services.for_connection(caller),
            node: self.node.clone(),
            metrics: self.metrics.clone(),
            access: self.access.clone(),
            http2: self.http2.clone(),
            tls,
        }
    }

    /// Where the client of a connection is, unless it is on a Unix socket.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.services.caller().address
    }

    /// Counts a call as open until it is dropped. `None`: the connection has too
    /// many, and this one is to be answered with [`Self::too_many_calls`].
    pub(crate) fn open_call<B>(&self, request: &Request<B>) -> Option<OpenCall> {
        self.services.open_call(request.headers())
    }

    /// The answer to a call for which there is no room.
    pub(crate) fn too_many_calls<B>(
        request: &Request<B>,
        purpose: Purpose,
    ) -> Response<ResponseBody> {
        if is_for_grpc(request, purpose) {
            Services::too_many_calls().map(ResponseBody::Grpc)
        } else {
            // Without a body, which would wait for the client's window.
            text(StatusCode::TOO_MANY_REQUESTS, PLAIN, "")
        }
    }

    /// A request on a listener with this purpose.
    ///
    /// Not an `async fn`, which would have the request several times in its
    /// state: a call that waits should be small. What is not gRPC is in a box, as
    /// what it takes would make the others larger.
    pub(crate) fn answer<B: RequestBody>(
        self: Arc<Self>,
        request: Request<B>,
        purpose: Purpose,
    ) -> Answer<B> {
        if is_for_grpc(&request, purpose) {
            // What is no gRPC is refused there, in gRPC's own way.
            return match self.services.serving(request) {
                Serving::Answered(response) => Answer::There(response.map(ResponseBody::Grpc)),
                Serving::Unary(call) => Answer::Unary(call),
            };
        }
        Answer::Other(Box::pin(async move { self.answer_http(request, purpose).await }))
    }

    /// A request that is not for gRPC.
    async fn answer_http<B: RequestBody>(
        &self,
        request: Request<B>,
        purpose: Purpose,
    ) -> Response<ResponseBody> {
        match purpose {
            Purpose::Client | Purpose::Http => self.http(request).await,
            Purpose::Grpc => {
                text(StatusCode::HTTP_VERSION_NOT_SUPPORTED, PLAIN, "gRPC needs HTTP/2\n")
            }
            Purpose::Metrics => self.metrics(request).await,
        }
    }

    /// A request that is not gRPC, from whoever may be a browser.
    async fn http<B: RequestBody>(&self, mut request: Request<B>) -> Response<ResponseBody> {
        hear_out(request.body_mut()).await;
        let origin = self.access.origin(&request);
        let mut response = match self.access.answer(&request, self.tls) {
            Some(answer) => answer,
            None => self.route(request).await,
        };
        access::allow_origin(&mut response, origin);
        response
    }

    async fn route<B>(&self, request: Request<B>) -> Response<ResponseBody> {
        let path = request.uri().path();
        match path {
            "/version" => self.version(&request),
            "/debug/vars" => debug_vars::answer(),
            _ if path.starts_with("/v3/") || path.starts_with("/v3beta/") => text(
                StatusCode::NOT_IMPLEMENTED,
                JSON,
                r#"{"code":12,"message":"the JSON gateway is not part of this version; use gRPC"}"#,
            ),
            _ => self.common(request).await,
        }
    }

    /// A request on the metrics port.
    async fn metrics<B>(&self, request: Request<B>) -> Response<ResponseBody> {
        match request.uri().path() {
            "/healthz" => health::healthz(&self.node),
            "/healthz/leader" => health::leader(&self.node),
            _ => self.common(request).await,
        }
    }

    /// What both ports serve.
    async fn common<B>(&self, request: Request<B>) -> Response<ResponseBody> {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        if path == "/metrics" {
            let text_format = "text/plain; version=0.0.4; charset=utf-8";
            return text(StatusCode::OK, text_format, self.metrics.render(&self.node));
        }
        if path == "/health" {
            if request.method() != Method::GET {
                let mut refused =
                    text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "Method Not Allowed\n");
                refused.headers_mut().insert(header::ALLOW, http::HeaderValue::from_static("GET"));
                return refused;
            }
            return health::health(&self.node, &self.metrics, query).await;
        }
        for (root, checks) in [("/livez", Checks::Live), ("/readyz", Checks::Ready)] {
            let Some(rest) = path.strip_prefix(root) else { continue };
            match rest.strip_prefix('/') {
                Some(check) if !check.is_empty() => {
                    return health::one(&self.node, &self.metrics, checks, check).await;
                }
                None | Some("") if rest.len() <= 1 => {
                    return health::all(&self.node, &self.metrics, checks, query).await;
                }
                _ => {}
            }
        }
        text(StatusCode::NOT_FOUND, PLAIN, "404 page not found\n")
    }

    fn version<B>(&self, request: &Request<B>) -> Response<ResponseBody> {
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "Method Not Allowed\n");
        }
        let body = format!(
            r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{ETCD_VERSION}","storage":"{ETCD_VERSION}"}}"#
        );
        text(StatusCode::OK, JSON, body)
    }
}

/// Reads what a request brings along, which no path here has a use for. An
/// answer that is ahead of it ends with a reset of the HTTP/2 stream, as the
/// protocol has it, and curl for one then shows the reset and not the answer.
async fn hear_out(body: &mut impl RequestBody) {
    if body.is_end_stream() {
        return;
    }
    let all = async {
        let mut left = UNUSED_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whoever sends more, or sends it later, is answered all the same.
    let _ = tokio::time::timeout(UNUSED_PATIENCE, all).await;
}

/// What answers a request.
pub(crate) enum Answer<B> {
    /// It is there; a stream has its work in its body.
    There(Response<ResponseBody>),
    /// A unary call of gRPC makes it.
    Unary(UnaryCall<B>),
    /// Something else makes it.
    Other(Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>>),
}

impl<B: RequestBody> Answer<B> {
    /// The response.
    pub(crate) async fn response(self) -> Response<ResponseBody> {
        match self {
            Answer::There(response) => response,
            Answer::Unary(call) => call.answer().await.map(ResponseBody::Grpc),
            Answer::Other(work) => work.await,
        }
    }
}

/// gRPC is on HTTP/2, which no page can speak here without TLS; anything like it
/// on HTTP/1.1 may come from a browser.
fn is_for_grpc<B>(request: &Request<B>, purpose: Purpose) -> bool {
    request.version() == Version::HTTP_2
        && match purpose {
            Purpose::Grpc => true,
            Purpose::Client => is_grpc(request),
            Purpose::Http | Purpose::Metrics => false,
        }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
