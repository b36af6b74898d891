//! Many clients of a real server, and all that they saw.
//!
//! [`Run`] starts clients and watchers, takes the server down under them and
//! starts it again, life after life, and gives what everyone saw in each as a
//! [`History`](t4_linearizability::History). What is right in it is the business
//! of the crate `t4-linearizability`.

mod callers;
mod lives;
mod messages;
mod server;
mod stream;
mod watchers;
mod wire;

pub use lives::{Life, Run};
pub use server::Server;
