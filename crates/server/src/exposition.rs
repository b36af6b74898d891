//! The Prometheus text format (version 0.0.4).

use std::fmt::{Display, Write as _};

/// A document of metrics under construction.
#[derive(Default)]
pub(crate) struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a metric: its help and its type come once, before its samples.
    pub(crate) fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample. Its labels come in alphabetical order, as from Prometheus's
    /// own libraries: there are people who search for lines.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.ordered_sample(name, &in_order(labels), value);
    }

    fn ordered_sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (n, (label, content)) in labels.iter().enumerate() {
            self.text.push(if n == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{label}=\"");
            for c in content.chars() {
                match c {
                    '"' => self.text.push_str("\\\""),
                    '\\' => self.text.push_str("\\\\"),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// A metric with one sample without labels.
    pub(crate) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.metric(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The samples of a histogram: (upper bound, cumulative count). The bound is
    /// the last label, whatever the others are.
    pub(crate) fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        cumulative: impl IntoIterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        let bucket = format!("{name}_bucket");
        let labels = in_order(labels);
        let with_le = |out: &mut Self, le: &str, value: u64| {
            let mut labels = labels.clone();
            labels.push(("le", le));
            out.ordered_sample(&bucket, &labels, value);
        };
        for (bound, value) in cumulative {
            with_le(self, &as_go_writes(bound), value);
        }
        with_le(self, "+Inf", count);
        self.ordered_sample(&format!("{name}_sum"), &labels, sum);
        self.ordered_sample(&format!("{name}_count"), &labels, count);
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

fn in_order<'a>(labels: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut labels = labels.to_vec();
    labels.sort_unstable_by_key(|(name, _)| *name);
    labels
}

/// Bounds are labels, and labels are compared as texts: a million is `1e+06`.
fn as_go_writes(bound: f64) -> String {
    if bound < 1e6 {
        return bound.to_string();
    }
    let text = format!("{bound:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{digits}e+{exponent:0>2}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_written_as_by_go() {
        let cases = [
            (0.0001, "0.0001"),
            (8.192, "8.192"),
            (524_288.0, "524288"),
            (1_048_576.0, "1.048576e+06"),
            (8_388_608.0, "8.388608e+06"),
        ];
        for (bound, expected) in cases {
            assert_eq!(as_go_writes(bound), expected);
        }
    }

    #[test]
    fn a_document() {
        let mut out = Exposition::default();
        out.metric("a_total", "counter", "Help.");
        out.sample("a_total", &[("y", "z"), ("x", "1\"\\\n")], 5);
        out.metric("h", "histogram", "Help.");
        out.histogram("h", &[("z", "n")], [(0.5, 1), (1.0, 2)], 3, 2.25);
        let expected = r#"# HELP a_total Help.
# TYPE a_total counter
a_total{x="1\"\\\n",y="z"} 5
# HELP h Help.
# TYPE h histogram
h_bucket{z="n",le="0.5"} 1
h_bucket{z="n",le="1"} 2
h_bucket{z="n",le="+Inf"} 3
h_sum{z="n"} 2.25
h_count{z="n"} 3
"#;
        assert_eq!(out.finish(), expected);
    }
}
