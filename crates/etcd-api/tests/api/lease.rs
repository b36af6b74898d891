//! The service Lease.

use t4_proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{Server, assert_error, put};

async fn grant(server: &Server, ttl: i64, id: i64) -> pb::LeaseGrantResponse {
    server.lease().lease_grant(pb::LeaseGrantRequest { ttl, id }).await.unwrap().into_inner()
}

async fn time_to_live(server: &Server, id: i64) -> pb::LeaseTimeToLiveResponse {
    let request = pb::LeaseTimeToLiveRequest { id, keys: true };
    server.lease().lease_time_to_live(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn leases_have_ids_and_times() {
    let server = Server::start().await;
    let named = grant(&server, 100, -7).await;
    assert_eq!((named.id, named.ttl, named.header.unwrap().revision), (-7, 100, 1));
    // Raised to the minimum; an id is chosen.
    let chosen = grant(&server, 0, 0).await;
    assert!(chosen.id > 0);
    assert_eq!(chosen.ttl, 2);

    let listed = server.lease().lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
    let mut ids: Vec<_> = listed.leases.iter().map(|lease| lease.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [-7, chosen.id]);

    let mut lease = server.lease();
    let again = lease.lease_grant(pb::LeaseGrantRequest { ttl: 5, id: -7 }).await;
    assert_error(again, Code::FailedPrecondition, "etcdserver: lease already exists");
    let long = lease.lease_grant(pb::LeaseGrantRequest { ttl: 9_000_000_001, id: 0 }).await;
    assert_error(long, Code::OutOfRange, "etcdserver: too large lease TTL");
}

#[tokio::test]
async fn keys_end_with_their_lease() {
    let server = Server::start().await;
    grant(&server, 100, 5).await;
    for key in ["a", "b"] {
        server.kv().put(pb::PutRequest { lease: 5, ..put(key, "v") }).await.unwrap();
    }
    let known = time_to_live(&server, 5).await;
    assert_eq!((known.id, known.granted_ttl), (5, 100));
    assert!((1..=100).contains(&known.ttl));
    assert_eq!(known.keys, ["a", "b"]);

    let revoke = pb::LeaseRevokeRequest { id: 5 };
    let revoked = server.lease().lease_revoke(revoke).await.unwrap().into_inner();
    assert_eq!(revoked.header.unwrap().revision, 4);
    assert_eq!(server.get("a").await, None);

    let unknown = time_to_live(&server, 5).await;
    assert_eq!((unknown.ttl, unknown.granted_ttl, unknown.keys.len()), (-1, 0, 0));
    let again = server.lease().lease_revoke(revoke).await;
    assert_error(again, Code::NotFound, "etcdserver: requested lease not found");
}

#[tokio::test]
async fn a_keep_alive_stream_outlives_missing_leases() {
    let server = Server::start().await;
    grant(&server, 100, 5).await;
    let (requests, receiver) = mpsc::channel(4);
    let call = server.lease().lease_keep_alive(ReceiverStream::new(receiver)).await.unwrap();
    let mut responses = call.into_inner();
    for (id, ttl) in [(5, 100), (6, 0), (5, 100)] {
        requests.send(pb::LeaseKeepAliveRequest { id }).await.unwrap();
        let response = responses.message().await.unwrap().unwrap();
        assert_eq!((response.id, response.ttl), (id, ttl));
        assert_eq!(response.header.unwrap().revision, 1);
    }
    // The client has no more to ask: the stream ends well.
    drop(requests);
    assert!(responses.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_keep_alive_stream_that_is_idle_ends_with_the_node() {
    let server = Server::start().await;
    grant(&server, 100, 5).await;
    let (requests, receiver) = mpsc::channel(4);
    let call = server.lease().lease_keep_alive(ReceiverStream::new(receiver)).await.unwrap();
    let mut responses = call.into_inner();
    requests.send(pb::LeaseKeepAliveRequest { id: 5 }).await.unwrap();
    assert_eq!(responses.message().await.unwrap().unwrap().ttl, 100);
    server.node.stop().await;
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), responses.message());
    let ended = ended.await.expect("nobody waits for the client").unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
}
