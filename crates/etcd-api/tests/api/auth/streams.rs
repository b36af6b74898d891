//! Streams that run while users and roles change.

use t4_proto::authpb::permission::Type;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::v3electionpb::{CampaignRequest, LeaderRequest};
use t4_proto::v3lockpb::LockRequest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{World, grant, shown};
use crate::support::{Server, assert_error, watch, within_hang};

const DENIED: &str = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";

struct Watching {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

impl Watching {
    async fn open(server: &Server, token: Option<&str>) -> Watching {
        let (requests, receiver) = mpsc::channel(16);
        let mut request = tonic::Request::new(ReceiverStream::new(receiver));
        if let Some(token) = token {
            request.metadata_mut().insert("token", token.parse().unwrap());
        }
        let mut client = pb::watch_client::WatchClient::new(server.services.clone());
        let responses = client.watch(request).await.unwrap().into_inner();
        Watching { requests, responses }
    }

    async fn create(&mut self, key: &'static str, range_end: &'static str) -> pb::WatchResponse {
        let create = pb::WatchCreateRequest { range_end: range_end.into(), ..watch(key) };
        let request_union = Some(RequestUnion::CreateRequest(create));
        self.requests.send(pb::WatchRequest { request_union }).await.unwrap();
        self.next().await.unwrap()
    }

    async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        within_hang(self.responses.message()).await.map(|next| next.expect("an end without a word"))
    }
}

#[tokio::test]
async fn a_watch_needs_to_read_all_that_it_watches() {
    let world = World::start().await;
    let mut watching = Watching::open(&world.server, Some(&world.alice)).await;
    assert_eq!(watching.create("a", "b").await.watch_id, 0);
    // GHSA-xg4h-6gfc-h4m8: a key that may be read opens none of those after it.
    for (key, end) in [("secret", ""), ("a1", "\0"), ("a", "c"), ("", "\0")] {
        let refused = watching.create(key, end).await;
        assert!(refused.created && refused.canceled, "{refused:?}");
        assert_eq!((refused.watch_id, refused.cancel_reason.as_str()), (-1, DENIED));
    }
    // What no one may ask is refused before the rights are looked at, as in etcd.
    let past = pb::WatchCreateRequest { start_revision: -1, ..watch("secret") };
    let request_union = Some(RequestUnion::CreateRequest(past));
    watching.requests.send(pb::WatchRequest { request_union }).await.unwrap();
    let refused = watching.next().await.unwrap();
    let text = "etcdserver: mvcc: required revision has been compacted";
    assert_eq!(refused.cancel_reason, text);
    world.put_as_root("secret", "more").await;
    world.put_as_root("a5", "x").await;
    let event = watching.next().await.unwrap();
    assert_eq!(event.events[0].kv.as_ref().unwrap().key, "a5");
}

#[tokio::test]
async fn a_watch_ends_when_its_permission_goes() {
    let world = World::start().await;
    let mut watching = Watching::open(&world.server, Some(&world.alice)).await;
    watching.create("a", "b").await;
    let mut roots = Watching::open(&world.server, Some(&world.root)).await;
    roots.create("a", "b").await;
    world.revoke_alices_role().await;
    world.put_as_root("a5", "not for alice").await;
    let end = watching.next().await.unwrap();
    assert!(end.canceled && end.events.is_empty(), "{end:?}");
    assert_eq!((end.watch_id, end.cancel_reason.as_str()), (0, DENIED));
    assert_eq!(roots.next().await.unwrap().events.len(), 1, "others go on");
    assert_eq!(watching.create("a", "").await.cancel_reason, DENIED, "the stream goes on");
}

/// The stream's work runs when its messages are asked for: all of it has
/// happened before the watcher is looked at.
#[tokio::test]
async fn a_watch_ends_though_its_permission_is_back() {
    let world = World::start().await;
    let mut watching = Watching::open(&world.server, Some(&world.alice)).await;
    watching.create("a", "b").await;
    world.revoke_alices_role().await;
    world.put_as_root("a5", "not for alice").await;
    let back = pb::AuthUserGrantRoleRequest { user: "alice".into(), role: "a".into() };
    world.server.auth().user_grant_role(shown(&world.root, back)).await.unwrap();
    let end = watching.next().await.unwrap();
    assert!(end.canceled && end.events.is_empty(), "{end:?}");
    assert_eq!(end.cancel_reason.as_str(), DENIED);

    // A new one is asked by what holds now, and does not see what was before.
    assert!(watching.create("a", "b").await.created);
    world.put_as_root("a6", "for alice").await;
    let event = watching.next().await.unwrap();
    assert_eq!(event.events[0].kv.as_ref().unwrap().key, "a6");
}

/// What was not allowed before a watcher was created is nothing to it.
#[tokio::test]
async fn a_watch_of_a_right_that_has_just_come_goes_on() {
    let world = World::start().await;
    world.revoke_alices_role().await;
    let mut watching = Watching::open(&world.server, Some(&world.alice)).await;
    assert_eq!(watching.create("c", "d").await.cancel_reason, DENIED);
    let back = pb::AuthUserGrantRoleRequest { user: "alice".into(), role: "a".into() };
    world.server.auth().user_grant_role(shown(&world.root, back)).await.unwrap();
    assert!(watching.create("a", "b").await.created);
    world.put_as_root("a5", "for alice").await;
    assert_eq!(watching.next().await.unwrap().events.len(), 1);
}

#[tokio::test]
async fn streams_end_with_their_user() {
    let world = World::start().await;
    let mut watching = Watching::open(&world.server, Some(&world.alice)).await;
    watching.create("a", "b").await;
    let (keep_alive, receiver) = mpsc::channel(4);
    let requests = shown(&world.alice, ReceiverStream::new(receiver));
    let mut kept = world.server.lease().lease_keep_alive(requests).await.unwrap().into_inner();
    keep_alive.send(pb::LeaseKeepAliveRequest { id: 1 }).await.unwrap();
    assert_eq!(within_hang(kept.message()).await.unwrap().unwrap().ttl, 0);
    // On this one nothing is watched.
    let mut idle = Watching::open(&world.server, Some(&world.alice)).await;
    assert_eq!(idle.create("secret", "").await.cancel_reason, DENIED);
    let observe = shown(&world.alice, LeaderRequest { name: "a".into() });
    let mut observed = world.server.election().observe(observe).await.unwrap().into_inner();
    world.delete_alice().await;
    let text = "etcdserver: invalid auth token";
    assert_error(watching.next().await, Code::Unauthenticated, text);
    assert_error(idle.next().await, Code::Unauthenticated, text);
    assert_error(within_hang(kept.message()).await, Code::Unauthenticated, text);
    assert_error(within_hang(observed.message()).await, Code::Unauthenticated, text);
}

#[tokio::test]
async fn a_new_password_ends_the_streams_of_the_old_one() {
    let world = World::start().await;
    let mut watching = Watching::open(&world.server, Some(&world.alice)).await;
    watching.create("a", "b").await;
    let request = pb::AuthUserChangePasswordRequest {
        name: "alice".into(),
        password: "new".into(),
        hashed_password: String::new(),
    };
    world.server.auth().user_change_password(shown(&world.root, request)).await.unwrap();
    let text = "etcdserver: invalid auth token";
    assert_error(watching.next().await, Code::Unauthenticated, text);
}

#[tokio::test]
async fn a_stream_of_nobody_ends_when_authentication_goes_on() {
    let server = Server::start().await;
    let mut watching = Watching::open(&server, None).await;
    watching.create("a", "b").await;
    super::set_up(&server).await;
    let text = "etcdserver: user name is empty";
    assert_error(watching.next().await, Code::InvalidArgument, text);
}

#[tokio::test]
async fn a_stream_of_nobody_is_told_why_it_may_not_watch() {
    let world = World::start().await;
    for (token, reason) in [
        (None, "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"),
        (Some("x.1"), "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"),
    ] {
        let mut watching = Watching::open(&world.server, token).await;
        let refused = watching.create("a", "b").await;
        assert_eq!((refused.watch_id, refused.cancel_reason.as_str()), (-1, reason));
    }
}

#[tokio::test]
async fn locks_and_elections_are_of_whoever_calls() {
    let world = World::start().await;
    let mut lock = world.server.lock();
    let held = shown(&world.alice, LockRequest { name: "a/lock".into(), lease: 0 });
    let held = lock.lock(held).await.unwrap().into_inner();
    assert!(held.key.starts_with(b"a/lock/"));
    let refused = lock.lock(shown(&world.alice, LockRequest { name: "s".into(), lease: 0 })).await;
    assert_error(refused, Code::PermissionDenied, "etcdserver: permission denied");
    let mut election = world.server.election();
    let campaign =
        |name: &'static str| CampaignRequest { name: name.into(), lease: 0, value: "v".into() };
    election.campaign(shown(&world.alice, campaign("a/election"))).await.unwrap();
    let refused = election.campaign(shown(&world.alice, campaign("s"))).await;
    assert_error(refused, Code::PermissionDenied, "etcdserver: permission denied");
}

/// Who may have the key of a place, but not see who else has one, takes none.
#[tokio::test]
async fn who_may_not_see_the_queue_leaves_no_trace_in_it() {
    let world = World::start().await;
    let granted = grant("a", Type::Readwrite, "s/10", "");
    let mut auth = world.server.auth();
    auth.role_grant_permission(shown(&world.root, granted)).await.unwrap();
    let lease = pb::LeaseGrantRequest { ttl: 100, id: 0x10 };
    world.server.lease().lease_grant(shown(&world.alice, lease)).await.unwrap();
    let request = || LockRequest { name: "s".into(), lease: 0x10 };
    let refused = world.server.lock().lock(shown(&world.alice, request())).await;
    assert_error(refused, Code::PermissionDenied, "etcdserver: permission denied");
    let request = CampaignRequest { name: "s".into(), lease: 0x10, value: "v".into() };
    let refused = world.server.election().campaign(shown(&world.alice, request)).await;
    assert_error(refused, Code::PermissionDenied, "etcdserver: permission denied");
    let mut watching = Watching::open(&world.server, Some(&world.alice)).await;
    let start_revision = 1;
    let create = pb::WatchCreateRequest { start_revision, ..watch("s/10") };
    let request_union = Some(RequestUnion::CreateRequest(create));
    watching.requests.send(pb::WatchRequest { request_union }).await.unwrap();
    assert!(watching.next().await.unwrap().created);
    world.put_as_root("s/10", "told").await;
    let told = watching.next().await.unwrap();
    let kv = told.events[0].kv.as_ref().unwrap();
    assert_eq!((kv.version, kv.value.as_ref()), (1, b"told".as_ref()), "{told:?}");
}

/// Who waits for a lock gives up its place when it may not have it any more.
#[tokio::test]
async fn waiting_for_a_lock_ends_with_the_permission() {
    let world = World::start().await;
    let mut lock = world.server.lock();
    lock.lock(shown(&world.root, LockRequest { name: "a/l".into(), lease: 0 })).await.unwrap();
    let (mut waiting, token) = (world.server.lock(), world.alice.clone());
    let waiting = tokio::spawn(async move {
        waiting.lock(shown(&token, LockRequest { name: "a/l".into(), lease: 0 })).await
    });
    let places = async || {
        let request = shown(&world.root, crate::support::range("a/l/", "a/l0"));
        world.server.kv().range(request).await.unwrap().into_inner().kvs.len()
    };
    within_hang(async {
        while places().await < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.revoke_alices_role().await;
    let refused = within_hang(waiting).await.unwrap();
    assert_error(refused, Code::PermissionDenied, "etcdserver: permission denied");
    within_hang(async {
        while places().await > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
