//! Logs are lines of text or JSON, in T4's or etcd's format, on standard error
//! unless configured otherwise.

pub(crate) mod zap;

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) use zap::Zap;

/// The mode of a log file that we create: its lines name keys, clients and
/// addresses.
const FILE_MODE: u32 = 0o600;

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For machines: one object per line.
    Json,
    /// etcd's format.
    Zap(Zap),
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Stderr,
    Stdout,
    /// Appended to; created if missing, accessible only to the owner.
    File(PathBuf),
}

/// What is logged, in which format, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logging {
    /// This level and more severe ones.
    pub(crate) level: Level,
    pub(crate) format: Format,
    /// Each line goes to every output.
    pub(crate) outputs: Vec<Output>,
}

/// Sends everything logged after this call to `outputs`.
///
/// # Errors
/// A file cannot be opened.
pub(crate) fn start(logging: &Logging) -> anyhow::Result<()> {
    // `debug` is not meant to log every frame on every connection.
    let wire = LevelFilter::from_level(logging.level).min(LevelFilter::INFO);
    let filter = Targets::new()
        .with_default(logging.level)
        .with_target("h2", wire)
        .with_target("hyper", wire)
        .with_target("hyper_util", wire);
    let is_for_people = logging.outputs == [Output::Stderr] && std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(writer(&logging.outputs)?);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match logging.format {
        Format::Text => registry.with(lines.with_ansi(is_for_people)).try_init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        Format::Zap(zap) => registry.with(lines.with_ansi(false).event_format(zap)).try_init(),
    };
    // A program that embeds the command line may already have a subscriber.
    drop(started);
    Ok(())
}

/// The time in the format of log lines.
pub(crate) fn now() -> String {
    let mut text = String::new();
    // Writing to memory cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

fn writer(outputs: &[Output]) -> anyhow::Result<BoxMakeWriter> {
    if outputs == [Output::Stderr] {
        return Ok(BoxMakeWriter::new(std::io::stderr));
    }
    let opened: anyhow::Result<Vec<Opened>> = outputs.iter().map(open).collect();
    let opened = Arc::new(opened?);
    Ok(BoxMakeWriter::new(move || Several(opened.clone())))
}

fn open(output: &Output) -> anyhow::Result<Opened> {
    Ok(match output {
        Output::Stderr => Opened::Stderr,
        Output::Stdout => Opened::Stdout,
        Output::File(path) => {
            let file = append_to(path);
            Opened::File(file.with_context(|| format!("--log-outputs: {}", path.display()))?)
        }
    })
}

/// An existing file keeps its mode: it may have been created for the collector
/// of the lines. A new one is accessible only to the owner, whatever the umask.
fn append_to(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    match options.append(true).create_new(true).mode(FILE_MODE).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            // It exists, unless it has just been removed.
            options.create_new(false).create(true).open(path)
        }
        Ok(file) => {
            let _ = file.set_permissions(Permissions::from_mode(FILE_MODE));
            Ok(file)
        }
        failed => failed,
    }
}

enum Opened {
    Stderr,
    Stdout,
    File(File),
}

/// Writes each line to every output. A failing output loses its own lines only.
struct Several(Arc<Vec<Opened>>);

impl Write for Several {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        for output in self.0.iter() {
            let _ = match output {
                Opened::Stderr => std::io::stderr().write_all(line),
                Opened::Stdout => std::io::stdout().write_all(line),
                Opened::File(file) => (&*file).write_all(line),
            };
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::fmt::MakeWriter;

    #[test]
    fn a_line_goes_to_all_files_behind_what_is_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
        std::fs::write(&one, "before\n").expect("write");
        let outputs = [Output::File(one.clone()), Output::File(other.clone())];
        let writer = writer(&outputs).expect("opened");
        writer.make_writer().write_all(b"line\n").expect("written");
        assert_eq!(std::fs::read_to_string(one).expect("read"), "before\nline\n");
        assert_eq!(std::fs::read_to_string(other).expect("read"), "line\n");
    }

    #[test]
    fn a_new_file_is_private_and_one_that_is_there_keeps_its_mode() {
        let dir = tempfile::tempdir().expect("a directory");
        let [new, old] = ["new", "old"].map(|name| dir.path().join(name));
        std::fs::write(&old, "").expect("write");
        std::fs::set_permissions(&old, Permissions::from_mode(0o640)).expect("chmod");
        let _writer = writer(&[Output::File(new.clone()), Output::File(old.clone())]);
        let mode = |path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(new), mode(old)), (0o600, 0o640));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told() {
        let Err(told) = writer(&[Output::File("/nowhere/t4.log".into())]) else { panic!("opened") };
        assert!(told.to_string().contains("--log-outputs: /nowhere/t4.log"), "{told}");
    }
}
