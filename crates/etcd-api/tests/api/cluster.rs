//! The services Cluster, Maintenance and Health.

use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::alarm_request::AlarmAction;
use t4_proto::grpc_health_v1::health_check_response::ServingStatus;
use t4_proto::grpc_health_v1::health_client::HealthClient;
use t4_proto::grpc_health_v1::{HealthCheckRequest, HealthListRequest};
use tonic::Code;

use crate::support::{Server, assert_error, within_hang};

#[tokio::test]
async fn the_one_member_is_listed() {
    let server = Server::start().await;
    let request = pb::MemberListRequest { linearizable: true };
    let listed = server.cluster().member_list(request).await.unwrap().into_inner();
    let member = &listed.members[0];
    assert_eq!(listed.members.len(), 1);
    assert_eq!((member.id, member.name.as_str()), (server.node.identity().member_id.0, "one"));
    assert_eq!(member.peer_urls, ["http://127.0.0.1:3380"]);
    assert_eq!(member.client_urls, ["http://127.0.0.1:3379"]);
    // Answers about the cluster have no revision.
    let header = listed.header.unwrap();
    assert_eq!((header.member_id, header.revision), (member.id, 0));
}

#[tokio::test]
async fn the_membership_stays_as_it_is() {
    let server = Server::start().await;
    let id = server.node.identity().member_id.0;
    let mut cluster = server.cluster();
    let urls = |url: &str| vec![url.to_owned()];

    let mut add = async |peer_urls| {
        cluster.member_add(pb::MemberAddRequest { peer_urls, is_learner: false }).await
    };
    let text = "etcdserver: given member URLs are invalid";
    assert_error(add(vec![]).await, Code::InvalidArgument, text);
    assert_error(add(urls("nonsense")).await, Code::InvalidArgument, text);
    let text = "etcdserver: Peer URLs already exists";
    assert_error(add(urls("http://127.0.0.1:3380")).await, Code::FailedPrecondition, text);
    let unsupported =
        "t4: this version runs clusters of one member; its membership cannot be changed";
    assert_error(add(urls("http://10.0.0.2:3380")).await, Code::Unimplemented, unsupported);

    let mut remove = async |id| cluster.member_remove(pb::MemberRemoveRequest { id }).await;
    assert_error(remove(1).await, Code::NotFound, "etcdserver: member not found");
    let text = "etcdserver: re-configuration failed due to not enough started members";
    assert_error(remove(id).await, Code::Unknown, text);

    let mut update = async |id, url: &str| {
        cluster.member_update(pb::MemberUpdateRequest { id, peer_urls: urls(url) }).await
    };
    let not_found = "etcdserver: member not found";
    for url in ["nonsense", ""] {
        assert_error(update(1, url).await, Code::NotFound, not_found);
        let text = "etcdserver: given member URLs are invalid";
        assert_error(update(id, url).await, Code::InvalidArgument, text);
    }
    for url in ["http://a:1", "http://a:1", "http://127.0.0.1:3380"] {
        assert_error(update(1, url).await, Code::NotFound, not_found);
        let updated = update(id, url).await.unwrap().into_inner();
        assert_eq!(updated.members.len(), 1);
        assert_eq!(updated.members[0].peer_urls, [url]);
        assert_eq!(updated.members[0].client_urls, ["http://127.0.0.1:3379"]);
    }

    let mut promote = async |id| cluster.member_promote(pb::MemberPromoteRequest { id }).await;
    assert_error(promote(1).await, Code::NotFound, not_found);
    let text = "etcdserver: can only promote a learner member";
    assert_error(promote(id).await, Code::FailedPrecondition, text);
}

#[tokio::test]
async fn leadership_moves_to_members_only() {
    let server = Server::start().await;
    let mut maintenance = server.maintenance();
    let mut move_to =
        async |target_id| maintenance.move_leader(pb::MoveLeaderRequest { target_id }).await;
    let text = "etcdserver: bad leader transferee";
    assert_error(move_to(1).await, Code::FailedPrecondition, text);
    let own = move_to(server.node.identity().member_id.0).await.unwrap().into_inner();
    assert_eq!(own.header, None);
}

#[tokio::test]
async fn status_tells_of_member_and_alarms() {
    let server = Server::start().await;
    server.put("k", "v").await;
    let id = server.node.identity().member_id.0;
    let status = server.maintenance().status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.version.as_str(), status.storage_version.as_str()), ("3.7.0", "3.7.0"));
    assert_eq!((status.leader, status.is_learner), (id, false));
    assert_eq!(status.header.unwrap().revision, 2);
    assert_eq!(status.raft_index, status.raft_applied_index);
    assert!(status.raft_index > 0 && status.raft_term > 0);
    assert_eq!(status.db_size_quota, 2 << 30);
    assert_eq!(status.downgrade_info, Some(pb::DowngradeInfo::default()));
    assert!(status.errors.is_empty());

    let alarm = |action: AlarmAction, kind: pb::AlarmType| {
        let mut client = server.maintenance();
        async move {
            let (action, alarm) = (action.into(), kind.into());
            let request = pb::AlarmRequest { action, member_id: 42, alarm };
            client.alarm(request).await.unwrap().into_inner().alarms
        }
    };
    use pb::AlarmType::{Corrupt, None, Nospace};
    let nospace = pb::AlarmMember { member_id: 42, alarm: Nospace.into() };
    assert_eq!(alarm(AlarmAction::Deactivate, Nospace).await, []);
    assert_eq!(alarm(AlarmAction::Activate, None).await, []);
    assert_eq!(alarm(AlarmAction::Activate, Nospace).await, [nospace]);
    assert_eq!(alarm(AlarmAction::Activate, Nospace).await, [nospace]);
    assert_eq!(alarm(AlarmAction::Get, None).await, [nospace]);
    assert_eq!(alarm(AlarmAction::Get, Nospace).await, [nospace]);
    assert_eq!(alarm(AlarmAction::Get, Corrupt).await, []);
    let status = server.maintenance().status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.errors, ["memberID:42 alarm:NOSPACE"]);
    assert_eq!(alarm(AlarmAction::Deactivate, Nospace).await, [nospace]);
    assert_eq!(alarm(AlarmAction::Get, None).await, []);
    server.put("k", "w").await;
    for (action, alarm) in [(AlarmAction::Activate.into(), 7), (9, Nospace.into())] {
        let request = pb::AlarmRequest { action, member_id: 5, alarm };
        let refused = server.maintenance().alarm(request).await;
        let text = "t4: there is no such alarm, or no such action on alarms";
        assert_error(refused, Code::InvalidArgument, text);
    }
}

#[tokio::test]
async fn a_corrupt_member_writes_nothing() {
    let server = Server::start().await;
    let (action, alarm) = (AlarmAction::Activate.into(), pb::AlarmType::Corrupt.into());
    let request = pb::AlarmRequest { action, member_id: 1, alarm };
    server.maintenance().alarm(request).await.unwrap();
    let put = server.kv().put(crate::support::put("k", "v")).await;
    assert_error(put, Code::DataLoss, "etcdserver: corrupt cluster");
    assert_eq!(server.get("k").await, None);
}

#[tokio::test]
async fn hashes_agree_on_the_same_history() {
    let (one, two) = (Server::start().await, Server::start().await);
    for server in [&one, &two] {
        server.put("a", "1").await;
        server.put("a", "2").await;
        server.delete("a").await;
    }
    let hash = async |server: &Server, revision| {
        let request = pb::HashKvRequest { revision };
        server.maintenance().hash_kv(request).await.map(|response| response.into_inner())
    };
    for revision in [0, 2, 3, 4] {
        let (a, b) = (hash(&one, revision).await.unwrap(), hash(&two, revision).await.unwrap());
        assert_eq!((a.hash, a.hash_revision), (b.hash, if revision == 0 { 4 } else { revision }));
        assert_eq!((a.header.unwrap().revision, a.compact_revision), (4, -1));
    }
    assert_ne!(hash(&one, 3).await.unwrap().hash, hash(&one, 4).await.unwrap().hash);
    let future = "etcdserver: mvcc: required revision is a future revision";
    assert_error(hash(&one, 5).await, Code::OutOfRange, future);
    one.compact(3).await;
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    assert_error(hash(&one, 2).await, Code::OutOfRange, compacted);
    let whole = one.maintenance().hash(pb::HashRequest {}).await.unwrap().into_inner();
    assert_eq!(whole.header.unwrap().revision, 4);
}

#[tokio::test]
async fn maintenance_that_has_nothing_to_do_says_so() {
    let server = Server::start().await;
    let mut maintenance = server.maintenance();
    let done = maintenance.defragment(pb::DefragmentRequest {}).await.unwrap().into_inner();
    assert_eq!(done.header, None);

    let mut snapshot = maintenance.snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    let status = snapshot.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().starts_with("t4: this version does not stream snapshots"));

    let mut downgrade = async |action, version: &str| {
        let version = version.to_owned();
        maintenance.downgrade(pb::DowngradeRequest { action, version }).await
    };
    assert_eq!(downgrade(0, "3.6").await.unwrap().into_inner().version, "3.7");
    let text = "etcdserver: invalid downgrade target version";
    assert_error(downgrade(0, "3.5").await, Code::InvalidArgument, text);
    let text = "etcdserver: wrong downgrade target version format";
    assert_error(downgrade(1, "x").await, Code::InvalidArgument, text);
    // No job is under way, and the version is not looked at.
    for version in ["", "x"] {
        let cancelled = downgrade(2, version).await.unwrap().into_inner();
        assert_eq!(cancelled.version, "3.7");
        assert_eq!(cancelled.header.unwrap().revision, 1);
    }
    assert_error(downgrade(7, "").await, Code::Unknown, "etcdserver: unknown method");
}

#[tokio::test]
async fn health_follows_the_server() {
    let server = Server::start().await;
    let mut health = HealthClient::new(server.services.clone());
    let whole = HealthCheckRequest::default;
    let status = async |health: &mut HealthClient<_>| {
        health.check(whole()).await.unwrap().into_inner().status()
    };
    assert_eq!(status(&mut health).await, ServingStatus::Serving);
    let all = health.list(HealthListRequest {}).await.unwrap().into_inner().statuses;
    let all: Vec<_> = all.iter().map(|(name, state)| (name.as_str(), state.status())).collect();
    assert_eq!(all, [("", ServingStatus::Serving)]);
    let unknown = HealthCheckRequest { service: "other".to_owned() };
    assert_error(health.check(unknown.clone()).await, Code::NotFound, "unknown service");

    let mut watched = health.watch(whole()).await.unwrap().into_inner();
    let first = watched.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    server.services.set_serving(false);
    let second = watched.message().await.unwrap().unwrap();
    assert_eq!(second.status(), ServingStatus::NotServing);
    assert_eq!(status(&mut health).await, ServingStatus::NotServing);
    let mut watched = health.watch(unknown).await.unwrap().into_inner();
    let none = watched.message().await.unwrap().unwrap();
    assert_eq!(none.status(), ServingStatus::ServiceUnknown);
}

/// A server that stops does not wait for clients to end streams that say nothing.
#[tokio::test]
async fn watches_of_health_end_with_the_node() {
    let server = Server::start().await;
    let mut health = HealthClient::new(server.services.clone());
    let mut streams = Vec::new();
    for service in ["", "other"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut stream = health.watch(request).await.unwrap().into_inner();
        stream.message().await.unwrap().unwrap();
        streams.push((service, stream));
    }
    server.node.stop().await;
    for (service, mut stream) in streams {
        let ended = within_hang(stream.message()).await.unwrap_err();
        let told = (ended.code(), ended.message());
        assert_eq!(told, (Code::Unavailable, "etcdserver: server stopped"), "{service:?}");
    }
}
