//! The one deterministic `apply`: log payloads in, effects and events out.
//!
//! The only crate that knows what a log payload means. A request's way
//! through it:
//!
//! 1. [`Sequencer::evaluate`] looks at the newest state, committed plus in
//!    flight, decides the response, and adds the effects to the open
//!    [`Batch`]. Nothing is applied yet. While authentication is on, it first
//!    looks whether who asks may ask that, on the newest state too.
//! 2. The batch's bytes become one log entry, which somebody else makes
//!    durable.
//! 3. [`StateMachine::apply`] carries out the committed batch. It cannot fail
//!    and needs no undo, because it only ever sees committed entries. The
//!    revision is counted here; the sequencer's forecast is the same by
//!    construction.
//!
//! # Invariants
//!
//! * Same entries, same state, same events, on every replica: no clock (time
//!   is an argument and moves deadlines only), no randomness, no hash maps.
//! * A response forecast from what is in flight must not leave before that is
//!   committed; who holds it back is the caller.
//! * All changes of a revision become visible together, in the key space and in
//!   the table of leases at one moment; alarms and users in the order of the log.
//!   What one answer has shown, every later one shows.
//! * A change of users, roles or permissions is published before the revisions
//!   that come after it.
//!
//! # Rooms
//!
//! * [`Batch`], [`Effect`]: what an entry holds, and its encoding.
//! * [`Sequencer`], [`Request`], [`Response`]: evaluation.
//! * [`StateMachine`]: the applied state; [`PublishedAuth`]: its users, roles
//!   and tokens, for every thread.
//! * [`range`], [`read_only_txn`]: reads of what is committed.
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
