//! The targets that T4 has promised to reach against etcd, and whether it did.

use serde::Serialize;

use crate::sample::Metric;

/// A bound on one metric of one workload.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Target {
    /// The metric.
    pub metric: Metric,
    /// The bound.
    pub bound: Bound,
}

/// How T4 must compare.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// At least this many times etcd's.
    RatioAtLeast(f64),
    /// At most this many times etcd's.
    RatioAtMost(f64),
    /// At most this much in the metric's own unit, or no more than the sample's
    /// baseline, which T4 does not cause.
    AtMostOrBaseline(f64),
}

/// Whether a target was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was met.
    Met,
    /// It was missed.
    Missed,
    /// One of the two servers has no value.
    NotMeasured,
}

impl Target {
    /// Throughput at least `ratio` times etcd's.
    #[must_use]
    pub fn throughput(ratio: f64) -> Target {
        Target { metric: Metric::Throughput, bound: Bound::RatioAtLeast(ratio) }
    }

    /// The metric at most `ratio` times etcd's.
    #[must_use]
    pub fn at_most(metric: Metric, ratio: f64) -> Target {
        Target { metric, bound: Bound::RatioAtMost(ratio) }
    }

    /// The target for the 99th percentile with this many clients, if any.
    #[must_use]
    pub fn tail(clients: usize) -> Option<Target> {
        match clients {
            0..16 => None,
            16..64 => Some(Target::at_most(Metric::P99, 1.0)),
            64.. => Some(Target::at_most(Metric::P99, 0.7)),
        }
    }
}

impl Bound {
    /// Judges the median of the rounds: the `ratio` to etcd, T4's `own` value,
    /// and T4's `baseline`, where available.
    #[must_use]
    pub fn judge(self, ratio: Option<f64>, own: Option<f64>, baseline: Option<f64>) -> Verdict {
        let met = match self {
            Bound::RatioAtLeast(least) => ratio.map(|ratio| ratio >= least),
            Bound::RatioAtMost(most) => ratio.map(|ratio| ratio <= most),
            Bound::AtMostOrBaseline(most) => {
                own.map(|own| own <= most || baseline.is_some_and(|baseline| own <= baseline))
            }
        };
        match met {
            Some(true) => Verdict::Met,
            Some(false) => Verdict::Missed,
            None => Verdict::NotMeasured,
        }
    }

    /// As human-readable text.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Bound::RatioAtLeast(least) => format!("≥ {least:.2}x"),
            Bound::RatioAtMost(most) => format!("≤ {most:.2}x"),
            Bound::AtMostOrBaseline(most) => format!("≤ {most} ms, or as machine alone"),
        }
    }
}

impl Verdict {
    /// As human-readable text.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::NotMeasured => "not measured",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_judged() {
        let verdict = |bound: Bound, ratio| bound.judge(Some(ratio), None, None);
        assert_eq!(verdict(Bound::RatioAtLeast(1.5), 1.5), Verdict::Met);
        assert_eq!(verdict(Bound::RatioAtLeast(1.5), 1.49), Verdict::Missed);
        assert_eq!(verdict(Bound::RatioAtMost(0.5), 0.5), Verdict::Met);
        assert_eq!(verdict(Bound::RatioAtMost(0.5), 0.51), Verdict::Missed);
        assert_eq!(Bound::RatioAtMost(0.5).judge(None, Some(1.0), None), Verdict::NotMeasured);
    }

    #[test]
    fn a_stall_counts_unless_it_is_there_anyway() {
        let bound = Bound::AtMostOrBaseline(20.0);
        assert_eq!(bound.judge(None, Some(19.0), Some(3.0)), Verdict::Met);
        assert_eq!(bound.judge(None, Some(30.0), Some(3.0)), Verdict::Missed);
        assert_eq!(bound.judge(None, Some(30.0), Some(31.0)), Verdict::Met);
        assert_eq!(bound.judge(None, None, Some(31.0)), Verdict::NotMeasured);
    }

    #[test]
    fn tails_are_bound_from_16_clients_on() {
        assert_eq!(Target::tail(1), None);
        assert_eq!(Target::tail(16), Some(Target::at_most(Metric::P99, 1.0)));
        assert_eq!(Target::tail(256), Some(Target::at_most(Metric::P99, 0.7)));
    }
}
