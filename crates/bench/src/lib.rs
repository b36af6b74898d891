//! The benchmark: T4 and the real etcd in turn, with one client, on one disk.
//!
//! `cargo xtask bench` builds and runs it. It belongs to the test plane: no
//! production crate depends on it, and errors are `anyhow`, for display.
//!
//! * [`server`]: the two processes, and their resource use according to the kernel.
//! * [`transport`], [`client`], [`cores`]: the client, as cheap as possible.
//! * [`certificates`]: the servers' certificates in the workloads over TLS.
//! * [`dataset`], [`bulk`]: keys and values, generated and loaded in advance.
//! * [`closed_loop`], [`gaps`]: load, and observations under load.
//! * [`workload`]: the measured workloads.
//! * [`sample`], [`comparison`], [`target`]: numbers, side by side, judged.
//! * [`suite`]: the run. [`report`], [`document`]: its output.
//!
//! Verdicts are based on the ratio within a round: the machine's speed changes
//! from minute to minute, and both servers get the same minute.
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
