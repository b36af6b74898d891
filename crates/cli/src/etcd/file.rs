//! etcd's config file: YAML or JSON. Its keys are the names of flags, plus two
//! sections for TLS.

use std::path::Path;

use super::error::EtcdError;
use super::flag::{self, Flag, Kind, find_setting};
use super::given::{Given, Source};
use super::go::{self, Value};
use crate::config_file::{ConfigFile, Entry, Shape};

/// The keys of `client-transport-security`, and the settings they correspond
/// to.
const CLIENT: &[(&str, &str)] = &[
    ("cert-file", "cert-file"),
    ("key-file", "key-file"),
    ("client-cert-file", "client-cert-file"),
    ("client-key-file", "client-key-file"),
    ("client-cert-auth", "client-cert-auth"),
    ("trusted-ca-file", "trusted-ca-file"),
    ("auto-tls", "auto-tls"),
    ("allowed-cn", "client-cert-allowed-cn"),
    ("allowed-hostname", "client-cert-allowed-hostname"),
    ("skip-client-san-verification", "client-skip-client-san-verification"),
    ("crl-file", "client-crl-file"),
];

/// The same for `peer-transport-security`.
const PEER: &[(&str, &str)] = &[
    ("cert-file", "peer-cert-file"),
    ("key-file", "peer-key-file"),
    ("client-cert-file", "peer-client-cert-file"),
    ("client-key-file", "peer-client-key-file"),
    ("client-cert-auth", "peer-client-cert-auth"),
    ("trusted-ca-file", "peer-trusted-ca-file"),
    ("auto-tls", "peer-auto-tls"),
    ("allowed-cn", "peer-cert-allowed-cn"),
    ("allowed-hostname", "peer-cert-allowed-hostname"),
    ("skip-client-san-verification", "peer-skip-client-san-verification"),
    ("crl-file", "peer-crl-file"),
];

const SECTIONS: [(&str, &[(&str, &str)]); 2] =
    [("client-transport-security", CLIENT), ("peer-transport-security", PEER)];

/// The contents of a file.
#[derive(Debug)]
pub(super) struct FromFile {
    pub(super) given: Given,
    /// Unknown keys; etcd ignores them too.
    pub(super) unknown: Vec<String>,
}

/// Reads the file at `path`.
pub(super) fn load(path: &Path) -> Result<FromFile, EtcdError> {
    let names: Vec<[Vec<&str>; 1]> =
        SECTIONS.iter().map(|(_, keys)| [keys.iter().map(|(key, _)| *key).collect()]).collect();
    let sections: Vec<(&str, &[&str])> =
        SECTIONS.iter().zip(&names).map(|((name, _), [keys])| (*name, keys.as_slice())).collect();
    let file = ConfigFile::load_shaped(path, &Shape::Lenient { sections: &sections })
        .map_err(|error| EtcdError::Invalid(error.to_string()))?;
    let mut from_file = FromFile { given: Given::default(), unknown: Vec::new() };
    for entry in file.entries() {
        match flag_of(entry) {
            // etcd reads it only from the command line, and etcd's own sample
            // file has a value that etcd rejects there.
            Some(flag) if flag.name == "discovery-fallback" => {}
            Some(flag) => {
                let value = value(flag, entry).map_err(|why| wrong(path, entry, &why))?;
                from_file.given.set(flag, value, Source::File(entry.line));
            }
            None if entry.key() == "discovery-config" => {
                return Err(wrong(path, entry, "there is one member: discovery finds nobody"));
            }
            None => from_file.unknown.push(entry.key().to_owned()),
        }
    }
    Ok(from_file)
}

fn flag_of(entry: &Entry) -> Option<&'static Flag> {
    let Some(section) = entry.section() else { return flag::find(entry.key()) };
    let (_, keys) = SECTIONS.iter().find(|(name, _)| *name == section)?;
    let (_, setting) = keys.iter().find(|(key, _)| *key == entry.key())?;
    find_setting(setting)
}

fn value(flag: &Flag, entry: &Entry) -> Result<Value, String> {
    if entry.values.is_empty() {
        return Err("it takes a value or a list of values".to_owned());
    }
    let text = entry.values.join(",");
    match flag.kind {
        // YAML has more spellings of booleans than Go.
        Kind::Switch => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" => Ok(Value::Switch(true)),
            "no" | "off" => Ok(Value::Switch(false)),
            _ => go::parse(flag.kind, &text),
        },
        Kind::Duration if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            go::parse(flag.kind, &format!("{text}ns"))
        }
        Kind::List | Kind::Urls => go::parse(flag.kind, &text),
        _ if entry.values.len() > 1 => Err("it takes one value, not a list".to_owned()),
        // etcd treats it like `--self-signed-cert-validity=1`.
        _ if flag.name == "self-signed-cert-validity" && text == "0" => Ok(Value::Number(1)),
        _ => go::parse(flag.kind, &text),
    }
}

fn wrong(path: &Path, entry: &Entry, why: &str) -> EtcdError {
    let (path, line, key, value) =
        (path.display(), entry.line, entry.key(), entry.values.join(","));
    EtcdError::Invalid(format!("--config-file: {path}, line {line}: {key}: {value:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(text: &str) -> Result<FromFile, String> {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("etcd.yml");
        std::fs::write(&path, text).expect("write");
        load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn yaml_and_json_mean_the_same() {
        let yaml = "name: 'a'\nlisten-client-urls: http://1.2.3.4:1,https://1.2.3.4:2\n\
            watch-progress-notify-interval: 600000000000\ncipher-suites: [\n  TLS_A,\n  TLS_B\n]\n\
            client-transport-security:\n  cert-file: /c\n  client-cert-auth: yes\n\
            \x20 allowed-cn: [x, y]\npeer-transport-security:\n  auto-tls: true\ndata-dir:\n";
        let json = r#"{"name": "a", "listen-client-urls": "http://1.2.3.4:1,https://1.2.3.4:2",
            "watch-progress-notify-interval": "10m", "cipher-suites": ["TLS_A", "TLS_B"],
            "client-transport-security": {"cert-file": "/c", "client-cert-auth": true,
            "allowed-cn": ["x", "y"]}, "peer-transport-security": {"auto-tls": true}}"#;
        for text in [yaml, json] {
            let FromFile { given, unknown } = read(text).expect("sound");
            assert!(unknown.is_empty(), "{unknown:?}");
            assert_eq!(given.text("name"), "a");
            assert_eq!(given.urls("listen-client-urls").len(), 2);
            let interval = given.duration("watch-progress-notify-interval");
            assert_eq!(interval, Duration::from_secs(600));
            assert_eq!(given.list("cipher-suites"), ["TLS_A", "TLS_B"]);
            assert_eq!(given.text("cert-file"), "/c");
            assert!(given.switch("client-cert-auth") && given.switch("peer-auto-tls"));
            assert!(!given.switch("auto-tls") && !given.is_set("data-dir"));
            assert_eq!(given.list("client-cert-allowed-cn"), ["x", "y"]);
        }
    }

    #[test]
    fn unknown_keys_are_told_but_not_where_they_could_weaken() {
        let file = read("nonsense: 1\nnested: {a: [1, {b: 2}]}\nname: a\n").expect("sound");
        assert_eq!(file.unknown, ["nonsense", "nested"]);
        assert_eq!(file.given.text("name"), "a");
        let told =
            read("client-transport-security:\n  client-cert-aut: true\n").expect_err("refused");
        assert!(
            told.contains("line 2") && told.contains("did you mean \"client-cert-auth\""),
            "{told}"
        );
        assert!(read("client-transport-security: x\n").is_err());
        assert!(
            read("discovery-config: {endpoints: [a]}\n")
                .expect_err("refused")
                .contains("discovery")
        );
    }

    #[test]
    fn wrong_values_name_line_and_key() {
        let told = read("name: a\nmax-txn-ops: x\n").expect_err("wrong");
        assert!(told.ends_with("line 2: max-txn-ops: \"x\": parse error"), "{told}");
        let told = read("peer-transport-security:\n  auto-tls: maybe\n").expect_err("wrong");
        assert!(told.contains("line 2: auto-tls: \"maybe\": parse error"), "{told}");
        assert!(read("name: [a, b]\n").expect_err("wrong").contains("not a list"));
        assert!(read("name: [a\n").expect_err("wrong").contains("not YAML"));
        let missing = load(Path::new("/nowhere/etcd.yml")).expect_err("missing").to_string();
        assert!(missing.contains("/nowhere/etcd.yml cannot be read"), "{missing}");
    }

    #[test]
    fn what_the_file_does_not_mean_is_left() {
        let file =
            read("discovery-fallback: 'proxy'\nself-signed-cert-validity: 0\n").expect("sound");
        assert!(!file.given.is_set("discovery-fallback"));
        assert_eq!(file.given.number("self-signed-cert-validity"), 1);
    }
}
