//! The same operations to two servers, every field of every answer compared.
//!
//! A seeded [`Generator`] draws operations; it sees what the *reference*
//! server answered (so that it knows the current revision, which leases live,
//! what may be watched). Each operation and the reference's answer then go to
//! the *subject*, which lags behind by a bounded queue: both servers work at
//! once, and each sees the operations one after another, in one order.
//!
//! [`Target`] performs one operation on one server and makes the answer
//! comparable: ids of cluster and member become 1, nothing else is touched.
//! [`compare`](compare()) applies the rules of [`crate::allowed`] and tells the first
//! difference; [`shrink`](shrink()) replays ever fewer operations on fresh servers.
//!
//! Time enters nowhere: leases are long, and a watch is compared up to a fence,
//! a write into its range whose event must arrive.

mod answer;
mod compare;
mod fault;
mod generate;
mod op;
mod run;
mod show;
mod shrink;
mod target;
mod watches;
mod world;

pub use answer::{Answer, Identity, Refusal};
pub use compare::compare;
pub use fault::{Fault, FaultKind};
pub use generate::Generator;
pub use op::{Op, Who};
pub use run::{Difference, Report, replay, run};
pub use shrink::shrink;
pub use target::Target;

/// The key that a lock or an election writes for a lease, as Go formats it:
/// a negative id has a minus sign.
fn recipe_key(name: &[u8], lease: i64) -> bytes::Bytes {
    let sign = if lease < 0 { "-" } else { "" };
    let mut key = name.to_vec();
    key.extend_from_slice(format!("/{sign}{:x}", lease.unsigned_abs()).as_bytes());
    key.into()
}
