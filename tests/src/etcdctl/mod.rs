//! The real `etcdctl`, driven step by step, with what it prints made comparable.
//!
//! A scenario is a function over a [`Ctl`]. It runs once against each server,
//! and leaves a transcript: for each step the command, what it printed, and its
//! exit code. Ids, addresses, sizes and durations, which are each server's own,
//! are replaced by names; the rest must be equal, to the letter.

mod call;
mod ctl;
mod names;

pub use ctl::{Background, Ctl, Step};
pub use names::Names;
