//! The commands of `t4`: flags over environment over file over defaults.
//!
//! [`run`] takes the arguments of the process and returns its exit code. Each
//! subcommand is a module:
//!
//! * `run`: a server, until a signal ends it. `run/flags.rs` has the flags, `run/settings.rs` turns
//!   them into the configuration of node and server.
//! * `etcd`: the same server, configured by etcd's flags.
//! * `inspect`: reads a data directory on which no node runs.
//! * `verify`: reads every byte of such a directory and reports damage.
//! * `certs`: a small certificate authority.
//! * `completion`: shell completions and manual pages.
//! * `version`.
//!
//! Shared modules: `sources` (which source of a setting wins), `config_file`, `value` (the text
//! formats of settings), `usage` (errors in settings), `hints` (suggestions for likely mistakes),
//! `logging`.
//!
//! Exit codes: 0, success; 1, failure; 2, wrong usage.
//!
//! Implemented elsewhere: the server (`t4-server`), reading a data directory (`t4-node`),
//! certificates (`t4-tls-config`).
#![doc = include_str!("../README.md")]

mod certs;
mod completion;
mod config_file;
mod etcd;
mod hints;
mod inspect;
mod logging;
mod run;
mod sources;
mod usage;
mod value;
mod verify;
mod version;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use usage::UsageError;

/// Wrong usage.
const EXIT_USAGE: u8 = 2;

/// An etcd-compatible store that keeps its history on local disks.
#[derive(Debug, Parser)]
#[command(name = "t4", version, propagate_version = true, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a server until SIGTERM or SIGINT
    Run(Box<run::RunCommand>),
    /// Runs a server from etcd's flags, environment variables and config file; so does a link
    /// called `etcd`
    Etcd(etcd::EtcdArgs),
    /// Reads a data directory while no server runs on it; changes nothing
    Inspect(inspect::InspectArgs),
    /// Reads every byte of a data directory and says what is damaged; changes nothing
    Verify(verify::VerifyArgs),
    /// Issues, renews, verifies and shows certificates, so that TLS needs no openssl
    Certs(certs::CertsArgs),
    /// Prints a completion script for a shell
    Completion(completion::CompletionArgs),
    /// Prints or writes manual pages
    Man(completion::ManArgs),
    /// Prints the version, the etcd API that is served, and the build target
    Version(version::VersionArgs),
}

/// Runs the command in `args`, whose first element is the name of the program. Blocks until it is
/// done. Writes to standard output and standard error.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(flags) = etcd::flags_of(&args) {
        return etcd::serve(flags).unwrap_or_else(|error| failed(&error));
    }
    let parsed = command().try_get_matches_from(&args);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(told) => {
            let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
            let told = hints::with_tip(told, &args);
            // If the pipe is closed, there is nobody to report to.
            let _ = told.print();
            return if told.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let done = match cli.command {
        Command::Run(args) => run::run(*args),
        Command::Etcd(args) => etcd::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Certs(args) => certs::run(args),
        Command::Completion(args) => args.run(command()),
        Command::Man(args) => args.run(command()),
        Command::Version(args) => version::run(&args),
    };
    done.unwrap_or_else(|error| failed(&error))
}

/// The command line, with the environment variable of each setting in its help.
fn command() -> clap::Command {
    Cli::command()
        .mut_subcommand("run", |run| run.mut_args(name_variable).mut_args(brief))
        .mut_subcommand("verify", |verify| verify.mut_arg("data_dir", name_variable))
        .mut_subcommand("inspect", |inspect| {
            inspect.mut_subcommands(|sub| sub.mut_arg("data_dir", name_variable))
        })
}

/// The names of the commands, in the order of the help.
fn command_names() -> Vec<String> {
    Cli::command().get_subcommands().map(|sub| sub.get_name().to_owned()).collect()
}

/// Only in the long help: the short one is an overview.
fn name_variable(arg: clap::Arg) -> clap::Arg {
    let is_setting = |flag: &&str| !matches!(*flag, "help" | "version" | "check");
    let Some(flag) = arg.get_long().filter(is_setting) else { return arg };
    let variable = sources::variable(flag);
    let short = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let long = arg.get_long_help().map_or_else(|| short.clone(), ToString::to_string);
    arg.long_help(format!("{long} [env: {variable}]"))
}

/// Hides from `t4 run -h` the flags that few servers need.
fn brief(arg: clap::Arg) -> clap::Arg {
    const COMMON: [&str; 19] = [
        "help",
        "version",
        "check",
        "config-file",
        "data-dir",
        "listen",
        "metrics-addr",
        "node-id",
        "advertise-client-urls",
        "log-level",
        "log-format",
        "quota-backend-bytes",
        "auto-compaction-mode",
        "auto-compaction-retention",
        "client-tls-cert",
        "client-tls-key",
        "client-tls-ca",
        "auto-tls",
        "auth-enabled",
    ];
    let is_common = arg.get_long().is_none_or(|flag| COMMON.contains(&flag));
    arg.hide_short_help(!is_common)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let broken_pipe = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
    if broken_pipe {
        // The reader closed the pipe because it has seen enough.
        return ExitCode::SUCCESS;
    }
    eprintln!("t4: {}", with_causes(error));
    let is_usage = error.is::<UsageError>();
    if is_usage { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
}

/// An error and its causes; a cause that is already in the text before it is not repeated.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_cause_is_told_once() {
        let refused = || std::io::Error::other("refused");
        let apart = anyhow::Error::new(refused()).context("cannot bind").context("no start");
        assert_eq!(super::with_causes(&apart), "no start: cannot bind: refused");
        let inside = anyhow::Error::new(refused()).context("cannot bind: refused. Why?");
        assert_eq!(super::with_causes(&inside), "cannot bind: refused. Why?");
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }

    #[test]
    fn the_short_help_of_run_is_short_and_says_where_the_rest_is() {
        let mut command = super::command();
        let run = command.find_subcommand_mut("run").expect("run");
        let (short, long) = (run.render_help().to_string(), run.render_long_help().to_string());
        let lines = |text: &str| text.lines().count();
        assert!(lines(&short) * 2 < lines(&long), "{short}");
        for words in ["--listen", "--check", "`t4 run --help` has all of them"] {
            assert!(short.contains(words), "{words} in\n{short}");
        }
        assert!(!short.contains("--max-txn-ops") && !short.contains("[env:"), "{short}");
    }

    #[test]
    fn every_setting_names_its_variable_in_the_help() {
        let mut command = super::command();
        let run = command.find_subcommand_mut("run").expect("run");
        let help = run.render_long_help().to_string();
        for flag in crate::run::flag_names() {
            let variable = crate::sources::variable(&flag);
            // Rejected in any case.
            let is_hidden = ["peer-listen", "advertise-peer"].contains(&flag.as_str());
            let is_shown = help.contains(&format!("[env: {variable}]"));
            assert_ne!(is_shown, is_hidden, "{variable} in\n{help}");
        }
    }
}
