//! What the API counts: plain atomics that the metrics page is made from.
//!
//! The names in the comments are those of the metrics that clients of etcd's
//! dashboards read; rendering them is the business of `server`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tonic::Code;

use crate::latency::Latency;
use crate::method::{CallKind, Method};

/// gRPC status codes are 0 to 16.
const CODES: usize = 17;

/// Versions of clients that are counted apart; what comes after counts as
/// `other`, so that a client cannot fill the memory.
const CLIENT_VERSIONS_MAX: usize = 64;

/// Everything that the API counts.
#[derive(Debug)]
pub struct GrpcStats {
    methods: Box<[MethodStats]>,
    /// Of transactions that only read. They are among those of `Txn`, too.
    pub read_only_txns: MethodStats,
    /// What times of calls are counted from.
    origin: Instant,
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
    /// `grpc_server_handling_seconds`, and etcd's metrics of requests: calls
    /// that ended with OK. The time begins when the request was read, as in
    /// Go; that of a stream, when it was opened.
    pub succeeded: Latency,
    /// The same of calls that ended otherwise.
    pub failed: Latency,
}

impl Default for GrpcStats {
    fn default() -> Self {
        GrpcStats {
            methods: Method::ALL.iter().map(|_| MethodStats::default()).collect(),
            read_only_txns: MethodStats::default(),
            origin: Instant::now(),
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
    /// How long calls with this outcome took.
    fn latency(&self, code: Code) -> &Latency {
        if code == Code::Ok { &self.succeeded } else { &self.failed }
    }
}

/// Counts one call from its start to its end, however it ends.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    stats: &'a GrpcStats,
    method: Method,
    /// When its time began, in nanoseconds since the origin of `stats`; 0: it
    /// has not yet.
    since_ns: AtomicU64,
    /// It is a transaction, and all that it does is to read.
    only_reads: AtomicBool,
    /// It was counted as ended.
    is_over: bool,
}

impl<'a> Meter<'a> {
    pub(crate) fn start(stats: &'a GrpcStats, method: Method) -> Self {
        stats.of(method).started.fetch_add(1, Relaxed);
        let (since_ns, only_reads) = (AtomicU64::new(0), AtomicBool::new(false));
        let meter = Meter { stats, method, since_ns, only_reads, is_over: false };
        if method.kind() != CallKind::Unary {
            meter.begin();
        }
        meter
    }

    /// The request is there: its time begins.
    pub(crate) fn begin(&self) {
        let ns = u64::try_from(self.stats.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.since_ns.store(ns.max(1), Relaxed);
    }

    /// It is a transaction that only reads.
    pub(crate) fn only_reads(&self) {
        self.only_reads.store(true, Relaxed);
    }

    /// Whether [`only_reads`](Self::only_reads) was called.
    pub(crate) fn is_read_only(&self) -> bool {
        self.only_reads.load(Relaxed)
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.stats.of(self.method).received.fetch_add(1, Relaxed);
        self.stats.received_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.stats.of(self.method).sent.fetch_add(1, Relaxed);
        self.stats.sent_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// The call has ended with this code. Returns how long it took, if its
    /// request was read at all.
    pub(crate) fn finish(&mut self, code: Code) -> Option<Duration> {
        self.is_over = true;
        let stats = self.stats.of(self.method);
        stats.handled[code as usize].fetch_add(1, Relaxed);
        let since_ns = self.since_ns.load(Relaxed);
        if since_ns == 0 {
            return None;
        }
        let elapsed = self.stats.origin.elapsed().saturating_sub(Duration::from_nanos(since_ns));
        stats.latency(code).observe(elapsed);
        if self.is_read_only() {
            self.stats.read_only_txns.latency(code).observe(elapsed);
        }
        Some(elapsed)
    }

    pub(crate) fn stats(&self) -> &GrpcStats {
        self.stats
    }
}

/// A call that is dropped before it has a code was cancelled.
impl Drop for Meter<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.finish(Code::Cancelled);
        }
    }
}

/// Where the calls of one client version are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VersionSlot(usize);

/// `etcd_server_client_requests_total`: calls by the version that the client
/// reports.
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
    use crate::latency::HANDLING_BOUNDS;

    #[test]
    fn a_call_is_counted_however_it_ends() {
        let stats = GrpcStats::default();
        let mut meter = Meter::start(&stats, Method::Put);
        meter.received(10);
        meter.begin();
        meter.sent(20);
        assert!(meter.finish(Code::NotFound).is_some());
        drop(meter);
        drop(Meter::start(&stats, Method::Put));

        let put = stats.of(Method::Put);
        assert_eq!(put.started.load(Relaxed), 2);
        assert_eq!(put.handled[Code::NotFound as usize].load(Relaxed), 1);
        assert_eq!(put.handled[Code::Cancelled as usize].load(Relaxed), 1);
        assert_eq!(put.failed.snapshot(HANDLING_BOUNDS).count, 1, "one request was never read");
        assert_eq!(put.succeeded.snapshot(HANDLING_BOUNDS).count, 0);
        assert_eq!(stats.received_bytes.load(Relaxed), 10);
        assert_eq!(stats.sent_bytes.load(Relaxed), 20);
        assert_eq!(stats.of(Method::Range).started.load(Relaxed), 0);
    }

    #[test]
    fn the_time_of_a_stream_begins_with_it() {
        let stats = GrpcStats::default();
        drop(Meter::start(&stats, Method::Watch));
        assert_eq!(stats.of(Method::Watch).failed.snapshot(HANDLING_BOUNDS).count, 1);
    }

    #[test]
    fn transactions_that_only_read_are_counted_twice() {
        let stats = GrpcStats::default();
        for reads in [true, false] {
            let mut meter = Meter::start(&stats, Method::Txn);
            meter.begin();
            if reads {
                meter.only_reads();
            }
            meter.finish(Code::Ok);
        }
        assert_eq!(stats.of(Method::Txn).succeeded.snapshot(HANDLING_BOUNDS).count, 2);
        assert_eq!(stats.read_only_txns.succeeded.snapshot(HANDLING_BOUNDS).count, 1);
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
