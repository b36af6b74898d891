//! Fans committed events out to many watchers: none lost, doubled or reordered,
//! slow ones bounded.
//!
//! A [`Hub`] is a pure decider. Its driver feeds it what happens (streams and
//! watchers come and go, a revision is published, a piece of history was read,
//! the store was compacted) and drains what it decides: [`Message`]s per stream
//! and, now and then, one [`HistoryRequest`]. It knows no clock, no thread, no
//! lock, no storage and no wire format; the same inputs give the same messages.
//!
//! # What each watcher is promised
//!
//! * **Ordered, unique, reliable.** Revisions strictly ascend; each event that
//!   matches and is not filtered out comes exactly once, without a gap.
//! * **Atomic.** All events of a revision for a watcher are in one message.
//! * **Bookmarkable.** A progress message of revision R stands in the queue
//!   behind every event up to R of the watchers that it speaks for.
//! * **Cheap.** The cost of publishing depends on the ranges that match, not on
//!   all that are watched; watchers of the same range share one selection.
//! * **Bounded.** What waits for a stream has a bound ([`Limits`]). At the bound
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
//! # Map
//!
//! * `hub`: the decider; `hub/live` publishing, `hub/catch_up` history and
//!   parking, `hub/progress` progress messages.
//! * `matcher`: which watchers does an event concern; on `interval_tree` (ranges)
//!   and `roster` (who shares a range).
//! * `cohorts`: the positions of catching-up and parked watchers.
//! * `streams`: the bounded queues. `recent`: the newest revisions.
//! * `grant`: how much history a stream may have, where the driver says so.
//! * `parcel`: what one range gets of some revisions, shared by its watchers.
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
