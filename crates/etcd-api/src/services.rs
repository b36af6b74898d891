//! The services on HTTP: from a request's head to the call that it makes, and what
//! all calls have in common: metadata, deadlines, counters, the log of slow ones.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Body;
use t4_node::Node;
use tonic::{Code, Status};

use crate::api::Api;
use crate::backlog::Backlog;
use crate::caller::Caller;
use crate::config::{ApiConfig, METADATA_BYTES_MAX};
use crate::dispatch::{Call, From};
use crate::errors;
use crate::health::Health;
use crate::login::{LoginStats, Logins};
use crate::memory::ClientMemory;
use crate::metadata::{self, Metadata};
use crate::method::{CallKind, Method};
use crate::open_calls::OpenCall;
use crate::proof::Proof;
use crate::sink::Sink;
use crate::slow::{self, Ended, SlowCalls};
use crate::stats::{GrpcStats, Meter};
use crate::wire::{self, Encoding, ResponseBody};

/// All services of one runtime. Clones are cheap and share everything.
#[derive(Clone)]
pub struct Services {
    api: Arc<Api>,
    caller: Arc<Caller>,
    /// The answers that were made for the client and that it has not taken.
    backlog: Arc<Backlog>,
    /// The memory that the clients of all connections share.
    memory: Arc<ClientMemory>,
}

/// Serves etcd's API on `node`, to which it talks on the runtime that the
/// handle was made on.
///
/// # Panics
/// If the operating system has no random numbers, without which the node would
/// not have been opened.
#[must_use]
pub fn services(node: Node, config: ApiConfig) -> Services {
    let mut key = [0; t4_auth_rbac::KEY_BYTES];
    getrandom::fill(&mut key).expect("the system has random numbers");
    let logins = Arc::new(Logins::new(config.auth.bcrypt_cost, key));
    let memory = Arc::new(ClientMemory::new(config.client_memory_bytes));
    let (config, stats) = (Arc::new(config), Arc::new(GrpcStats::default()));
    let slow = Arc::new(SlowCalls::new(&config));
    let api = Arc::new(Api::new(node, config, stats, Health::serving(), logins, slow));
    Services { api, caller: Arc::default(), backlog: Arc::new(Backlog::unbounded()), memory }
}

impl Services {
    /// The same services, with their work done on the runtime that this is
    /// called on. Counters and the state of health are shared.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn on_this_runtime(&self) -> Services {
        let node = self.api.node.on_this_runtime();
        let Api { config, stats, health, logins, slow_calls, .. } = &*self.api;
        let api = Api::new(
            node,
            config.clone(),
            stats.clone(),
            health.clone(),
            logins.clone(),
            slow_calls.clone(),
        );
        let backlog = Arc::new(Backlog::unbounded());
        Services { api: Arc::new(api), backlog, ..self.clone() }
    }

    /// The same services, for the calls that come on one connection. What its
    /// client asks for and does not read takes a bounded amount of memory: beyond
    /// that, its next calls wait. Without this there is no bound, as callers in
    /// this process have what they ask for in memory anyway.
    #[must_use]
    pub fn for_connection(&self, caller: Caller) -> Services {
        let backlog = Arc::new(Backlog::new(&self.memory));
        Services { caller: Arc::new(caller), backlog, ..self.clone() }
    }

    /// The client, as far as the connection identifies it.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Counts a call with this metadata as open until it is dropped. `None`: the
    /// connection has too many for its share of the memory, and the call is to be
    /// answered with [`Self::too_many_calls`].
    pub fn open_call(&self, headers: &HeaderMap) -> Option<OpenCall> {
        self.backlog.calls().begin(metadata::header_bytes(headers))
    }

    /// The answer to a call for which there is no room.
    #[must_use]
    pub fn too_many_calls() -> Response<ResponseBody> {
        wire::error_response(&errors::too_many_calls())
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> &Arc<GrpcStats> {
        &self.api.stats
    }

    /// The outcomes of logins so far.
    #[must_use]
    pub fn login_stats(&self) -> &Arc<LoginStats> {
        &self.api.logins.stats
    }

    /// What clients make the server hold, of all runtimes and connections.
    #[must_use]
    pub fn client_memory(&self) -> &Arc<ClientMemory> {
        &self.memory
    }

    /// The configuration that the services were made with.
    #[must_use]
    pub fn config(&self) -> &ApiConfig {
        &self.api.config
    }

    /// Sets what the health service answers; at first, it is that the server
    /// takes calls.
    pub fn set_serving(&self, serving: bool) {
        self.api.health.set(serving);
    }

    /// Serves one gRPC request. This is the way without a box per call; the
    /// `tower_service::Service` is for callers that need a named future.
    ///
    /// Dropping the future, or the body of a streamed response, cancels the
    /// call: no write is left half done, but one that was submitted may yet
    /// take effect.
    pub fn serve<B>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Response<ResponseBody>> + Send + use<B>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        // All that needs no wait is done before: what the future holds is
        // copied whenever it is moved.
        let serving = self.serving(request);
        async move {
            match serving {
                Serving::Answered(response) => response,
                Serving::Unary(call) => call.answer().await,
            }
        }
    }

    /// The same, with responses that are there already apart from those that are
    /// still to be made.
    pub fn serving<B>(&self, request: Request<B>) -> Serving<B>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        match self.begin(request) {
            Begun::Answered(response) => Serving::Answered(response),
            Begun::Unary(method, metadata, proof, body) => {
                Serving::Unary(UnaryCall { services: self.clone(), method, metadata, proof, body })
            }
        }
    }

    fn begin<B>(&self, request: Request<B>) -> Begun<B>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let (parts, body) = request.into_parts();
        if let Some(refusal) = refuse_non_grpc(&parts.method, &parts.headers) {
            return Begun::Answered(refusal);
        }
        let bytes = metadata::header_bytes(&parts.headers);
        if bytes > METADATA_BYTES_MAX {
            let status = errors::metadata_too_large(bytes, METADATA_BYTES_MAX);
            return Begun::Answered(wire::error_response(&status));
        }
        // With a query, which no method has.
        let path = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let Some(method) = Method::from_path(path) else {
            let status = errors::unknown_path(path, Method::serves);
            return Begun::Answered(wire::error_response(&status));
        };
        let metadata = match Metadata::read(&parts.headers, &self.api.stats.client_versions) {
            Ok(metadata) => metadata,
            Err(status) => return Begun::Answered(refuse_metadata(&status)),
        };
        // A stream needs its credentials even if authentication is enabled later;
        // other calls need them only if it is on now.
        let is_unary = method.kind() == CallKind::Unary;
        let proof = if is_unary && !self.api.node.auth_is_on() {
            Proof::default()
        } else {
            Proof::read(&parts.headers, &self.caller)
        };
        if is_unary {
            return Begun::Unary(method, metadata, proof, body);
        }
        Begun::Answered(serve_stream(self.clone(), method, metadata, proof, body))
    }
}

/// A request that is being served.
pub enum Serving<B> {
    /// Its response is there: an error, or a stream, which is as small as it can be
    /// while it waits.
    Answered(Response<ResponseBody>),
    /// Its response is still to be made.
    Unary(UnaryCall<B>),
}

/// A unary call of which the head was read.
///
/// This is small, and the future of [`answer`](Self::answer) is large: a future that
/// is passed into another one takes its size twice.
pub struct UnaryCall<B> {
    services: Services,
    method: Method,
    metadata: Metadata,
    proof: Proof,
    body: B,
}

impl<B: Body<Data = Bytes> + Send + 'static> UnaryCall<B> {
    /// Makes the response.
    pub async fn answer(self) -> Response<ResponseBody> {
        let UnaryCall { services, method, metadata, proof, body } = self;
        serve_unary(&services, method, metadata, &proof, pin!(body)).await
    }
}

/// A request of which the head was read.
enum Begun<B> {
    /// There is a response already; that of a stream has its work in its body.
    Answered(Response<ResponseBody>),
    Unary(Method, Metadata, Proof, B),
}

impl<B> tower_service::Service<Request<B>> for Services
where
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let response = self.serve(request);
        Box::pin(async move { Ok(response.await) })
    }
}

/// The answer to what is not a gRPC request at all.
fn refuse_non_grpc(method: &http::Method, headers: &HeaderMap) -> Option<Response<ResponseBody>> {
    let refuse = |status_code, status: Status| {
        let mut response = wire::error_response(&status);
        *response.status_mut() = status_code;
        Some(response)
    };
    if method != http::Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, errors::not_post(method));
    }
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |it| it.as_bytes());
    match content_type.strip_prefix(b"application/grpc") {
        Some([] | [b'+' | b';', ..]) => None,
        _ => refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, errors::bad_content_type(content_type)),
    }
}

/// The answer to metadata that does not say what can be served. It says which
/// compression can be.
fn refuse_metadata(status: &Status) -> Response<ResponseBody> {
    let mut response = wire::error_response(status);
    if status.code() == Code::Unimplemented {
        response.headers_mut().insert(wire::GRPC_ACCEPT_ENCODING, wire::GZIP);
    }
    response
}

/// Says how the messages of a response are compressed.
fn add_encoding(
    mut response: Response<ResponseBody>,
    encoding: Encoding,
) -> Response<ResponseBody> {
    if encoding == Encoding::Gzip {
        response.headers_mut().insert(wire::GRPC_ENCODING, wire::GZIP);
    }
    response
}

/// Slow calls are logged from here, and the request is kept for that: how a method is
/// served does not depend on what the log shows of it.
async fn serve_unary<B: Body<Data = Bytes>>(
    services: &Services,
    method: Method,
    metadata: Metadata,
    proof: &Proof,
    body: Pin<&mut B>,
) -> Response<ResponseBody> {
    let Services { api, caller, backlog, .. } = services;
    let mut meter = Meter::start(&api.stats, method);
    let mut shown = Bytes::new();
    // The request counts until its call ends.
    let mut held = None;
    let from = From { proof, caller };
    let call = Call { api, backlog, method, metadata, from, meter: &meter };
    let serving = async {
        backlog.room().await;
        let request = wire::read_unary(body, call.reading()).await?;
        held = Some(call.held(request.len())?);
        if slow::can_be_shown(method) {
            shown = request.clone();
        }
        call.unary(request).await
    };
    let result = wire::within(metadata.timeout, pin!(serving)).await;
    if let Ok(frame) = &result {
        meter.sent(frame.len());
    }
    let code = result.as_ref().err().map_or(Code::Ok, Status::code);
    if let Some(took) = meter.finish(code)
        && api.slow_calls.is_slow(took)
    {
        let ended = Ended { method, took, request: shown, result: result.as_ref(), caller };
        api.slow_calls.tell(&ended, meter.is_read_only(), api.node.counters());
    }
    match result {
        Ok(frame) => add_encoding(wire::unary_response(frame), metadata.encoding),
        Err(status) => wire::error_response(&status),
    }
}

/// The work begins when the body is polled; what is wrong with the metadata
/// ends the call there too.
fn serve_stream<B: Body<Data = Bytes> + Send + 'static>(
    services: Services,
    method: Method,
    metadata: Metadata,
    proof: Proof,
    body: B,
) -> Response<ResponseBody> {
    let response = wire::streaming_response(move |outlet| async move {
        let Services { api, caller, backlog, .. } = services;
        let meter = Meter::start(&api.stats, method);
        let sink = Sink::new(outlet, meter, metadata.encoding, &backlog);
        let from = From { proof: &proof, caller: &caller };
        let meter = sink.meter();
        let call = Call { api: &api, backlog: &backlog, method, metadata, from, meter };
        let result = wire::within(metadata.timeout, pin!(call.stream(body, &sink))).await;
        sink.finish(result)
    });
    add_encoding(response, metadata.encoding)
}
