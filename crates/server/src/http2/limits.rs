//! The limits of the HTTP/2 library, and what is counted of them.
//!
//! Four of its defences close the whole connection, and with it the calls that
//! have nothing to do with what went wrong. Each guards memory, so none can be
//! off; each is as far out here as that memory allows, and other means see to
//! it that clients which do nothing wrong stay far from it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use h2::Reason;
use h2::server::Builder;
use parking_lot::Mutex;

use crate::config::Config;

/// Bytes of request bodies that may be on their way, on a connection and in
/// each of its streams.
const WINDOW_BYTES: u32 = 1 << 20;

/// What frames of bodies that wait to be read may cost beside their payload: one
/// of fewer than 256 bytes counts with what it lacks. That is about what the
/// library holds for it. The window is spent first unless the frames have fewer
/// than 8 bytes; no message of gRPC that says anything is so small.
const SMALL_FRAMES_BYTES_MAX: usize = 32 << 20;

/// Streams that are cancelled before they are looked at. In a turn of a
/// connection (`pace`) no more than 3,000 can come.
const CANCELLED_UNSEEN_MAX: usize = 16 * 1024;

/// Streams that the library itself resets, in the life of a connection: frames
/// on a stream that it has forgotten, above all. Each waits in memory until the
/// reset is sent. Clients that are still sending when they are answered are
/// listened to for a while (`late`), and their streams are not forgotten.
const RESET_BY_LIBRARY_MAX: usize = 16 * 1024;

/// Streams that we have reset and still know, so that late frames on them are
/// ignored; and for how long.
const RESET_KNOWN_MAX: usize = 1024;
const RESET_KNOWN: Duration = Duration::from_secs(30);

/// The head of a request, in bytes as HTTP/2 counts them. Clients are told of
/// it. Up to four times of it costs the stream, more the connection. gRPC's own
/// limit (`etcd-api`) is below, so that a call beyond it gets a status.
const HEAD_BYTES_MAX: u32 = 1 << 20;

/// Bytes of a response that the library takes before they can be sent.
const SEND_BUFFER_BYTES: usize = 400 << 10;

/// How the library is set up.
pub(super) fn builder(config: &Config) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(config.max_concurrent_streams)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .data_frame_budget(SMALL_FRAMES_BYTES_MAX)
        .max_pending_accept_reset_streams(CANCELLED_UNSEEN_MAX)
        .max_local_error_reset_streams(Some(RESET_BY_LIBRARY_MAX))
        .max_concurrent_reset_streams(RESET_KNOWN_MAX)
        .reset_stream_duration(RESET_KNOWN);
    builder
}

/// How often a line about closed connections is logged, at most.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// The same for calls that are refused, of which a flood has many.
const REFUSALS_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// What became of HTTP/2 connections.
#[derive(Debug, Default)]
pub(crate) struct Http2Stats {
    /// Closed at a limit of the library, by limit, in the order of [`LIMITS`].
    closed: [AtomicU64; LIMITS.len()],
    logged: Mutex<Option<Instant>>,
    refusals_logged: Mutex<Option<Instant>>,
}

/// As the library names them to the client; the last stands for any other.
const LIMITS: [&str; 6] = [
    "too_many_data_frames",
    "too_many_resets",
    "too_many_internal_resets",
    "too_many_continuations",
    "header_list_way_too_large",
    "other",
];

impl Http2Stats {
    /// A connection ended with an error: that of a client, which is its own
    /// business, or a limit.
    pub(super) fn connection_failed(&self, error: &h2::Error, peer: Option<std::net::SocketAddr>) {
        let at_a_limit = error.is_go_away()
            && error.is_library()
            && error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
        if at_a_limit {
            self.closed_at_limit(limit_in(&error.to_string()), peer);
        }
    }

    fn closed_at_limit(&self, limit: usize, peer: Option<std::net::SocketAddr>) {
        self.closed[limit].fetch_add(1, Ordering::Relaxed);
        if is_due(&self.logged, LOG_INTERVAL) {
            let peer = peer.map(tracing::field::display);
            tracing::warn!(
                peer,
                limit = LIMITS[limit],
                "an HTTP/2 connection was closed: its client is over a limit"
            );
        }
    }

    /// A call was refused: its connection has too many open. Those that are
    /// refused are counted with what else is, for want of memory.
    pub(super) fn call_refused(&self, peer: Option<std::net::SocketAddr>) {
        if is_due(&self.refusals_logged, REFUSALS_LOG_INTERVAL) {
            let peer = peer.map(tracing::field::display);
            tracing::warn!(
                peer,
                "calls are refused: a client has more open than its share of \
                 --client-memory-bytes allows; t4_client_memory_refusals_total counts them"
            );
        }
    }

    /// Connections that were closed at each limit.
    pub(crate) fn closed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.closed.iter().map(|count| count.load(Ordering::Relaxed));
        LIMITS.into_iter().zip(counts)
    }
}

/// Whether a line may be logged again; it counts as logged.
fn is_due(logged: &Mutex<Option<Instant>>, interval: Duration) -> bool {
    let mut logged = logged.lock();
    let is_due = logged.is_none_or(|logged| logged.elapsed() >= interval);
    if is_due {
        *logged = Some(Instant::now());
    }
    is_due
}

fn limit_in(text: &str) -> usize {
    let named = LIMITS.iter().rposition(|limit| text.contains(&format!("{limit:?}")));
    named.unwrap_or(LIMITS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_apart() {
        for (number, limit) in LIMITS.iter().enumerate() {
            let text = format!("connection error detected: calm (b{limit:?})");
            assert_eq!(limit_in(&text), number);
        }
        assert_eq!(LIMITS[limit_in("connection error detected: calm")], "other");
    }

    #[test]
    fn a_line_is_logged_now_and_then() {
        let logged = Mutex::default();
        assert!(is_due(&logged, REFUSALS_LOG_INTERVAL));
        assert!(!is_due(&logged, REFUSALS_LOG_INTERVAL));
        assert!(is_due(&logged, Duration::ZERO));
    }

    #[test]
    fn each_is_counted() {
        let stats = Http2Stats::default();
        stats.closed_at_limit(1, None);
        stats.closed_at_limit(1, None);
        stats.connection_failed(&Reason::ENHANCE_YOUR_CALM.into(), None);
        let counts: Vec<u64> = stats.closed().map(|(_, count)| count).collect();
        assert_eq!(counts, [0, 2, 0, 0, 0, 0]);
    }
}
