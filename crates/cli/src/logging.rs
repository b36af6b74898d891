//! Logs go to standard error, as lines of text or of JSON.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logging {
    /// This and what is graver.
    pub(crate) level: Level,
    pub(crate) format: Format,
}

/// Sends what is logged from now on to standard error.
pub(crate) fn start(logging: Logging) {
    // Every frame on every connection is not what `debug` is turned on for.
    let wire = LevelFilter::from_level(logging.level).min(LevelFilter::INFO);
    let filter = Targets::new()
        .with_default(logging.level)
        .with_target("h2", wire)
        .with_target("hyper", wire)
        .with_target("hyper_util", wire);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match logging.format {
        Format::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    // Somebody who embeds the command line has a subscriber already.
    drop(started);
}
