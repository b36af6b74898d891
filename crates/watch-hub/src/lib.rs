//! Fans committed events out to many watchers: none lost, duplicated or
//! reordered, slow ones bounded.
//!
//! A [`Hub`] is a pure state machine. Its driver feeds it inputs (streams and
//! watchers come and go, a revision is published, a piece of history was read,
//! the store was compacted) and drains its outputs: [`Message`]s per stream
//! and, now and then, one [`HistoryRequest`]. It has no clock, thread, lock,
//! storage or wire format; the same inputs give the same messages.
//!
//! # Guarantees for each watcher
//!
//! * **Ordered, unique, reliable.** Revisions strictly ascend; each event that
//!   matches and is not filtered out is delivered exactly once, without a gap.
//! * **Atomic.** All events of a revision for a watcher are in one message.
//! * **Bookmarkable.** A progress message of revision R is queued after every
//!   event up to R of the watchers that it covers.
//! * **Cheap.** The cost of publishing depends on the ranges that match, not on
//!   all watched ranges; watchers of the same range share one selection.
//! * **Bounded.** The queue of a stream has a bound ([`Limits`]). At the bound
//!   its watchers stop taking events and read them again from history later.
//!
//! # The life of a watcher
//!
//! ```text
//!            start <= published                     start = 0 or start > published
//! create ───────────────┬───────────────────────────────────┐
//!                       ▼       position = published + 1    ▼
//!                 catching up ─────────────────────────▶  live
//!                   ▲       │ the queue is half full        │ an event matches and
//!   below half full │       ▼                               │ the queue is full
//!                   └─── parked ◀───────────────────────────┘
//! ```
//!
//! Catching-up watchers with the same position form a cohort, and one read of
//! history serves every cohort in its range. The newest revisions are kept in
//! the hub, so that the last step from history to live is one synchronous move.
//!
//! # Modules
//!
//! * `hub`: the state machine; `hub/live` publishing, `hub/catch_up` history
//!   and parking, `hub/progress` progress messages.
//! * `matcher`: the watchers that an event concerns; uses `interval_tree`
//!   (ranges) and `roster` (the watchers of a range).
//! * `cohorts`: the positions of catching-up and parked watchers.
//! * `streams`: the bounded queues. `recent`: the newest revisions.
//! * `grant`: how much history a stream may have, if the driver decides that.
//! * `parcel`: the events of some revisions for one range, shared by its
//!   watchers.
//! * `limits`, `message`, `watcher`, `slots`: plain data.
#![doc = include_str!("../README.md")]

mod cohorts;
mod grant;
mod hub;
mod interval_tree;
mod limits;
mod matcher;
mod message;
mod parcel;
mod recent;
mod roster;
mod slots;
mod streams;
mod watcher;

pub use grant::Heard;
pub use hub::{HistoryChunk, HistoryRequest, Hub, Stats};
pub use limits::Limits;
pub use message::{Batch, CancelReason, Message, Piece, RefusalReason, Selection};
pub use streams::{Backlog, StreamId};
pub use watcher::WatchSpec;
