//! Every setting: its default, its source, its limits.

use std::ffi::OsString;
use std::io::Write;

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    args: RunArgs,
}

/// Resolves `flags` with environment variables.
fn with(flags: &[&str], variables: &[(&str, &str)]) -> Result<Settings, UsageError> {
    let alone = Alone::try_parse_from(["t4"].iter().chain(flags)).expect("known flags");
    let environment = |name: &str| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| OsString::from(value))
    };
    Settings::resolve(alone.args, &environment, "host-1")
}

fn sound(flags: &[&str]) -> Settings {
    with(flags, &[]).expect("sound settings")
}

fn told(flags: &[&str]) -> String {
    with(flags, &[]).expect_err("wrong settings").to_string()
}

fn addresses(settings: &Settings) -> Vec<String> {
    settings.server.listen.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults() {
    let Settings { node, server, security, logging } = sound(&[]);
    assert_eq!(node.data_dir.as_os_str(), "/var/lib/t4");
    assert_eq!(node.name, "host-1");
    assert_eq!(node.advertise_client_urls, ["http://host-1:3379"]);
    assert_eq!(node.quota_bytes, Some(2 << 30));
    assert_eq!(node.auto_compaction, AutoCompaction::Off);
    assert_eq!(node.log_segment_bytes, 50 << 20);
    assert_eq!(node.cache_bytes, 64 << 20);
    assert_eq!(server.listen, ["0.0.0.0:3379".parse().expect("address")]);
    assert_eq!(server.metrics_listen, ["0.0.0.0:9090".parse().expect("address")]);
    assert_eq!(server.max_request_bytes, 1_572_864);
    assert_eq!(server.max_txn_ops, 128);
    assert_eq!(server.max_concurrent_streams, u32::MAX);
    assert_eq!(server.watch_progress_notify_interval, Duration::from_secs(600));
    assert_eq!(server.keepalive_interval, Duration::from_secs(7200));
    assert_eq!(server.keepalive_timeout, Duration::from_secs(20));
    let outputs = vec![Output::Stderr];
    assert_eq!(logging, Logging { level: Level::INFO, format: Format::Text, outputs });
    let peer_versions = security.peer_versions;
    assert_eq!(security, Security { peer_versions, ..Security::default() });
    assert_eq!(server.auth, t4_server::AuthConfig::default());
}

#[test]
fn every_flag_arrives() {
    let Settings { node, server, security, logging } = sound(&[
        "--data-dir=/d",
        "--listen=127.0.0.1:1,unix:///run/t4",
        "--listen=http://[::1]:2",
        "--metrics-addr=127.0.0.1:3",
        "--node-id=n",
        "--advertise-client-urls=http://a:1,https://b:2",
        "--advertise-client-urls=http://c:3",
        "--log-level=DEBUG",
        "--log-format=json",
        "--metrics=extensive",
        "--warning-apply-duration=5ms",
        "--warning-unary-request-duration=0s",
        "--read-consistency=serializable",
        "--quota-backend-bytes=77",
        "--auto-compaction-mode=revision",
        "--auto-compaction-retention=1000",
        "--segment-max-size-mb=8",
        "--cache-bytes=0",
        "--io-threads=3",
        "--max-request-bytes=100",
        "--max-txn-ops=5",
        "--max-concurrent-streams=6",
        "--watch-progress-notify-interval=100ms",
        "--grpc-keepalive-interval=1m",
        "--grpc-keepalive-timeout=2s",
        "--grpc-keepalive-min-time=5s",
        "--grpc-keepalive-permit-without-stream",
    ]);
    assert_eq!(node.data_dir.as_os_str(), "/d");
    assert_eq!(node.name, "n");
    assert_eq!(node.advertise_client_urls, ["http://a:1", "https://b:2", "http://c:3"]);
    assert_eq!(node.quota_bytes, Some(77));
    assert_eq!(node.auto_compaction, AutoCompaction::Revision(1000));
    assert_eq!((node.log_segment_bytes, node.cache_bytes), (8 << 20, 0));
    let listen: Vec<_> = server.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["http://127.0.0.1:1", "unix:///run/t4", "http://[::1]:2"]);
    assert_eq!(server.metrics_listen, ["127.0.0.1:3".parse().expect("address")]);
    assert_eq!((server.io_threads, server.max_request_bytes), (3, 100));
    assert_eq!((server.max_txn_ops, server.max_concurrent_streams), (5, 6));
    assert_eq!(server.watch_progress_notify_interval, Duration::from_millis(100));
    assert_eq!(server.keepalive_interval, Duration::from_secs(60));
    assert_eq!(server.keepalive_timeout, Duration::from_secs(2));
    assert!(server.extensive_metrics);
    assert_eq!(server.warning_apply_duration, Duration::from_millis(5));
    assert_eq!(server.warning_unary_request_duration, Duration::ZERO);
    assert_eq!((logging.level, logging.format), (Level::DEBUG, Format::Json));
    assert_eq!(security.client, Default::default(), "its flags have tests of their own");
}

#[test]
fn a_level_is_taken_in_capitals_and_by_its_long_name() {
    for text in ["WARN", "warning", "Warning"] {
        let flag = format!("--log-level={text}");
        assert_eq!(sound(&[&flag]).logging.level, Level::WARN, "{text}");
    }
    let told = with(&["--log-level=Loud"], &[]).expect_err("refused").to_string();
    assert!(told.contains("\"Loud\"") && told.contains("error, warn, info"), "{told}");
}

#[test]
fn every_flag_has_a_variable_and_a_key() {
    // A value that only these settings accept: the others fail, which shows that
    // they parsed it.
    let takes_any = [
        "data-dir",
        "node-id",
        "client-tls-cert",
        "client-tls-key",
        "client-tls-ca",
        "client-crl-file",
        "peer-tls-ca",
        "peer-tls-cert",
        "peer-tls-key",
        "peer-crl-file",
        "peer-cert-allowed-cn",
    ];
    for flag in flag_names() {
        let variable = crate::sources::variable(&flag);
        let wrong = with(&[], &[(&variable, "?:/ wrong")]);
        if takes_any.contains(&flag.as_str()) {
            // Accepted, or rejected with the option that it requires.
            let told = wrong.map_or_else(|error| error.to_string(), |_| flag.clone());
            assert!(told.contains(&flag), "{told}");
            continue;
        }
        let told = wrong.expect_err(&flag).to_string();
        assert!(told.starts_with(&format!("--{flag}: ")), "{told}");
        if flag == "config-file" {
            continue;
        }
        assert!(told.contains(&format!("(from the environment variable {variable})")), "{told}");
        let told = in_file(&format!("{flag}: '?:/ wrong'"), &[]).expect_err(&flag).to_string();
        assert!(told.contains("t4.yaml, line 1)"), "{told}");
    }
}

/// Resolves a config file and flags.
fn in_file(text: &str, flags: &[&str]) -> Result<Settings, UsageError> {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("t4.yaml");
    let mut file = std::fs::File::create(&path).expect("create");
    file.write_all(text.as_bytes()).expect("write");
    let path = path.to_str().expect("a path of UTF-8");
    with(&[&["--config-file", path], flags].concat(), &[])
}

#[test]
fn the_file_is_below_flags_and_environment() {
    let text = "data-dir: /file\nnode-id: file\nlisten: [127.0.0.1:5, 127.0.0.1:6]\n\
        quota-backend-bytes: -1\nmetrics-addr: ''\n";
    let settings = in_file(text, &["--node-id", "flag"]).expect("sound");
    assert_eq!(settings.node.name, "flag");
    assert_eq!(settings.node.data_dir.as_os_str(), "/file");
    assert_eq!(addresses(&settings), ["http://127.0.0.1:5", "http://127.0.0.1:6"]);
    assert_eq!(settings.node.quota_bytes, None);
    assert_eq!(settings.server.metrics_listen, []);
}

#[test]
fn a_file_names_no_other_file() {
    let told = in_file("config-file: other.yaml\n", &[]).expect_err("refused").to_string();
    assert!(told.contains("line 1: the key \"config-file\" is not known"), "{told}");
}

#[test]
fn advertised_urls_follow_the_listeners() {
    let urls = |flags: &[&str]| sound(flags).node.advertise_client_urls;
    assert_eq!(
        urls(&["--listen=0.0.0.0:1", "--listen=[::]:2"]),
        ["http://host-1:1", "http://host-1:2"]
    );
    assert_eq!(
        urls(&["--listen=127.0.0.1:1,10.0.0.7:2,unix:///s"]),
        ["http://127.0.0.1:1", "http://10.0.0.7:2", "unix:///s"]
    );
    assert_eq!(urls(&["--listen=127.0.0.1:0"]), [""; 0]);
}

#[test]
fn metrics_can_be_switched_off() {
    assert_eq!(sound(&["--metrics-addr="]).server.metrics_listen, []);
    let off = with(&[], &[("T4_METRICS_ADDR", "off")]).expect("sound");
    assert_eq!(off.server.metrics_listen, []);
    let empty = with(&[], &[("T4_METRICS_ADDR", "")]).expect("sound");
    assert!(!empty.server.metrics_listen.is_empty(), "an empty variable is unset");
}

#[test]
fn retention_depends_on_the_mode_wherever_that_is_said() {
    let variables = [("T4_AUTO_COMPACTION_MODE", "revision")];
    let settings = with(&["--auto-compaction-retention=5"], &variables).expect("sound");
    assert_eq!(settings.node.auto_compaction, AutoCompaction::Revision(5));
    let hours = sound(&["--auto-compaction-retention=5"]).node.auto_compaction;
    assert_eq!(hours, AutoCompaction::Periodic(Duration::from_secs(5 * 3600)));
    let told = with(&["--auto-compaction-retention=5m"], &variables).unwrap_err().to_string();
    assert!(told.starts_with("--auto-compaction-retention: \"5m\" is not allowed: in the mode"));
}

#[test]
fn no_keepalive_is_possible() {
    assert_eq!(sound(&["--grpc-keepalive-interval=0"]).server.keepalive_interval, NEVER);
}

#[test]
fn wrong_values_are_refused_with_what_is_allowed() {
    let cases = [
        ("data-dir", "", "use the path"),
        ("listen", "", "the port is missing"),
        ("listen", "example.com:1", "the host is not an IP address"),
        ("listen", "127.0.0.1:1,", "the port is missing"),
        ("listen", "gopher://127.0.0.1:1", "the scheme is not known"),
        ("metrics-addr", "9090", "the port is missing"),
        ("node-id", "a b", "use a name"),
        ("advertise-client-urls", "127.0.0.1:1", "the scheme is missing"),
        ("log-level", "loud", "use one of error, warn, info, debug, trace"),
        ("log-format", "xml", "use one of text, json"),
        ("read-consistency", "eventual", "use one of linearizable, serializable"),
        ("quota-backend-bytes", "2G", "use a whole number of bytes, or one with a unit"),
        ("auto-compaction-mode", "yearly", "use one of periodic, revision"),
        ("auto-compaction-retention", "-1", "in the mode periodic, use"),
        ("segment-max-size-mb", "0", "from 1 to 4096"),
        ("cache-bytes", "-1", "from 0 to 1099511627776"),
        ("io-threads", "0", "from 1 to 1024"),
        ("max-request-bytes", "0", "from 1 to 67108864"),
        ("max-txn-ops", "-5", "from 1 to 1000000"),
        ("max-concurrent-streams", "4294967296", "from 1 to 4294967295"),
        ("client-memory-bytes", "1MB", "from 16777216 to 1099511627776"),
        ("watch-progress-notify-interval", "99ms", "use at least 100ms"),
        ("watch-progress-notify-interval", "-1s", "use a duration"),
        ("grpc-keepalive-interval", "10ms", "use at least 1s, or 0 for never"),
        ("grpc-keepalive-timeout", "0", "use at least 1s"),
        ("metrics", "all", "use one of basic, extensive"),
        ("warning-apply-duration", "soon", "use a duration"),
        ("warning-unary-request-duration", "-1s", "use a duration"),
        ("grpc-keepalive-min-time", "5", "use a duration"),
        ("grpc-keepalive-permit-without-stream", "maybe", "use true or false"),
        ("client-tls-cert", "", "use the path of a file"),
        ("client-tls-key", "", "use the path of a file"),
        ("client-tls-ca", "", "use the path of a file"),
        ("client-cert-auth", "maybe", "use true or false"),
        ("client-crl-file", "", "use the path of a file"),
        ("client-cert-allowed-hostname", "a b", "use a host name"),
        ("auto-tls", "maybe", "use true or false"),
        ("peer-tls-ca", "", "use the path of a file"),
        ("peer-tls-cert", "", "use the path of a file"),
        ("peer-tls-key", "", "use the path of a file"),
        ("peer-crl-file", "", "use the path of a file"),
        ("peer-cert-allowed-cn", "", "use a common name"),
        ("peer-cert-allowed-hostname", "a/b", "use a host name"),
        ("peer-auto-tls", "maybe", "use true or false"),
        ("peer-listen", "0.0.0.0:3380", "this version runs one node"),
        ("advertise-peer", "node-a:3380", "this version runs one node"),
        ("peer-skip-client-san-verification", "maybe", "use true or false"),
        ("self-signed-cert-validity", "0", "from 1 to 100"),
        ("tls-min-version", "TLS1.1", "use one of TLS1.2, TLS1.3"),
        ("tls-max-version", "SSLv3", "use one of TLS1.2, TLS1.3"),
        ("cipher-suites", "RC4-SHA", "use one of TLS_"),
        ("auth-enabled", "maybe", "use true or false"),
        ("token-ttl", "0", "from 1 to 4294967295"),
        ("auth-token", "paseto", "use simple, or jwt,"),
        ("bcrypt-cost", "3", "from 4 to 31"),
        ("host-whitelist", "a:1", "use a host name"),
        ("cors", "example.com", "use an origin"),
    ];
    for (flag, value, allowed) in cases {
        let told = told(&[&format!("--{flag}={value}")]);
        assert!(told.starts_with(&format!("--{flag}: ")), "{told}");
        assert!(told.contains(allowed), "{told}");
    }
    for flag in flag_names().iter().filter(|flag| *flag != "config-file") {
        assert!(cases.iter().any(|(known, ..)| known == flag), "{flag} has no case");
    }
}

#[test]
fn what_needs_a_cluster_is_refused_with_the_reason_wherever_it_is_written() {
    let reason = "is not allowed: this version runs one node";
    let listens = told(&["--peer-listen", "0.0.0.0:3380", "--max-txn-ops=x"]);
    assert!(listens.starts_with(&format!("--peer-listen: \"0.0.0.0:3380\" {reason}")), "{listens}");
    let advertised = told(&["--advertise-peer=node-a:3380"]);
    assert!(advertised.starts_with(&format!("--advertise-peer: \"node-a:3380\" {reason}")));
    let variable = with(&[], &[("T4_PEER_LISTEN", "0.0.0.0:3380")]).expect_err("refused");
    let variable = variable.to_string();
    assert!(variable.contains("from the environment variable T4_PEER_LISTEN"), "{variable}");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"listen: 127.0.0.1:1\nadvertise-peer: node-a:3380\n").expect("write");
    let written = told(&["--config-file", file.path().to_str().expect("UTF-8")]);
    assert!(written.contains("line 2) ") && written.contains(reason), "{written}");
    // Settings that start a single node with the Go implementation do so here.
    sound(&["--peer-listen=", "--advertise-peer", ""]);
    with(&[], &[("T4_PEER_LISTEN", ""), ("T4_ADVERTISE_PEER", "")]).expect("unset");
}
