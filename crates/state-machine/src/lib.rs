//! The one deterministic `apply`: log payloads in, effects and events out.
//!
//! This is the only crate that knows what a log payload means. A request takes
//! these steps:
//!
//! 1. [`Sequencer::evaluate`] evaluates it on the newest state, committed plus in
//!    flight, decides the response, and adds the effects to the open [`Batch`].
//!    Nothing is applied yet. If authentication is on, it first checks the
//!    caller's rights, also on the newest state.
//! 2. The batch's bytes become one log entry, which the caller makes durable.
//! 3. [`StateMachine::apply`] applies the committed batch. It cannot fail and
//!    needs no undo, because it only sees committed entries. It counts revisions
//!    itself; the sequencer predicts the same ones by construction.
//!
//! # Invariants
//!
//! * Same entries, same state, same events, on every replica: no clock (time is
//!   an argument and moves deadlines only), no randomness, no hash maps.
//! * A response based on in-flight state must not be sent before that state is
//!   committed; the caller holds it back.
//! * All changes of a revision become visible together, in the key space and in
//!   the lease table at one moment; alarms and users in the order of the log.
//!   What one answer has shown, every later one shows.
//! * A change of users, roles or permissions is published before the revisions
//!   that follow it.
//!
//! # Modules
//!
//! * [`Batch`], [`Effect`]: the contents of an entry, and its encoding.
//! * [`Sequencer`], [`Request`], [`Response`]: evaluation.
//! * [`StateMachine`]: the applied state; [`PublishedAuth`]: its users, roles and
//!   tokens, for all threads.
//! * [`range`], [`read_only_txn`]: reads of committed state.
#![doc = include_str!("../README.md")]

mod batch;
mod committed;
mod in_flight;
mod newest;
mod permission;
mod published_auth;
mod read;
mod request;
mod sequencer;
mod state;
mod tables;

pub use batch::{Batch, DecodeError, Effect, FORMAT_VERSION, MemberAttributes};
pub use committed::{range, read_only_txn};
pub use published_auth::{AuthMark, PublishedAuth};
pub use read::ANSWER_BYTES_MAX;
pub use request::{Request, Response};
pub use sequencer::Sequencer;
pub use state::{Applied, RestoreError, SharedAlarms, SharedLeases, StateMachine};
pub use tables::{Alarms, Members, decode_alarms, decode_members, encode_alarms, encode_members};
