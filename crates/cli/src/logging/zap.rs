//! Log lines in etcd's (zap's) format: log collectors and people's `jq` scripts
//! depend on the keys `level`, `ts`, `caller` and `msg`.

use std::fmt::{self, Write as _};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::now;

/// One of zap's two encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zap {
    /// One object per line.
    Json,
    /// Columns separated by tabs, with the fields as an object in the last one.
    Console,
}

/// A line under construction.
#[derive(Default)]
pub(crate) struct Line {
    message: String,
    /// In the order in which they were given.
    fields: Vec<(&'static str, Value)>,
}

impl Line {
    pub(crate) fn new(message: &str) -> Line {
        Line { message: message.to_owned(), fields: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Line {
        self.fields.push((name, value.into()));
        self
    }

    /// The text, without the line ending.
    pub(crate) fn text(&self, zap: Zap, time: &str, level: Level, caller: &str) -> String {
        let level = level_name(level);
        match zap {
            Zap::Json => {
                let mut text = String::from("{");
                let head = [("level", level), ("ts", time), ("caller", caller)];
                let head = head.into_iter().map(|(name, value)| (name, Value::from(value)));
                let message = ("msg", Value::from(self.message.as_str()));
                let fields = self.fields.iter().map(|(name, value)| (*name, value.clone()));
                for (n, (name, value)) in head.chain([message]).chain(fields).enumerate() {
                    let comma = if n == 0 { "" } else { "," };
                    let _ = write!(text, "{comma}{}:{value}", Value::from(name));
                }
                text + "}"
            }
            Zap::Console => {
                let mut text = format!("{time}\t{level}\t{caller}\t{}", self.message);
                for (n, (name, value)) in self.fields.iter().enumerate() {
                    let before = if n == 0 { "\t{" } else { ", " };
                    let _ = write!(text, "{before}{}: {value}", Value::from(*name));
                }
                if !self.fields.is_empty() {
                    text.push('}');
                }
                text
            }
        }
    }
}

impl<S, N> FormatEvent<S, N> for Zap
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        let metadata = event.metadata();
        writeln!(writer, "{}", line.text(*self, &now(), *metadata.level(), &caller(metadata)))
    }
}

impl Line {
    fn record(&mut self, field: &Field, value: Value) {
        self.fields.push((field.name(), value));
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.record(field, value.into());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// zap has no level below debug.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

fn caller(metadata: &Metadata<'_>) -> String {
    match (metadata.file(), metadata.line()) {
        (Some(file), Some(line)) => short_place(file, line),
        _ => metadata.target().to_owned(),
    }
}

/// The last folder and the file name, as zap shortens it.
pub(crate) fn short_place(file: &str, line: u32) -> String {
    let parts: Vec<&str> = file.split('/').filter(|part| !matches!(*part, "src" | "")).collect();
    format!("{}:{line}", parts[parts.len().saturating_sub(2)..].join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings() {
        let line = Line::new("a \"b\"\n").with("n", 5).with("expected-duration", "1s");
        assert_eq!(
            line.text(Zap::Json, "T", Level::WARN, "cli/run.rs:3"),
            r#"{"level":"warn","ts":"T","caller":"cli/run.rs:3","msg":"a \"b\"\n","n":5,"expected-duration":"1s"}"#
        );
        assert_eq!(
            line.text(Zap::Console, "T", Level::TRACE, "c"),
            "T\tdebug\tc\ta \"b\"\n\t{\"n\": 5, \"expected-duration\": \"1s\"}"
        );
        assert_eq!(Line::new("m").text(Zap::Console, "T", Level::INFO, "c"), "T\tinfo\tc\tm");
    }

    #[test]
    fn places_are_short() {
        assert_eq!(short_place("crates/node/src/open.rs", 93), "node/open.rs:93");
        assert_eq!(short_place("crates/cli/src/run/ready.rs", 1), "run/ready.rs:1");
        assert_eq!(short_place("/r/h2-0.4.1/src/lib.rs", 1), "h2-0.4.1/lib.rs:1");
        assert_eq!(short_place("main.rs", 1), "main.rs:1");
    }
}
