//! Latencies, counted in buckets.
//!
//! Log-linear: 128 buckets per power of two, so a quantile is at most 0.8 % too
//! high, from 64 ns to 68 s in 12 KiB. Written here instead of using the
//! `hdrhistogram` crate because recording is in the hot loop of the measured
//! client, with one table per client, and all that is needed is these 60 lines:
//! a fixed table that is never resized, with 32-bit counters so that 256
//! clients stay in the cache.

use std::time::Duration;

/// Buckets per power of two.
const ROW: u64 = 128;
/// The finest step is 2^6 = 64 ns: below the cost of reading the clock.
const UNIT_BITS: u32 = 6;
/// Values from this one up are not distinguished, 2^36 ns = 68 s.
const TOP_BITS: u32 = 36;
/// The first row counts 0 to 255 units one by one; each later row covers one
/// more power of two.
const BUCKETS: usize = ROW as usize * (TOP_BITS - UNIT_BITS - ROW.ilog2() + 1) as usize;

/// A count of latencies.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u32]>,
    total: u64,
    sum_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS].into(), total: 0, sum_ns: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts one latency. Latencies over 68 s are counted as 68 s, except in
    /// [`max`](Self::max).
    pub fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket_of(ns)] += 1;
        self.total += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// The number of counted latencies.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The longest latency, exact; zero if there is none.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns)
    }

    /// The arithmetic mean; zero if there is none.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum_ns.checked_div(self.total).unwrap_or(0))
    }

    /// The latency that a fraction `quantile` (0 to 1) does not exceed: the
    /// upper edge of its bucket, capped at the longest latency. Zero if empty.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        let rank = (quantile * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen >= rank {
                return Duration::from_nanos(upper_edge_of(bucket).min(self.max_ns));
            }
        }
        self.max()
    }
}

/// Shifting a value until it is below two rows gives its row (the shift) and its
/// place in the row (the remainder, always in the upper half).
fn bucket_of(ns: u64) -> usize {
    let units = ns.min((1 << TOP_BITS) - 1) >> UNIT_BITS;
    let shift = u64::from((units | 1).ilog2().saturating_sub(ROW.ilog2()));
    (shift * ROW + (units >> shift)) as usize
}

/// The largest value, in nanoseconds, that falls into the bucket.
fn upper_edge_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / ROW).saturating_sub(1);
    ((bucket - shift * ROW + 1) << shift << UNIT_BITS) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_the_bucket_whose_edges_hold_it() {
        let mut ns = 1_u64;
        while ns < 1 << TOP_BITS {
            for value in [ns - 1, ns, ns + 1, ns + ns / 3] {
                let value = value.min((1 << TOP_BITS) - 1);
                let bucket = bucket_of(value);
                assert!(bucket < BUCKETS, "{value}");
                assert!(value <= upper_edge_of(bucket), "{value}");
                assert!(bucket == 0 || value > upper_edge_of(bucket - 1), "{value}");
            }
            ns += ns / 7 + 1;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_within_a_hundredth_of_the_sorted_list() {
        let mut state = 7;
        let mut all: Vec<u64> = (0..20_000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                20_000 + state % 5_000_000
            })
            .collect();
        let mut histogram = Histogram::default();
        let mut second = Histogram::default();
        for (i, ns) in all.iter().enumerate() {
            let half = if i % 2 == 0 { &mut histogram } else { &mut second };
            half.record(Duration::from_nanos(*ns));
        }
        histogram.merge(&second);
        all.sort_unstable();
        for quantile in [0.001, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let exact = all[((quantile * all.len() as f64).ceil() as usize).max(1) - 1] as f64;
            let got = histogram.quantile(quantile).as_nanos() as f64;
            assert!(got >= exact && got <= exact * 1.01, "{quantile}: {got} is not {exact}");
        }
        assert_eq!(histogram.len(), 20_000);
        assert_eq!(histogram.max().as_nanos() as u64, *all.last().expect("not empty"));
        let mean = all.iter().sum::<u64>() / 20_000;
        assert_eq!(histogram.mean().as_nanos() as u64, mean);
    }

    #[test]
    fn an_empty_one_answers_zero() {
        assert_eq!(Histogram::default().quantile(0.99), Duration::ZERO);
        assert_eq!(Histogram::default().mean(), Duration::ZERO);
    }
}
