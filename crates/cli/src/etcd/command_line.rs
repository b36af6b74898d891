//! Arguments parsed as in Go's flag package (reference: Go's `flag`,
//! `FlagSet.parseOne`): one dash or two, `--name value` or `--name=value`,
//! switches without a value; the last of two wins, and the first argument that
//! is not a flag ends the flags.

use std::ffi::OsString;

use super::error::EtcdError;
use super::flag::{self, Flag, Kind};
use super::given::{Given, Source};
use super::go;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Help,
    Version,
    Serve {
        flags: Given,
        /// `--config-file`.
        file: Option<String>,
    },
}

/// Parses the arguments after the name of the program.
pub(super) fn parse(args: Vec<OsString>) -> Result<Asked, EtcdError> {
    let mut args = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).peekable();
    if let Some(command @ ("gateway" | "grpc-proxy")) = args.peek().map(String::as_str) {
        return Err(EtcdError::Invalid(format!(
            "{command} is not part of T4: clients reach a member directly, or through any TCP or \
             HTTP/2 proxy"
        )));
    }
    let mut given = Given::default();
    let (mut file, mut version) = (None, false);
    while let Some(arg) = args.next() {
        let Some((name, value)) = split(&arg)? else {
            let positional = if arg == "--" { args.next() } else { Some(arg) };
            match positional {
                None => break,
                Some(arg) => {
                    return Err(EtcdError::Invalid(format!("{arg:?} is not a valid flag")));
                }
            }
        };
        let mut argument =
            |value: Option<&str>| match value.map(str::to_owned).or_else(|| args.next()) {
                Some(value) => Ok(value),
                None => Err(EtcdError::Syntax(format!("flag needs an argument: -{name}"))),
            };
        match name {
            "help" | "h" if flag::find(name).is_none() => return Ok(Asked::Help),
            "version" => version = switch(name, value)?,
            "config-file" => file = Some(argument(value)?),
            _ => {
                let flag = flag::find(name).ok_or_else(|| unknown(name))?;
                if flag.kind == Kind::Switch {
                    let value = switch(name, value)?;
                    given.set(flag, go::Value::Switch(value), Source::Flag);
                } else {
                    set(&mut given, flag, &argument(value)?)?;
                }
            }
        }
    }
    if version {
        return Ok(Asked::Version);
    }
    Ok(Asked::Serve { flags: given, file: file.filter(|file| !file.is_empty()) })
}

/// The name and value of a flag; `None`: `arg` is not a flag.
fn split(arg: &str) -> Result<Option<(&str, Option<&str>)>, EtcdError> {
    let Some(rest) = arg.strip_prefix('-').filter(|rest| !rest.is_empty()) else { return Ok(None) };
    let body = rest.strip_prefix('-').unwrap_or(rest);
    if body.is_empty() {
        return Ok(None);
    }
    if body.starts_with(['-', '=']) {
        return Err(EtcdError::Syntax(format!("bad flag syntax: {arg}")));
    }
    Ok(Some(body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value)))))
}

fn switch(name: &str, value: Option<&str>) -> Result<bool, EtcdError> {
    let Some(value) = value else { return Ok(true) };
    go::boolean(value).ok_or_else(|| {
        EtcdError::Syntax(format!("invalid boolean value {value:?} for -{name}: parse error"))
    })
}

fn set(given: &mut Given, flag: &'static Flag, text: &str) -> Result<(), EtcdError> {
    let value = go::parse(flag.kind, text).map_err(|why| {
        EtcdError::Syntax(format!("invalid value {text:?} for flag -{}: {why}", flag.name))
    })?;
    given.set(flag, value, Source::Flag);
    Ok(())
}

fn unknown(name: &str) -> EtcdError {
    let hint = match crate::hints::nearest(name, flag::all().map(|flag| flag.name)) {
        Some(near) => format!("; did you mean -{near}?"),
        None => String::new(),
    };
    EtcdError::Syntax(format!("flag provided but not defined: -{name}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(args: &[&str]) -> Result<Asked, EtcdError> {
        parse(args.iter().map(OsString::from).collect())
    }

    fn given(args: &[&str]) -> Given {
        match asked(args) {
            Ok(Asked::Serve { flags, .. }) => flags,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    fn told(args: &[&str]) -> EtcdError {
        asked(args).expect_err("refused")
    }

    #[test]
    fn every_way_to_write_a_flag() {
        for args in [["--name", "a"], ["-name", "a"]] {
            assert_eq!(given(&args).text("name"), "a");
        }
        for arg in ["--name=a", "-name=a"] {
            assert_eq!(given(&[arg]).text("name"), "a");
        }
        assert_eq!(given(&["--name=a", "--name", "b=c"]).text("name"), "b=c");
        assert_eq!(given(&["--name="]).text("name"), "");
        assert_eq!(given(&["--name", "--data-dir"]).text("name"), "--data-dir");
        assert!(given(&["--auto-tls"]).switch("auto-tls"));
        assert!(given(&["-auto-tls", "--name", "x"]).switch("auto-tls"));
        assert!(!given(&["--auto-tls", "--auto-tls=F"]).switch("auto-tls"));
        assert_eq!((given(&["--"]), given(&[])), (Given::default(), Given::default()));
    }

    #[test]
    fn what_is_wrong_is_told_in_gos_words() {
        let syntax = [
            (&["--nope"][..], "flag provided but not defined: -nope"),
            (&["--listen-client-url=x"], "-listen-client-url; did you mean -listen-client-urls?"),
            (&["--name"], "flag needs an argument: -name"),
            (&["---name"], "bad flag syntax: ---name"),
            (&["--=x"], "bad flag syntax: --=x"),
            (&["--auto-tls=maybe"], "invalid boolean value \"maybe\" for -auto-tls: parse error"),
            (&["--max-txn-ops=x"], "invalid value \"x\" for flag -max-txn-ops: parse error"),
            (
                &["--initial-cluster-state=odd"],
                "invalid value \"odd\" for flag -initial-cluster-state",
            ),
            (
                &["--listen-client-urls=ftp://1"],
                "URL scheme must be http, https, unix, or unixs: ftp://1",
            ),
        ];
        for (args, expected) in syntax {
            let EtcdError::Syntax(told) = told(args) else { panic!("{args:?}") };
            assert!(told.contains(expected), "{told}");
        }
        let invalid: [&[&str]; 5] =
            [&["extra"], &["--auto-tls", "true"], &["--", "x"], &["-"], &["gateway", "start"]];
        for args in invalid {
            assert!(matches!(told(args), EtcdError::Invalid(_)), "{args:?}");
        }
    }

    #[test]
    fn questions_come_before_service() {
        assert_eq!(asked(&["--name", "a", "-h"]), Ok(Asked::Help));
        assert_eq!(asked(&["--help"]), Ok(Asked::Help));
        assert_eq!(asked(&["--version"]), Ok(Asked::Version));
        assert!(matches!(asked(&["--version=false"]), Ok(Asked::Serve { .. })));
        let Ok(Asked::Serve { file, .. }) = asked(&["--config-file=f"]) else { panic!("serve") };
        assert_eq!(file.as_deref(), Some("f"));
    }
}
