//! Values parsed as in Go's flag package, with its error messages.

use std::collections::BTreeSet;
use std::time::Duration;

use super::flag::Kind;
use super::url::{self, Url};

/// A value of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Switch(bool),
    /// Whole, signed or not.
    Number(i128),
    Duration(Duration),
    /// Sorted, without duplicates.
    Urls(Vec<Url>),
    /// Without empty ones, in the order given.
    List(Vec<String>),
}

const SYNTAX: &str = "parse error";
const RANGE: &str = "value out of range";

/// Parses a value, or returns why it is invalid.
pub(super) fn parse(kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Switch => boolean(text).map(Value::Switch).ok_or_else(|| SYNTAX.to_owned()),
        Kind::Unsigned => number(text, 0, u64::MAX.into()),
        Kind::Signed => number(text, i64::MIN.into(), i64::MAX.into()),
        Kind::Duration => duration(text),
        Kind::Urls => urls(text),
        Kind::List => Ok(Value::List(list(text))),
        Kind::Choice(choices) if choices.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::Choice(choices) => Err(format!("use one of {}", choices.join(", "))),
    }
}

/// The texts that Go's `strconv.ParseBool` accepts.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn number(text: &str, min: i128, max: i128) -> Result<Value, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SYNTAX.to_owned());
    }
    match text.parse::<i128>() {
        Ok(number) if (min..=max).contains(&number) => Ok(Value::Number(number)),
        _ if min == 0 && text.starts_with('-') => Err(SYNTAX.to_owned()),
        _ => Err(RANGE.to_owned()),
    }
}

/// Go also accepts negative durations, but no flag of etcd has a use for them.
fn duration(text: &str) -> Result<Value, String> {
    // Days are our extension: a configuration for both must not contain what
    // etcd rejects.
    let read = |text: &str| match text.contains('d') {
        true => Err(String::new()),
        false => crate::value::duration(text),
    };
    let duration = if text.is_empty() { Ok(Duration::ZERO) } else { read(text) };
    duration.map(Value::Duration).map_err(|_| SYNTAX.to_owned())
}

fn urls(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::Urls(Vec::new()));
    }
    let urls: Result<BTreeSet<Url>, String> = text.split(',').map(url::parse).collect();
    Ok(Value::Urls(urls?.into_iter().collect()))
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans() {
        assert_eq!(parse(Kind::Switch, "T"), Ok(Value::Switch(true)));
        assert_eq!(parse(Kind::Switch, "False"), Ok(Value::Switch(false)));
        for wrong in ["", "yes", "tRUE", "2"] {
            assert_eq!(parse(Kind::Switch, wrong), Err(SYNTAX.to_owned()), "{wrong:?}");
        }
    }

    #[test]
    fn numbers() {
        let unsigned = |text| parse(Kind::Unsigned, text);
        assert_eq!(unsigned("18446744073709551615"), Ok(Value::Number(u64::MAX.into())));
        assert_eq!(unsigned("18446744073709551616"), Err(RANGE.to_owned()));
        for wrong in ["", "-1", "x", "1.5", "2GB", " 1", "१"] {
            assert_eq!(unsigned(wrong), Err(SYNTAX.to_owned()), "{wrong:?}");
        }
        assert_eq!(parse(Kind::Signed, "-1"), Ok(Value::Number(-1)));
        assert_eq!(parse(Kind::Signed, "-9223372036854775809"), Err(RANGE.to_owned()));
        let long = "9".repeat(100);
        assert_eq!(unsigned(&long), Err(RANGE.to_owned()));
    }

    #[test]
    fn durations() {
        assert_eq!(parse(Kind::Duration, "1m"), Ok(Value::Duration(Duration::from_secs(60))));
        assert_eq!(parse(Kind::Duration, "5"), Err(SYNTAX.to_owned()));
    }

    #[test]
    fn lists_and_choices() {
        let parts = ["a", "b"].map(str::to_owned).to_vec();
        assert_eq!(parse(Kind::List, "a, b,"), Ok(Value::List(parts)));
        assert_eq!(parse(Kind::List, ""), Ok(Value::List(Vec::new())));
        let choice = Kind::Choice(&["x", "y"]);
        assert_eq!(parse(choice, "y"), Ok(Value::Text("y".to_owned())));
        assert_eq!(parse(choice, "z"), Err("use one of x, y".to_owned()));
    }

    #[test]
    fn urls_are_sorted_and_there_once() {
        let Ok(Value::Urls(urls)) = parse(Kind::Urls, "http://b:2, http://a:1,http://b:2") else {
            panic!("urls");
        };
        let urls: Vec<_> = urls.iter().map(ToString::to_string).collect();
        assert_eq!(urls, ["http://a:1", "http://b:2"]);
    }
}
