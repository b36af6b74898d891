//! Arguments that select keys and a revision.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use t4_kv_types::{KeyRange, Revision};
use t4_mvcc::Reader;

use crate::usage::UsageError;

/// A revision to read at.
#[derive(Debug, Default, clap::Args)]
pub(super) struct AtArgs {
    /// Read at this revision [default: the newest]
    #[arg(long, value_name = "REVISION", value_parser = revision)]
    rev: Option<i64>,
}

impl AtArgs {
    #[cfg(test)]
    pub(super) fn revision(rev: i64) -> Self {
        AtArgs { rev: Some(rev) }
    }

    /// The revision, if it is readable.
    pub(super) fn resolve(&self, reader: &Reader) -> anyhow::Result<Revision> {
        self.rev.map_or_else(|| Ok(reader.revision()), |rev| readable(reader, Revision(rev)))
    }
}

/// `at` if it is readable; otherwise an error that says which revisions are.
pub(super) fn readable(reader: &Reader, at: Revision) -> anyhow::Result<Revision> {
    let (oldest, newest) = (oldest(reader), reader.revision());
    if at < oldest || at > newest {
        bail!("revision {at} cannot be read: this directory has revisions {oldest} to {newest}");
    }
    Ok(at)
}

/// The oldest revision that can be read.
pub(super) fn oldest(reader: &Reader) -> Revision {
    reader.compacted().unwrap_or(Revision::EMPTY_STORE)
}

/// One key. A terminal and a shell pass neither every byte nor, ever, a zero.
#[derive(Debug, Default, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct KeyArgs {
    /// The key
    pub(super) key: Option<OsString>,
    /// The key in hexadecimal, for what cannot be typed
    #[arg(long, value_name = "HEX", value_parser = hexadecimal)]
    pub(super) key_hex: Option<Bytes>,
    /// The key in base64, as --json shows it
    #[arg(long, value_name = "BASE64", value_parser = base64)]
    pub(super) key_base64: Option<Bytes>,
}

impl KeyArgs {
    #[cfg(test)]
    pub(super) fn of(key: &str) -> Self {
        KeyArgs { key: Some(key.into()), ..KeyArgs::default() }
    }

    pub(super) fn bytes(self) -> Result<Bytes, UsageError> {
        let typed = self.key.map(|key| key.into_vec().into());
        match typed.or(self.key_hex).or(self.key_base64) {
            Some(key) if !key.is_empty() => Ok(key),
            _ => Err(UsageError::Combination { why: "a key is not empty: give one".to_owned() }),
        }
    }
}

/// The keys that begin with something.
#[derive(Debug, Default, clap::Args)]
#[group(multiple = false)]
pub(super) struct PrefixArgs {
    /// Only keys that begin with this [default: all]
    pub(super) prefix: Option<OsString>,
    /// The prefix in hexadecimal, for what cannot be typed
    #[arg(long, value_name = "HEX", value_parser = hexadecimal)]
    pub(super) prefix_hex: Option<Bytes>,
    /// The prefix in base64, as --json shows keys
    #[arg(long, value_name = "BASE64", value_parser = base64)]
    pub(super) prefix_base64: Option<Bytes>,
}

impl PrefixArgs {
    #[cfg(test)]
    pub(super) fn of(prefix: Option<&str>) -> Self {
        PrefixArgs { prefix: prefix.map(Into::into), ..PrefixArgs::default() }
    }

    pub(super) fn range(self) -> KeyRange {
        let typed = self.prefix.map(|prefix| Bytes::from(prefix.into_vec()));
        match typed.or(self.prefix_hex).or(self.prefix_base64) {
            Some(prefix) if !prefix.is_empty() => KeyRange::prefix(prefix),
            _ => KeyRange::all(),
        }
    }
}

/// Parses a revision.
pub(super) fn revision(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(revision) if revision >= 1 => Ok(revision),
        _ => Err("use a revision: a whole number from 1".to_owned()),
    }
}

/// Parses a limit.
pub(super) fn limit(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "use a whole number of keys".to_owned())
}

fn hexadecimal(text: &str) -> Result<Bytes, String> {
    let wrong = || "use hexadecimal, two digits a byte, such as 2f61ff00".to_owned();
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| digit.try_into().ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0).ok_or_else(wrong)?;
    Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

fn base64(text: &str) -> Result<Bytes, String> {
    let read = STANDARD.decode(text);
    read.map(Bytes::from).map_err(|_| "use base64 with padding, such as L2H/AA==".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_digits() {
        assert_eq!(hexadecimal("2f61ff00"), Ok(Bytes::from_static(b"/a\xff\0")));
        assert_eq!(hexadecimal("2F61FF00"), hexadecimal("2f61ff00"));
        assert_eq!(base64("L2H/AA=="), hexadecimal("2f61ff00"));
        for wrong in ["2", "2g", "0x2f", "2f 61", "é1"] {
            assert!(hexadecimal(wrong).is_err(), "{wrong}");
        }
        assert!(base64("L2H_AA==").is_err() && base64("L2H/AA").is_err());
    }

    #[test]
    fn numbers_say_what_they_are() {
        assert_eq!((revision("7"), limit("0")), (Ok(7), Ok(0)));
        for wrong in ["abc", "0", "-1", "", "1.5", "99999999999999999999"] {
            assert!(revision(wrong).expect_err(wrong).contains("a whole number from 1"), "{wrong}");
        }
        assert!(limit("x").is_err() && limit("-1").is_err());
    }
}
