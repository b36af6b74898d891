//! A page of metrics, read strictly: what is not in the form that Prometheus
//! documents is an error.

use std::collections::{BTreeMap, BTreeSet};

/// The metrics of a page, by name.
pub(crate) type Page = BTreeMap<String, Family>;

/// In the order in which they come.
type Labels = Vec<(String, String)>;

/// One metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Family {
    /// `counter`, `gauge`, `histogram`, …
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Of a histogram: with `_bucket`, `_sum` or `_count`.
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) value: f64,
}

impl Family {
    /// The names of all labels but the bounds of histograms.
    pub(crate) fn label_names(&self) -> BTreeSet<&str> {
        let labels = self.samples.iter().flat_map(|sample| &sample.labels);
        labels.map(|(name, _)| name.as_str()).filter(|name| *name != "le").collect()
    }

    /// The bounds of the histogram.
    pub(crate) fn bounds(&self) -> BTreeSet<&str> {
        let labels = self.samples.iter().flat_map(|sample| &sample.labels);
        labels.filter(|(name, _)| name == "le").map(|(_, bound)| bound.as_str()).collect()
    }

    /// The sum of the samples of that name with all of these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| {
                    sample.labels.iter().any(|(l, v)| l == label && v == value)
                })
        };
        self.samples.iter().filter(has).map(|sample| sample.value).sum()
    }
}

/// Reads a page.
pub(crate) fn read(text: &str) -> Result<Page, String> {
    let mut page = Page::new();
    let mut helped = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or_else(|| format!("no help: {line}"))?;
            if help.is_empty() || !helped.insert(name.to_owned()) {
                return Err(format!("no help, or it comes twice: {line}"));
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| format!("no type: {line}"))?;
            let family = Family { kind: kind.to_owned(), samples: Vec::new() };
            if page.insert(name.to_owned(), family).is_some() || !helped.contains(name) {
                return Err(format!("a type twice, or before the help: {line}"));
            }
        } else if !line.is_empty() {
            let sample = sample(line).ok_or_else(|| format!("not a sample: {line}"))?;
            let name = family_name(&page, &sample.name);
            let family = page.get_mut(&name).ok_or_else(|| format!("no type before: {line}"))?;
            family.samples.push(sample);
        }
    }
    page.iter().try_for_each(|(name, family)| check(name, family))?;
    Ok(page)
}

fn family_name(page: &Page, sample: &str) -> String {
    let parts = ["_bucket", "_sum", "_count"];
    let of_histogram = parts.iter().filter_map(|part| sample.strip_suffix(part)).find(|name| {
        page.get(*name).is_some_and(|family| matches!(&*family.kind, "histogram" | "summary"))
    });
    of_histogram.unwrap_or(sample).to_owned()
}

fn sample(line: &str) -> Option<Sample> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = line.find(|c| !is_name(c))?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.strip_prefix(' ')?;
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().ok()? };
    (!name.is_empty()).then(|| Sample { name: name.to_owned(), labels, value })
}

/// Labels up to the brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Vec::new();
    while !rest.starts_with('}') {
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    c @ ('"' | '\\') => c,
                    _ => return None,
                }),
                (_, c) => value.push(c),
            }
        };
        labels.push((name.to_owned(), value));
        rest = &after[end..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some((labels, &rest[1..]))
}

/// What `promtool check metrics` looks at, and more.
fn check(name: &str, family: &Family) -> Result<(), String> {
    if !matches!(&*family.kind, "counter" | "gauge" | "histogram" | "summary" | "untyped") {
        return Err(format!("{name}: no such type: {}", family.kind));
    }
    let mut seen = BTreeSet::new();
    for sample in &family.samples {
        let names: Vec<&str> = sample.labels.iter().map(|(name, _)| name.as_str()).collect();
        let plain: Vec<&str> =
            names.iter().copied().filter(|it| !matches!(*it, "le" | "quantile")).collect();
        if !plain.is_sorted_by(|one, next| one < next) {
            return Err(format!("{name}: labels out of order or double: {names:?}"));
        }
        if !seen.insert((sample.name.clone(), sample.labels.clone())) {
            return Err(format!("{name}: a sample twice: {sample:?}"));
        }
        if family.kind == "counter" && sample.value < 0.0 {
            return Err(format!("{name}: a counter below 0: {sample:?}"));
        }
    }
    if family.kind == "histogram" { check_histogram(name, family) } else { Ok(()) }
}

fn check_histogram(name: &str, family: &Family) -> Result<(), String> {
    // By the other labels: (bound, count).
    let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let bound = sample.labels.last().filter(|(label, _)| label == "le");
        let bound = bound.ok_or_else(|| format!("{name}: the last label is not le"))?.1.as_str();
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap_or(f64::NAN) };
        let others = sample.labels[..sample.labels.len() - 1].to_vec();
        buckets.entry(others).or_default().push((bound, sample.value));
    }
    for (labels, buckets) in buckets {
        let ascends = buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1);
        let all = buckets.last().filter(|(bound, _)| bound.is_infinite());
        let pairs: Vec<(&str, &str)> = labels.iter().map(|(l, v)| (&**l, &**v)).collect();
        let count = family.sum(&format!("{name}_count"), &pairs);
        if !ascends || all.is_none_or(|(_, all)| (all - count).abs() > 0.5) {
            return Err(format!("{name}{labels:?}: {buckets:?} of {count}"));
        }
    }
    Ok(())
}

#[test]
fn what_is_wrong_with_a_page_is_found() {
    let sound = "# HELP a x\n# TYPE a counter\na{b=\"1\\\"}\",c=\"\"} 5\n";
    let page = read(sound).expect("sound");
    assert_eq!(page["a"].samples[0].labels[0], ("b".into(), "1\"}".into()));
    let histogram = |buckets: &str| format!("# HELP h x\n# TYPE h histogram\n{buckets}");
    let good = "h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";
    assert!(read(&histogram(good)).is_ok());
    for wrong in [
        "a 5\n".to_owned(),
        "# TYPE a counter\na 5\n".to_owned(),
        "# HELP a x\n# TYPE a count\n".to_owned(),
        sound.replace("b=", "d="),
        sound.replace(" 5", " five"),
        sound.replace(" 5", " -5"),
        format!("{sound}{}", sound.lines().next_back().expect("a line")),
        histogram(&good.replace("} 1", "} 3")),
        histogram(&good.replace("count 2", "count 3")),
        histogram(&good.replace("+Inf", "2")),
    ] {
        assert!(read(&wrong).is_err(), "{wrong}");
    }
}
