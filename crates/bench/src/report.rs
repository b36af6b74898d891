//! The results of a run, as tables that are readable both as text and as Markdown.

mod table;

use std::fmt::Write as _;

use serde::Serialize;

use crate::comparison::{Comparison, Ratio};
use crate::machine::Machine;
use crate::sample::Metric;
use crate::server::Side;
use crate::target::{Bound, Verdict};
use table::Table;

/// The metrics of most workloads, as columns of the first table.
const COLUMNS: [Metric; 5] =
    [Metric::Throughput, Metric::P50, Metric::P99, Metric::P999, Metric::ServerCpu];
/// The metrics of few workloads, one row each in the second table.
const ROWS: [Metric; 4] = [Metric::Memory, Metric::Restart, Metric::PutGap, Metric::GetGap];

/// The fraction of the cores' time that other processes may take before a run
/// is meaningless: system daemons and interrupts stay below it.
const QUIET: f64 = 0.05;

/// A whole run. Serialised, it is the JSON output of the benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The machine that it ran on.
    pub machine: Machine,
    /// The version that T4's binary reports.
    pub t4: String,
    /// The version that etcd's binary reports.
    pub etcd: String,
    /// Whether the short rounds and small stores of `--quick` were used.
    pub quick: bool,
    /// Rounds of most workloads.
    pub rounds: usize,
    /// Length of one measurement, seconds.
    pub window_s: f64,
    /// The fraction of the cores' time that other processes took, 0 to 1.
    pub others_share: f64,
    /// The duration of the whole run, seconds.
    pub took_s: u64,
    /// The results.
    pub comparisons: Vec<Comparison>,
}

impl Report {
    /// Everything, for human readers.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (title, body) in [
            ("Setting", self.setting()),
            ("Throughput, latency, CPU", self.side_by_side()),
            ("Memory, restart, stalls", self.few()),
            ("Targets", self.targets()),
            ("What was measured", self.operations()),
            ("Failures", self.failures()),
        ] {
            if !body.is_empty() {
                let _ = write!(text, "## {title}\n\n{body}\n");
            }
        }
        text
    }

    /// The number of targets with this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        let judged = self.comparisons.iter().flat_map(|comparison| &comparison.judged);
        judged.filter(|judged| judged.verdict == verdict).count()
    }

    fn setting(&self) -> String {
        let machine = &self.machine;
        format!(
            "* {} against {}\n* {}, {} cores, {} GiB; {}\n* data on {}; writing 2 KiB and \
             fdatasync takes {:.0} µs (p99 {:.0} µs)\n* {} rounds of {} s per server{}; the \
             run took {} s\n* other processes took {:.0} % of the cores' time{}\n",
            self.t4,
            self.etcd,
            machine.cpu,
            machine.cores,
            machine.memory_gib,
            machine.kernel,
            machine.file_system,
            machine.fdatasync_p50_us,
            machine.fdatasync_p99_us,
            self.rounds,
            self.window_s,
            if self.quick { ", the short ones of `--quick`, on smaller stores" } else { "" },
            self.took_s,
            self.others_share * 100.0,
            if self.others_share > QUIET { ": too much to trust what follows" } else { "" },
        )
    }

    fn side_by_side(&self) -> String {
        let mut head = vec!["workload".to_owned()];
        for metric in COLUMNS {
            head.extend([format!("{}: t4 / etcd", metric.label()), "ratio".to_owned()]);
        }
        let mut table = Table::new(head);
        for comparison in &self.comparisons {
            if comparison.median(Side::Etcd, Metric::Throughput).is_none() {
                continue;
            }
            let mut row = vec![comparison.name.clone()];
            for metric in COLUMNS {
                row.push(pair(comparison, metric));
                row.push(marked_ratio(comparison, metric));
            }
            table.push(row);
        }
        table.text()
    }

    fn few(&self) -> String {
        let head = ["workload", "metric", "t4", "etcd", "ratio", "machine alone"];
        let mut table = Table::new(head.map(str::to_owned).into());
        for comparison in &self.comparisons {
            for metric in ROWS {
                let medians = Side::BOTH.map(|side| comparison.median(side, metric));
                if medians == [None, None] {
                    continue;
                }
                table.push(vec![
                    comparison.name.clone(),
                    metric.label().to_owned(),
                    number(medians[0]),
                    number(medians[1]),
                    marked_ratio(comparison, metric),
                    number(comparison.baseline(Side::T4, metric)),
                ]);
            }
        }
        table.text()
    }

    fn targets(&self) -> String {
        let head = ["workload", "metric", "target", "measured, of rounds", "verdict"];
        let mut table = Table::new(head.map(str::to_owned).into());
        for comparison in &self.comparisons {
            for judged in &comparison.judged {
                let metric = judged.target.metric;
                let measured = match judged.target.bound {
                    Bound::AtMostOrBaseline(_) => number(comparison.median(Side::T4, metric)),
                    _ => comparison.ratio(metric).map_or_else(nothing, spread),
                };
                table.push(vec![
                    comparison.name.clone(),
                    metric.label().to_owned(),
                    judged.target.bound.text(),
                    measured,
                    judged.verdict.text().to_owned(),
                ]);
            }
        }
        let text = table.text();
        if text.is_empty() {
            return text;
        }
        let [met, missed, open] = [Verdict::Met, Verdict::Missed, Verdict::NotMeasured]
            .map(|verdict| self.count(verdict));
        format!("{met} met, {missed} missed, {open} not measured.\n\n{text}")
    }

    fn operations(&self) -> String {
        let head = ["workload", "one operation is", "client CPU µs/op", "t4", "etcd"];
        let mut table = Table::new(head.map(str::to_owned).into());
        for comparison in &self.comparisons {
            table.push(vec![
                comparison.name.clone(),
                comparison.operation.clone(),
                pair(comparison, Metric::ClientCpu),
                notes(comparison, Side::T4),
                notes(comparison, Side::Etcd),
            ]);
        }
        table.text()
    }

    fn failures(&self) -> String {
        let mut text = String::new();
        for comparison in &self.comparisons {
            for (side, why) in comparison.failures() {
                // The first lines have the reason; the rest is the server's log.
                let why: Vec<&str> = why.lines().take(3).collect();
                let _ = writeln!(text, "* {}, {}: {}", comparison.name, side.name(), why.join(" "));
            }
        }
        text
    }
}

/// A comparison as one line, printed during the run.
#[must_use]
pub fn one_line(comparison: &Comparison) -> String {
    let mut text = String::new();
    for metric in COLUMNS.into_iter().chain(ROWS) {
        if let Some(ratio) = comparison.ratio(metric) {
            let _ = write!(text, "{} {:.2}x  ", metric.label(), ratio.median);
        }
    }
    if let Some((side, why)) = comparison.failures().next() {
        let _ = write!(text, "{} FAILED: {}", side.name(), why.lines().next().unwrap_or_default());
    }
    text
}

fn pair(comparison: &Comparison, metric: Metric) -> String {
    let [t4, etcd] = Side::BOTH.map(|side| comparison.median(side, metric));
    if t4.is_none() && etcd.is_none() {
        return nothing();
    }
    format!("{} / {}", number(t4), number(etcd))
}

/// The ratio, marked with the verdict on its target.
fn marked_ratio(comparison: &Comparison, metric: Metric) -> String {
    let judged = comparison.judged.iter().find(|judged| judged.target.metric == metric);
    let mark = match judged.map(|judged| judged.verdict) {
        Some(Verdict::Met) => " ✓",
        Some(Verdict::Missed) => " ✗",
        Some(Verdict::NotMeasured) | None => "",
    };
    comparison.ratio(metric).map_or_else(nothing, |ratio| format!("{:.2}x{mark}", ratio.median))
}

fn spread(Ratio { median, min, max }: Ratio) -> String {
    format!("{median:.2}x [{min:.2}..{max:.2}]")
}

fn notes(comparison: &Comparison, side: Side) -> String {
    let notes = comparison.notes(side);
    let each = notes.iter().map(|(name, value)| format!("{name}: {}", number(Some(*value))));
    each.collect::<Vec<_>>().join("; ")
}

/// Formats three significant digits.
fn number(value: Option<f64>) -> String {
    match value {
        None => nothing(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn nothing() -> String {
    "–".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::Round;
    use crate::sample::Sample;
    use crate::target::Target;

    fn sample(throughput: f64, gap: f64) -> Result<Sample, String> {
        let mut sample = Sample::default();
        sample.set(Metric::Throughput, throughput);
        sample.set(Metric::PutGap, gap);
        sample.baseline.insert(Metric::PutGap, 3.0);
        Ok(sample)
    }

    fn report(t4: Result<Sample, String>) -> Report {
        let stall = Target { metric: Metric::PutGap, bound: Bound::AtMostOrBaseline(20.0) };
        let targets = [Target::throughput(1.5), stall];
        let rounds = vec![Round { t4, etcd: sample(1_000.0, 30.0) }];
        Report {
            machine: Machine {
                cpu: "a processor".into(),
                cores: 2,
                memory_gib: 24,
                kernel: "Linux 6".into(),
                file_system: "ext4".into(),
                fdatasync_p50_us: 100.0,
                fdatasync_p99_us: 900.0,
            },
            t4: "t4 0.1.0".into(),
            etcd: "etcd 3.5.1".into(),
            quick: false,
            rounds: 1,
            window_s: 1.5,
            others_share: 0.01,
            took_s: 9,
            comparisons: vec![Comparison::new("put-16".into(), "put".into(), rounds, &targets)],
        }
    }

    #[test]
    fn a_missed_target_is_said_in_every_table_that_shows_it() {
        let text = report(sample(1_400.0, 12.0)).text();
        assert!(text.contains("1400 / 1000") && text.contains("1.40x ✗"), "{text}");
        assert!(text.contains("1 met, 1 missed, 0 not measured."), "{text}");
        assert!(text.contains("MISSED"), "{text}");
        assert!(text.contains("12.0") && text.contains("0.40x ✓"), "{text}");
        assert!(!text.contains("## Failures"), "{text}");
    }

    #[test]
    fn a_run_on_a_busy_machine_says_so() {
        let quiet = report(sample(1.0, 1.0));
        assert!(!quiet.text().contains("too much to trust"));
        let busy = Report { others_share: 0.3, ..quiet };
        assert!(busy.text().contains("took 30 % of the cores' time: too much to trust"));
    }

    #[test]
    fn a_failure_leaves_its_targets_unmeasured() {
        let report = report(Err("the server ended\nlog".into()));
        assert_eq!(report.count(Verdict::NotMeasured), 2);
        let text = report.text();
        assert!(text.contains("* put-16, t4: the server ended log"), "{text}");
        assert!(text.contains("– / 1000"), "{text}");
    }

    #[test]
    fn the_json_has_every_round_and_verdict() {
        let json = serde_json::to_value(report(sample(2_000.0, 12.0))).expect("serialises");
        let put = &json["comparisons"][0];
        assert_eq!(put["rounds"][0]["t4"]["Ok"]["metrics"]["throughput"], 2_000.0);
        assert_eq!(put["judged"][0]["verdict"], "met");
        assert_eq!(put["judged"][0]["bound"]["ratio_at_least"], 1.5);
    }
}
