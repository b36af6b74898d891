//! The source of a setting's value: the flag, else the environment, else the
//! config file. If none has it, the caller applies the default.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::config_file::{ConfigFile, Entry};
use crate::usage::UsageError;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// On the command line.
    Flag,
    /// In this environment variable.
    Environment(String),
    /// In the config file, at this line, from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
}

impl Source {
    /// For error messages; empty for the flag, which they name anyway.
    pub(crate) fn aside(&self) -> String {
        match self {
            Source::Flag => String::new(),
            other => format!(" ({other})"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag => write!(f, "from the command line"),
            Source::Environment(name) => write!(f, "from the environment variable {name}"),
            Source::File { path, line } => write!(f, "from {}, line {line}", path.display()),
        }
    }
}

/// The environment variable of a flag.
pub(crate) fn variable(flag: &str) -> String {
    format!("T4_{}", flag.to_ascii_uppercase().replace('-', "_"))
}

/// A look-up in the environment.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The sources after the command line.
pub(crate) struct Sources<'a> {
    environment: Environment<'a>,
    file: Option<ConfigFile>,
    /// Settings that were looked up and are set, in the order of the look-ups.
    found: RefCell<Vec<Found>>,
}

/// A setting that is not left at its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Without dashes.
    pub(crate) flag: &'static str,
    /// As written.
    pub(crate) values: Vec<String>,
    pub(crate) source: Source,
}

/// The value of a setting in one source.
struct Given {
    values: Vec<String>,
    source: Source,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(environment: Environment<'a>, file: Option<ConfigFile>) -> Self {
        Sources { environment, file, found: RefCell::default() }
    }

    /// Every setting that is set in some source and was looked up.
    pub(crate) fn found(self) -> Vec<Found> {
        self.found.into_inner()
    }

    /// The value of a setting that has one; `None`: not set in any source.
    /// `parse` returns what is wrong or what is allowed.
    pub(crate) fn one<T>(
        &self,
        flag: &'static str,
        from_flag: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, UsageError> {
        let from_flag = from_flag.map(|value| vec![value]);
        let Some(Given { mut values, source }) = self.given(flag, from_flag)? else {
            return Ok(None);
        };
        let refused = |value: String, why| UsageError::Value { flag, value, place: source, why };
        if values.len() > 1 {
            return Err(refused(values.join(", "), "it takes one value, not a list".to_owned()));
        }
        let value = values.pop().unwrap_or_default();
        match parse(&value) {
            Ok(parsed) => Ok(Some(parsed)),
            Err(why) => Err(refused(value, why)),
        }
    }

    /// The values of a setting that may have several: repeated, or separated by
    /// commas. Never an empty list.
    pub(crate) fn many<T>(
        &self,
        flag: &'static str,
        from_flag: Vec<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, UsageError> {
        let from_flag = (!from_flag.is_empty()).then_some(from_flag);
        let Some(Given { values, source }) = self.given(flag, from_flag)? else {
            return Ok(None);
        };
        let refused = |value: &str, why| UsageError::Value {
            flag,
            value: value.to_owned(),
            place: source.clone(),
            why,
        };
        let mut parsed = Vec::new();
        for value in values.iter().flat_map(|values| values.split(',')) {
            let value = value.trim();
            parsed.push(parse(value).map_err(|why| refused(value, why))?);
        }
        if parsed.is_empty() {
            return Err(refused("", "it needs at least one value".to_owned()));
        }
        Ok(Some(parsed))
    }

    fn given(
        &self,
        flag: &'static str,
        from_flag: Option<Vec<String>>,
    ) -> Result<Option<Given>, UsageError> {
        let given = self.look(flag, from_flag)?;
        if let Some(Given { values, source }) = &given {
            let (values, source) = (values.clone(), source.clone());
            self.found.borrow_mut().push(Found { flag, values, source });
        }
        Ok(given)
    }

    fn look(
        &self,
        flag: &'static str,
        from_flag: Option<Vec<String>>,
    ) -> Result<Option<Given>, UsageError> {
        if let Some(values) = from_flag {
            return Ok(Some(Given { values, source: Source::Flag }));
        }
        if let Some(given) = self.environment_value(flag)? {
            return Ok(Some(given));
        }
        let file = self.file.as_ref();
        Ok(file.and_then(|file| {
            let Entry { values, line, .. } = file.get(flag)?;
            let source = Source::File { path: file.path.clone(), line: *line };
            Some(Given { values: values.clone(), source })
        }))
    }

    /// An empty variable counts as unset: shells and orchestrators cannot
    /// always omit one.
    fn environment_value(&self, flag: &'static str) -> Result<Option<Given>, UsageError> {
        let name = variable(flag);
        let value = (self.environment)(&name).filter(|value| !value.is_empty());
        let Some(value) = value else { return Ok(None) };
        let source = Source::Environment(name);
        match value.into_string() {
            Ok(value) => Ok(Some(Given { values: vec![value], source })),
            Err(value) => Err(UsageError::Value {
                flag,
                value: value.to_string_lossy().into_owned(),
                place: source,
                why: "it is not UTF-8".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    const FILE: &str = "io-threads: 3\nlisten: [a, b]\n";

    fn sources(environment: Environment<'_>) -> Sources<'_> {
        let file = ConfigFile::parse(
            "t4.yaml".into(),
            FILE,
            &crate::config_file::Shape::Strict(&["io-threads", "listen"]),
        );
        Sources::new(environment, Some(file.expect("a sound file")))
    }

    fn number(text: &str) -> Result<u32, String> {
        text.parse().map_err(|_| "a number".to_owned())
    }

    fn text(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    #[test]
    fn the_flag_wins_over_the_environment_over_the_file() {
        let set = |name: &str| (name == "T4_IO_THREADS").then(|| OsString::from("2"));
        let unset = |_: &str| None;
        let one = |sources: &Sources<'_>, flag: Option<&str>| {
            sources.one("io-threads", flag.map(str::to_owned), number)
        };
        assert_eq!(one(&sources(&set), Some("1")), Ok(Some(1)));
        assert_eq!(one(&sources(&set), None), Ok(Some(2)));
        assert_eq!(one(&sources(&unset), None), Ok(Some(3)));
        assert_eq!(one(&Sources::new(&unset, None), None), Ok(None));
    }

    #[test]
    fn an_empty_variable_is_unset() {
        let empty = |_: &str| Some(OsString::new());
        assert_eq!(sources(&empty).one("io-threads", None, number), Ok(Some(3)));
        assert_eq!(sources(&empty).one("cache-bytes", None, number), Ok(None));
    }

    #[test]
    fn an_empty_flag_is_a_value() {
        let unset = |_: &str| None;
        let given = sources(&unset).one("io-threads", Some(String::new()), text);
        assert_eq!(given, Ok(Some(String::new())));
    }

    #[test]
    fn lists_are_repeated_or_separated_by_commas() {
        let set = |_: &str| Some(OsString::from("c, d"));
        let unset = |_: &str| None;
        let list = |sources: &Sources<'_>, flags: &[&str]| {
            let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
            sources.many("listen", flags, text).expect("sound").expect("given")
        };
        assert_eq!(list(&sources(&unset), &["x,y", "z"]), ["x", "y", "z"]);
        assert_eq!(list(&sources(&set), &[]), ["c", "d"]);
        assert_eq!(list(&sources(&unset), &[]), ["a", "b"]);
    }

    #[test]
    fn an_error_says_where_the_value_stands() {
        let set = |name: &str| (name == "T4_IO_THREADS").then(|| OsString::from("many"));
        let unset = |_: &str| None;
        let told = |sources: Sources<'_>, flag: Option<&str>| {
            let flag = flag.map(str::to_owned);
            sources.one("io-threads", flag, |_| Err::<(), _>("why".to_owned())).unwrap_err()
        };
        assert_eq!(
            told(sources(&unset), Some("x")).to_string(),
            "--io-threads: \"x\" is not allowed: why"
        );
        assert_eq!(
            told(sources(&set), None).to_string(),
            "--io-threads: \"many\" (from the environment variable T4_IO_THREADS) is not allowed: why"
        );
        assert_eq!(
            told(sources(&unset), None).to_string(),
            "--io-threads: \"3\" (from t4.yaml, line 1) is not allowed: why"
        );
        let list = sources(&unset).one("listen", None, text).unwrap_err();
        assert_eq!(
            list.to_string(),
            "--listen: \"a, b\" (from t4.yaml, line 2) is not allowed: it takes one value, not a list"
        );
    }

    #[test]
    fn a_variable_that_is_not_text_is_told() {
        let set = |_: &str| Some(OsString::from_vec(vec![b'x', 0xff]));
        let told = sources(&set).one("io-threads", None, number).unwrap_err().to_string();
        assert!(told.contains("T4_IO_THREADS") && told.contains("not UTF-8"), "{told}");
    }
}
