//! Judges what clients of an etcd observed. Pure: histories in, violations out.
//!
//! etcd's revisions do most of the work. Each write has its own revision and
//! each answer shows one, so the order of writes is known. A call is correct if
//! its answer matches the state at its revision and no call that ended before
//! it started shows a later revision. Checking this is linear in the number of
//! calls. Objects without revisions (leases, compactions, users and roles) go
//! through a general search for an order, object by object.
//!
//! * [`History`]: calls, watches, and the log of the server's events.
//! * [`Checker`]: takes one history after another; each starts in the states in
//!   which the previous one may have ended.
//! * [`Verdict`], [`Violation`], [`Fault`]: what is wrong.
//! * [`Reference`]: a naive etcd that generates histories, for tests of checkers.
//! * [`Workload`]: the requests of random clients.
//!
//! It sends nothing: suites drive servers, simulators drive replicas, and both
//! record the data in [`History`].
#![doc = include_str!("../README.md")]

mod auth;
mod authors;
mod checker;
mod compactions;
mod evaluate;
mod history;
mod leases;
mod order;
mod reference;
mod search;
mod sides;
mod store;
mod verdict;
mod watches;
mod workload;

pub use checker::Checker;
pub use history::{
    AuthRequest, Call, Failure, History, Outcome, Request, Response, Watch, WatchEvent, WatchNews,
    WatchResponse,
};
pub use reference::Reference;
pub use verdict::{Fault, Verdict, Violation, show};
pub use workload::{Workload, WorkloadOptions};
