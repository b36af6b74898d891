//! etcd's v3 gRPC API on a [`Node`](t4_node::Node).
//!
//! [`services`] makes a [`Services`], which serves `http::Request`s: on hyper,
//! behind TLS or not, or in memory. It looks at the path, reads the metadata
//! and the message, checks the request, converts it, calls the node, converts
//! the answer, and encodes it.
//!
//! # Map
//!
//! * `services`: from the head of an HTTP request to a call, and what all calls have
//!   in common; `dispatch`: from a call to the method that serves it.
//! * `kv`, `range_stream`, `watch`, `lease`, `cluster`, `maintenance`, `lock`,
//!   `election`, `health`, `auth`: the services; `api` is what they share.
//! * `errors`: every code and text that a client sees.
//! * `validate`, `intervals`: what is wrong with a request in itself.
//! * `convert`: between protobuf and the plain data of the node.
//! * `metadata`, `leader_watch`: what a call's metadata asks for; `caller`:
//!   what its connection says; `proof`: the user that the two identify.
//! * `rule`, `access`: permissions; `login`: passwords.
//! * `backlog`: what a client asks for and does not read, within bounds; `memory`:
//!   what all of them may make the server hold; `answer_size`: requests whose
//!   answer may be large.
//! * `recipe`: the queue of keys behind locks and elections.
//! * `wire`: gRPC on HTTP bodies. `method`, `stats`, `latency`, `sink`: what is
//!   called, counted, timed and sent. `slow`: log lines about calls that took
//!   long.
//!
//! # Non-goals
//!
//! Sockets, TLS and key files (`server`), users and roles themselves
//! (`t4-auth-rbac`), JSON (`json-gateway`: a client of [`Services`]
//! in the same process), rendering of the counters.
//!
//! # Invariants
//!
//! * A gRPC status is made in `errors` only.
//! * Every method has a rule that says which callers may use it. A write is checked
//!   where the order of writes is decided; a read is checked before and after it.
//! * Passwords and tokens never appear in `Debug` output or in the log.
//! * A call that is dropped leaves no write half done.
//! * Data that a request leaves in the store does not keep alive the buffer that
//!   the request arrived in.
#![doc = include_str!("../README.md")]

mod access;
mod answer;
mod answer_size;
mod api;
mod auth;
mod backlog;
mod caller;
mod cluster;
mod config;
mod convert;
mod dispatch;
mod election;
mod errors;
mod health;
mod intervals;
mod kv;
mod latency;
mod leader_watch;
mod lease;
mod lock;
mod login;
mod maintenance;
mod memory;
mod metadata;
mod method;
mod open_calls;
mod proof;
mod range_stream;
mod recipe;
mod rule;
mod services;
mod sink;
mod slow;
mod stats;
mod turns;
mod validate;
mod watch;
mod wire;

pub use caller::Caller;
pub use config::{ApiConfig, AuthConfig, ETCD_VERSION, Tokens};
pub use errors::{ApiError, refused};
pub use latency::{
    HANDLING_BOUNDS, Latency, LatencyBounds, LatencySnapshot, RANGE_BOUNDS, REQUEST_BOUNDS,
};
pub use login::LoginStats;
pub use memory::ClientMemory;
pub use method::{CallKind, Method};
pub use open_calls::OpenCall;
pub use services::{Services, Serving, UnaryCall, services};
pub use stats::{ClientVersions, GrpcStats, MethodStats};
pub use wire::ResponseBody;
