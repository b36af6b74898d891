//! What the API counts: plain atomics that the metrics page is made from.
//!
//! The names in the comments are those of the metrics that clients of etcd's
//! dashboards read; rendering them is the business of `server`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tonic::Code;

use crate::method::Method;

/// Upper bounds of the buckets of `grpc_server_handling_seconds`, in seconds.
pub const HANDLING_BUCKETS_S: [f64; 11] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// gRPC status codes are 0 to 16.
const CODES: usize = 17;

/// Versions of clients that are counted apart; what comes after counts as
/// `other`, so that a client cannot fill the memory.
const CLIENT_VERSIONS_MAX: usize = 64;

/// Everything that the API counts.
#[derive(Debug)]
pub struct GrpcStats {
    methods: Box<[MethodStats]>,
    /// `etcd_network_client_grpc_received_bytes_total`.
    pub received_bytes: AtomicU64,
    /// `etcd_network_client_grpc_sent_bytes_total`.
    pub sent_bytes: AtomicU64,
    /// `etcd_network_server_stream_failures_total{Type="receive",API="watch"}`.
    pub watch_receive_failures: AtomicU64,
    /// The same with `API="lease-keepalive"`.
    pub keep_alive_receive_failures: AtomicU64,
    /// `etcd_server_client_requests_total`.
    pub client_versions: ClientVersions,
}

/// What is counted per method. Two methods never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct MethodStats {
    /// `grpc_server_started_total`.
    pub started: AtomicU64,
    /// `grpc_server_handled_total`, by gRPC code.
    pub handled: [AtomicU64; CODES],
    /// `grpc_server_msg_received_total`.
    pub received: AtomicU64,
    /// `grpc_server_msg_sent_total`.
    pub sent: AtomicU64,
    /// `grpc_server_handling_seconds`: calls per bucket of
    /// [`HANDLING_BUCKETS_S`] (not cumulated), the last is everything above.
    pub handling: [AtomicU64; HANDLING_BUCKETS_S.len() + 1],
    /// The sum of all handling times in nanoseconds.
    pub handling_sum_ns: AtomicU64,
}

impl Default for GrpcStats {
    fn default() -> Self {
        GrpcStats {
            methods: Method::ALL.iter().map(|_| MethodStats::default()).collect(),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            watch_receive_failures: AtomicU64::new(0),
            keep_alive_receive_failures: AtomicU64::new(0),
            client_versions: ClientVersions::default(),
        }
    }
}

impl GrpcStats {
    /// The counters of a method.
    #[must_use]
    pub fn of(&self, method: Method) -> &MethodStats {
        &self.methods[method as usize]
    }
}

impl MethodStats {
    fn observe(&self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        let bucket = HANDLING_BUCKETS_S.partition_point(|bound| *bound < seconds);
        self.handling[bucket].fetch_add(1, Relaxed);
        let ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.handling_sum_ns.fetch_add(ns, Relaxed);
    }
}

/// Counts one call from its start to its end, whichever way it ends.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    stats: &'a GrpcStats,
    method: Method,
    since: Option<Instant>,
    /// The code to count at the end. A call that is dropped before it has one
    /// was cancelled.
    code: Code,
}

impl<'a> Meter<'a> {
    pub(crate) fn start(stats: &'a GrpcStats, method: Method, measure_time: bool) -> Self {
        stats.of(method).started.fetch_add(1, Relaxed);
        Meter { stats, method, since: measure_time.then(Instant::now), code: Code::Cancelled }
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.stats.of(self.method).received.fetch_add(1, Relaxed);
        self.stats.received_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.stats.of(self.method).sent.fetch_add(1, Relaxed);
        self.stats.sent_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// The call has ended with this code.
    pub(crate) fn finish(mut self, code: Code) {
        self.code = code;
    }

    pub(crate) fn stats(&self) -> &GrpcStats {
        self.stats
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        let stats = self.stats.of(self.method);
        stats.handled[self.code as usize].fetch_add(1, Relaxed);
        if let Some(since) = self.since {
            stats.observe(since.elapsed());
        }
    }
}

/// Where the calls of one client version are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VersionSlot(usize);

/// `etcd_server_client_requests_total`: calls by the version that the client
/// tells of itself.
#[derive(Debug, Default)]
pub struct ClientVersions {
    /// In the order of their first call; only grows.
    counts: RwLock<Vec<VersionCount>>,
}

#[derive(Debug)]
struct VersionCount {
    version: Box<str>,
    unary: AtomicU64,
    streams: AtomicU64,
}

impl ClientVersions {
    /// Where to count the calls of a version.
    pub(crate) fn slot(&self, version: &str) -> VersionSlot {
        if let Some(slot) = find(&self.counts.read(), version) {
            return slot;
        }
        let mut counts = self.counts.write();
        if let Some(slot) = find(&counts, version) {
            return slot;
        }
        let full = counts.len() >= CLIENT_VERSIONS_MAX - 1;
        let version = if full { "other" } else { version };
        find(&counts, version).unwrap_or_else(|| {
            counts.push(VersionCount {
                version: version.into(),
                unary: AtomicU64::new(0),
                streams: AtomicU64::new(0),
            });
            VersionSlot(counts.len() - 1)
        })
    }

    pub(crate) fn count_unary(&self, slot: VersionSlot) {
        self.counts.read()[slot.0].unary.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_stream(&self, slot: VersionSlot) {
        self.counts.read()[slot.0].streams.fetch_add(1, Relaxed);
    }

    /// `(version, unary calls, streams)` of every version that has called.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, u64, u64)> {
        let counts = self.counts.read();
        counts
            .iter()
            .map(|count| {
                let version = String::from(count.version.clone());
                (version, count.unary.load(Relaxed), count.streams.load(Relaxed))
            })
            .collect()
    }
}

fn find(counts: &[VersionCount], version: &str) -> Option<VersionSlot> {
    counts.iter().position(|count| &*count.version == version).map(VersionSlot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_counted_however_it_ends() {
        let stats = GrpcStats::default();
        let meter = Meter::start(&stats, Method::Put, true);
        meter.received(10);
        meter.sent(20);
        meter.finish(Code::NotFound);
        drop(Meter::start(&stats, Method::Put, false));

        let put = stats.of(Method::Put);
        assert_eq!(put.started.load(Relaxed), 2);
        assert_eq!(put.handled[Code::NotFound as usize].load(Relaxed), 1);
        assert_eq!(put.handled[Code::Cancelled as usize].load(Relaxed), 1);
        assert_eq!(put.handling.iter().map(|bucket| bucket.load(Relaxed)).sum::<u64>(), 1);
        assert_eq!(stats.received_bytes.load(Relaxed), 10);
        assert_eq!(stats.sent_bytes.load(Relaxed), 20);
        assert_eq!(stats.of(Method::Range).started.load(Relaxed), 0);
    }

    #[test]
    fn times_fall_into_their_buckets() {
        let stats = MethodStats::default();
        for ms in [1, 5, 6, 10_000, 10_001] {
            stats.observe(Duration::from_millis(ms));
        }
        let buckets = stats.handling.each_ref().map(|bucket| bucket.load(Relaxed));
        assert_eq!((buckets[0], buckets[1], buckets[10], buckets[11]), (2, 1, 1, 1));
        assert_eq!(stats.handling_sum_ns.load(Relaxed), 20_013_000_000);
    }

    #[test]
    fn versions_are_counted_up_to_a_bound() {
        let versions = ClientVersions::default();
        let slot = versions.slot("3.5");
        assert_eq!(versions.slot("3.5"), slot);
        versions.count_unary(slot);
        versions.count_stream(slot);
        assert_eq!(versions.counts(), [("3.5".to_owned(), 1, 1)]);
        for n in 0..2 * CLIENT_VERSIONS_MAX {
            versions.count_unary(versions.slot(&n.to_string()));
        }
        let counts = versions.counts();
        assert_eq!(counts.len(), CLIENT_VERSIONS_MAX);
        let (name, unary, _) = counts.last().unwrap();
        assert_eq!((name.as_str(), *unary), ("other", CLIENT_VERSIONS_MAX as u64 + 2));
    }
}
