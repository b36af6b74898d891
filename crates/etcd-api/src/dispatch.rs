//! From a request's path to the method that serves it, and what all calls have
//! in common: metadata, size, deadline, counters.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Body;
use prost::Message;
use t4_auth_rbac::Origin;
use t4_node::Node;
use t4_proto::etcdserverpb as pb;
use tonic::{Code, Status};

use crate::answer_size;
use crate::api::Api;
use crate::backlog::Backlog;
use crate::caller::Caller;
use crate::config::{ApiConfig, METADATA_BYTES_MAX};
use crate::errors::{self, ApiError};
use crate::health::Health;
use crate::leader_watch::LeaderWatch;
use crate::login::{LoginStats, Logins};
use crate::memory::ClientMemory;
use crate::metadata::{self, Metadata};
use crate::method::{CallKind, Method};
use crate::open_calls::OpenCall;
use crate::proof::Proof;
use crate::sink::Sink;
use crate::slow::{self, Ended, SlowCalls};
use crate::stats::{GrpcStats, Meter};
use crate::wire::{self, Answer, Encoding, Reading, Requests, ResponseBody};

/// All services of one runtime. Clones are cheap and share everything.
#[derive(Clone)]
pub struct Services {
    api: Arc<Api>,
    caller: Arc<Caller>,
    /// The answers that were made for whoever calls and are not taken.
    backlog: Arc<Backlog>,
    /// What the clients of all connections may fill.
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

    /// Who calls, as far as the connection shows it.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Counts a call with this metadata as open until it is dropped. `None`: the
    /// connection has too many for its share of the memory, and the call is to be
    /// answered with [`Self::too_many_calls`].
    pub fn open_call(&self, headers: &HeaderMap) -> Option<OpenCall> {
        let metadata = headers.values().map(http::HeaderValue::len).sum();
        self.backlog.calls().begin(metadata)
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

    /// What became of logins so far.
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
    /// `tower_service::Service` is for whoever needs a named future.
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
    /// to be made.
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
        let Some(method) = Method::from_path(parts.uri.path()) else {
            let status = errors::unknown_path(parts.uri.path(), Method::serves);
            return Begun::Answered(wire::error_response(&status));
        };
        let metadata = match Metadata::read(&parts.headers, &self.api.stats.client_versions) {
            Ok(metadata) => metadata,
            Err(status) => return Begun::Answered(refuse_metadata(&status)),
        };
        // What a call shows matters to a stream also if users come later; to
        // others only if there are users now.
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

/// A request that is served.
pub enum Serving<B> {
    /// Its response is there: a refusal, or a stream, which is as small as can be
    /// while it waits.
    Answered(Response<ResponseBody>),
    /// Its response is to be made.
    Unary(UnaryCall<B>),
}

/// A unary call of which the head was read.
///
/// This is small, and what [`answer`](Self::answer) gives is large: a future that
/// is passed into another one is in it twice.
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

async fn serve_unary<B: Body<Data = Bytes>>(
    services: &Services,
    method: Method,
    metadata: Metadata,
    proof: &Proof,
    body: Pin<&mut B>,
) -> Response<ResponseBody> {
    let Services { api, caller, backlog, .. } = services;
    let mut meter = Meter::start(&api.stats, method);
    let mut received = Received::default();
    let from = From { proof, caller };
    let call = Call { api, backlog, method, metadata, from, meter: &meter };
    let result = wire::within(metadata.timeout, pin!(call.unary(body, &mut received))).await;
    if let Ok(frame) = &result {
        meter.sent(frame.len());
    }
    let code = result.as_ref().err().map_or(Code::Ok, Status::code);
    if let Some(took) = meter.finish(code)
        && api.slow_calls.is_slow(took)
    {
        let request = received.shown;
        let ended = Ended { method, took, request, result: result.as_ref(), caller };
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

/// Who makes a call.
#[derive(Clone, Copy)]
struct From<'a> {
    /// What the call shows.
    proof: &'a Proof,
    /// What its connection says.
    caller: &'a Caller,
}

/// What is kept of a request until its call ends.
#[derive(Default)]
struct Received {
    /// Its bytes, if the log may show of what is in it.
    shown: Bytes,
    /// That it counts.
    held: Option<OpenCall>,
}

/// One call on its way.
#[derive(Clone, Copy)]
struct Call<'a> {
    api: &'a Arc<Api>,
    backlog: &'a Backlog,
    method: Method,
    metadata: Metadata,
    from: From<'a>,
    meter: &'a Meter<'a>,
}

/// Receives a request, serves it, encodes the response, and counts it as long
/// as the client has not taken it.
///
/// With a test for requests whose answer may be large, those take turns.
macro_rules! answered {
    ($call:expr, $body:expr, $received:expr, |$request:ident| $served:expr) => {{
        $call.backlog.room().await;
        let $request = $call.receive($body, $received).await?;
        let frame = $served.await?.into_frame()?;
        Ok($call.backlog.count($call.encoded(frame).await))
    }};
    ($call:expr, $body:expr, $received:expr, |$request:ident| $served:expr, $is_large:path) => {{
        $call.backlog.room().await;
        let $request = $call.receive($body, $received).await?;
        if $is_large(&$request) {
            let turn = $call.backlog.large_turn().await;
            // What it waited for is what its own client does not read.
            $call.meter.begin();
            match $served.await.and_then(Answer::into_frame) {
                Ok(frame) => Ok(turn.count($call.encoded(frame).await).await),
                Err(status) => {
                    turn.end();
                    Err(status)
                }
            }
        } else {
            let frame = $served.await?.into_frame()?;
            Ok($call.backlog.count($call.encoded(frame).await))
        }
    }};
}

/// Answers with a method of [`Api`].
macro_rules! answer {
    ($call:expr, $body:expr, $received:expr, $serve:ident) => {
        answered!($call, $body, $received, |request| $call.api.$serve(request))
    };
}

/// The same with a method that asks on whose behalf.
macro_rules! answer_for {
    ($call:expr, $body:expr, $received:expr, $serve:ident $(, if large $is_large:path)?) => {
        answered!(
            $call,
            $body,
            $received,
            |request| $call.api.$serve($call.from.proof, request)
            $(, $is_large)?
        )
    };
}

impl Call<'_> {
    /// The methods that are called all the time. The others share one box, so
    /// that these have a small future.
    async fn unary<B: Body<Data = Bytes>>(
        self,
        body: Pin<&mut B>,
        received: &mut Received,
    ) -> Result<Bytes, Status> {
        match self.method {
            Method::Range => self.range(body, received).await,
            Method::Put => answer_for!(self, body, received, put),
            Method::Txn => answered!(
                self,
                body,
                received,
                |request| self.api.framed_txn(self.from.proof, request, || self.meter.only_reads()),
                answer_size::txn_is_large
            ),
            Method::DeleteRange => {
                answer_for!(self, body, received, framed_delete_range, if large answer_size::delete_is_large)
            }
            _ => Box::pin(self.rare_unary(body, received)).await,
        }
    }

    async fn range<B: Body<Data = Bytes>>(
        self,
        body: Pin<&mut B>,
        received: &mut Received,
    ) -> Result<Bytes, Status> {
        self.backlog.room().await;
        let request = self.receive(body, received).await?;
        if answer_size::range_is_large(&request) {
            return Box::pin(self.large_range(request)).await;
        }
        let frame = self.api.range(self.from.proof, request).await?.into_frame()?;
        Ok(self.backlog.count(self.encoded(frame).await))
    }

    /// An answer for which there is no room is not kept, but made anew when
    /// there is.
    async fn large_range(self, request: pb::RangeRequest) -> Result<Bytes, Status> {
        let turn = self.backlog.large_turn().await;
        // What it waited for is what its own client does not read.
        self.meter.begin();
        let make = |request| async { self.api.range(self.from.proof, request).await?.into_frame() };
        let made = async {
            let frame = make(request.clone()).await?;
            if turn.has_room(frame.len()) {
                return Ok((frame, None));
            }
            let bytes = frame.len();
            drop(frame);
            let room = turn.hold_room(bytes).await;
            self.meter.begin();
            Ok((make(request).await?, Some(room)))
        };
        match made.await {
            Ok((frame, room)) => {
                let frame = self.encoded(frame).await;
                drop(room);
                Ok(turn.count(frame).await)
            }
            Err(status) => {
                turn.end();
                Err(status)
            }
        }
    }

    /// A message as it is sent.
    async fn encoded(self, frame: Bytes) -> Bytes {
        match self.metadata.encoding {
            Encoding::Identity => frame,
            // Boxed: it is rare, and would make the future of every call larger.
            encoding => Box::pin(encoding.encode(frame)).await,
        }
    }

    async fn rare_unary<B: Body<Data = Bytes>>(
        self,
        body: Pin<&mut B>,
        received: &mut Received,
    ) -> Result<Bytes, Status> {
        match self.method {
            Method::Compact => answer_for!(self, body, received, compact),
            Method::LeaseGrant => answer_for!(self, body, received, lease_grant),
            Method::LeaseRevoke => answer_for!(self, body, received, lease_revoke),
            Method::LeaseTimeToLive => answer_for!(self, body, received, lease_time_to_live),
            Method::LeaseLeases => answer_for!(self, body, received, lease_leases),
            Method::Lock => answer_for!(self, body, received, lock),
            Method::Unlock => answer_for!(self, body, received, unlock),
            Method::Campaign => answer_for!(self, body, received, campaign),
            Method::Proclaim => answer_for!(self, body, received, proclaim),
            Method::Leader => answer_for!(self, body, received, leader),
            Method::Resign => answer_for!(self, body, received, resign),
            Method::MemberAdd => answer!(self, body, received, member_add),
            Method::MemberRemove => answer!(self, body, received, member_remove),
            Method::MemberUpdate => answer_for!(self, body, received, member_update),
            Method::MemberList => answer!(self, body, received, member_list),
            Method::MemberPromote => answer!(self, body, received, member_promote),
            Method::Alarm => answer_for!(self, body, received, alarm),
            Method::Status => answer!(self, body, received, status),
            Method::Defragment => answer!(self, body, received, defragment),
            Method::Hash => answer!(self, body, received, hash),
            Method::HashKv => answer!(self, body, received, hash_kv),
            Method::MoveLeader => answer!(self, body, received, move_leader),
            Method::Downgrade => answer!(self, body, received, downgrade),
            Method::HealthCheck => answer!(self, body, received, health_check),
            Method::AuthStatus => answer_for!(self, body, received, auth_status),
            Method::Authenticate => {
                let request = self.receive(body, received).await?;
                let response = self.api.authenticate(self.origin(), request).await?;
                Ok(self.encoded(wire::encode_frame(&response)?).await)
            }
            Method::AuthEnable => answer_for!(self, body, received, auth_enable),
            Method::AuthDisable => answer_for!(self, body, received, auth_disable),
            Method::UserAdd => answer_for!(self, body, received, user_add),
            Method::UserGet => answer_for!(self, body, received, user_get),
            Method::UserList => answer_for!(self, body, received, user_list),
            Method::UserDelete => answer_for!(self, body, received, user_delete),
            Method::UserChangePassword => answer_for!(self, body, received, user_change_password),
            Method::UserGrantRole => answer_for!(self, body, received, user_grant_role),
            Method::UserRevokeRole => answer_for!(self, body, received, user_revoke_role),
            Method::RoleAdd => answer_for!(self, body, received, role_add),
            Method::RoleGet => answer_for!(self, body, received, role_get),
            Method::RoleList => answer_for!(self, body, received, role_list),
            Method::RoleDelete => answer_for!(self, body, received, role_delete),
            Method::RoleGrantPermission => answer_for!(self, body, received, role_grant_permission),
            Method::RoleRevokePermission => {
                answer_for!(self, body, received, role_revoke_permission)
            }
            Method::Range
            | Method::Put
            | Method::Txn
            | Method::DeleteRange
            | Method::RangeStream
            | Method::Watch
            | Method::LeaseKeepAlive
            | Method::Observe
            | Method::Snapshot
            | Method::HealthWatch => unreachable!("{:?} is served elsewhere", self.method),
        }
    }

    /// Each in a box of its own: a stream that waits is as large as it must be.
    async fn stream<B: Body<Data = Bytes>>(self, body: B, sink: &Sink<'_>) -> Result<(), Status> {
        let (api, proof) = (self.api, self.from.proof);
        match self.method {
            Method::Watch => {
                self.admit_stream()?;
                Box::pin(api.watch(proof, self.requests(body), self.leader(), sink)).await
            }
            Method::LeaseKeepAlive => {
                self.admit_stream()?;
                let requests = self.requests(body);
                Box::pin(api.lease_keep_alive(proof, requests, self.leader(), sink)).await
            }
            _ => Box::pin(self.server_stream(body, sink)).await,
        }
    }

    /// A stream with one request.
    async fn server_stream<B: Body<Data = Bytes>>(
        self,
        body: B,
        sink: &Sink<'_>,
    ) -> Result<(), Status> {
        let (api, proof) = (self.api, self.from.proof);
        let (body, mut received) = (pin!(body), Received::default());
        match self.method {
            Method::RangeStream => {
                let request = self.receive(body, &mut received).await?;
                api.range_stream(proof, request, sink).await
            }
            Method::Observe => {
                let request = self.receive(body, &mut received).await?;
                api.observe(proof, request, self.leader(), sink).await
            }
            Method::HealthWatch => {
                let request = self.receive(body, &mut received).await?;
                api.health_watch(request, sink).await
            }
            _ => {
                self.receive::<B, ()>(body, &mut received).await?;
                Err(ApiError::SnapshotUnsupported.status())
            }
        }
    }

    fn leader(self) -> LeaderWatch {
        LeaderWatch::new(self.metadata.requires_leader, self.api.config.election_timeout)
    }

    fn requests<B: Body<Data = Bytes>, M: Message + Default>(self, body: B) -> Requests<B, M> {
        Requests::new(body, self.reading())
    }

    fn reading(self) -> Reading {
        Reading {
            message_bytes_max: self.api.config.message_bytes_max(),
            encoding: self.metadata.encoding,
            unfinished: self.backlog.unfinished(),
        }
    }

    /// The one message of a request, once the call is admitted. It counts as long
    /// as `received` is there.
    async fn receive<B, M>(self, body: Pin<&mut B>, received: &mut Received) -> Result<M, Status>
    where
        B: Body<Data = Bytes>,
        M: Message + Default,
    {
        let (message, bytes) = wire::read_unary(body, self.reading()).await?;
        self.meter.received(bytes.len());
        let held = self.backlog.calls().hold(bytes.len());
        received.held = Some(held.ok_or_else(errors::too_many_calls)?);
        if self.method.kind() == CallKind::Unary {
            self.meter.begin();
            if slow::can_be_shown(self.method) {
                received.shown = bytes;
            }
        }
        match self.method.kind() {
            CallKind::Unary => self.admit_unary()?,
            CallKind::ServerStream | CallKind::BidiStream => self.admit_stream()?,
        }
        Ok(message)
    }

    fn admit_unary(self) -> Result<(), ApiError> {
        let version = self.metadata.client_version()?;
        self.api.stats.client_versions.count_unary(version);
        self.require_leader()?;
        self.api.admit(self.method, self.from.proof)
    }

    fn admit_stream(self) -> Result<(), ApiError> {
        let version = self.metadata.client_version()?;
        self.api.stats.client_versions.count_stream(version);
        self.require_leader()?;
        self.api.admit(self.method, self.from.proof)
    }

    /// Where a login comes from.
    fn origin(self) -> Origin {
        self.from.caller.address.map_or(Origin::Local, |address| Origin::Address(address.ip()))
    }

    fn require_leader(self) -> Result<(), ApiError> {
        if self.metadata.requires_leader { self.api.require_leader() } else { Ok(()) }
    }
}
