//! What the documents say exists: the pages and files they point to, the flags,
//! the metrics.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use t4_testkit::{Metrics, T4, T4Options, workspace_root};

use crate::{stdout, t4};

/// Flags in them that are other programs'.
const FLAGS_OF_OTHERS: &[&str] = &[
    "--release",
    "--prefix",
    "--cacert",
    "--cert",
    "--key",
    "--endpoints",
    "--insecure-skip-tls-verify",
    "--insecure-transport",
    "--user",
    "--keys-only",
    "--dest-cacert",
    "--dest-cert",
    "--dest-key",
    "--dest-user",
    "--dest-password",
    // Of useradd and systemctl.
    "--system",
    "--user-group",
    "--home-dir",
    "--shell",
    "--now",
    // Ours to come: what is said of them is that they are refused.
    "--peer-listen",
    "--advertise-peer",
];

fn documents() -> Vec<PathBuf> {
    let root = workspace_root();
    let mut found: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(|name| root.join(name)).into();
    for folder in ["docs", "docs/decisions", "docs/formats"] {
        let entries = fs::read_dir(root.join(folder)).expect("list");
        let paths = entries.map(|entry| entry.expect("entry").path());
        found.extend(paths.filter(|path| path.extension().is_some_and(|ext| ext == "md")));
    }
    assert!(found.len() > 10, "{found:?}");
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn links_lead_somewhere() {
    let mut checked = 0;
    for document in documents() {
        let text = read(&document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || link.contains("://") {
                continue;
            }
            let target = document.parent().expect("a folder").join(path);
            assert!(target.exists(), "{}: {link}", document.display());
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} links are not all");
}

#[test]
fn files_that_are_named_are_there() {
    let root = workspace_root();
    let mut checked = 0;
    for document in documents() {
        for quoted in read(&document).split('`').skip(1).step_by(2) {
            let is_file = quoted.contains('/')
                && !quoted.contains([' ', '<', '*', ':'])
                && [".rs", ".md", ".bin"].iter().any(|end| quoted.ends_with(end));
            if is_file {
                let there = [root.join(quoted), root.join("crates").join(quoted)];
                let found = there.iter().any(|path| path.exists());
                assert!(found, "{}: `{quoted}`", document.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 10, "{checked} files are not all");
}

/// The words of a text that begin with `start` and go on with lower-case
/// letters, digits, and `joint`.
fn words<'a>(text: &'a str, start: &str, joint: char) -> BTreeSet<&'a str> {
    let is_inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joint;
    let starts = text.match_indices(start).filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        before.is_none_or(|before| !is_inside(before))
    });
    starts
        .map(|(at, _)| {
            let rest = &text[at..];
            let end = rest.find(|c| !is_inside(c)).unwrap_or(rest.len());
            rest[..end].trim_end_matches(joint)
        })
        .collect()
}

#[test]
fn flags_that_are_named_are_known() {
    let helps = [
        &["run", "--help"][..],
        &["version", "--help"],
        &["inspect", "get", "--help"],
        &["inspect", "list", "--help"],
        &["inspect", "count", "--help"],
        &["inspect", "history", "--help"],
        &["inspect", "diff", "--help"],
        &["certs", "init-ca", "--help"],
        &["certs", "issue", "server", "--help"],
        &["certs", "issue", "client", "--help"],
        &["certs", "renew", "--help"],
        &["certs", "inspect", "--help"],
        &["certs", "verify", "--help"],
        &["completion", "--help"],
        &["man", "--help"],
        &["etcd", "--help"],
    ];
    let help: String = helps.iter().map(|args| stdout(&t4(args))).collect();
    let known = words(&help, "--", '-');
    for name in ["README.md", "docs/operations.md", "docs/security.md"] {
        let text = read(&workspace_root().join(name));
        let named = words(&text, "--", '-');
        assert!(named.len() > 3, "{name}: {named:?}");
        for flag in named.iter().filter(|flag| flag.len() > 3) {
            let is_known = known.contains(flag) || FLAGS_OF_OTHERS.contains(flag);
            assert!(is_known, "{name}: {flag} is no flag of t4");
        }
    }
}

#[test]
fn metrics_that_are_named_are_served() {
    let server = T4::start(T4Options::default()).expect("start");
    let answer = Metrics::read(server.metrics_endpoint()).expect("metrics");
    let page = read(&workspace_root().join("docs/operations.md"));
    let mut checked = 0;
    for family in ["etcd_", "t4_", "grpc_server_", "process_"] {
        let served = words(answer.text(), family, '_');
        for metric in words(&page, family, '_') {
            // `etcd_server_*` names a family.
            let is_served = served.iter().any(|name| name.starts_with(metric));
            assert!(is_served, "{metric} is not served");
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} metrics are not all");
}

#[test]
fn what_is_deployed_names_flags_and_variables_that_there_are() {
    let help = stdout(&t4(&["run", "--help"]));
    let (flags, variables) = (words(&help, "--", '-'), variables(&help));
    for name in ["deploy/kubernetes.yaml", "deploy/Dockerfile", "docs/operations.md"] {
        let text = read(&workspace_root().join(name));
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("- --")) {
            let flag = format!("--{}", line.split('=').next().unwrap_or_default());
            assert!(flags.contains(flag.as_str()), "{name}: {flag}");
        }
        for variable in self::variables(&text) {
            let is_example = ["T4_SERVICE_HOST", "T4_PORT_", "T4_COMMIT"].contains(&variable);
            assert!(is_example || variables.contains(variable), "{name}: {variable}");
        }
    }
}

/// The words that begin as our variables do.
fn variables(text: &str) -> BTreeSet<&str> {
    let is_inside = |c: char| c.is_ascii_uppercase() || c == '_';
    let rests = text.match_indices("T4_").map(|(at, _)| &text[at..]);
    rests
        .map(|rest| &rest[..rest[3..].find(|c| !is_inside(c)).map_or(rest.len(), |end| end + 3)])
        .filter(|variable| variable.len() > 3)
        .collect()
}

#[test]
fn the_manifest_is_yaml_with_a_server_that_starts_as_it_says() {
    use saphyr_parser::{Event, Parser};
    let text = read(&workspace_root().join("deploy/kubernetes.yaml"));
    let (mut documents, mut args) = (0, None::<Vec<String>>);
    let (mut in_args, mut server) = (false, Vec::new());
    for event in Parser::new_from_str(&text) {
        match event.expect("YAML").0 {
            Event::DocumentStart(_) => documents += 1,
            Event::Scalar(key, ..) if key == "args" => in_args = true,
            Event::SequenceStart(..) if in_args => args = Some(Vec::new()),
            Event::SequenceEnd if in_args => {
                in_args = false;
                server = args.take().unwrap_or_default();
            }
            Event::Scalar(value, ..) => {
                if let Some(args) = &mut args {
                    args.push(value.into_owned());
                }
            }
            _ => {}
        }
    }
    assert_eq!(documents, 2, "a service and a set");
    // The same flags, with files that there are.
    let scratch = t4_testkit::Scratch::new("manifest").expect("scratch");
    let dir = scratch.path().display().to_string();
    for line in [&["init-ca"][..], &["issue", "server", "--san=localhost", "--name=tls"]] {
        let made = crate::binary().current_dir(&dir).arg("certs").args(line).output();
        assert!(made.expect("start t4").status.success());
    }
    let place = |arg: &String| {
        arg.replace("=/tls/", &format!("={dir}/")).replace("=/data/", &format!("={dir}/data/"))
    };
    let mut args: Vec<String> = server.iter().map(place).collect();
    assert_eq!(args.first().map(String::as_str), Some("run"), "{args:?}");
    args.push("--check".to_owned());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let checked = t4(&args);
    assert_eq!(checked.status.code(), Some(0), "{}", crate::stderr(&checked));
    assert!(stdout(&checked).contains("data-dir: ") && !scratch.join("data").exists());
}
