//! The text formats of settings. Each function returns the value, or a text for
//! people that says what is wrong or allowed.

mod address;
mod duration;
mod retention;
mod size;
mod tls;

use std::ops::RangeInclusive;
use std::str::FromStr;

pub(crate) use address::{advertised_url, listen, metrics};
pub(crate) use duration::{duration, seconds};
pub(crate) use retention::{RetentionMode, retention};
pub(crate) use size::{quota, size};
pub(crate) use tls::{
    auth_token, cipher_suite, common_name, host, host_or_all, origin, tls_version,
};

/// A whole number in a range.
pub(crate) fn number<T>(text: &str, allowed: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + std::fmt::Display,
{
    match text.parse() {
        Ok(number) if allowed.contains(&number) => Ok(number),
        _ => Err(format!("use a whole number from {} to {}", allowed.start(), allowed.end())),
    }
}

/// A switch.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("use true or false".to_owned()),
    }
}

/// One of a few words.
pub(crate) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*choice);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    Err(format!("use one of {}", names.join(", ")))
}

/// The path of a directory.
pub(crate) fn path(text: &str) -> Result<std::path::PathBuf, String> {
    if text.is_empty() {
        return Err("use the path of a directory".to_owned());
    }
    Ok(text.into())
}

/// The path of a file.
pub(crate) fn file(text: &str) -> Result<std::path::PathBuf, String> {
    if text.is_empty() {
        return Err("use the path of a file".to_owned());
    }
    Ok(text.into())
}

/// The name of a member.
pub(crate) fn name(text: &str) -> Result<String, String> {
    const BYTES_MAX: usize = 255;
    let is_sound = !text.is_empty()
        && text.len() <= BYTES_MAX
        && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if is_sound {
        Ok(text.to_owned())
    } else {
        Err(format!("use a name of 1 to {BYTES_MAX} bytes without spaces"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number("7", 1..=7u32), Ok(7));
        for wrong in ["", "0", "8", "-1", "1.5", "x", "99999999999999999999", " 7"] {
            let told = number(wrong, 1..=7u32).expect_err(wrong);
            assert_eq!(told, "use a whole number from 1 to 7");
        }
    }

    #[test]
    fn booleans() {
        assert_eq!((boolean("true"), boolean("0")), (Ok(true), Ok(false)));
        assert!(boolean("yes").is_err() && boolean("").is_err());
    }

    #[test]
    fn choices() {
        let choices = [("a", 1), ("b", 2)];
        assert_eq!(choice("b", &choices), Ok(2));
        assert_eq!(choice("B", &choices), Err("use one of a, b".to_owned()));
    }

    #[test]
    fn names_and_paths() {
        assert_eq!(name("node-a"), Ok("node-a".to_owned()));
        for wrong in ["", "a b", "a\n", &"x".repeat(256)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
        assert!(path("").is_err());
        assert_eq!(path("/x"), Ok("/x".into()));
    }
}
