//! The value of `--auth-token`: what kind of tokens logins give out.
//!
//! Reads text only: key files are opened by [`JwtKeys::load`](crate::jwt::JwtKeys::load).

use std::path::PathBuf;
use std::time::Duration;

use crate::jwt::Method;

/// How long a simple token lives after its last use, by default
/// (`--auth-token-ttl 300`).
pub const SIMPLE_TOKEN_TTL_DEFAULT: Duration = Duration::from_secs(300);

/// How long a JWT lives from its issue, by default (`ttl=5m`).
pub const JWT_TTL_DEFAULT: Duration = Duration::from_secs(300);

/// Why the value of `--auth-token` was refused: fix the flag. Each text begins
/// with etcd's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("auth: invalid auth options: {reason}")]
pub struct TokenOptionsError {
    /// What is wrong with it, and what to do.
    pub reason: String,
}

/// What kind of tokens there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenProvider {
    /// `simple`: random tokens that the cluster remembers. The default.
    #[default]
    Simple,
    /// `jwt,…`: signed tokens that carry all there is to know.
    Jwt(JwtOptions),
    /// The empty value: no tokens; only client certificates identify users.
    None,
}

/// The options after `jwt,`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtOptions {
    /// `sign-method`: the one method that is signed with and accepted. Required.
    pub method: Method,
    /// `pub-key`: a PEM file. Alone: tokens are verified, but not made.
    pub public_key: Option<PathBuf>,
    /// `priv-key`: a PEM file; of the HS methods the bytes of the file are the
    /// secret.
    pub private_key: Option<PathBuf>,
    /// `ttl`: how long a token lives from its issue, more than zero. Default
    /// [`JWT_TTL_DEFAULT`].
    pub ttl: Duration,
}

/// A value of `--auth-token` that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedTokenOptions {
    /// What it asks for.
    pub provider: TokenProvider,
    /// The names of options that mean nothing here, in order. etcd starts with
    /// them, so they are worth a warning, not a refusal.
    pub unknown: Vec<String>,
}

impl TokenProvider {
    /// Reads the value of `--auth-token`: a kind, then `name=value` options, all
    /// separated by commas.
    pub fn parse(text: &str) -> Result<ParsedTokenOptions, TokenOptionsError> {
        let (kind, options) = split(text)?;
        let names = |known: &[&str]| -> Vec<String> {
            let unknown = options.iter().filter(|(name, _)| !known.contains(name));
            unknown.map(|(name, _)| (*name).to_owned()).collect()
        };
        match kind {
            "simple" => {
                Ok(ParsedTokenOptions { provider: TokenProvider::Simple, unknown: names(&[]) })
            }
            "" => Ok(ParsedTokenOptions { provider: TokenProvider::None, unknown: names(&[]) }),
            "jwt" => Ok(ParsedTokenOptions {
                provider: TokenProvider::Jwt(JwtOptions::read(&options)?),
                unknown: names(&["sign-method", "pub-key", "priv-key", "ttl"]),
            }),
            _ => Err(refuse(format!(
                "\"{kind}\" is no kind of token; use \"simple\", \"jwt,…\", or an empty value"
            ))),
        }
    }
}

impl JwtOptions {
    fn read(options: &[(&str, &str)]) -> Result<JwtOptions, TokenOptionsError> {
        let value = |name: &str| {
            let found = options.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| *value).filter(|value| !value.is_empty())
        };
        let method = value("sign-method").ok_or_else(|| {
            refuse(format!("sign-method is missing; it is one of {}", Method::names()))
        })?;
        let method = Method::from_name(method).ok_or_else(|| {
            refuse(format!("sign-method \"{method}\" is unknown; it is one of {}", Method::names()))
        })?;
        let ttl = match value("ttl") {
            None => JWT_TTL_DEFAULT,
            Some(text) => read_ttl(text)?,
        };
        Ok(JwtOptions {
            method,
            public_key: value("pub-key").map(PathBuf::from),
            private_key: value("priv-key").map(PathBuf::from),
            ttl,
        })
    }
}

fn refuse(reason: String) -> TokenOptionsError {
    TokenOptionsError { reason }
}

/// (name, value), in the order that they were given.
type Options<'a> = Vec<(&'a str, &'a str)>;

/// The kind and the options. As in etcd a value holds no `=` and no `,`, and no
/// name comes twice.
fn split(text: &str) -> Result<(&str, Options<'_>), TokenOptionsError> {
    let mut parts = text.split(',');
    let kind = parts.next().unwrap_or_default();
    let mut options = Options::new();
    for part in parts {
        let Some((name, value)) = part.split_once('=').filter(|(_, value)| !value.contains('='))
        else {
            return Err(refuse(format!("\"{part}\" is not of the form name=value")));
        };
        if options.iter().any(|(other, _)| *other == name) {
            return Err(refuse(format!("{name} is given twice")));
        }
        options.push((name, value));
    }
    Ok((kind, options))
}

fn read_ttl(text: &str) -> Result<Duration, TokenOptionsError> {
    // Tokens that expire at once would lock every user out; etcd accepts them.
    go_duration(text).filter(|ttl| !ttl.is_zero()).ok_or_else(|| {
        refuse(format!("ttl \"{text}\" is not a time above zero such as 10m or 1h30m"))
    })
}

/// A duration as Go's `time.ParseDuration` reads it, up to 292 years; none if it
/// is malformed, negative, or has no unit (other than "0").
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total: u128 = 0;
    loop {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count();
        let (unit, tail) = tail.split_at(letters);
        total = total.checked_add(nanos(number, unit)?)?;
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    i64::try_from(total).ok().map(|nanos| Duration::from_nanos(nanos.unsigned_abs()))
}

/// `number` (digits, perhaps with a point) of `unit` in nanoseconds, the rest
/// below one nanosecond cut off.
fn nanos(number: &str, unit: &str) -> Option<u128> {
    let unit: u128 = match unit {
        "ns" => 1,
        // The micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && part.is_empty()) || part.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Digits beyond the 18th are less than a nanosecond of any unit.
    let part = &part[..part.len().min(18)];
    let digits: u128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    let below = digits * unit / 10u128.pow(part.len() as u32);
    whole.checked_mul(unit)?.checked_add(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(text: &str) -> JwtOptions {
        match TokenProvider::parse(text).unwrap().provider {
            TokenProvider::Jwt(options) => options,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn reason(text: &str) -> String {
        let error = TokenProvider::parse(text).unwrap_err().to_string();
        error.strip_prefix("auth: invalid auth options: ").expect("etcd's text").to_owned()
    }

    #[test]
    fn the_kinds() {
        let known = |provider| Ok(ParsedTokenOptions { provider, unknown: vec![] });
        assert_eq!(TokenProvider::parse("simple"), known(TokenProvider::Simple));
        assert_eq!(TokenProvider::parse(""), known(TokenProvider::None));
        assert_eq!(TokenProvider::default(), TokenProvider::Simple);
        for other in ["Simple", " simple", "jwt ", "none", "JWT,sign-method=RS256"] {
            assert!(reason(other).contains("no kind of token"), "{other}");
        }
    }

    #[test]
    fn the_options_of_jwt() {
        let all = jwt("jwt,sign-method=RS256,pub-key=/k/a.pub,priv-key=/k/a.key,ttl=10m");
        assert_eq!(
            all,
            JwtOptions {
                method: Method::Rs256,
                public_key: Some("/k/a.pub".into()),
                private_key: Some("/k/a.key".into()),
                ttl: Duration::from_secs(600),
            }
        );
        let least = jwt("jwt,sign-method=EdDSA,pub-key=");
        assert_eq!((least.public_key, least.private_key), (None, None));
        assert_eq!(least.ttl, JWT_TTL_DEFAULT);
    }

    #[test]
    fn what_etcd_refuses() {
        assert!(reason("jwt").contains("sign-method is missing"));
        assert!(reason("jwt,sign-method=").contains("sign-method is missing"));
        assert!(reason("jwt,sign-method=none").contains("unknown; it is one of RS256, "));
        assert!(reason("jwt,sign-method=rs256").contains("unknown"));
        assert!(reason("jwt,sign-method=RS256,ttl=5").contains("ttl \"5\""));
        assert!(reason("jwt,sign-method=RS256,sign-method=RS256").contains("given twice"));
        assert!(reason("jwt,sign-method").contains("name=value"));
        assert!(reason("jwt,sign-method=RS256,").contains("name=value"));
        assert!(reason("jwt,pub-key=/a=b,sign-method=RS256").contains("name=value"));
        assert!(reason("simple,ttl").contains("name=value"));
    }

    #[test]
    fn a_lifetime_that_is_none_is_refused() {
        for ttl in ["0", "0s", "-5m", "0.1ns"] {
            let text = format!("jwt,sign-method=HS256,ttl={ttl}");
            assert!(reason(&text).contains("above zero"), "{ttl}");
        }
    }

    #[test]
    fn unknown_options_are_named() {
        let parsed = TokenProvider::parse("jwt,sign-method=HS256,b=1,a=2,ttl=1s").unwrap();
        assert_eq!(parsed.unknown, ["b", "a"]);
        let parsed = TokenProvider::parse("simple,ttl=1s").unwrap();
        assert_eq!(parsed.unknown, ["ttl"]);
    }

    #[test]
    fn durations_are_gos() {
        // Values from Go's own documentation and `time.ParseDuration`.
        for (text, nanos) in [
            ("0", 0),
            ("5m", 300_000_000_000),
            ("+5s", 5_000_000_000),
            ("1h15m30.918s", 4_530_918_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("300ms", 300_000_000),
            ("1us2ns", 1_002),
            ("1µs", 1_000),
            ("0.9ns", 0),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1),
            ("9223372036854775807ns", i64::MAX as u64),
        ] {
            assert_eq!(go_duration(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in [
            "",
            "+",
            "-",
            "3",
            ".",
            "s",
            ".s",
            "+.s",
            "1e3s",
            "1d",
            "5m ",
            " 5m",
            "1.2.3s",
            "-5m",
            "++5m",
            "9223372036854775808ns",
            "3000000h",
            "99999999999999999999999999999999999999999h",
        ] {
            assert_eq!(go_duration(text), None, "{text:?}");
        }
    }
}
