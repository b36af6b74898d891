//! Leases and their deadlines: a pure table that takes the time as an argument.
//!
//! * [`LeaseTable`]: leases, their deadlines and their keys.
//! * [`LeaseRecord`], [`DecodeError`]: the persisted form of the table.
//!
//! # Invariants
//!
//! * A lease is never reported expired before the latest deadline that a client was
//!   given: `now + TTL` at its grant, at each renewal and at each promotion.
//! * Deadlines only move later. The one exception is
//!   [`LeaseTable::restore_remaining`], which restores the deadlines of before a
//!   clean stop.
//! * A lease is reported once, until [`LeaseTable::unreport`] hands it back.
//! * Same calls, same answers, same bytes: no clock, no randomness, no hash map.
//!
//! # Non-goals
//!
//! Clocks; ids and the bounds of what clients ask for; the log entries of grants
//! and revocations; deleting the keys; the decision whether this replica leads
//! and may answer at all.
#![doc = include_str!("../README.md")]

mod format;
mod table;

pub use format::{DecodeError, FORMAT_VERSION, LeaseRecord};
pub use table::{LeaseSnapshot, LeaseTable, Remaining, Renewal, TTL_MAX_S};
