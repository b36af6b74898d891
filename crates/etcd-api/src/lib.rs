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
//! * `metadata`, `leader_watch`: what a call's metadata asks for; `caller`:
//!   what its connection says; `proof`: whom both stand for.
//! * `rule`, `access`: who may do what; `login`: passwords.
//! * `backlog`: what a client asks for and does not read, within bounds; `memory`:
//!   what all of them may make the server hold; `answer_size`: whose answer may be
//!   large.
//! * `recipe`: what locks and elections are made of.
//! * `wire`: gRPC on HTTP bodies. `method`, `stats`, `latency`, `sink`: what is
//!   called, counted, timed and sent. `slow`: what is told of calls that took
//!   long.
//!
//! # What it leaves to others
//!
//! Sockets, TLS and key files (`server`), users and roles themselves
//! (`t4-auth-rbac`), JSON (`json-gateway`: a client of [`Services`]
//! in the same process), rendering of the counters.
//!
//! # Invariants
//!
//! * A gRPC status is made in `errors` only.
//! * Every method has a rule who may call it. A write is checked where the
//!   order of writes is decided; a read before and after it.
//! * Passwords and tokens are in no `Debug` and no line of the log.
//! * A call that is dropped leaves no write half done.
//! * What a request leaves in the store does not hold on to the buffer that
//!   the request came in.
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
mod sink;
mod slow;
mod stats;
mod turns;
mod validate;
mod watch;
mod wire;

pub use caller::Caller;
pub use config::{ApiConfig, AuthConfig, ETCD_VERSION, Tokens};
pub use dispatch::{Services, Serving, UnaryCall, services};
pub use errors::{ApiError, refused};
pub use latency::{
    HANDLING_BOUNDS, Latency, LatencyBounds, LatencySnapshot, RANGE_BOUNDS, REQUEST_BOUNDS,
};
pub use login::LoginStats;
pub use memory::ClientMemory;
pub use method::{CallKind, Method};
pub use open_calls::OpenCall;
pub use stats::{ClientVersions, GrpcStats, MethodStats};
pub use wire::{FrameReader, ResponseBody};
