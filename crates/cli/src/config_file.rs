//! The config file: YAML with one level, or two where there are sections. Its
//! keys are the names of the flags; a value is a scalar or a list of scalars,
//! and means the same as after the flag. The YAML type of a scalar (number,
//! boolean) does not matter: its text is used.

use std::path::{Path, PathBuf};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::hints;
use crate::usage::UsageError;

/// A parsed config file.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    entries: Vec<Entry>,
}

/// The keys and values that a file may have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape<'a> {
    /// These keys of `t4 run`, and nothing else.
    Strict(&'a [&'a str]),
    /// Any keys with any values, and sections with these keys.
    Lenient {
        /// By name; an unknown key in a section is an error.
        sections: &'a [(&'a str, &'a [&'a str])],
    },
}

/// One key of a config file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    section: Option<String>,
    key: String,
    /// Empty only if the value is neither a text nor a list of texts.
    pub(crate) values: Vec<String>,
    /// The line of the key, from 1.
    pub(crate) line: usize,
}

impl Entry {
    /// The section that contains it.
    pub(crate) fn section(&self) -> Option<&str> {
        self.section.as_deref()
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

impl ConfigFile {
    /// Reads the file at `path`, whose keys must be among `known`.
    pub(crate) fn load(path: &Path, known: &[&str]) -> Result<Self, UsageError> {
        ConfigFile::load_shaped(path, &Shape::Strict(known))
    }

    /// Reads the file at `path`.
    pub(crate) fn load_shaped(path: &Path, shape: &Shape<'_>) -> Result<Self, UsageError> {
        let text = std::fs::read_to_string(path).map_err(|error| UsageError::Unreadable {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
        ConfigFile::parse(path.to_owned(), &text, shape)
    }

    /// Parses `text`; `path` is for messages.
    pub(crate) fn parse(path: PathBuf, text: &str, shape: &Shape<'_>) -> Result<Self, UsageError> {
        match read(text, shape) {
            Ok(entries) => Ok(ConfigFile { path, entries }),
            Err(Fault { line, what }) => Err(UsageError::File { path, line, what }),
        }
    }

    /// The entry of a key, if there is one.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.section.is_none() && entry.key == key)
    }

    /// All entries, in the order of the file.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

struct Fault {
    line: usize,
    what: String,
}

fn fault<T>(span: &Span, what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { line: span.start.line(), what: what.into() })
}

struct Events<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        loop {
            match self.parser.next_event() {
                Some(Ok((Event::Nothing, _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(error)) => {
                    let (line, what) = (error.marker().line(), error.info());
                    return Err(Fault { line, what: format!("it is not YAML: {what}") });
                }
                None => return Ok((Event::StreamEnd, Span::default())),
            }
        }
    }
}

fn read(text: &str, shape: &Shape<'_>) -> Result<Vec<Entry>, Fault> {
    let mut events = Events { parser: Parser::new_from_str(text) };
    let mut entries = Vec::new();
    let mut is_begun = false;
    loop {
        let (event, span) = events.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            Event::StreamEnd => return Ok(entries),
            // A file that has only comments.
            Event::Scalar(text, ScalarStyle::Plain, ..) if is_null(&text) => {}
            Event::MappingStart(..) if !is_begun => {
                is_begun = true;
                read_mapping(&mut events, shape, None, &mut entries)?;
            }
            Event::MappingStart(..) => return fault(&span, "a second document is not allowed"),
            _ => return fault(&span, "it should have lines of the form `key: value`"),
        }
    }
}

fn read_mapping(
    events: &mut Events<'_>,
    shape: &Shape<'_>,
    section: Option<&str>,
    entries: &mut Vec<Entry>,
) -> Result<(), Fault> {
    loop {
        let (event, span) = events.next()?;
        let key = match event {
            Event::MappingEnd => return Ok(()),
            Event::Scalar(key, ..) => key.into_owned(),
            _ => return fault(&span, "a key should be the name of a flag"),
        };
        if let Shape::Strict(known) = shape
            && !known.contains(&key.as_str())
        {
            return fault(&span, unknown_key(&key, known));
        }
        if entries.iter().any(|entry| entry.section.as_deref() == section && entry.key == key) {
            return fault(&span, format!("{key:?} is there twice"));
        }
        let line = span.start.line();
        if let Shape::Lenient { sections } = shape
            && let Some((_, keys)) = sections.iter().find(|(name, _)| *name == key)
        {
            read_section(events, &key, keys, entries)?;
            continue;
        }
        let values = match shape {
            Shape::Strict(_) => read_values(events, &key)?,
            Shape::Lenient { .. } => read_anything(events)?,
        };
        if let Some(values) = values {
            entries.push(Entry { section: section.map(str::to_owned), key, values, line });
        }
    }
}

fn read_section(
    events: &mut Events<'_>,
    name: &str,
    keys: &[&str],
    entries: &mut Vec<Entry>,
) -> Result<(), Fault> {
    let (event, span) = events.next()?;
    match event {
        Event::MappingStart(..) => read_mapping(events, &Shape::Strict(keys), Some(name), entries),
        Event::Scalar(value, ScalarStyle::Plain, ..) if is_null(&value) => Ok(()),
        _ => fault(&span, format!("{name:?} should have lines of the form `key: value` below it")),
    }
}

/// Like `read_values`, but deeper levels are allowed and give no value.
fn read_anything(events: &mut Events<'_>) -> Result<Option<Vec<String>>, Fault> {
    let (event, _) = events.next()?;
    let mut values = Vec::new();
    let is_list = matches!(event, Event::SequenceStart(..));
    let mut depth = match event {
        Event::Scalar(value, ScalarStyle::Plain, ..) if is_null(&value) => return Ok(None),
        Event::Scalar(value, ..) => return Ok(Some(vec![value.into_owned()])),
        Event::SequenceStart(..) | Event::MappingStart(..) => 1,
        _ => return Ok(Some(values)),
    };
    let mut is_flat = is_list;
    while depth > 0 {
        match events.next()?.0 {
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                depth += 1;
                is_flat = false;
            }
            Event::SequenceEnd | Event::MappingEnd => depth -= 1,
            Event::Scalar(value, ..) => values.push(value.into_owned()),
            Event::StreamEnd => break,
            _ => {}
        }
    }
    Ok(match is_flat {
        true => (!values.is_empty()).then_some(values),
        false => Some(Vec::new()),
    })
}

/// `None`: the key has no value, and is treated as missing.
fn read_values(events: &mut Events<'_>, key: &str) -> Result<Option<Vec<String>>, Fault> {
    let (event, span) = events.next()?;
    match event {
        Event::Scalar(value, ScalarStyle::Plain, ..) if is_null(&value) => Ok(None),
        Event::Scalar(value, ..) => Ok(Some(vec![value.into_owned()])),
        Event::SequenceStart(..) => {
            let mut values = Vec::new();
            loop {
                match events.next()? {
                    (Event::SequenceEnd, _) => break,
                    (Event::Scalar(value, ..), _) => values.push(value.into_owned()),
                    (_, span) => return fault(&span, format!("{key:?}: {NOT_FLAT}")),
                }
            }
            Ok((!values.is_empty()).then_some(values))
        }
        _ => fault(&span, format!("{key:?}: {NOT_FLAT}")),
    }
}

const NOT_FLAT: &str = "only a value or a list of values is allowed here";

fn is_null(plain: &str) -> bool {
    matches!(plain, "" | "~" | "null" | "Null" | "NULL")
}

fn unknown_key(key: &str, known: &[&str]) -> String {
    let is_for_run = known.len() >= 20;
    if is_for_run && let Some(hint) = hints::for_key(key) {
        return format!("the key {key:?} is not known: {hint}");
    }
    match hints::nearest(&key.replace('_', "-"), known.iter().copied()) {
        Some(name) => format!("the key {key:?} is not known; did you mean {name:?}?"),
        None if is_for_run => {
            format!("the key {key:?} is not known; keys are the names of the flags of `t4 run`")
        }
        None => format!("the key {key:?} is not known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["data-dir", "listen", "io-threads", "metrics-addr"];

    fn parse(text: &str) -> Result<ConfigFile, UsageError> {
        ConfigFile::parse("f".into(), text, &Shape::Strict(KNOWN))
    }

    fn told(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn scalars_are_kept_as_they_are_written() {
        let text = "# a comment\ndata-dir: /a b # there\nio-threads: 007\nmetrics-addr: ''\n\
            listen:\n  - 0.0.0.0:3379\n  - \"unix:///run/t4\"\n";
        let file = parse(text).expect("sound");
        let values = |key: &str| file.get(key).map(|entry| entry.values.clone());
        assert_eq!(values("data-dir").expect("there"), ["/a b"]);
        assert_eq!(values("io-threads").expect("there"), ["007"]);
        assert_eq!(values("metrics-addr").expect("there"), [""]);
        assert_eq!(values("listen").expect("there"), ["0.0.0.0:3379", "unix:///run/t4"]);
        assert_eq!(file.get("io-threads").map(|entry| entry.line), Some(3));
        assert_eq!(values("node-id"), None);
    }

    #[test]
    fn json_is_yaml() {
        let file = parse("{\"io-threads\": 4, \"listen\": [\"a\"]}").expect("sound");
        assert_eq!(file.get("io-threads").expect("there").values, ["4"]);
    }

    #[test]
    fn a_key_without_value_and_an_empty_file_are_not_there() {
        for text in ["", "# nothing\n", "---\n", "io-threads:\n", "io-threads: ~\n", "listen: []"] {
            let file = parse(text).expect(text);
            assert!(file.entries.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn mistakes_name_line_and_key() {
        assert_eq!(
            told("listen: x\nio-thread: 2\n"),
            "--config-file: f, line 2: the key \"io-thread\" is not known; did you mean \"io-threads\"?"
        );
        assert!(
            told("s3-bucket: x\n")
                .ends_with("not known here: data-dir, listen, io-threads, metrics-addr")
        );
        assert!(told("listen: x\nlisten: y\n").contains("line 2: \"listen\" is there twice"));
        assert!(told("listen:\n  a: b\n").contains("only a value or a list of values"));
        assert!(told("listen: [[a]]\n").contains("only a value or a list of values"));
        assert!(told("just text\n").contains("`key: value`"));
        assert!(told("listen: x\n---\nlisten: y\n").contains("second document"));
        assert!(told("listen: [a\n").contains("not YAML"));
        assert!(told("? [a]\n: b\n").contains("a key should be the name of a flag"));
        assert!(told("listen: &x a\nio-threads: *x\n").contains("only a value"));
    }

    #[test]
    fn a_missing_file_is_told() {
        let missing = ConfigFile::load(Path::new("/nowhere/t4.yaml"), KNOWN).unwrap_err();
        assert!(missing.to_string().starts_with("--config-file: /nowhere/t4.yaml cannot be read"));
    }
}
