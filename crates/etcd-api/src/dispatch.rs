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
        let begun = self.begin(request);
        let services = self.clone();
        async move {
            match begun {
                Begun::Answered(response) => response,
                Begun::Unary(method, metadata, proof, body) => {
                    serve_unary(&services, method, metadata, &proof, pin!(body)).await
                }
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

/// What is slow is told from here, and the request kept for that: how a method is
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
    let from = From { proof, caller };
    let call = Call { api, backlog, method, metadata, from, meter: &meter };
    let serving = async {
        backlog.room().await;
        let request = wire::read_unary(body, call.reading()).await?;
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

/// Who makes a call.
#[derive(Clone, Copy)]
struct From<'a> {
    /// What the call shows.
    proof: &'a Proof,
    /// What its connection says.
    caller: &'a Caller,
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

/// Decodes a request, serves it, encodes the response, and counts it as long as the
/// client has not taken it.
///
/// With a test for requests whose answer may be large, those take turns.
macro_rules! answered {
    ($call:expr, $bytes:expr, |$request:ident| $served:expr) => {{
        let $request = $call.request($bytes)?;
        let frame = $served.await?.into_frame()?;
        Ok($call.backlog.count($call.encoded(frame).await))
    }};
    ($call:expr, $bytes:expr, |$request:ident| $served:expr, $is_large:path) => {{
        let $request = $call.request($bytes)?;
        if $is_large(&$request) {
            let turn = $call.backlog.large_turn($request.encoded_len()).await;
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
    ($call:expr, $bytes:expr, $serve:ident) => {
        answered!($call, $bytes, |request| $call.api.$serve(request))
    };
}

/// The same with a method that asks on whose behalf.
macro_rules! answer_for {
    ($call:expr, $bytes:expr, $serve:ident $(, if large $is_large:path)?) => {
        answered!(
            $call,
            $bytes,
            |request| $call.api.$serve($call.from.proof, request)
            $(, $is_large)?
        )
    };
}

impl Call<'_> {
    /// The methods that are called all the time. The others share one box, so
    /// that these have a small future.
    async fn unary(self, bytes: Bytes) -> Result<Bytes, Status> {
        match self.method {
            Method::Range => self.range(bytes).await,
            Method::Put => answer_for!(self, bytes, put),
            Method::Txn => answered!(
                self,
                bytes,
                |request| self.api.framed_txn(self.from.proof, request, || self.meter.only_reads()),
                answer_size::txn_is_large
            ),
            Method::DeleteRange => {
                answer_for!(self, bytes, framed_delete_range, if large answer_size::delete_is_large)
            }
            _ => Box::pin(self.rare_unary(bytes)).await,
        }
    }

    async fn range(self, bytes: Bytes) -> Result<Bytes, Status> {
        let request = self.request(bytes)?;
        if answer_size::range_is_large(&request) {
            return Box::pin(self.large_range(request)).await;
        }
        let frame = self.api.range(self.from.proof, request).await?.into_frame()?;
        Ok(self.backlog.count(self.encoded(frame).await))
    }

    /// An answer for which there is no room is not kept, but made anew when
    /// there is.
    async fn large_range(self, request: pb::RangeRequest) -> Result<Bytes, Status> {
        let turn = self.backlog.large_turn(request.encoded_len()).await;
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

    async fn rare_unary(self, bytes: Bytes) -> Result<Bytes, Status> {
        match self.method {
            Method::Compact => answer_for!(self, bytes, compact),
            Method::LeaseGrant => answer_for!(self, bytes, lease_grant),
            Method::LeaseRevoke => answer_for!(self, bytes, lease_revoke),
            Method::LeaseTimeToLive => answer_for!(self, bytes, lease_time_to_live),
            Method::LeaseLeases => answer_for!(self, bytes, lease_leases),
            Method::Lock => answer_for!(self, bytes, lock),
            Method::Unlock => answer_for!(self, bytes, unlock),
            Method::Campaign => answer_for!(self, bytes, campaign),
            Method::Proclaim => answer_for!(self, bytes, proclaim),
            Method::Leader => answer_for!(self, bytes, leader),
            Method::Resign => answer_for!(self, bytes, resign),
            Method::MemberAdd => answer!(self, bytes, member_add),
            Method::MemberRemove => answer!(self, bytes, member_remove),
            Method::MemberUpdate => answer_for!(self, bytes, member_update),
            Method::MemberList => answer!(self, bytes, member_list),
            Method::MemberPromote => answer!(self, bytes, member_promote),
            Method::Alarm => answer_for!(self, bytes, alarm),
            Method::Status => answer!(self, bytes, status),
            Method::Defragment => answer!(self, bytes, defragment),
            Method::Hash => answer!(self, bytes, hash),
            Method::HashKv => answer!(self, bytes, hash_kv),
            Method::MoveLeader => answer!(self, bytes, move_leader),
            Method::Downgrade => answer!(self, bytes, downgrade),
            Method::HealthCheck => answer!(self, bytes, health_check),
            Method::AuthStatus => answer_for!(self, bytes, auth_status),
            Method::Authenticate => {
                let request = self.request(bytes)?;
                let response = self.api.authenticate(self.origin(), request).await?;
                Ok(self.encoded(wire::encode_frame(&response)?).await)
            }
            Method::AuthEnable => answer_for!(self, bytes, auth_enable),
            Method::AuthDisable => answer_for!(self, bytes, auth_disable),
            Method::UserAdd => answer_for!(self, bytes, user_add),
            Method::UserGet => answer_for!(self, bytes, user_get),
            Method::UserList => answer_for!(self, bytes, user_list),
            Method::UserDelete => answer_for!(self, bytes, user_delete),
            Method::UserChangePassword => answer_for!(self, bytes, user_change_password),
            Method::UserGrantRole => answer_for!(self, bytes, user_grant_role),
            Method::UserRevokeRole => answer_for!(self, bytes, user_revoke_role),
            Method::RoleAdd => answer_for!(self, bytes, role_add),
            Method::RoleGet => answer_for!(self, bytes, role_get),
            Method::RoleList => answer_for!(self, bytes, role_list),
            Method::RoleDelete => answer_for!(self, bytes, role_delete),
            Method::RoleGrantPermission => answer_for!(self, bytes, role_grant_permission),
            Method::RoleRevokePermission => answer_for!(self, bytes, role_revoke_permission),
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

    async fn stream<B: Body<Data = Bytes>>(self, body: B, sink: &Sink<'_>) -> Result<(), Status> {
        let api = self.api;
        let election_timeout = api.config.election_timeout;
        let leader = LeaderWatch::new(self.metadata.requires_leader, election_timeout);
        match self.method {
            Method::Watch => {
                self.admit_stream()?;
                api.watch(self.from.proof, self.requests(body), leader, sink).await
            }
            Method::LeaseKeepAlive => {
                self.admit_stream()?;
                api.lease_keep_alive(self.from.proof, self.requests(body), leader, sink).await
            }
            Method::RangeStream => {
                let request = self.receive(body).await?;
                api.range_stream(self.from.proof, request, sink).await
            }
            Method::Observe => {
                let request = self.receive(body).await?;
                api.observe(self.from.proof, request, leader, sink).await
            }
            Method::HealthWatch => {
                let request = self.receive(body).await?;
                api.health_watch(request, sink).await
            }
            _ => {
                self.receive::<B, ()>(body).await?;
                Err(ApiError::SnapshotUnsupported.status())
            }
        }
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

    /// The one message of a stream's request, once the call is admitted.
    async fn receive<B, M>(self, body: B) -> Result<M, Status>
    where
        B: Body<Data = Bytes>,
        M: Message + Default,
    {
        let (message, bytes) = wire::decode(wire::read_unary(pin!(body), self.reading()).await?)?;
        self.meter.received(bytes);
        self.admit_stream()?;
        Ok(message)
    }

    /// The request of a unary call, once the call is admitted.
    fn request<M: Message + Default>(self, bytes: Bytes) -> Result<M, Status> {
        let (message, bytes) = wire::decode(bytes)?;
        self.meter.received(bytes);
        self.meter.begin();
        self.admit_unary()?;
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
