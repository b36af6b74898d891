//! etcd's v3 gRPC API on a [`Node`](t4_node::Node).
//!
//! [`services`] makes a [`Services`], which serves `http::Request`s: on hyper,
//! behind TLS or not, or in memory. It looks at the path, reads the metadata
//! and the message, checks the request, converts it, calls the node, converts
//! the answer, and encodes it.
//!
//! # Map
//!
//! * `dispatch`: from paths to methods, and what all calls have in common.
//! * `kv`, `range_stream`, `watch`, `lease`, `cluster`, `maintenance`, `lock`,
//!   `election`, `health`, `auth`: the services; `api` is what they share.
//! * `errors`: every code and text that a client sees.
//! * `validate`, `intervals`: what is wrong with a request in itself.
//! * `convert`: between protobuf and the plain data of the node.
//! * `metadata`, `leader_watch`: what a call's metadata asks for.
//! * `backlog`: what a client asks for and does not read, within bounds.
//! * `recipe`: what locks and elections are made of.
//! * `wire`: gRPC on HTTP bodies. `method`, `stats`, `sink`: what is called,
//!   counted and sent.
//!
//! # What it leaves to others
//!
//! Sockets and TLS (`server`), JSON (`json-gateway`: a client of [`Services`]
//! in the same process), rendering of the counters.
//!
//! # Invariants
//!
//! * A gRPC status is made in `errors` only.
//! * A call that is dropped leaves no write half done.
//! * What a request leaves in the store does not hold on to the buffer that
//!   the request came in.
#![doc = include_str!("../README.md")]

mod api;
mod auth;
mod backlog;
mod cluster;
mod config;
mod convert;
mod dispatch;
mod election;
mod errors;
mod health;
mod intervals;
mod kv;
mod leader_watch;
mod lease;
mod lock;
mod maintenance;
mod metadata;
mod method;
mod range_stream;
mod recipe;
mod sink;
mod stats;
mod validate;
mod watch;
mod wire;

pub use config::{ApiConfig, ETCD_VERSION};
pub use dispatch::{Services, services};
pub use errors::{ApiError, refused};
pub use method::{CallKind, Method};
pub use stats::{ClientVersions, GrpcStats, HANDLING_BUCKETS_S, MethodStats};
pub use wire::{FrameReader, ResponseBody};
