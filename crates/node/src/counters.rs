//! What a node counts, as plain atomics. Whoever serves metrics gives them
//! names.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the first bucket of the disk histograms; each next one is
/// twice as wide (etcd: 1 ms · 2ⁿ).
const FIRST_BOUND: Duration = Duration::from_millis(1);

/// A histogram of durations in 14 buckets of 1 ms · 2ⁿ, and one above.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; Histogram::BUCKETS + 1],
    sum_us: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// (upper bound, observations at or below it), ascending; not the last one.
    pub cumulative: Vec<(Duration, u64)>,
    /// All observations.
    pub count: u64,
    /// Their sum.
    pub sum: Duration,
}

impl Histogram {
    const BUCKETS: usize = 14;

    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let bucket =
            (0..Self::BUCKETS).find(|&n| took <= FIRST_BOUND * (1 << n)).unwrap_or(Self::BUCKETS);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// The counts now.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut count = 0;
        let mut cumulative = Vec::with_capacity(Self::BUCKETS);
        for (n, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            if n < Self::BUCKETS {
                cumulative.push((FIRST_BOUND * (1 << n), count));
            }
        }
        let sum = Duration::from_micros(self.sum_us.load(Ordering::Relaxed));
        HistogramSnapshot { cumulative, count, sum }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts since the start of the process.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
            /// How long the log's fsyncs took.
            pub log_fsync: Histogram,
            /// How long seals took: a segment and its manifest, durable.
            pub seal: Histogram,
        }
    };
}

counters! {
    /// Ranges answered.
    ranges,
    /// Puts answered.
    puts,
    /// Deletes answered.
    deletes,
    /// Transactions answered.
    txns,
    /// Events made.
    events,
    /// Writes answered with an error of ours (no space, time-out, stopped).
    writes_failed,
    /// Leases granted.
    leases_granted,
    /// Leases revoked on request.
    leases_revoked,
    /// Leases renewed.
    leases_renewed,
    /// Leases whose time was over.
    leases_expired,
    /// Bytes written to the log.
    log_bytes,
    /// Versions dropped by compaction passes and records by collections.
    records_collected,
    /// When the newest compaction was applied, in seconds of Unix time.
    compacted_at_s,
}

/// Adds one.
pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let histogram = Histogram::default();
        for millis in [0, 1, 2, 3, 100_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count, 5);
        assert_eq!(snapshot.cumulative[0], (Duration::from_millis(1), 2));
        assert_eq!(snapshot.cumulative[2], (Duration::from_millis(4), 4));
        assert_eq!(snapshot.cumulative[13], (Duration::from_millis(8192), 4));
        assert_eq!(snapshot.sum, Duration::from_millis(100_006));
    }
}
