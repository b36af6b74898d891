//! Judges what clients of an etcd saw. Pure: histories in, violations out.
//!
//! etcd's revisions do most of the work. Each write has a revision of its own
//! and each answer shows one, so the order of writes is known, and a call is
//! right if its answer is what the state at its revision gives and no call that
//! had ended before it began shows a later one. That is linear in the number of
//! calls. What has no revision (leases, compactions, users and roles) goes
//! through a general search for an order, object by object.
//!
//! * [`History`]: calls, watches, and the log of the server's events.
//! * [`Checker`]: takes one history after another; each begins in the states
//!   that the one before may have ended in.
//! * [`Verdict`], [`Violation`], [`Fault`]: what is wrong.
//! * [`Reference`]: a naive etcd that makes histories, for tests of checkers.
//! * [`Workload`]: what random clients ask.
//!
//! It sends nothing: suites drive servers, simulators drive replicas, and both
//! record what [`History`] holds.
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
