//! Every method, called by everyone.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use prost::Message;
use t4_etcd_api::{Method, Services};
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use t4_proto::v3lockpb::{LockRequest, UnlockRequest};

use super::{World, shown};
use crate::support::{Server, get, put, range, watch, within_hang};

const LEASE: i64 = 77;
const DENIED: &str = "etcdserver: permission denied";
const NOBODY: &str = "etcdserver: user name is empty";
const BAD_TOKEN: &str = "etcdserver: invalid auth token";

/// What a client without any permission gets: whether it is served all the
/// same. A method that is added needs a line here, and one in the server.
fn is_for_every_user(method: Method) -> bool {
    match method {
        Method::HealthCheck
        | Method::HealthWatch
        | Method::HealthList
        | Method::AuthStatus
        | Method::Authenticate
        | Method::MemberList
        | Method::Status
        | Method::Alarm
        | Method::LeaseGrant => true,
        Method::Range
        | Method::Put
        | Method::Txn
        | Method::DeleteRange
        | Method::Compact
        | Method::RangeStream
        | Method::Watch
        | Method::LeaseRevoke
        | Method::LeaseKeepAlive
        | Method::LeaseTimeToLive
        | Method::LeaseLeases
        | Method::Lock
        | Method::Unlock
        | Method::Campaign
        | Method::Proclaim
        | Method::Leader
        | Method::Observe
        | Method::Resign
        | Method::MemberAdd
        | Method::MemberRemove
        | Method::MemberUpdate
        | Method::MemberPromote
        | Method::Defragment
        | Method::Hash
        | Method::HashKv
        | Method::Snapshot
        | Method::MoveLeader
        | Method::Downgrade
        | Method::AuthEnable
        | Method::AuthDisable
        | Method::UserAdd
        | Method::UserGet
        | Method::UserList
        | Method::UserDelete
        | Method::UserChangePassword
        | Method::UserGrantRole
        | Method::UserRevokeRole
        | Method::RoleAdd
        | Method::RoleGet
        | Method::RoleList
        | Method::RoleDelete
        | Method::RoleGrantPermission
        | Method::RoleRevokePermission => false,
    }
}

fn is_open(method: Method) -> bool {
    use Method::{Authenticate, HealthCheck, HealthList, HealthWatch};
    matches!(method, HealthCheck | HealthList | HealthWatch | Authenticate)
}

/// A message that the method would serve, about what eve may not touch.
fn message(method: Method) -> Vec<u8> {
    let leader = || Some(LeaderKey { name: "s".into(), key: "s/4d".into(), rev: 3, lease: LEASE });
    match method {
        Method::Range | Method::RangeStream => get("secret").encode_to_vec(),
        Method::Put => put("secret", "x").encode_to_vec(),
        Method::Txn => pb::TxnRequest {
            compare: vec![pb::Compare { key: "secret".into(), ..Default::default() }],
            ..Default::default()
        }
        .encode_to_vec(),
        Method::DeleteRange => {
            pb::DeleteRangeRequest { key: "secret".into(), ..Default::default() }.encode_to_vec()
        }
        Method::Compact => pb::CompactionRequest { revision: 2, physical: false }.encode_to_vec(),
        Method::Watch => {
            let create = RequestUnion::CreateRequest(watch("secret"));
            pb::WatchRequest { request_union: Some(create) }.encode_to_vec()
        }
        Method::LeaseGrant => pb::LeaseGrantRequest { ttl: 60, id: 0 }.encode_to_vec(),
        Method::LeaseRevoke => pb::LeaseRevokeRequest { id: LEASE }.encode_to_vec(),
        Method::LeaseKeepAlive => pb::LeaseKeepAliveRequest { id: LEASE }.encode_to_vec(),
        Method::LeaseTimeToLive => {
            pb::LeaseTimeToLiveRequest { id: LEASE, keys: true }.encode_to_vec()
        }
        Method::Lock => LockRequest { name: "s".into(), lease: LEASE }.encode_to_vec(),
        Method::Unlock => UnlockRequest { key: "secret".into() }.encode_to_vec(),
        Method::Campaign => {
            let (name, value) = ("s".into(), "v".into());
            CampaignRequest { name, lease: LEASE, value }.encode_to_vec()
        }
        Method::Proclaim => ProclaimRequest { leader: leader(), value: "w".into() }.encode_to_vec(),
        Method::Leader | Method::Observe => LeaderRequest { name: "s".into() }.encode_to_vec(),
        Method::Resign => ResignRequest { leader: leader() }.encode_to_vec(),
        Method::UserAdd => super::user_add("new", "new").encode_to_vec(),
        Method::UserGet => pb::AuthUserGetRequest { name: "alice".into() }.encode_to_vec(),
        Method::RoleGet => pb::AuthRoleGetRequest { role: "a".into() }.encode_to_vec(),
        Method::Authenticate => {
            pb::AuthenticateRequest { name: "eve".into(), password: "eve".into() }.encode_to_vec()
        }
        Method::Alarm => pb::AlarmRequest::default().encode_to_vec(),
        // Of these the empty message would change something, or be refused for
        // another reason, if it were admitted.
        _ => Vec::new(),
    }
}

/// What came of a call: the text of its error, which the first response of a
/// watch carries within; None if it was served.
async fn call(services: &Services, method: Method, token: Option<&str>) -> Option<String> {
    let payload = message(method);
    let length = u32::try_from(payload.len()).unwrap();
    let body: Bytes = [&[0][..], &length.to_be_bytes(), &payload].concat().into();
    let path = format!("/{}/{}", method.service(), method.name());
    let mut request = Request::post(path).header("content-type", "application/grpc");
    if let Some(token) = token {
        request = request.header("token", token);
    }
    let response = services.serve(request.body(Full::new(body)).unwrap()).await;
    let refusal = |headers: &HeaderMap| {
        let status = tonic::Status::from_header_map(headers)?;
        (status.code() != tonic::Code::Ok).then(|| status.message().to_owned())
    };
    let (parts, mut body) = response.into_parts();
    if let Some(refused) = refusal(&parts.headers) {
        return Some(refused);
    }
    let frame = within_hang(body.frame()).await?.unwrap();
    match frame.into_data() {
        Err(trailers) => refusal(&trailers.into_trailers().unwrap()),
        Ok(data) if method == Method::Watch => {
            let reason = pb::WatchResponse::decode(&data[5..]).unwrap().cancel_reason;
            reason.split_once(" desc = ").map(|(_, text)| text.to_owned())
        }
        Ok(_) => None,
    }
}

async fn with_lease_on_secret() -> World {
    let world = World::start().await;
    let request = pb::LeaseGrantRequest { ttl: 600, id: LEASE };
    world.server.lease().lease_grant(shown(&world.root, request)).await.unwrap();
    let request = pb::PutRequest { lease: LEASE, ..put("secret", "hidden") };
    world.server.kv().put(shown(&world.root, request)).await.unwrap();
    world
}

/// All that a client could see or change.
async fn everything(world: &World) -> impl PartialEq + std::fmt::Debug + use<> {
    let request = shown(&world.root, range("\0", "\0"));
    let found = world.server.kv().range(request).await.unwrap().into_inner();
    let state = world.server.node.auth();
    (found.kvs, found.header, state.revision(), state.is_enabled(), world.server.node.alarms())
}

#[tokio::test]
async fn strangers_are_refused_by_every_method() {
    let world = with_lease_on_secret().await;
    let before = everything(&world).await;
    for &method in Method::ALL {
        let found = call(&world.server.services, method, None).await;
        let open = is_open(method) || method == Method::AuthStatus;
        assert_eq!(found.as_deref(), (!open).then_some(NOBODY), "{method:?}");
    }
    assert_eq!(everything(&world).await, before);
}

#[tokio::test]
async fn a_token_that_is_none_is_refused_by_every_method() {
    let world = with_lease_on_secret().await;
    let before = everything(&world).await;
    let forged = format!("{}.1", "x".repeat(23));
    let cut = &world.root[1..];
    for bad in ["", "x", forged.as_str(), cut] {
        for &method in Method::ALL {
            let found = call(&world.server.services, method, Some(bad)).await;
            let wanted = (!is_open(method)).then_some(BAD_TOKEN);
            assert_eq!(found.as_deref(), wanted, "{method:?} {bad:?}");
        }
    }
    assert_eq!(everything(&world).await, before);
}

#[tokio::test]
async fn a_user_without_permissions_is_denied_what_is_not_for_everyone() {
    let world = with_lease_on_secret().await;
    let before = everything(&world).await;
    for &method in Method::ALL {
        let found = call(&world.server.services, method, Some(&world.eve)).await;
        let wanted = (!is_for_every_user(method)).then_some(DENIED);
        assert_eq!(found.as_deref(), wanted, "{method:?}");
    }
    assert_eq!(everything(&world).await, before);
}

/// root is refused for want of a permission by none.
#[tokio::test]
async fn root_may_everything() {
    let world = with_lease_on_secret().await;
    for &method in Method::ALL {
        // It would end what the others need.
        if matches!(method, Method::AuthDisable | Method::LeaseRevoke) {
            continue;
        }
        let call = call(&world.server.services, method, Some(&world.root));
        // Observing an election that nobody leads waits.
        let found = if matches!(method, Method::Observe | Method::Lock | Method::Campaign) {
            let Ok(found) = tokio::time::timeout(Duration::from_secs(1), call).await else {
                continue;
            };
            found
        } else {
            within_hang(call).await
        };
        let refused = found.filter(|text| [DENIED, NOBODY, BAD_TOKEN].contains(&text.as_str()));
        assert_eq!(refused, None, "{method:?}");
    }
}

#[tokio::test]
async fn no_key_is_served_before_authentication_is_on_if_it_must_be() {
    let server = Server::start_with(|_| {}, |config| config.auth.required = true).await;
    for &method in Method::ALL {
        let found = call(&server.services, method, None).await;
        let refused = found.is_some_and(|text| text.starts_with("t4: no keys are served until"));
        let served = match method.service() {
            "etcdserverpb.Auth" | "grpc.health.v1.Health" => true,
            _ => matches!(method, Method::Status | Method::MemberList),
        };
        assert_eq!(refused, !served, "{method:?}");
    }
}

/// An admin call that changes something, by a plain user: nothing happens.
#[tokio::test]
async fn alarms_are_set_by_root_alone() {
    let world = World::start().await;
    let alarm = pb::AlarmRequest { action: 1, member_id: 1, alarm: 2 };
    let mut maintenance = world.server.maintenance();
    let refused = maintenance.alarm(shown(&world.alice, alarm)).await.unwrap_err();
    assert_eq!(refused.message(), DENIED);
    assert!(world.server.node.alarms().is_empty());
    maintenance.alarm(shown(&world.root, alarm)).await.unwrap();
    assert_eq!(world.server.node.alarms().len(), 1);
}
