//! The benchmark: T4 and the real etcd in turn, with one client, on one disk.
//!
//! `cargo xtask bench` builds and runs it. It belongs to the test plane: no
//! production crate depends on it, and errors are `anyhow`, to be shown.
//!
//! * [`server`]: the two processes, and what the kernel says that they used.
//! * [`transport`], [`client`], [`cores`]: the client, as cheap as it can be.
//! * [`certificates`]: what both servers show in the workloads over TLS.
//! * [`dataset`], [`bulk`]: keys and values, made and loaded before.
//! * [`closed_loop`], [`gaps`]: load, and what is seen under it.
//! * [`workload`]: what is measured.
//! * [`sample`], [`comparison`], [`target`]: numbers, side by side, judged.
//! * [`suite`]: the run. [`report`], [`document`]: what is written of it.
//!
//! What decides a verdict is the ratio within a round: the machine's speed
//! changes from minute to minute, and both servers get the same minute.
#![doc = include_str!("../README.md")]

pub mod bulk;
pub mod certificates;
pub mod client;
pub mod closed_loop;
pub mod comparison;
pub mod cores;
pub mod dataset;
pub mod document;
pub mod gaps;
pub mod histogram;
pub mod machine;
pub mod options;
pub mod report;
pub mod sample;
pub mod server;
pub mod suite;
pub mod target;
pub mod transport;
pub mod wire;
pub mod workload;
