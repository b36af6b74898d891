//! What the security flags of `t4 run` are converted to, and which combinations
//! are rejected.

use std::time::Duration;

use clap::Parser;

use super::*;
use crate::run::Settings;
use crate::run::flags::RunArgs;

#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    args: RunArgs,
}

fn with(flags: &[&str]) -> Result<Settings, UsageError> {
    let alone = Alone::try_parse_from(["t4"].iter().chain(flags)).expect("known flags");
    Settings::resolve(alone.args, &|_| None, "host-1")
}

fn sound(flags: &[&str]) -> Settings {
    with(flags).expect("sound settings")
}

const CERT: &str = "--client-tls-cert=/c";
const SUITE: &str = "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
const KEY: &str = "--client-tls-key=/k";

fn pair(cert: &str, key: &str) -> Option<Pair> {
    Some(Pair { cert: cert.into(), key: key.into() })
}

#[test]
fn every_flag_arrives() {
    let Settings { security, server, .. } = sound(&[
        CERT,
        KEY,
        "--client-tls-ca=/ca",
        "--client-cert-auth",
        "--client-crl-file=/crl",
        "--client-cert-allowed-hostname=a,b",
        "--peer-tls-ca=/pca",
        "--peer-tls-cert=/pc",
        "--peer-tls-key=/pk",
        "--peer-crl-file=/pcrl",
        "--peer-cert-allowed-cn=etcd peer",
        "--peer-skip-client-san-verification",
        "--auto-tls",
        "--self-signed-cert-validity=3",
        "--tls-min-version=TLS1.2",
        "--tls-max-version=TLS1.2",
        "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "--auth-enabled",
        "--token-ttl=3600",
        "--auth-token=jwt,sign-method=HS256,priv-key=/secret",
        "--bcrypt-cost=12",
        "--host-whitelist=localhost,127.0.0.1",
        "--cors=https://a.example/",
    ]);
    let client = Surface {
        pair: pair("/c", "/k"),
        ca: Some("/ca".into()),
        cert_auth: true,
        crl: Some("/crl".into()),
        allowed_hostnames: vec!["a".into(), "b".into()],
        auto: true,
        ..Surface::default()
    };
    let peer = Surface {
        pair: pair("/pc", "/pk"),
        ca: Some("/pca".into()),
        crl: Some("/pcrl".into()),
        allowed_cns: vec!["etcd peer".into()],
        skip_san_check: true,
        ..Surface::default()
    };
    let expected = Security {
        client,
        peer,
        versions: Versions { min: TlsVersion::Tls12, max: TlsVersion::Tls12 },
        peer_versions: Versions { min: TlsVersion::Tls13, max: TlsVersion::Tls13 },
        cipher_suites: vec![
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".into(),
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384".into(),
        ],
        self_signed_years: 3,
        host_whitelist: vec!["localhost".into(), "127.0.0.1".into()],
        cors: vec!["https://a.example".into()],
    };
    assert_eq!(security, expected);
    let auth = AuthConfig {
        required: true,
        token: "jwt,sign-method=HS256,priv-key=/secret".into(),
        token_ttl: Duration::from_secs(3600),
        bcrypt_cost: 12,
    };
    assert_eq!(server.auth, auth);
    let auto = sound(&["--auto-tls", "--peer-auto-tls"]).security;
    assert!(auto.client.auto && auto.peer.auto);
    let hosts = sound(&[
        "--peer-cert-allowed-hostname=h",
        "--peer-tls-ca=a",
        "--peer-tls-cert=b",
        "--peer-tls-key=c",
    ]);
    assert_eq!(hosts.security.peer.allowed_hostnames, ["h"]);
}

#[test]
fn a_certificate_turns_tls_on_where_no_scheme_says_otherwise() {
    let shown = |flags: &[&str]| -> (Vec<String>, Vec<String>, Vec<String>) {
        let Settings { server, node, .. } = sound(flags);
        let shown = |all: &[ListenAddress]| all.iter().map(ToString::to_string).collect();
        (shown(&server.listen), shown(&server.metrics_listen), node.advertise_client_urls)
    };
    let own = |texts: &[&str]| -> Vec<String> { texts.iter().map(|&it| it.to_owned()).collect() };
    assert_eq!(
        shown(&[CERT, KEY]),
        (
            own(&["https://0.0.0.0:3379"]),
            own(&["http://0.0.0.0:9090"]),
            own(&["https://host-1:3379"])
        )
    );
    assert_eq!(
        shown(&[
            "--auto-tls",
            "--listen=127.0.0.1:1,http://127.0.0.1:1,unixs:///s",
            "--metrics-addr=https://127.0.0.1:2"
        ]),
        (
            own(&["https://127.0.0.1:1", "http://127.0.0.1:1", "unixs:///s"]),
            own(&["https://127.0.0.1:2"]),
            own(&["https://127.0.0.1:1", "http://127.0.0.1:1", "unixs:///s"])
        )
    );
}

#[test]
fn a_star_allows_all() {
    let Settings { security, .. } = sound(&["--host-whitelist=a,*", "--cors=*"]);
    assert_eq!((security.host_whitelist, security.cors), (vec![], vec![]));
}

#[test]
fn what_does_not_go_together_is_one_error() {
    let cases: [(&[&str], &str); 25] = [
        (&[CERT], "--client-tls-cert and --client-tls-key belong together"),
        (&[KEY], "--client-tls-cert and --client-tls-key belong together"),
        (&["--client-tls-ca=/a"], "need TLS"),
        (&["--client-cert-auth"], "need TLS"),
        (&["--client-crl-file=/a"], "need TLS"),
        (&["--client-cert-allowed-hostname=a"], "need TLS"),
        (&[CERT, KEY, "--client-crl-file=/a"], "give --client-tls-ca"),
        (&[CERT, KEY, "--client-cert-allowed-hostname=a"], "give --client-tls-ca"),
        (&[CERT, KEY, "--listen=http://127.0.0.1:1"], "no address speaks TLS"),
        (&["--listen=https://127.0.0.1:1"], "https://127.0.0.1:1 asks for TLS: give"),
        (&["--metrics-addr=https://127.0.0.1:1"], "https://127.0.0.1:1 asks for TLS: give"),
        (&["--peer-tls-cert=/c", "--peer-tls-key=/k"], "--peer-tls-ca, --peer-tls-cert and"),
        (&["--peer-tls-ca=/c"], "--peer-tls-ca, --peer-tls-cert and"),
        (&["--peer-cert-allowed-cn=a"], "they need --peer-tls-ca"),
        (&["--peer-skip-client-san-verification"], "they need --peer-tls-ca"),
        (&["--peer-auto-tls", "--peer-skip-client-san-verification"], "they need --peer-tls-ca"),
        (&["--peer-auto-tls", "--peer-crl-file=/a"], "they need --peer-tls-ca"),
        (&["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"], "is greater than"),
        (&[CERT, KEY, "--tls-min-version=TLS1.3", SUITE], "only TLS1.3 is spoken"),
        (&[SUITE], "--cipher-suites needs TLS"),
        (&["--tls-min-version=TLS1.3"], "--tls-min-version and --tls-max-version need TLS"),
        (&["--tls-max-version=TLS1.2"], "--tls-min-version and --tls-max-version need TLS"),
        (&["--self-signed-cert-validity=2"], "give --auto-tls or --peer-auto-tls"),
        (&[CERT, KEY, "--self-signed-cert-validity=2"], "give --auto-tls or --peer-auto-tls"),
        (
            &["--peer-auto-tls", "--peer-tls-ca=a", "--peer-tls-cert=b", "--peer-tls-key=c"],
            "--peer-auto-tls makes a certificate",
        ),
    ];
    for (flags, expected) in cases {
        let told = with(flags).expect_err("refused").to_string();
        assert!(told.contains(expected), "{flags:?}: {told}");
    }
    let both = ["--peer-cert-allowed-cn=a", "--peer-cert-allowed-hostname=a"];
    let files = ["--peer-tls-ca=a", "--peer-tls-cert=b", "--peer-tls-key=c"];
    let told = with(&[both.as_slice(), &files].concat()).expect_err("refused").to_string();
    assert!(told.contains("exclude each other"), "{told}");
}

#[test]
fn who_names_suites_of_tls13_is_told_that_they_cannot_be_chosen() {
    let told = |flags: &[&str]| -> Vec<String> {
        let notices = sound(&[&[CERT, KEY], flags].concat()).security.notices();
        notices.about("cipher-suites").into_iter().map(str::to_owned).collect()
    };
    assert!(told(&[]).is_empty() && told(&[SUITE]).is_empty());
    let [both] = told(&[SUITE, "--cipher-suites=TLS_AES_128_GCM_SHA256"]).try_into().expect("one");
    assert!(both.contains("naming TLS_AES_128_GCM_SHA256 changes nothing"), "{both}");
    assert!(!both.contains("TLS 1.2"), "{both}");
    let alone = ["--cipher-suites=TLS_AES_128_GCM_SHA256,TLS_CHACHA20_POLY1305_SHA256"];
    let [alone] = told(&alone).try_into().expect("one");
    assert!(alone.contains("TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256"), "{alone}");
    assert!(alone.contains("no suite of TLS 1.2 is named, so it is off"), "{alone}");
}

#[test]
fn every_suite_is_told_apart_by_its_name() {
    let names = t4_tls_config::cipher_suite_names();
    let [tls12, tls13] = [true, false].map(|of_tls12| {
        let of = |name: &&String| crate::run::security::is_of_tls12(name) == of_tls12;
        names.iter().filter(of).map(String::as_str).collect::<Vec<_>>()
    });
    let of_tls13 =
        ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];
    assert_eq!((tls12.len(), tls13), (names.len() - of_tls13.len(), of_tls13.to_vec()));
}
