//! Sends requests as the checker knows them.

use std::time::Instant;

use bytes::Bytes;
use t4_bench::transport::Connection;
use t4_kv_types::{LeaseId, Revision};
use t4_linearizability::{AuthRequest, Outcome, Request, Response};
use t4_proto::authpb::permission::Type;
use t4_proto::authpb::{Permission, UserAddOptions};
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::auth_client::AuthClient;
use t4_proto::etcdserverpb::kv_client::KvClient;
use t4_proto::etcdserverpb::lease_client::LeaseClient;
use t4_proto::etcdserverpb::watch_client::WatchClient;
use tonic::Status;

use super::messages;

/// The clock of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Nanoseconds since the start.
    pub(super) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Stubs on one connection. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    kv: KvClient<Connection>,
    lease: LeaseClient<Connection>,
    auth: AuthClient<Connection>,
    pub(super) watch: WatchClient<Connection>,
}

type Answer = Result<(i64, Response), Status>;

impl Wire {
    pub(super) fn new(connection: &Connection) -> Wire {
        let origin = connection.origin();
        let limit = i32::MAX as usize;
        Wire {
            kv: KvClient::with_origin(connection.clone(), origin.clone())
                .max_decoding_message_size(limit),
            lease: LeaseClient::with_origin(connection.clone(), origin.clone()),
            auth: AuthClient::with_origin(connection.clone(), origin.clone()),
            watch: WatchClient::with_origin(connection.clone(), origin)
                .max_decoding_message_size(limit),
        }
    }

    /// Sends a request and waits for what comes of it; with the error that says
    /// nothing, if it was one.
    pub(super) async fn send(&mut self, request: &Request) -> (Outcome, Option<Status>) {
        match self.answer(request).await {
            Ok((revision, response)) => {
                (Outcome::Done { revision: Revision(revision), response }, None)
            }
            Err(status) => match messages::failure(&status) {
                Some(failure) => (Outcome::Failed(failure), None),
                None => (Outcome::Unknown, Some(status)),
            },
        }
    }

    async fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Put(put) => {
                let response = self.kv.put(messages::put(put)).await?.into_inner();
                Ok((revision(response.header), Response::Put(messages::put_result(response))))
            }
            Request::Delete(delete) => {
                let sent = self.kv.delete_range(messages::delete(delete));
                let response = sent.await?.into_inner();
                Ok((revision(response.header), Response::Delete(messages::delete_result(response))))
            }
            Request::Range(range) => {
                let response = self.kv.range(messages::range(range)).await?.into_inner();
                Ok((revision(response.header), Response::Range(messages::range_result(response))))
            }
            Request::Txn(txn) => {
                let response = self.kv.txn(messages::txn(txn)).await?.into_inner();
                Ok((revision(response.header), Response::Txn(messages::txn_result(response))))
            }
            Request::Compact(to) => {
                let compact = pb::CompactionRequest { revision: to.0, physical: false };
                let response = self.kv.compact(compact).await?.into_inner();
                Ok((revision(response.header), Response::Empty))
            }
            Request::Auth(request) => self.auth(request).await,
            _ => self.lease(request).await,
        }
    }

    async fn lease(&mut self, request: &Request) -> Answer {
        match request {
            Request::LeaseGrant { id, ttl_s } => {
                let grant = pb::LeaseGrantRequest { ttl: *ttl_s, id: id.0 };
                let response = self.lease.lease_grant(grant).await?.into_inner();
                Ok((revision(response.header), Response::LeaseGranted(response.ttl)))
            }
            Request::LeaseRevoke(id) => {
                let revoke = pb::LeaseRevokeRequest { id: id.0 };
                let response = self.lease.lease_revoke(revoke).await?.into_inner();
                Ok((revision(response.header), Response::Empty))
            }
            Request::LeaseKeepAlive(id) => {
                let one = tokio_stream::once(pb::LeaseKeepAliveRequest { id: id.0 });
                let mut answers = self.lease.lease_keep_alive(one).await?.into_inner();
                let answer = answers.message().await?;
                let answer = answer.ok_or_else(|| Status::unknown("the stream ended"))?;
                Ok((revision(answer.header), Response::LeaseKept(answer.ttl)))
            }
            Request::LeaseTimeToLive { id, keys } => {
                let look = pb::LeaseTimeToLiveRequest { id: id.0, keys: *keys };
                let response = self.lease.lease_time_to_live(look).await?.into_inner();
                let keys = response.keys.iter().map(|key| Bytes::copy_from_slice(key)).collect();
                let (ttl_s, granted_ttl_s) = (response.ttl, response.granted_ttl);
                let told = Response::LeaseTimeToLive { ttl_s, granted_ttl_s, keys };
                Ok((revision(response.header), told))
            }
            _ => {
                let list = self.lease.lease_leases(pb::LeaseLeasesRequest {});
                let response = list.await?.into_inner();
                let ids = response.leases.iter().map(|lease| LeaseId(lease.id)).collect();
                Ok((revision(response.header), Response::Leases(ids)))
            }
        }
    }

    async fn auth(&mut self, request: &AuthRequest) -> Answer {
        let auth = &mut self.auth;
        let header = match request.clone() {
            AuthRequest::UserAdd(name) => {
                let options = Some(UserAddOptions { no_password: true });
                let add = pb::AuthUserAddRequest { name, options, ..Default::default() };
                auth.user_add(add).await?.into_inner().header
            }
            AuthRequest::UserDelete(name) => {
                auth.user_delete(pb::AuthUserDeleteRequest { name }).await?.into_inner().header
            }
            AuthRequest::UserGet(name) => {
                let response = auth.user_get(pb::AuthUserGetRequest { name }).await?.into_inner();
                return Ok((revision(response.header), names(response.roles)));
            }
            AuthRequest::UserList => {
                let response = auth.user_list(pb::AuthUserListRequest {}).await?.into_inner();
                return Ok((revision(response.header), names(response.users)));
            }
            AuthRequest::UserGrantRole(user, role) => {
                let grant = pb::AuthUserGrantRoleRequest { user, role };
                auth.user_grant_role(grant).await?.into_inner().header
            }
            AuthRequest::UserRevokeRole(name, role) => {
                let revoke = pb::AuthUserRevokeRoleRequest { name, role };
                auth.user_revoke_role(revoke).await?.into_inner().header
            }
            AuthRequest::RoleAdd(name) => {
                auth.role_add(pb::AuthRoleAddRequest { name }).await?.into_inner().header
            }
            AuthRequest::RoleDelete(role) => {
                auth.role_delete(pb::AuthRoleDeleteRequest { role }).await?.into_inner().header
            }
            AuthRequest::RoleGet(role) => {
                let response = auth.role_get(pb::AuthRoleGetRequest { role }).await?.into_inner();
                let keys = response.perm.into_iter().map(|permission| permission.key).collect();
                return Ok((revision(response.header), Response::Names(keys)));
            }
            AuthRequest::RoleList => {
                let response = auth.role_list(pb::AuthRoleListRequest {}).await?.into_inner();
                return Ok((revision(response.header), names(response.roles)));
            }
            AuthRequest::RoleGrant(name, key) => {
                let perm_type = Type::Readwrite.into();
                let perm = Some(Permission { perm_type, key, range_end: Bytes::new() });
                let grant = pb::AuthRoleGrantPermissionRequest { name, perm };
                auth.role_grant_permission(grant).await?.into_inner().header
            }
            AuthRequest::RoleRevoke(role, key) => {
                let range_end = Bytes::new();
                let revoke = pb::AuthRoleRevokePermissionRequest { role, key, range_end };
                auth.role_revoke_permission(revoke).await?.into_inner().header
            }
        };
        Ok((revision(header), Response::Empty))
    }
}

fn names(names: Vec<String>) -> Response {
    Response::Names(names.into_iter().map(Bytes::from).collect())
}

pub(super) fn revision(header: Option<pb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}
