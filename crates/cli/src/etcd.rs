//! `t4 etcd`, and a binary or link named `etcd`: a server configured by etcd's
//! flags, environment variables and config file, with etcd's checks, messages
//! and exit codes (reference: etcd's `server/etcdmain` and `server/embed`).
//!
//! * `flag`, `table`: the flags, and what each means here.
//! * `command_line`, `environment`, `file`: the three sources of values; `go`,
//!   `url`: the syntax of values; `given`: all values found.
//! * `bootstrap`, `security`: checks of combinations.
//! * `settings`: converts all of it into the settings that `t4 run` uses too.
//! * `help`: the help and version texts.
//!
//! A flag that weakens a guarantee is rejected, or warned of where etcd only
//! warns; a flag about etcd's internals is one line in the log.

mod bootstrap;
mod command_line;
mod environment;
mod error;
mod file;
mod flag;
mod given;
mod go;
mod help;
mod security;
mod settings;
mod table;
mod url;

use std::ffi::OsString;
use std::io::Write;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;

use command_line::Asked;
use error::EtcdError;
use given::Given;
use settings::{Resolved, Surroundings};
use t4_node::Contents;

use crate::run::notice::Notices;

/// The flags, as they stand: they are Go's, not clap's.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct EtcdArgs {
    /// etcd's flags; `t4 etcd --help` lists them
    #[arg(value_name = "FLAGS", allow_hyphen_values = true, trailing_var_arg = true)]
    flags: Vec<OsString>,
}

pub(crate) fn run(args: EtcdArgs) -> anyhow::Result<ExitCode> {
    serve(args.flags)
}

/// The flags of a command line that starts with a program named `etcd`, or with
/// `t4 etcd`: clap would parse some of them differently.
pub(crate) fn flags_of(args: &[OsString]) -> Option<Vec<OsString>> {
    let (program, rest) = args.split_first()?;
    if Path::new(program).file_name().is_some_and(|name| name == "etcd") {
        return Some(rest.to_vec());
    }
    let (command, rest) = rest.split_first()?;
    (command == "etcd").then(|| rest.to_vec())
}

/// Whether etcd has a flag of that name, without dashes.
pub(crate) fn has_flag(name: &str) -> bool {
    flag::find(name).is_some()
}

/// Runs what the flags ask for.
pub(crate) fn serve(flags: Vec<OsString>) -> anyhow::Result<ExitCode> {
    match asked_and_settled(flags) {
        Ok(Outcome::Print(text)) => {
            std::io::stdout().lock().write_all(text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(Outcome::Start(resolved)) => {
            let Resolved { settings, notices } = *resolved;
            crate::run::start(settings, &notices, crate::run::FlagNames::Etcd)
        }
        Err(refused) => {
            let hint = match refused {
                EtcdError::Syntax(_) => "\nRun 'etcd --help' for the flags.",
                EtcdError::Invalid(_) => "",
            };
            eprintln!("etcd: {refused}{hint}");
            Ok(ExitCode::from(refused.exit_code()))
        }
    }
}

enum Outcome {
    Print(String),
    Start(Box<Resolved>),
}

fn asked_and_settled(flags: Vec<OsString>) -> Result<Outcome, EtcdError> {
    let (given, file) = match command_line::parse(flags)? {
        Asked::Help => return Ok(Outcome::Print(help::text())),
        Asked::Version => return Ok(Outcome::Print(help::version())),
        Asked::Serve { flags, file } => (flags, file),
    };
    let mut notices = Notices::default();
    let named = std::env::var_os("ETCD_CONFIG_FILE").filter(|file| !file.is_empty());
    let given = match file.map(OsString::from).or(named) {
        Some(file) => from_file(Path::new(&file), &given, &mut notices)?,
        None => from_environment(given, &mut notices)?,
    };
    let surroundings = Surroundings {
        host: &crate::run::host_name(),
        directory: &look_into,
        resolve: &addresses_of,
    };
    let mut resolved = settings::resolve(&given, &surroundings)?;
    notices.append(resolved.notices);
    resolved.notices = notices;
    Ok(Outcome::Start(Box::new(resolved)))
}

/// Only the file counts, as in etcd; other settings are reported as ignored.
fn from_file(path: &Path, flags: &Given, notices: &mut Notices) -> Result<Given, EtcdError> {
    let from_file = file::load(path)?;
    for (name, ..) in flags.iter() {
        notices.warn(name, format!("--{name} is ignored: the settings are those of --config-file"));
    }
    for key in from_file.unknown {
        notices.warn(key, "this key of the config file is not known and has no effect");
    }
    Ok(from_file.given)
}

fn from_environment(mut given: Given, notices: &mut Notices) -> Result<Given, EtcdError> {
    let variables: Vec<_> = std::env::vars_os().collect();
    for name in environment::complete(&mut given, &variables)? {
        notices.warn(name, "unrecognized environment variable");
    }
    Ok(given)
}

fn look_into(dir: &Path) -> Result<Contents, String> {
    Contents::of(dir).map_err(|error| error.to_string())
}

fn addresses_of(host: &str) -> Vec<IpAddr> {
    let resolved = (host, 0).to_socket_addrs();
    resolved.map(|all| all.map(|address| address.ip()).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(args: &[&str]) -> Option<Vec<OsString>> {
        flags_of(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_program_called_etcd_is_etcd() {
        let name = Some(vec![OsString::from("--name=a")]);
        assert_eq!(flags(&["etcd", "--name=a"]), name);
        assert_eq!(flags(&["/usr/local/bin/etcd", "--name=a"]), name);
        assert_eq!(flags(&["t4", "etcd", "--name=a"]), name);
        assert_eq!(flags(&["etcd"]), Some(Vec::new()));
        for other in [&["t4", "run", "etcd"][..], &["t4"], &["etcdctl", "get"], &[]] {
            assert_eq!(flags(other), None);
        }
    }
}
