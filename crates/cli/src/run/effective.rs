//! The effective settings, each with its source: the output of `t4 run
//! --check`. The lines are a config file that is equivalent, with the defaults
//! in comments.

use std::fmt::Write as _;

use super::flags::{RunCommand, flag_names};
use super::settings::Settings;
use crate::sources::{Found, Source};

/// Replaces a value that nobody should see.
const HIDDEN: &str = "…";
/// Rejected or empty: not shown.
const NOT_SHOWN: [&str; 3] = ["config-file", "peer-listen", "advertise-peer"];
/// The options of `--auth-token` that are not secret; unknown options may be.
const TOKEN_OPTIONS: [&str; 4] = ["sign-method", "pub-key", "priv-key", "ttl"];

/// One line each.
pub(super) fn text(settings: &Settings, found: &[Found]) -> String {
    let mut text = String::new();
    for flag in flag_names().iter().filter(|flag| !NOT_SHOWN.contains(&flag.as_str())) {
        let line = match found.iter().find(|found| found.flag == flag) {
            Some(Found { values, source, .. }) => {
                let values: Vec<String> =
                    values.iter().map(|value| without_secrets(flag, value)).collect();
                format!("{flag}: {}  # {}", yaml(&values), origin(source))
            }
            // As a comment: some are allowed only together with others.
            None => match default(flag, settings) {
                Some(values) => format!("# {flag}: {} (default)", yaml(&values)),
                None => format!("# {flag}: {}", prose_default(flag)),
            },
        };
        let _ = writeln!(text, "{line}");
    }
    text
}

fn origin(source: &Source) -> String {
    match source {
        Source::Flag => "from the command line".to_owned(),
        other => other.to_string(),
    }
}

fn without_secrets(flag: &str, value: &str) -> String {
    if flag != "auth-token" {
        return value.to_owned();
    }
    let shown = value.split(',').map(|option| match option.split_once('=') {
        Some((name, _)) if !TOKEN_OPTIONS.contains(&name) => format!("{name}={HIDDEN}"),
        _ => option.to_owned(),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// The default of a setting; `None`: it has no value that could be written.
fn default(flag: &str, settings: &Settings) -> Option<Vec<String>> {
    let shown = |addresses: &[t4_server::ListenAddress]| -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    };
    match flag {
        "listen" => Some(shown(&settings.server.listen)),
        "metrics-addr" => Some(shown(&settings.server.metrics_listen)),
        "node-id" => Some(vec![settings.node.name.clone()]),
        "advertise-client-urls" => {
            Some(settings.node.advertise_client_urls.clone()).filter(|urls| !urls.is_empty())
        }
        "io-threads" => Some(vec![settings.server.io_threads.to_string()]),
        _ => documented(flag).filter(|default| !default.contains(' ')).map(|text| vec![text]),
    }
}

/// The default in the help text.
fn documented(flag: &str) -> Option<String> {
    let command = <RunCommand as clap::Args>::augment_args(clap::Command::new("run"));
    let arg = command.get_arguments().find(|arg| arg.get_long() == Some(flag))?;
    let help = arg.get_help()?.to_string();
    let (_, default) = help.rsplit_once("[default: ")?;
    Some(default.trim_end_matches(']').to_owned())
}

fn prose_default(flag: &str) -> String {
    documented(flag).map_or_else(|| "not set".to_owned(), |default| format!("{default} (default)"))
}

/// Quoted if YAML would read it as something else, or as nothing.
fn yaml(values: &[String]) -> String {
    let quoted = |value: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/.:_+-=".contains(c);
        let is_plain = !value.is_empty()
            && value.chars().all(plain)
            && !value.starts_with(['-', ':', '='])
            && !value.ends_with(':');
        // JSON strings are valid YAML strings.
        let is_number = value.parse::<i64>().is_ok();
        if is_plain || is_number {
            value.clone()
        } else {
            serde_json::Value::from(value.as_str()).to_string()
        }
    };
    match values {
        [one] => quoted(one),
        many => format!("[{}]", many.iter().map(quoted).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io::Write;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        command: RunCommand,
    }

    fn resolved(flags: &[&str], variables: &[(&str, &str)]) -> (Settings, Vec<Found>) {
        let alone = Alone::try_parse_from(["t4"].iter().chain(flags)).expect("known flags");
        let environment = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Settings::resolve_with_origins(alone.command.args, &environment, "host-1").expect("sound")
    }

    fn shown(flags: &[&str], variables: &[(&str, &str)]) -> String {
        let (settings, found) = resolved(flags, variables);
        text(&settings, &found)
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    #[test]
    fn each_setting_has_its_value_and_its_origin() {
        let file = file("data-dir: /d\nlisten:\n  - 10.0.0.7:3379\n  - unix:///run/t4.sock\n");
        let path = file.path().to_str().expect("UTF-8");
        let shown = shown(
            &["--config-file", path, "--log-level=debug"],
            &[("T4_QUOTA_BACKEND_BYTES", "8GB")],
        );
        for line in [
            format!("data-dir: /d  # from {path}, line 1"),
            format!("listen: [10.0.0.7:3379, unix:///run/t4.sock]  # from {path}, line 2"),
            "log-level: debug  # from the command line".to_owned(),
            "quota-backend-bytes: 8GB  # from the environment variable T4_QUOTA_BACKEND_BYTES"
                .to_owned(),
            "# node-id: host-1 (default)".to_owned(),
            "# metrics-addr: http://0.0.0.0:9090 (default)".to_owned(),
            "# token-ttl: 300 (default)".to_owned(),
            "# client-tls-cert: not set".to_owned(),
            "# cipher-suites: all that are safe (default)".to_owned(),
        ] {
            assert!(shown.lines().any(|found| found == line), "{line}\nin\n{shown}");
        }
    }

    #[test]
    fn every_setting_is_shown_once_and_the_lines_say_the_same_again() {
        let flags = [
            "--metrics-addr=",
            "--cors=*",
            "--auto-compaction-retention=7d",
            "--listen=[::1]:2,unix:///s",
            "--quota-backend-bytes=-1",
        ];
        let before = shown(&flags, &[]);
        for flag in flag_names().iter().filter(|flag| !NOT_SHOWN.contains(&flag.as_str())) {
            let is_it =
                |line: &&str| line.trim_start_matches("# ").starts_with(&format!("{flag}: "));
            assert_eq!(before.lines().filter(is_it).count(), 1, "{flag} in\n{before}");
        }
        let file = file(&before);
        let path = file.path().to_str().expect("UTF-8");
        let (again, _) = resolved(&["--config-file", path], &[]);
        let (first, _) = resolved(&flags, &[]);
        assert_eq!(format!("{again:?}"), format!("{first:?}"));
    }

    #[test]
    fn what_could_be_a_secret_is_not_shown() {
        let shown =
            shown(&["--auth-token=jwt,sign-method=HS256,priv-key=/k,password=hunter2"], &[]);
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("jwt,sign-method=HS256,priv-key=/k,password="), "{shown}");
    }
}
