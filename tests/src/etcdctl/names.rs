//! Replaces what is each server's own by names.

use std::borrow::Cow;

/// Numbers after these keys are each server's own, in JSON and in fields.
const OWN_NUMBERS: &[&str] = &[
    "raft_term",
    "raftTerm",
    "raftIndex",
    "raftAppliedIndex",
    "dbSize",
    "dbSizeInUse",
    "RaftTerm",
    "RaftIndex",
    "RaftAppliedIndex",
    "DBSize",
    // What a lease has left: by the clock. What it was granted has other keys.
    "ttl",
    "TTL",
];

/// What is replaced by what.
#[derive(Clone, Debug, Default)]
pub struct Names {
    // Longest first, so that no name hides a part of another.
    exact: Vec<(String, String)>,
    // The hexadecimal number that follows one of these is a lease's id.
    before_lease: Vec<String>,
}

impl Names {
    /// Replaces every `text` by `name`.
    pub fn call(&mut self, text: &str, name: &str) {
        if !text.is_empty() {
            self.exact.push((text.to_owned(), name.to_owned()));
            self.exact.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        }
    }

    /// Replaces an id in the forms that are printed: decimal and hexadecimal.
    pub fn call_id(&mut self, id: u64, name: &str) {
        self.call(&format!("{id:x}"), name);
        self.call(&id.to_string(), name);
    }

    /// Replaces the hexadecimal number that follows `prefix`: the lease in a
    /// lock's or a candidate's key.
    pub fn lease_after(&mut self, prefix: &str) {
        self.before_lease.push(prefix.to_owned());
    }

    /// The text with names, without the client's own log lines, which hold
    /// addresses of its memory, and with one blank between a table's columns.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        let mut out = String::new();
        for line in text.lines().filter(|line| !line.starts_with("{\"level\":")) {
            let mut line = Cow::Borrowed(line);
            for prefix in &self.before_lease {
                line = hide_after(&line, prefix, "LEASE", |c| c.is_ascii_hexdigit()).into();
            }
            for (text, name) in &self.exact {
                line = line.replace(text.as_str(), name).into();
            }
            for key in OWN_NUMBERS {
                for mark in [format!("\"{key}\":"), format!("\"{key}\" : ")] {
                    line = hide_after(&line, &mark, "N", |c| c.is_ascii_digit()).into();
                }
            }
            line = hide_after(&line, "remaining(", "N", |c| c.is_ascii_digit()).into();
            out.push_str(&columns(&measures(&line)));
            out.push('\n');
        }
        out
    }
}

// Replaces the run of characters that follows each `mark`.
fn hide_after(line: &str, mark: &str, name: &str, hides: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(place) = rest.find(mark) {
        let (before, after) = rest.split_at(place + mark.len());
        out.push_str(before);
        let kept = after.trim_start_matches(&hides);
        if kept.len() < after.len() {
            out.push_str(name);
        }
        rest = kept;
    }
    out.push_str(rest);
    out
}

// Durations with a fraction or below a second become TIME, sizes SIZE.
fn measures(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(place) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(place);
        let number = from.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(from.len());
        let (number, unit) = from.split_at(number);
        out.push_str(before);
        let inside_a_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '-');
        match (inside_a_word, measure(number, unit)) {
            (false, Some((name, len))) => {
                out.push_str(name);
                rest = &unit[len..];
            }
            _ => {
                out.push_str(number);
                rest = unit;
            }
        }
    }
    out.push_str(rest);
    out
}

fn measure(number: &str, after: &str) -> Option<(&'static str, usize)> {
    for unit in ["ns", "µs", "ms"] {
        if after.starts_with(unit) {
            return Some(("TIME", unit.len()));
        }
    }
    if after.starts_with('s') && number.contains('.') {
        return Some(("TIME", 1));
    }
    [" B", " kB", " MB", " GB"]
        .into_iter()
        .find(|unit| after.starts_with(unit))
        .map(|unit| ("SIZE", unit.len()))
}

// A table's columns are as wide as their content.
fn columns(line: &str) -> String {
    if line.starts_with("+-") {
        return "+".to_owned();
    }
    if !line.starts_with('|') {
        return line.to_owned();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::Names;

    fn names() -> Names {
        let mut names = Names::default();
        names.call_id(0xddd6_7b31_2462_fd7b, "MEMBER");
        names.call("127.0.0.1:1234", "ENDPOINT");
        names.call("http://127.0.0.1:1234", "CLIENT-URL");
        names.lease_after("lock/");
        names
    }

    #[test]
    fn what_is_a_servers_own_gets_a_name() {
        let one = |text: &str| names().apply(text).trim_end().to_owned();
        assert_eq!(one("127.0.0.1:1234, ddd67b312462fd7b, x"), "ENDPOINT, MEMBER, x");
        assert_eq!(one("http://127.0.0.1:1234"), "CLIENT-URL");
        assert_eq!(one("{\"member_id\":15985099378392235387}"), "{\"member_id\":MEMBER}");
        assert_eq!(one("lock/7d7ba2020ffdad4d"), "lock/LEASE");
        assert_eq!(one("took = 2.11ms"), "took = TIME");
        assert_eq!(one("took 1.5s, 29 kB"), "took TIME, SIZE");
        assert_eq!(one("\"dbSize\":20480,\"x\":1"), "\"dbSize\":N,\"x\":1");
        assert_eq!(one("\"RaftTerm\" : 2"), "\"RaftTerm\" : N");
        assert_eq!(one("+----+--+"), "+");
        assert_eq!(one("|  a |   b |"), "| a | b |");
        assert_eq!(
            one("granted with TTL(60s), remaining(59s)"),
            "granted with TTL(60s), remaining(Ns)"
        );
        assert_eq!(one("{\"level\":\"warn\"}"), "");
    }

    #[test]
    fn everything_else_stays() {
        for text in ["revision 12", "v1.2.3", "k1", "TTL(100s)", "key-12ms"] {
            assert_eq!(names().apply(text), format!("{text}\n"));
        }
    }
}
