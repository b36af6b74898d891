//! One running replica, and the embedding API.
//!
//! # A write's way
//!
//! [`Node::put`] hands the request to the *commit queue*, which admits it or
//! refuses it (`commit_queue`). The *write loop*, one thread, takes all that is
//! queued, evaluates each request on the newest state, committed plus in flight
//! (`t4-state-machine`), and closes the batch: one log entry. The *log* writes
//! and syncs it (`t4-wal`) while the loop applies the batch before it, and
//! evaluates the next (`write_loop`). When the entry is durable it is committed;
//! it is applied, readers see the new revision, and the responses and events
//! are handed to the *lanes*, one per runtime, with one wake-up each (`lane`).
//! There the waiting tasks wake, and the *hub* finds the watchers.
//!
//! Reads do not pass the loop: they look at what is applied, on the runtime
//! that asks (`reads`). A replica that leads alone acknowledges nothing that is
//! not applied, so such a read is linearizable.
//!
//! # Whose rights
//!
//! While authentication is on, a [`Node`] may do what its caller may
//! ([`Node::as_caller`]); one that nobody has said that of is nobody's, and is
//! refused. Writes are checked by the write loop on the newest users and roles,
//! those in flight included; reads of keys and leases against what is applied,
//! again after the read if that has changed (`auth`). Watches, and what tells of
//! the replica and not of its keys, are left to the protocols.
//!
//! # Threads
//!
//! `t4-write-loop`; the log's two; `t4-maintenance` (seals, compaction passes,
//! collection, retention). They stop, in that order, when the node is stopped
//! or its last handle is dropped.
//!
//! # What it leaves to others
//!
//! Sockets, etcd's protobuf, checks of what a client may ask (`t4-etcd-api`).
#![doc = include_str!("../README.md")]

mod apply_times;
mod auth;
mod auth_changes;
mod auto_compaction;
mod caller;
mod commit_queue;
mod config;
mod contents;
mod counters;
mod damage;
mod data_dir;
mod error;
mod fault;
mod histogram;
mod inbox;
mod lane;
mod lanes;
mod leases;
mod log_limit;
mod maintenance;
mod node;
mod offline;
mod open;
mod pipeline;
mod reads;
mod shared;
mod shortage;
mod slow_applies;
mod submissions;
mod token_expiry;
mod verification;
mod watch;
mod write_loop;

pub use apply_times::ApplyTimes;
pub use auth::AuthOutcome;
pub use auth_changes::{AuthChanges, NumberedAuth};
pub use caller::Caller;
pub use config::{AutoCompaction, Config};
pub use contents::Contents;
pub use counters::{Counters, Times};
pub use data_dir::Identity;
pub use error::{Closed, IdentityFault, OpenError};
pub use fault::{Fault, FaultKind};
pub use histogram::{Histogram, HistogramSnapshot};
pub use log_limit::LogLimit;
pub use node::{HashKv, Member, Node, Status};
pub use offline::{LogSummary, Offline};
pub use shortage::Shortage;
pub use verification::{Verification, VerifiedState, verify};
pub use watch::WatchStream;

pub use t4_state_machine::ANSWER_BYTES_MAX;

pub use t4_watch_hub as watch_hub;
pub use t4_watch_hub::{Message as WatchMessage, WatchSpec};
