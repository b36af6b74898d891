//! The rounds of one workload on both servers, side by side.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::sample::{Metric, Sample};
use crate::server::Side;
use crate::target::{Target, Verdict};

/// One round: each server's sample, or why it has none.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// T4's.
    pub t4: Result<Sample, String>,
    /// etcd's.
    pub etcd: Result<Sample, String>,
}

impl Round {
    /// The sample of one side.
    #[must_use]
    pub fn of(&self, side: Side) -> Option<&Sample> {
        match side {
            Side::T4 => self.t4.as_ref().ok(),
            Side::Etcd => self.etcd.as_ref().ok(),
        }
    }

    fn ratio(&self, metric: Metric) -> Option<f64> {
        let (t4, etcd) = (self.of(Side::T4)?.get(metric)?, self.of(Side::Etcd)?.get(metric)?);
        Some(t4 / etcd).filter(|ratio| ratio.is_finite())
    }
}

/// All rounds of one workload.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The workload.
    pub name: String,
    /// What counts as one operation.
    pub operation: String,
    /// In execution order.
    pub rounds: Vec<Round>,
    /// The targets for T4, and whether it met them.
    pub judged: Vec<Judged>,
}

/// A target with its verdict.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Judged {
    /// The target.
    #[serde(flatten)]
    pub target: Target,
    /// Whether it was met.
    pub verdict: Verdict,
}

/// T4's value over etcd's: a ratio per round, as the machine's speed changes
/// from round to round, and the median of those.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The median of the rounds.
    pub median: f64,
    /// The lowest round.
    pub min: f64,
    /// The highest round.
    pub max: f64,
}

impl Comparison {
    /// Judges the rounds.
    #[must_use]
    pub fn new(
        name: String,
        operation: String,
        rounds: Vec<Round>,
        targets: &[Target],
    ) -> Comparison {
        let mut comparison = Comparison { name, operation, rounds, judged: Vec::new() };
        comparison.judged = targets
            .iter()
            .map(|&target| Judged { target, verdict: comparison.judge(target) })
            .collect();
        comparison
    }

    /// The median over the rounds of a metric of one server.
    #[must_use]
    pub fn median(&self, side: Side, metric: Metric) -> Option<f64> {
        self.median_of(side, |sample| sample.get(metric))
    }

    /// The same for the machine alone.
    #[must_use]
    pub fn baseline(&self, side: Side, metric: Metric) -> Option<f64> {
        self.median_of(side, |sample| sample.baseline.get(&metric).copied())
    }

    /// T4's value over etcd's.
    #[must_use]
    pub fn ratio(&self, metric: Metric) -> Option<Ratio> {
        let ratios: Vec<f64> = self.rounds.iter().filter_map(|round| round.ratio(metric)).collect();
        Some(Ratio {
            median: median(ratios.clone())?,
            min: ratios.iter().copied().reduce(f64::min)?,
            max: ratios.iter().copied().reduce(f64::max)?,
        })
    }

    /// The notes of a side, each as the median over the rounds.
    #[must_use]
    pub fn notes(&self, side: Side) -> BTreeMap<&'static str, f64> {
        let samples = || self.rounds.iter().filter_map(move |round| round.of(side));
        let names = samples().flat_map(|sample| sample.notes.keys().copied());
        names
            .filter_map(|name| {
                let values = samples().filter_map(|sample| sample.notes.get(name).copied());
                Some((name, median(values.collect())?))
            })
            .collect()
    }

    /// Why a server has no sample, for the rounds without one.
    pub fn failures(&self) -> impl Iterator<Item = (Side, &str)> {
        self.rounds.iter().flat_map(|round| {
            let t4 = round.t4.as_ref().err().map(|why| (Side::T4, why.as_str()));
            let etcd = round.etcd.as_ref().err().map(|why| (Side::Etcd, why.as_str()));
            t4.into_iter().chain(etcd)
        })
    }

    fn median_of(&self, side: Side, get: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        median(self.rounds.iter().filter_map(|round| get(round.of(side)?)).collect())
    }

    fn judge(&self, target: Target) -> Verdict {
        let metric = target.metric;
        target.bound.judge(
            self.ratio(metric).map(|ratio| ratio.median),
            self.median(Side::T4, metric),
            self.baseline(Side::T4, metric),
        )
    }
}

/// The median; for an even number of values, the mean of the two middle ones.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        even if even % 2 == 0 => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(p50: f64) -> Result<Sample, String> {
        let mut sample = Sample::default();
        sample.set(Metric::P50, p50);
        sample.notes.insert("a note", p50);
        Ok(sample)
    }

    fn comparison(rounds: &[(f64, f64)], targets: &[Target]) -> Comparison {
        let round = |&(t4, etcd): &(f64, f64)| Round { t4: sample(t4), etcd: sample(etcd) };
        Comparison::new("x".into(), "y".into(), rounds.iter().map(round).collect(), targets)
    }

    #[test]
    fn the_ratio_is_taken_within_each_round() {
        // The machine is ten times slower in the last round: the ratio of the
        // medians would be 1, but T4 took half of etcd's time in each.
        let rounds = [(50.0, 100.0), (60.0, 120.0), (500.0, 1_000.0)];
        let comparison = comparison(&rounds, &[Target::at_most(Metric::P50, 0.5)]);
        let ratio = comparison.ratio(Metric::P50).expect("measured");
        assert_eq!(ratio, Ratio { median: 0.5, min: 0.5, max: 0.5 });
        assert_eq!(comparison.median(Side::Etcd, Metric::P50), Some(120.0));
        assert_eq!(comparison.judged[0].verdict, Verdict::Met);
        assert_eq!(comparison.notes(Side::T4), BTreeMap::from([("a note", 60.0)]));
    }

    #[test]
    fn a_round_that_failed_is_left_out_and_told() {
        let mut comparison = comparison(&[(1.0, 2.0)], &[Target::at_most(Metric::P50, 0.4)]);
        comparison.rounds.push(Round { t4: Err("it broke".into()), etcd: sample(3.0) });
        assert_eq!(comparison.ratio(Metric::P50).map(|ratio| ratio.median), Some(0.5));
        assert_eq!(comparison.failures().collect::<Vec<_>>(), [(Side::T4, "it broke")]);
        assert_eq!(comparison.judged[0].verdict, Verdict::Missed);
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }
}
