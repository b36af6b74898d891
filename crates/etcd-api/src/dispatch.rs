//! From a call to the method that serves it: decoding, admission, the turns of
//! answers that are large, encoding.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use prost::Message;
use t4_auth_rbac::Origin;
use t4_proto::etcdserverpb as pb;
use tonic::Status;

use crate::answer_size;
use crate::api::Api;
use crate::backlog::Backlog;
use crate::caller::Caller;
use crate::errors::{self, ApiError};
use crate::leader_watch::LeaderWatch;
use crate::metadata::Metadata;
use crate::method::Method;
use crate::open_calls::OpenCall;
use crate::proof::Proof;
use crate::sink::Sink;
use crate::stats::Meter;
use crate::wire::{self, Answer, Encoding, Reading, Requests};

/// The client that makes a call.
#[derive(Clone, Copy)]
pub(crate) struct From<'a> {
    /// The credentials of the call.
    pub(crate) proof: &'a Proof,
    /// What its connection says.
    pub(crate) caller: &'a Caller,
}

/// One call on its way.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) api: &'a Arc<Api>,
    pub(crate) backlog: &'a Backlog,
    pub(crate) method: Method,
    pub(crate) metadata: Metadata,
    pub(crate) from: From<'a>,
    pub(crate) meter: &'a Meter<'a>,
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
    ($call:expr, $bytes:expr, $serve:ident) => {
        answered!($call, $bytes, |request| $call.api.$serve(request))
    };
}

/// The same with a method that needs the caller's credentials.
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
    pub(crate) async fn unary(self, bytes: Bytes) -> Result<Bytes, Status> {
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
            Method::HealthList => answer!(self, bytes, health_list),
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

    /// Each in a box of its own: a stream that waits is no larger than it must be.
    pub(crate) async fn stream<B: Body<Data = Bytes>>(
        self,
        body: B,
        sink: &Sink<'_>,
    ) -> Result<(), Status> {
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

    /// A stream with one request, which counts until the stream ends.
    async fn server_stream<B: Body<Data = Bytes>>(
        self,
        body: B,
        sink: &Sink<'_>,
    ) -> Result<(), Status> {
        let (api, proof) = (self.api, self.from.proof);
        let bytes = wire::read_unary(pin!(body), self.reading()).await?;
        let _held = self.held(bytes.len())?;
        match self.method {
            Method::RangeStream => api.range_stream(proof, self.stream_request(bytes)?, sink).await,
            Method::Observe => {
                api.observe(proof, self.stream_request(bytes)?, self.leader(), sink).await
            }
            Method::HealthWatch => api.health_watch(self.stream_request(bytes)?, sink).await,
            _ => {
                self.stream_request::<()>(bytes)?;
                Err(ApiError::SnapshotUnsupported.status())
            }
        }
    }

    /// Counts a request of so many bytes for its connection until this is dropped.
    pub(crate) fn held(self, bytes: usize) -> Result<OpenCall, Status> {
        self.backlog.calls().hold(bytes).ok_or_else(errors::too_many_calls)
    }

    fn leader(self) -> LeaderWatch {
        LeaderWatch::new(self.metadata.requires_leader, self.api.config.election_timeout)
    }

    fn requests<B: Body<Data = Bytes>, M: Message + Default>(self, body: B) -> Requests<B, M> {
        Requests::new(body, self.reading())
    }

    pub(crate) fn reading(self) -> Reading {
        Reading {
            message_bytes_max: self.api.config.message_bytes_max(),
            encoding: self.metadata.encoding,
            unfinished: self.backlog.unfinished(),
        }
    }

    /// The one request of a stream, once the call is admitted.
    fn stream_request<M: Message + Default>(self, bytes: Bytes) -> Result<M, Status> {
        let (message, bytes) = wire::decode(bytes)?;
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
