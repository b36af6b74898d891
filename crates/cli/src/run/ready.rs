//! The only line on standard output: the server is ready, and where it listens.
//! It has the form of a log line, for collectors that read both streams, but no
//! log level hides it from programs that wait for it.

use std::io::Write;

use serde::Serialize;
use t4_server::ListenAddress;
use tracing::Level;

use crate::logging::zap::{self, Line, Zap};
use crate::logging::{self, Format};

const MESSAGE: &str = "ready to serve client requests";
/// The line's target. Not a module, because people would have to match it.
const TARGET: &str = "t4";

/// In the JSON format of `tracing`.
#[derive(Serialize)]
struct JsonLine<'a> {
    timestamp: &'a str,
    level: &'static str,
    message: &'static str,
    client: Vec<String>,
    /// Several are separated by `, `.
    metrics: Option<String>,
    target: &'static str,
}

/// Prints the line.
pub(crate) fn tell(format: Format, client: &[ListenAddress], metrics: &[ListenAddress]) {
    let line = line(format, &logging::now(), client, metrics);
    let mut out = std::io::stdout().lock();
    // Nobody needs to read it.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn line(format: Format, time: &str, client: &[ListenAddress], metrics: &[ListenAddress]) -> String {
    let shown = |addresses: &[ListenAddress]| -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    };
    let client = shown(client);
    let metrics = (!metrics.is_empty()).then(|| shown(metrics).join(", "));
    match format {
        Format::Json => {
            let (level, target) = ("INFO", TARGET);
            let line =
                JsonLine { timestamp: time, level, message: MESSAGE, client, metrics, target };
            serde_json::to_string(&line).expect("text can be written as JSON")
        }
        Format::Text | Format::Zap(Zap::Console) => {
            let metrics = match &metrics {
                Some(metrics) => format!("metrics on {metrics}"),
                None => "metrics off".to_owned(),
            };
            let text = format!("{MESSAGE} on {}; {metrics}", client.join(", "));
            if format == Format::Text {
                format!("{time}  INFO {TARGET}: {text}")
            } else {
                Line::new(&text).text(Zap::Console, time, Level::INFO, &place())
            }
        }
        Format::Zap(Zap::Json) => Line::new(MESSAGE)
            .with("client", client)
            .with("metrics", metrics)
            .text(Zap::Json, time, Level::INFO, &place()),
    }
}

fn place() -> String {
    zap::short_place(file!(), line!())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_time_and_a_level() {
        let client = ["127.0.0.1:1", "unix:///s"].map(|text| text.parse().expect("address"));
        let metrics = ["127.0.0.1:2".parse().expect("address")];
        let of = |format, metrics: &[ListenAddress]| line(format, "T", &client, metrics);
        assert_eq!(
            of(Format::Text, &metrics),
            "T  INFO t4: ready to serve client requests on http://127.0.0.1:1, \
             unix:///s; metrics on http://127.0.0.1:2"
        );
        assert!(of(Format::Text, &[]).ends_with("unix:///s; metrics off"));
        assert_eq!(
            of(Format::Json, &[]),
            r#"{"timestamp":"T","level":"INFO","message":"ready to serve client requests","client":["http://127.0.0.1:1","unix:///s"],"metrics":null,"target":"t4"}"#
        );
        let zap = of(Format::Zap(Zap::Json), &metrics);
        assert!(zap.starts_with(r#"{"level":"info","ts":"T","caller":"run/ready.rs:"#), "{zap}");
        assert!(zap.contains(r#""msg":"ready to serve client requests","client":["http://127.0.0.1:1","unix:///s"],"metrics":"http://127.0.0.1:2"}"#), "{zap}");
        let console = of(Format::Zap(Zap::Console), &[]);
        assert!(console.starts_with("T\tinfo\trun/ready.rs:"), "{console}");
        assert!(console.ends_with("; metrics off"), "{console}");
    }
}
