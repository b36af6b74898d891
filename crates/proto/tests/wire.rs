//! The wire format is etcd's: method paths, field numbers, and the use of the
//! generated servers and clients without any transport.

use bytes::Bytes;
use prost::Message;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::lease_server::{Lease, LeaseServer};
use tonic::{Request, Response, Status, Streaming};

/// Grants every request; knows no other method.
struct Grants;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Lease for Grants {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Answer<pb::LeaseGrantResponse> {
        let pb::LeaseGrantRequest { ttl, id } = request.into_inner();
        Ok(Response::new(pb::LeaseGrantResponse { ttl, id, ..Default::default() }))
    }

    async fn lease_revoke(
        &self,
        _: Request<pb::LeaseRevokeRequest>,
    ) -> Answer<pb::LeaseRevokeResponse> {
        Err(Status::not_found("no such lease"))
    }

    type LeaseKeepAliveStream = Streaming<pb::LeaseKeepAliveResponse>;

    async fn lease_keep_alive(
        &self,
        _: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Answer<Self::LeaseKeepAliveStream> {
        Err(Status::unavailable("not here"))
    }

    async fn lease_time_to_live(
        &self,
        _: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Answer<pb::LeaseTimeToLiveResponse> {
        Err(Status::unavailable("not here"))
    }

    async fn lease_leases(
        &self,
        _: Request<pb::LeaseLeasesRequest>,
    ) -> Answer<pb::LeaseLeasesResponse> {
        Err(Status::unavailable("not here"))
    }
}

#[tokio::test]
async fn a_client_calls_a_server_without_a_transport() {
    let mut client = pb::lease_client::LeaseClient::new(LeaseServer::new(Grants));
    let asked = pb::LeaseGrantRequest { ttl: 60, id: -3 };
    let granted = client.lease_grant(asked).await.unwrap().into_inner();
    assert_eq!((granted.ttl, granted.id), (60, -3));
    let refused = client.lease_revoke(pb::LeaseRevokeRequest { id: 1 }).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (tonic::Code::NotFound, "no such lease"));
}

/// Every method of every service, according to the descriptors.
#[test]
fn the_methods_are_those_of_etcd() {
    let expected = [
        "etcdserverpb.Auth: AuthEnable AuthDisable AuthStatus Authenticate UserAdd UserGet \
         UserList UserDelete UserChangePassword UserGrantRole UserRevokeRole RoleAdd RoleGet \
         RoleList RoleDelete RoleGrantPermission RoleRevokePermission",
        "etcdserverpb.Cluster: MemberAdd MemberRemove MemberUpdate MemberList MemberPromote",
        "etcdserverpb.KV: Range RangeStream Put DeleteRange Txn Compact",
        "etcdserverpb.Lease: LeaseGrant LeaseRevoke LeaseKeepAlive LeaseTimeToLive LeaseLeases",
        "etcdserverpb.Maintenance: Alarm Status Defragment Hash HashKV Snapshot MoveLeader \
         Downgrade",
        "etcdserverpb.Watch: Watch",
        "grpc.health.v1.Health: Check Watch List",
        "v3electionpb.Election: Campaign Proclaim Leader Observe Resign",
        "v3lockpb.Lock: Lock Unlock",
    ];
    let mut found = services();
    found.sort();
    assert_eq!(found, expected);
}

/// The parts of `google.protobuf.FileDescriptorSet` that the test reads.
#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(message, repeated, tag = "1")]
    file: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "4")]
    message: Vec<Kind>,
    #[prost(message, repeated, tag = "6")]
    service: Vec<Kind>,
}

/// A message with its fields, or a service with its methods.
#[derive(Clone, PartialEq, Message)]
struct Kind {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    part: Vec<Part>,
}

#[derive(Clone, PartialEq, Message)]
struct Part {
    #[prost(string, tag = "1")]
    name: String,
}

fn files() -> Vec<File> {
    Files::decode(t4_proto::FILE_DESCRIPTOR_SET).unwrap().file
}

fn services() -> Vec<String> {
    let mut lines = Vec::new();
    for file in files() {
        for service in &file.service {
            let methods: Vec<_> = service.part.iter().map(|part| part.name.as_str()).collect();
            lines.push(format!("{}.{}: {}", file.package, service.name, methods.join(" ")));
        }
    }
    lines
}

#[test]
fn the_descriptors_keep_the_names_of_the_wire() {
    let messages: Vec<Kind> = files().into_iter().flat_map(|file| file.message).collect();
    let fields = |name: &str| {
        let message = messages.iter().find(|message| message.name == name).unwrap();
        message.part.iter().map(|part| part.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(fields("Member"), ["ID", "name", "peerURLs", "clientURLs", "isLearner"]);
    assert_eq!(fields("LeaseTimeToLiveResponse"), ["header", "ID", "TTL", "grantedTTL", "keys"]);
    assert_eq!(fields("KeyValue")[1], "create_revision");
}

/// Wire bytes, written by hand from the field tables.
#[test]
fn field_numbers_are_those_of_etcd() {
    let header = pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: 3, raft_term: 4 };
    assert_eq!(header.encode_to_vec(), [8, 1, 16, 2, 24, 3, 32, 4]);

    let kv = t4_proto::mvccpb::KeyValue {
        key: Bytes::from_static(b"k"),
        create_revision: 2,
        mod_revision: 3,
        version: 4,
        value: Bytes::from_static(b"v"),
        lease: 6,
    };
    assert_eq!(kv.encode_to_vec(), [10, 1, b'k', 16, 2, 24, 3, 32, 4, 42, 1, b'v', 48, 6]);

    let compare = pb::Compare {
        result: pb::compare::CompareResult::NotEqual.into(),
        target: pb::compare::CompareTarget::Lease.into(),
        key: Bytes::from_static(b"k"),
        range_end: Bytes::from_static(b"l"),
        target_union: Some(pb::compare::TargetUnion::Lease(9)),
    };
    let bytes = [8, 3, 16, 4, 26, 1, b'k', 64, 9, 0x82, 4, 1, b'l'];
    assert_eq!(pb::Compare::decode(&bytes[..]).unwrap(), compare);

    let watch = pb::WatchResponse {
        watch_id: -1,
        events: vec![t4_proto::mvccpb::Event { r#type: 1, ..Default::default() }],
        ..Default::default()
    };
    let minus_one = [255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
    assert_eq!(watch.encode_to_vec(), [&[16][..], &minus_one, &[90, 2, 8, 1]].concat());

    let status = pb::StatusResponse { db_size_quota: 5, ..Default::default() };
    assert_eq!(status.encode_to_vec(), [96, 5]);
}
