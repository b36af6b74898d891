//! Histograms of whole numbers, as plain atomics: each bucket is twice as wide
//! as the one before it, which is how etcd's are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A histogram with buckets of `first · 2ⁿ`, and one above.
#[derive(Debug)]
pub struct Histogram {
    /// The upper bound of the first bucket; not 0.
    first: u64,
    /// What is observed is divided by this to be shown: nanoseconds become
    /// seconds.
    per: u64,
    /// Observations in each bucket; the last is everything above.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// (upper bound, observations at or below it), ascending; not the last one.
    pub cumulative: Vec<(f64, u64)>,
    /// All observations.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

impl Histogram {
    /// Of durations, shown in seconds.
    #[must_use]
    pub fn seconds(first: Duration, buckets: usize) -> Histogram {
        Histogram::new(nanoseconds(first), buckets, 1_000_000_000)
    }

    /// Of durations, shown in milliseconds.
    #[must_use]
    pub fn milliseconds(first: Duration, buckets: usize) -> Histogram {
        Histogram::new(nanoseconds(first), buckets, 1_000_000)
    }

    /// Of plain numbers.
    #[must_use]
    pub fn numbers(first: u64, buckets: usize) -> Histogram {
        Histogram::new(first, buckets, 1)
    }

    fn new(first: u64, buckets: usize, per: u64) -> Histogram {
        let counts = (0..=buckets).map(|_| AtomicU64::new(0)).collect();
        Histogram { first: first.max(1), per, buckets: counts, sum: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        self.observe_number(nanoseconds(took));
    }

    /// Counts one number.
    pub fn observe_number(&self, number: u64) {
        let widths = number.div_ceil(self.first);
        let bucket = if widths <= 1 { 0 } else { 64 - (widths - 1).leading_zeros() as usize };
        self.buckets[bucket.min(self.buckets.len() - 1)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(number, Ordering::Relaxed);
    }

    /// The counts now.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut count = 0;
        let mut cumulative = Vec::with_capacity(self.buckets.len() - 1);
        for (n, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            if n + 1 < self.buckets.len() {
                cumulative.push((self.shown(self.first << n), count));
            }
        }
        HistogramSnapshot { cumulative, count, sum: self.shown(self.sum.load(Ordering::Relaxed)) }
    }

    /// A division of whole numbers is rounded once: 1,000,000 ns are shown as
    /// 0.001 s and not as something next to it.
    fn shown(&self, number: u64) -> f64 {
        number as f64 / self.per as f64
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let histogram = Histogram::seconds(Duration::from_millis(1), 14);
        for millis in [0, 1, 2, 3, 100_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count, snapshot.cumulative.len()), (5, 14));
        assert_eq!(snapshot.cumulative[0], (0.001, 2));
        assert_eq!(snapshot.cumulative[1], (0.002, 3));
        assert_eq!(snapshot.cumulative[2], (0.004, 4));
        assert_eq!(snapshot.cumulative[13], (8.192, 4));
        assert!((snapshot.sum - 100.006).abs() < 1e-9);
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_above_to_the_next() {
        for bucket in 0..20 {
            let histogram = Histogram::milliseconds(Duration::from_micros(500), 20);
            let bound = Duration::from_micros(500) * (1 << bucket);
            histogram.observe(bound);
            histogram.observe(bound + Duration::from_nanos(1));
            let cumulative = histogram.snapshot().cumulative;
            assert_eq!(cumulative[bucket].1, 1, "{bound:?}");
            assert!((cumulative[bucket].0 - 0.5 * f64::from(1 << bucket)).abs() < 1e-9);
        }
    }

    #[test]
    fn every_number_has_a_bucket() {
        let histogram = Histogram::numbers(1, 24);
        for number in [0, 1, 2, 3, 8_388_608, 8_388_609, u64::MAX] {
            histogram.observe_number(number);
        }
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count, snapshot.cumulative[0]), (7, (1.0, 2)));
        assert_eq!(snapshot.cumulative[23], (8_388_608.0, 5));
    }
}
