//! Generated messages, service traits, servers and clients of the etcd v3 API.
//!
//! One module per protobuf package, each made by `cargo xtask codegen` from
//! `proto/*.proto` and committed under `src/gen`; nothing here is written by
//! hand but this file. Byte fields are [`bytes::Bytes`], cut from the buffer
//! that a message was decoded from: whoever keeps one for long copies it.
//!
//! Servers are plain `tower_service::Service`s of `http::Request`; clients
//! take any such service as their transport. There is no transport in here.
//!
//! The crate knows nothing of what the messages mean.
#![doc = include_str!("../README.md")]

/// The records of the revisioned key space: key-values and events.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod mvccpb {
    include!("gen/mvccpb.rs");
}

/// The records of users, roles and permissions.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod authpb {
    include!("gen/authpb.rs");
}

/// The services KV, Watch, Lease, Cluster, Maintenance and Auth.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod etcdserverpb {
    include!("gen/etcdserverpb.rs");
}

/// The service Lock.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v3lockpb {
    include!("gen/v3lockpb.rs");
}

/// The service Election.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v3electionpb {
    include!("gen/v3electionpb.rs");
}

/// The standard health service, `grpc.health.v1.Health`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod grpc_health_v1 {
    include!("gen/grpc.health.v1.rs");
}

/// The descriptors of all packages: an encoded `google.protobuf.FileDescriptorSet`
/// with the names of the wire, which JSON uses. Two of them, `peerURLs` and
/// `clientURLs`, have other names in Rust (`peer_urls`, `client_urls`).
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptor.bin");
