//! How long calls take: one histogram per method and outcome, fine enough that
//! the histograms of several metrics are read from it, each with its own
//! bounds, exactly.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The unit of the bounds below, in nanoseconds: a tenth of a millisecond.
const UNIT_NS: u64 = 100_000;

/// The union of the bounds that the metrics have, in units.
const BOUNDS: [u64; 45] = [
    1, 2, 4, 8, 10, 16, 20, 32, 40, 50, 64, 80, 100, 128, 160, 250, 256, 320, 500, 512, 640, 1_000,
    1_024, 1_280, 2_048, 2_500, 2_560, 4_096, 5_000, 5_120, 8_192, 10_000, 10_240, 16_384, 20_480,
    25_000, 32_768, 40_960, 50_000, 65_536, 81_920, 100_000, 131_072, 262_144, 524_288,
];

/// The bounds of a metric, in units.
#[derive(Clone, Copy, Debug)]
pub struct LatencyBounds(&'static [u64]);

/// Of `grpc_server_handling_seconds`: those of Go's Prometheus client.
pub const HANDLING_BOUNDS: LatencyBounds =
    LatencyBounds(&[50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000]);

/// Of `etcd_server_request_duration_seconds`: 1 ms · 2ⁿ.
pub const REQUEST_BOUNDS: LatencyBounds = LatencyBounds(&[
    10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 10_240, 20_480, 40_960, 81_920,
]);

/// Of `etcd_server_range_duration_seconds`: 0.1 ms · 2ⁿ.
pub const RANGE_BOUNDS: LatencyBounds = LatencyBounds(&[
    1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_536,
    131_072, 262_144, 524_288,
]);

/// A histogram of durations.
#[derive(Debug)]
pub struct Latency {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_ns: AtomicU64,
}

/// A histogram at one moment, with the bounds of one metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatencySnapshot {
    /// (upper bound in seconds, calls that took no longer), ascending.
    pub cumulative: Vec<(f64, u64)>,
    /// All calls.
    pub count: u64,
    /// How long they took together, in seconds.
    pub sum_s: f64,
}

impl Default for Latency {
    fn default() -> Self {
        Latency { buckets: [const { AtomicU64::new(0) }; _], sum_ns: AtomicU64::new(0) }
    }
}

impl Latency {
    pub(crate) fn observe(&self, elapsed: Duration) {
        let ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| bound * UNIT_NS < ns);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    /// What was observed so far.
    #[must_use]
    pub fn snapshot(&self, bounds: LatencyBounds) -> LatencySnapshot {
        let mut snapshot = LatencySnapshot::default();
        let mut asked = bounds.0.iter().peekable();
        for (n, bucket) in self.buckets.iter().enumerate() {
            snapshot.count += bucket.load(Relaxed);
            if let Some(bound) = asked.next_if(|asked| BOUNDS.get(n) == Some(asked)) {
                let seconds = (bound * UNIT_NS) as f64 / 1e9;
                snapshot.cumulative.push((seconds, snapshot.count));
            }
        }
        snapshot.sum_s = self.sum_ns.load(Relaxed) as f64 / 1e9;
        snapshot
    }
}

impl LatencySnapshot {
    /// This and another one of the same bounds together.
    #[must_use]
    pub fn and(mut self, other: &LatencySnapshot) -> LatencySnapshot {
        for ((_, count), (_, more)) in self.cumulative.iter_mut().zip(&other.cumulative) {
            *count += more;
        }
        self.count += other.count;
        self.sum_s += other.sum_s;
        self
    }

    /// What is left of this when those of another one, a part of it, are taken
    /// out.
    #[must_use]
    pub fn without(mut self, part: &LatencySnapshot) -> LatencySnapshot {
        for ((_, count), (_, less)) in self.cumulative.iter_mut().zip(&part.cumulative) {
            *count = count.saturating_sub(*less);
        }
        self.count = self.count.saturating_sub(part.count);
        self.sum_s = (self.sum_s - part.sum_s).max(0.0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [LatencyBounds; 3] = [HANDLING_BOUNDS, REQUEST_BOUNDS, RANGE_BOUNDS];

    #[test]
    fn every_bound_that_is_asked_for_is_there_and_no_other() {
        assert!(BOUNDS.is_sorted_by(|one, next| one < next));
        for bounds in ALL {
            assert_eq!(Latency::default().snapshot(bounds).cumulative.len(), bounds.0.len());
        }
        let asked = |bound: &u64| ALL.iter().any(|bounds| bounds.0.contains(bound));
        assert!(BOUNDS.iter().all(asked));
    }

    #[test]
    fn each_metric_has_its_own_buckets() {
        let latency = Latency::default();
        for ms in [1, 5, 6, 10_000, 10_001] {
            latency.observe(Duration::from_millis(ms));
        }
        let handling = latency.snapshot(HANDLING_BOUNDS);
        assert_eq!(handling.cumulative[..2], [(0.005, 2), (0.01, 3)]);
        assert_eq!(handling.cumulative[10], (10.0, 4));
        let request = latency.snapshot(REQUEST_BOUNDS);
        assert_eq!(request.cumulative[..4], [(0.001, 1), (0.002, 1), (0.004, 1), (0.008, 3)]);
        assert_eq!(request.cumulative[13], (8.192, 3));
        let range = latency.snapshot(RANGE_BOUNDS);
        assert_eq!(range.cumulative[3..5], [(0.0008, 0), (0.0016, 1)]);
        for snapshot in [handling, request, range] {
            assert_eq!(snapshot.count, 5);
            assert!((snapshot.sum_s - 20.013).abs() < 1e-9);
        }
    }

    #[test]
    fn two_are_added_up() {
        let (one, other) = (Latency::default(), Latency::default());
        one.observe(Duration::from_millis(1));
        other.observe(Duration::from_millis(2));
        let both = one.snapshot(REQUEST_BOUNDS).and(&other.snapshot(REQUEST_BOUNDS));
        assert_eq!((both.count, both.cumulative[0].1, both.cumulative[1].1), (2, 1, 2));
        let left = both.without(&other.snapshot(REQUEST_BOUNDS));
        assert_eq!(left, one.snapshot(REQUEST_BOUNDS));
    }
}
