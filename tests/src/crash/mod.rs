//! What must survive when a server is killed under load.
//!
//! [`Workload`] writes with many clients and records every [`Attempt`]; the
//! suite kills the server in the middle and starts it again; [`Checker`] takes
//! the history that the server now tells, revision by revision, and says what
//! cannot be: an acknowledged write that is gone or stands elsewhere, a hole,
//! a write that happened twice or by half, one that went before a write that
//! was acknowledged before it began.
//!
//! Every value names the attempt that wrote it, so that the history alone tells
//! whose each revision is. The checker is pure and has its own tests with
//! histories that are wrong.

mod attempt;
mod checker;
mod tell;
mod victim;
mod watchers;
mod workload;

pub use attempt::{Attempt, AttemptId, Change, Outcome};
pub use checker::{Checker, Violation};
pub use tell::{current_state, history_since};
pub use victim::Victim;
pub use watchers::Watchers;
pub use workload::Workload;
