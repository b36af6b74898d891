//! What etcd's flags are converted to, and which are rejected, with etcd's
//! messages where etcd has one.

use super::*;
use crate::etcd::command_line::{Asked, parse};
use crate::run::security::{Pair, TlsVersion};

fn with(args: &[&str], contents: Contents) -> Result<Resolved, EtcdError> {
    with_directory(args, Ok(contents))
}

fn with_directory(
    args: &[&str],
    contents: Result<Contents, String>,
) -> Result<Resolved, EtcdError> {
    let asked = parse(args.iter().map(Into::into).collect())?;
    let Asked::Serve { flags, .. } = asked else { panic!("serve") };
    let directory = |_: &Path| contents.clone();
    let surroundings =
        Surroundings { host: "host-1", directory: &directory, resolve: &|_| Vec::new() };
    resolve(&flags, &surroundings)
}

fn sound(args: &[&str]) -> Resolved {
    with(args, Contents::Fresh).expect("sound settings")
}

fn told(args: &[&str]) -> String {
    let error = with(args, Contents::Fresh).expect_err("refused");
    assert_eq!(error.exit_code(), 1, "{error}");
    error.to_string()
}

fn shown<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

const PAIR: [&str; 2] = ["--cert-file=/c", "--key-file=/k"];
const HTTPS: [&str; 2] =
    ["--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://127.0.0.1:1"];

#[test]
fn defaults_are_etcds() {
    let Resolved { settings, notices } = sound(&[]);
    let Settings { node, server, security, logging } = settings;
    assert_eq!(node.name, "default");
    assert_eq!(node.data_dir.as_os_str(), "default.etcd");
    assert_eq!(node.advertise_client_urls, ["http://localhost:2379"]);
    assert_eq!(node.advertise_peer_urls, ["http://localhost:2380"]);
    assert_eq!((node.quota_bytes, node.auto_compaction), (Some(2 << 30), AutoCompaction::Off));
    assert_eq!(shown(&server.listen), ["http://127.0.0.1:2379"]);
    assert!(server.metrics_listen.is_empty() && server.http_listen.is_empty());
    assert_eq!((server.max_txn_ops, server.max_request_bytes), (128, 1_572_864));
    assert_eq!(server.max_concurrent_streams, u32::MAX);
    assert_eq!(server.keepalive_interval, Duration::from_secs(7200));
    assert_eq!(server.auth, t4_server::AuthConfig::default());
    assert_eq!(security, crate::run::security::Security::default());
    assert_eq!((logging.level, logging.format), (Level::INFO, Format::Zap(Zap::Json)));
    assert_eq!(notices, Notices::default());
}

#[test]
fn every_setting_that_is_honoured_arrives() {
    let Settings { node, server, logging, .. } = sound(&[
        "--name=infra0",
        "--data-dir=/d",
        "--listen-client-urls=http://127.0.0.1:1,unix:///s",
        "--listen-client-http-urls=http://127.0.0.1:2",
        "--listen-metrics-urls=http://127.0.0.1:3,http://127.0.0.1:4",
        "--advertise-client-urls=http://a.example:1",
        "--initial-advertise-peer-urls=http://b.example:2380",
        "--quota-backend-bytes=-1",
        "--auto-compaction-mode=revision",
        "--auto-compaction-retention=1000",
        "--max-txn-ops=5",
        "--max-request-bytes=100",
        "--max-concurrent-streams=6",
        "--grpc-keepalive-interval=1m",
        "--grpc-keepalive-timeout=0",
        "--socket-reuse-port",
        "--watch-progress-notify-interval=1s",
        "--metrics=extensive",
        "--warning-apply-duration=5ms",
        "--experimental-warning-unary-request-duration=2s",
        "--auth-token-ttl=10",
        "--bcrypt-cost=4",
        "--log-level=fatal",
        "--log-format=console",
        "--log-outputs=stdout,/l",
    ])
    .settings;
    assert_eq!((node.name.as_str(), node.data_dir.to_str()), ("infra0", Some("/d")));
    assert_eq!(node.advertise_client_urls, ["http://a.example:1"]);
    assert_eq!(node.advertise_peer_urls, ["http://b.example:2380"]);
    assert_eq!((node.quota_bytes, node.auto_compaction), (None, AutoCompaction::Revision(1000)));
    assert_eq!(shown(&server.listen), ["http://127.0.0.1:1", "unix:///s"]);
    assert_eq!(shown(&server.http_listen), ["http://127.0.0.1:2"]);
    assert_eq!(shown(&server.metrics_listen), ["http://127.0.0.1:3", "http://127.0.0.1:4"]);
    assert_eq!((server.max_txn_ops, server.max_request_bytes), (5, 100));
    assert_eq!(server.max_concurrent_streams, 6);
    assert_eq!(server.keepalive_interval, Duration::from_secs(60));
    assert_eq!(server.keepalive_timeout, NEVER);
    assert!(server.reuse_port && server.extensive_metrics);
    assert_eq!(server.warning_apply_duration, Duration::from_millis(5));
    assert_eq!(server.warning_unary_request_duration, Duration::from_secs(2));
    assert_eq!(server.watch_progress_notify_interval, Duration::from_secs(1));
    assert_eq!((server.auth.token_ttl, server.auth.bcrypt_cost), (Duration::from_secs(10), 4));
    assert_eq!((logging.level, logging.format), (Level::ERROR, Format::Zap(Zap::Console)));
    assert_eq!(logging.outputs, [Output::Stdout, Output::File("/l".into())]);
}

#[test]
fn tls_arrives() {
    let args = [
        &PAIR[..],
        &HTTPS,
        &[
            "--client-cert-file=/cc",
            "--client-key-file=/ck",
            "--client-cert-auth",
            "--trusted-ca-file=/ca",
            "--client-crl-file=/crl",
            "--client-cert-allowed-hostname=a,b",
            "--peer-auto-tls",
            "--self-signed-cert-validity=2",
            "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
            "--tls-max-version=TLS1.2",
            "--host-whitelist=a",
            "--cors=http://a:1",
        ],
    ]
    .concat();
    let security = sound(&args).settings.security;
    let client = &security.client;
    let pair = |cert: &str, key: &str| Some(Pair { cert: cert.into(), key: key.into() });
    assert_eq!((&client.pair, &client.outgoing), (&pair("/c", "/k"), &pair("/cc", "/ck")));
    assert!(client.cert_auth && security.peer.auto && !client.auto);
    assert_eq!(
        (client.ca.as_deref(), client.crl.as_deref()),
        (Some("/ca".as_ref()), Some("/crl".as_ref()))
    );
    assert_eq!(client.allowed_hostnames, ["a", "b"]);
    assert_eq!(security.versions.max, TlsVersion::Tls12);
    assert_eq!((security.self_signed_years, security.cipher_suites.len()), (2, 2));
    assert_eq!(
        (security.host_whitelist, security.cors),
        (vec!["a".into()], vec!["http://a:1".into()])
    );
}

#[test]
fn refusals_are_in_etcds_words() {
    let cases: &[(&[&str], &str)] = &[
        (
            &["--listen-client-urls=http://127.0.0.1:1"],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        (
            &["--listen-client-urls=http://example.com:1", "--advertise-client-urls=http://a:1"],
            "expected IP in URL for binding (http://example.com:1)",
        ),
        (
            &["--listen-peer-urls=http://example.com:1"],
            "expected IP in URL for binding (http://example.com:1)",
        ),
        (
            &["--listen-metrics-urls=http://example.com:1"],
            "expected IP in URL for binding (http://example.com:1)",
        ),
        (
            &HTTPS,
            "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with HTTPS scheme",
        ),
        (&["--cert-file=/c"], "KeyFile and CertFile must both be present[key: , cert: /c]"),
        (&["--peer-key-file=/k"], "KeyFile and CertFile must both be present[key: /k, cert: ]"),
        (
            &["--client-key-file=/k"],
            "ClientKeyFile and ClientCertFile must both be present or both absent",
        ),
        (
            &["--tls-min-version=TLS1.1"],
            "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)",
        ),
        (
            &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        ),
        (
            &["--tls-min-version=TLS1.3", "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
            "cipher suites cannot be configured when only TLS1.3 is enabled",
        ),
        (&["--cipher-suites=FOO"], "unexpected TLS cipher suite \"FOO\""),
        (&["--cipher-suites=TLS_RSA_WITH_RC4_128_SHA"], "_WITH_RC4_128_SHA\": use one of TLS_"),
        (
            &["--auto-tls", "--self-signed-cert-validity=0"],
            "selfSignedCertValidity is invalid,it should be greater than 0",
        ),
        (
            &["--peer-cert-allowed-cn=a", "--peer-cert-allowed-hostname=b"],
            "AllowedCNs and AllowedHostnames are mutually exclusive",
        ),
        (
            &["--listen-peer-urls=https://127.0.0.1:2380"],
            "cannot listen on TLS for https://127.0.0.1:2380: KeyFile and CertFile are not presented",
        ),
        (
            &["--listen-metrics-urls=https://127.0.0.1:1"],
            "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url \
             https://127.0.0.1:1",
        ),
        (&["--auth-token=paseto"], "auth: invalid auth options"),
        (&["--auto-compaction-mode=yearly"], "unknown auto-compaction-mode \"yearly\""),
        (&["--auto-compaction-mode="], "undefined auto-compaction-mode"),
        (&["--auto-compaction-retention=x"], "error parsing CompactionRetention"),
        (&["--logger=capnslog"], "unknown logger option \"capnslog\""),
        (&["--log-outputs=default,stderr"], "multi logoutput for \"default\" is not supported yet"),
        (
            &["--listen-client-http-urls=http://localhost:2379"],
            "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url",
        ),
        (
            &["--initial-advertise-peer-urls=http://:1"],
            "--initial-advertise-peer-urls \"http://:1\" must be \"host:port\" (unexpected empty host (http://:1))",
        ),
        (
            &["--advertise-client-urls=http://:1"],
            "--advertise-client-urls \"http://:1\" must be in the format",
        ),
        (&["--feature-gates=Nonsense=true"], "unrecognized feature gate: Nonsense"),
        (
            &["--feature-gates=LeaseCheckpointPersist=true"],
            "enabling feature gate LeaseCheckpointPersist requires",
        ),
        (&["--max-request-bytes=0"], "--max-request-bytes: use a number from 1 to 67108864"),
        (&["--max-concurrent-streams=4294967296"], "--max-concurrent-streams: at most 4294967295"),
        (&["--cors=example.com"], "--cors: \"example.com\""),
    ];
    for (args, expected) in cases {
        let told = told(args);
        assert!(told.contains(expected), "{args:?}: {told}");
    }
}

#[test]
fn what_would_weaken_is_refused() {
    let cases: &[(&[&str], &str)] = &[
        (
            &["--unsafe-no-fsync"],
            "--unsafe-no-fsync is refused: a write that is acknowledged is on the disk",
        ),
        (&["--force-new-cluster"], "--force-new-cluster is refused"),
        (&["--discovery-srv=example.com"], "--discovery-srv is refused: discovery"),
        (&["--discovery=https://x"], "--discovery is refused: discovery"),
        (&["--discovery-endpoints=a", "--discovery-token=b"], "is refused: discovery"),
        (&["--enable-log-rotation"], "--enable-log-rotation is refused: log files"),
        (&["--enable-v2"], "--enable-v2 is refused: the v2 API"),
        (&["--proxy=on"], "--proxy is refused"),
        (
            &["--trusted-ca-file=/ca"],
            "--trusted-ca-file needs TLS: give --cert-file and --key-file, or --auto-tls",
        ),
        (&["--client-crl-file=/crl"], "give --trusted-ca-file"),
        (&["--client-cert-allowed-hostname=a", PAIR[0], PAIR[1]], "give --trusted-ca-file"),
        (&["--peer-crl-file=/crl", "--peer-trusted-ca-file=/ca"], "--peer-crl-file needs TLS"),
        (&["--initial-cluster-state=existing"], "joins a running cluster"),
    ];
    for (args, expected) in cases {
        let told = told(args);
        assert!(told.contains(expected), "{args:?}: {told}");
    }
    for harmless in ["--unsafe-no-fsync=false", "--proxy=off", "--discovery-srv=", "--enable-v2=0"]
    {
        sound(&[harmless]);
    }
}

#[test]
fn each_flag_of_etcds_inside_is_one_line() {
    for flag in flag::all() {
        let Meaning::Governed(instead) = flag.meaning else { continue };
        let notices = sound(&[&format!("--{}={}", flag.name, flag.default)]).notices;
        let about = notices.about(flag.name);
        assert_eq!(about, [format!("--{} has no effect here: {instead}", flag.name)]);
    }
}

#[test]
fn flags_that_etcd_gave_up_stop_a_start_only_as_flags() {
    for (name, instead) in [
        ("ca-file", "use --trusted-ca-file and --client-cert-auth"),
        ("peer-ca-file", "use --peer-trusted-ca-file and --peer-client-cert-auth"),
    ] {
        let refused = with(&[&format!("--{name}=/ca")], Contents::Fresh).expect_err("refused");
        assert_eq!(refused.exit_code(), 2);
        let told = refused.to_string();
        assert!(told.starts_with(&format!("flag provided but not defined: -{name}")), "{told}");
        assert!(told.ends_with(instead), "{told}");
        for (source, written) in
            [(Source::Environment, flag::variable(name)), (Source::File(3), name.to_owned())]
        {
            let mut given = Given::default();
            let flag = flag::find(name).expect("a flag");
            given.set(flag, Value::Text("/ca".to_owned()), source);
            let mut notices = Notices::default();
            what_is_not_honoured(&given, &mut notices).expect("a warning is all");
            let [about] = notices.about(&written).try_into().expect("one");
            assert!(about.starts_with("unrecognized ") && about.ends_with(instead), "{about}");
        }
    }
}

#[test]
fn what_peers_are_not_compared_with_is_taken_as_by_etcd() {
    let peer = sound(&["--peer-skip-client-san-verification"]).settings.security.peer;
    assert!(peer.skip_san_check);
}

#[test]
fn what_etcd_warns_of_is_a_warning() {
    let warned = |args: &[&str], setting: &str, expected: &str| {
        let notices = sound(args).notices;
        let about = notices.about(setting);
        assert!(about.iter().any(|text| text.contains(expected)), "{args:?}: {notices:?}");
    };
    warned(&PAIR, "listen-client-urls", "ignoring key and cert files for http://localhost:2379");
    let auth = [PAIR[0], PAIR[1], "--client-cert-auth"];
    warned(&auth, "client-cert-auth", "ignoring client cert auth for http://localhost:2379");
    let auto = [PAIR[0], PAIR[1], HTTPS[0], HTTPS[1], "--auto-tls"];
    warned(&auto, "auto-tls", "ignored, since a certificate and a key are given");
    warned(&["--bcrypt-cost=3"], "bcrypt-cost", "use default bcrypt cost 10");
    let often = "--watch-progress-notify-interval=1ms";
    warned(&[often], "watch-progress-notify-interval", "adjusted to the minimum");
    let peer = ["--peer-auto-tls"];
    warned(&peer, "listen-peer-urls", "scheme is HTTP while key and cert files are present");
}

#[test]
fn a_directory_of_etcd_is_left_alone() {
    let of_etcd = t4_node::OpenError::OfEtcd { path: "/d".into() }.to_string();
    let refused = with_directory(&["--data-dir=/d"], Err(of_etcd)).expect_err("refused");
    assert_eq!(refused.exit_code(), 1);
    let told = refused.to_string();
    assert!(told.contains("--data-dir /d holds the data of an etcd"), "{told}");
    with(&["--initial-cluster-state=existing"], Contents::InUse).expect("its own directory");
}

#[test]
fn a_file_need_not_advertise() {
    let mut given = Given::default();
    let flag = flag::find("listen-client-urls").expect("a flag");
    let value = crate::etcd::go::parse(flag.kind, "https://0.0.0.0:5").expect("URLs");
    given.set(flag, value, Source::File(1));
    let urls = advertise_client_urls(&given, &given.urls("listen-client-urls"), "host-1");
    assert_eq!(shown(&urls.expect("sound")), ["https://host-1:5"]);
}

#[test]
fn levels_of_the_log_as_zap_takes_them() {
    for (text, level) in [
        ("WARN", Level::WARN),
        ("Warning", Level::WARN),
        ("Info", Level::INFO),
        ("", Level::INFO),
        ("DEBUG", Level::DEBUG),
        ("DPanic", Level::ERROR),
    ] {
        let flag = format!("--log-level={text}");
        assert_eq!(sound(&[&flag]).settings.logging.level, level, "{text}");
    }
    for wrong in ["loud", "trace"] {
        let flag = format!("--log-level={wrong}");
        let error = with(&[&flag], Contents::Fresh).expect_err("refused");
        assert_eq!(error.exit_code(), 2, "as of a panic in Go");
        assert_eq!(error.to_string(), format!("unrecognized level: {wrong:?}"));
    }
}

#[test]
fn feature_gates_are_shown_as_they_were_set() {
    let on = |args: &[&str]| -> Vec<&str> {
        let features = sound(args).settings.server.features;
        assert_eq!(features.len(), 11);
        features.iter().filter(|it| it.enabled).map(|it| it.name).collect()
    };
    assert_eq!(on(&[]), ["TxnModeWriteWithSharedBuffer", "FastLeaseKeepAlive"]);
    let set = "--feature-gates=CompactHashCheck=true,FastLeaseKeepAlive=false";
    assert_eq!(on(&[set]), ["CompactHashCheck", "TxnModeWriteWithSharedBuffer"]);
    let stage =
        on(&["--feature-gates=AllAlpha=true,LeaseCheckpoint=false,LeaseCheckpointPersist=false"]);
    assert!(stage.contains(&"AllAlpha") && stage.contains(&"PriorityRequest"), "{stage:?}");
    assert!(!stage.contains(&"LeaseCheckpoint"), "{stage:?}");
}
