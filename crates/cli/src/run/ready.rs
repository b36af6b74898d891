//! The one line on standard output: the server answers now, and where. It is
//! not a log line, so that no log level hides it from who waits for it.

use std::io::Write;

use serde::Serialize;
use t4_server::ListenAddress;

use crate::logging::Format;

const MESSAGE: &str = "ready to serve client requests";

#[derive(Serialize)]
struct Line {
    message: &'static str,
    client: Vec<String>,
    /// Several are separated by `, `.
    metrics: Option<String>,
}

/// Prints the line.
pub(crate) fn tell(format: Format, client: &[ListenAddress], metrics: &[ListenAddress]) {
    let line = line(format, client, metrics);
    let mut out = std::io::stdout().lock();
    // Nobody has to listen.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn line(format: Format, client: &[ListenAddress], metrics: &[ListenAddress]) -> String {
    let shown = |addresses: &[ListenAddress]| -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    };
    let line = Line {
        message: MESSAGE,
        client: shown(client),
        metrics: (!metrics.is_empty()).then(|| shown(metrics).join(", ")),
    };
    match format {
        Format::Json => serde_json::to_string(&line).expect("text can be written as JSON"),
        Format::Text => {
            let metrics = line.metrics.as_deref().unwrap_or("off");
            format!("{MESSAGE} on {}; metrics on {metrics}", line.client.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats() {
        let client = ["127.0.0.1:1", "unix:///s"].map(|text| text.parse().expect("address"));
        let metrics = ["127.0.0.1:2".parse().expect("address")];
        assert_eq!(
            line(Format::Text, &client, &metrics),
            "ready to serve client requests on http://127.0.0.1:1, unix:///s; \
             metrics on http://127.0.0.1:2"
        );
        assert_eq!(
            line(Format::Json, &client, &[]),
            r#"{"message":"ready to serve client requests","client":["http://127.0.0.1:1","unix:///s"],"metrics":null}"#
        );
        assert!(line(Format::Text, &client, &[]).ends_with("; metrics on off"));
    }
}
