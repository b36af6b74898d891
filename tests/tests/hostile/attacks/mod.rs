//! Attacks that any server of etcd's API can be made to endure: what they do,
//! and what each may cost T4. `endure` runs them.
//!
//! * `floods`: the same again and again, from several connections.
//! * `open`: much that is begun, and neither ended nor read.

mod floods;
mod open;

use std::any::Any;
use std::pin::Pin;

use crate::MIB;
use crate::server::Target;

const RANGE: &str = "/etcdserverpb.KV/Range";
const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";
const PUT: &str = "/etcdserverpb.KV/Put";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// Values that make a range of 20 MiB, which must be there before an attack.
pub(crate) const VALUES: usize = 40;
pub(crate) const VALUE_BYTES: usize = 512 << 10;

/// What an attack holds open. It ends when this is dropped.
pub(crate) type Held = Box<dyn Any + Send>;
type Beginning = Pin<Box<dyn Future<Output = anyhow::Result<Held>> + Send>>;
type Begin = fn(Target) -> Beginning;

/// A way to do harm.
#[derive(Clone, Copy)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// Begins it. An error: the server refuses it, which is a way to defend
    /// itself.
    pub(crate) begin: Begin,
    /// Memory that it may cost T4 at its worst moment, where clients may make
    /// it hold [`CLIENT_BYTES`].
    pub(crate) bytes_max: u64,
}

/// What clients may make a T4 hold that has 1 GiB of memory, by default.
pub(crate) const CLIENT_BYTES: u64 = 256 * MIB;
/// What a flood of frames may cost. Measured: 2 to 40 MiB.
const FLOOD_BYTES_MAX: u64 = 128 * MIB;
/// Memory of a call that is open and does nothing, or is not read.
const CALL_BYTES_MAX: u64 = 20 << 10;
/// 16 MiB of answers that a connection does not read, and twice of it for the
/// allocator.
const UNREAD_BYTES_MAX: u64 = 48 * MIB;
/// What clients may make it hold, and as much again for what is being made, and
/// for the allocator.
const ALL_CLIENTS_BYTES_MAX: u64 = 2 * CLIENT_BYTES;
/// Memory of a connection: of its TLS, too.
const CONNECTION_BYTES_MAX: u64 = 96 << 10;
/// Memory of a watcher, with its part of a stream.
const WATCHER_BYTES_MAX: u64 = 4 << 10;

fn flood(name: &'static str, begin: Begin) -> Attack {
    Attack { name, begin, bytes_max: FLOOD_BYTES_MAX }
}

fn calls(name: &'static str, calls: u32, begin: Begin) -> Attack {
    let bytes_max = UNREAD_BYTES_MAX + u64::from(calls) * CALL_BYTES_MAX;
    Attack { name, begin, bytes_max }
}

fn bodies(name: &'static str, begin: Begin) -> Attack {
    Attack { name, begin, bytes_max: ALL_CLIENTS_BYTES_MAX }
}

/// All of them.
pub(crate) fn all() -> Vec<Attack> {
    vec![
        flood("ranges, reset at once", |target| floods::begin(target, floods::resets_of_ranges)),
        flood("ranges, reset when they run", |target| {
            floods::begin(target, floods::late_resets_of_ranges)
        }),
        flood("DATA of one byte a frame", |target| floods::begin(target, floods::one_byte_a_frame)),
        flood("CONTINUATION", |target| floods::begin(target, floods::long_heads)),
        flood("SETTINGS", |target| floods::begin(target, floods::settings)),
        flood("PING", |target| floods::begin(target, floods::pings)),
        flood("WINDOW_UPDATE", |target| floods::begin(target, floods::windows)),
        Attack {
            name: "100 connections, headers byte by byte",
            begin: |target| Box::pin(open::slow_heads(target)),
            bytes_max: open::SLOW_HEADS * CONNECTION_BYTES_MAX,
        },
        Attack {
            name: "500 idle connections",
            begin: |target| Box::pin(open::idle_connections(target)),
            bytes_max: open::IDLE_CONNECTIONS * CONNECTION_BYTES_MAX,
        },
        calls("250 open calls", 250, |target| Box::pin(open::open_calls(target, 250))),
        calls("10,000 open calls", 10_000, |target| Box::pin(open::open_calls(target, 10_000))),
        calls("250 calls, windows of 0", 250, |target| {
            Box::pin(open::closed_windows(target, 0, 250))
        }),
        calls("250 calls, windows of 1", 250, |target| {
            Box::pin(open::closed_windows(target, 1, 250))
        }),
        calls("10,000 calls, windows of 0", 10_000, |target| {
            Box::pin(open::closed_windows(target, 0, 10_000))
        }),
        calls("10,000 calls, windows of 1", 10_000, |target| {
            Box::pin(open::closed_windows(target, 1, 10_000))
        }),
        calls("4,000 bodies announced, not sent", open::ANNOUNCED, |target| {
            Box::pin(open::announced_bodies(target))
        }),
        bodies("600 bodies of 1.5 MB, sent in part", |target| {
            Box::pin(open::unfinished_bodies(target))
        }),
        bodies("48 lists of 20 MiB, unread", |target| Box::pin(open::unread(target, 24, 2, RANGE))),
        bodies("400 streams of 20 MiB, unread", |target| {
            Box::pin(open::unread(target, 10, 40, RANGE_STREAM))
        }),
        Attack {
            name: "100,000 watchers",
            begin: |target| Box::pin(open::watchers(target)),
            bytes_max: open::WATCHERS * WATCHER_BYTES_MAX,
        },
    ]
}
