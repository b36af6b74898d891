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

    /// One sample.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
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

    /// The samples of a histogram: (upper bound in seconds, cumulative count).
    pub(crate) fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        cumulative: impl IntoIterator<Item = (f64, u64)>,
        count: u64,
        sum_s: f64,
    ) {
        let bucket = format!("{name}_bucket");
        let with_le = |out: &mut Self, le: &str, value: u64| {
            let mut labels = labels.to_vec();
            labels.push(("le", le));
            out.sample(&bucket, &labels, value);
        };
        for (bound, value) in cumulative {
            with_le(self, &bound.to_string(), value);
        }
        with_le(self, "+Inf", count);
        self.sample(&format!("{name}_sum"), labels, sum_s);
        self.sample(&format!("{name}_count"), labels, count);
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document() {
        let mut out = Exposition::default();
        out.metric("a_total", "counter", "Help.");
        out.sample("a_total", &[("x", "1\"\\\n"), ("y", "z")], 5);
        out.metric("h", "histogram", "Help.");
        out.histogram("h", &[("m", "n")], [(0.5, 1), (1.0, 2)], 3, 2.25);
        let expected = r#"# HELP a_total Help.
# TYPE a_total counter
a_total{x="1\"\\\n",y="z"} 5
# HELP h Help.
# TYPE h histogram
h_bucket{m="n",le="0.5"} 1
h_bucket{m="n",le="1"} 2
h_bucket{m="n",le="+Inf"} 3
h_sum{m="n"} 2.25
h_count{m="n"} 3
"#;
        assert_eq!(out.finish(), expected);
    }
}
