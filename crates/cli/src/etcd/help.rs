//! What `etcd --help` and `etcd --version` print.

use std::fmt::Write as _;

use super::flag::{Flag, Kind, Meaning};
use super::table::GROUPS;

const USAGE: &str = "\
Usage:

  etcd [flags]
    Serve etcd's API with T4, from etcd's flags, environment variables and config file.

  etcd --version
    Show the version of etcd whose API is served.

  etcd -h | --help
    Show this.

  etcd --config-file FILE
    Read the settings from a file of YAML or JSON; other flags and variables are then ignored.

Each flag has a variable, ETCD_ and its name in capitals with _ for -; to give both is an error.
--name value, --name=value and one dash are the same; switches are --name, or --name=false.
";

/// The whole help text.
pub(super) fn text() -> String {
    let mut text = USAGE.to_owned();
    for group in GROUPS {
        let _ = writeln!(text, "\n{}:", group.title);
        for flag in group.flags {
            describe(flag, &mut text);
        }
    }
    text
}

fn describe(flag: &Flag, text: &mut String) {
    let value = match flag.kind {
        Kind::Switch if flag.default == "false" => String::new(),
        _ => format!(" '{}'", flag.default),
    };
    let help = match flag.meaning {
        Meaning::Honoured => flag.help.to_owned(),
        Meaning::Governed(instead) => format!("Without effect: {instead}."),
        Meaning::Only(_, why) => format!("Refused: {why}."),
        Meaning::GivenUp(instead) => format!("Refused: etcd gave it up long ago; {instead}."),
    };
    let _ = writeln!(text, "  --{}{value}", flag.name);
    for line in wrapped(&help) {
        let _ = writeln!(text, "    {line}");
    }
}

/// The columns of a line of help.
const WIDTH: usize = 96;

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is a line");
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= WIDTH {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// The four lines that scripts parse. The first has the API version that is
/// served; the others describe this program instead of a build of etcd.
pub(super) fn version() -> String {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    // By Go's names.
    let arch = match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "etcd Version: {}\nGit SHA: t4-{}\nGo Version: none (T4 is written in Rust)\n\
         Go OS/Arch: {os}/{arch}\n",
        t4_server::ETCD_VERSION,
        env!("CARGO_PKG_VERSION"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_explained() {
        let text = text();
        for flag in crate::etcd::flag::all() {
            assert!(text.contains(&format!("\n  --{}", flag.name)), "{}", flag.name);
        }
        assert!(text.lines().all(|line| line.chars().count() <= 120), "a long line");
        assert!(!text.contains("\n    \n"), "a flag without help");
    }

    #[test]
    fn the_version_has_etcds_form() {
        let version = version();
        let names: Vec<_> = version.lines().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(names, ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch"]);
        assert!(version.starts_with("etcd Version: 3."), "{version}");
    }
}
