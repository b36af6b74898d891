//! Each wrong combination, file and name gets one clear error, and nothing is
//! begun.

use std::fs;
use std::path::Path;

use t4_testkit::{Scratch, free_port, t4_binary};

use crate::authority::{Authority, CLIENT, Pair, SERVER, make_pipe, openssl};
use crate::etcd_command::Etcd;
use crate::{READY, flag, shows};

/// Runs `t4 run` with flags that it must refuse; what it says.
fn refused(flags: &[String], code: i32) -> String {
    let scratch = Scratch::new("tls").expect("scratch");
    let mut command = std::process::Command::new(t4_binary().expect("a t4"));
    command.env_remove("T4_BIN").args(["run", "--metrics-addr=", "--data-dir"]);
    command.arg(scratch.join("data"));
    if !flags.iter().any(|flag| flag.starts_with("--listen")) {
        command.arg("--listen=127.0.0.1:0");
    }
    let output = command.args(flags).output().expect("run");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{flags:?}: {told}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains(READY), "{flags:?}");
    let errors = told.lines().filter(|line| line.starts_with("t4: ")).count();
    assert_eq!(errors, 1, "{flags:?}: {told}");
    assert!(!scratch.join("data/log").exists(), "{flags:?}: a data directory was begun");
    told
}

#[test]
fn files_that_cannot_be_used_are_named_with_what_to_do() {
    let ca = Authority::new("t4-ca");
    let server = ca.issue("server", Some(SERVER));
    let other = ca.issue("other", Some(SERVER));
    let garbage = ca.join("garbage.pem");
    fs::write(&garbage, "not PEM at all").expect("write");
    let missing = ca.join("missing.pem");
    let encrypted = ca.join("encrypted.key");
    let mut encrypt = openssl(&["pkcs8", "-topk8", "-passout", "pass:x", "-in"]);
    let status = encrypt.arg(&server.key).arg("-out").arg(&encrypted).status().expect("openssl");
    assert!(status.success());
    let expired = expired(&ca);
    let pair =
        |cert: &Path, key: &Path| shows(&Pair { cert: cert.to_owned(), key: key.to_owned() });
    let with = |more: String| [shows(&server), vec![more]].concat();
    let cases: Vec<(Vec<String>, Vec<&str>)> = vec![
        (pair(&missing, &server.key), vec!["missing.pem", "No such file"]),
        (pair(&server.cert, &missing), vec!["missing.pem", "No such file"]),
        (pair(&garbage, &server.key), vec!["garbage.pem", "certificate"]),
        (pair(&server.cert, &garbage), vec!["garbage.pem", "key"]),
        (pair(&server.cert, &other.key), vec!["other.key", "server.crt"]),
        (pair(&server.cert, &encrypted), vec!["encrypted.key", "is encrypted: decrypt it"]),
        (pair(&expired.cert, &expired.key), vec!["expired.crt", "expired"]),
        (with(flag("client-tls-ca", &missing)), vec!["missing.pem", "No such file"]),
        (with(flag("client-tls-ca", &server.cert)), vec!["server.crt", "CA"]),
        (
            [with(flag("client-tls-ca", &ca.own.cert)), vec![flag("client-crl-file", &garbage)]]
                .concat(),
            vec!["garbage.pem", "revocation list"],
        ),
        (
            [
                flag("peer-tls-ca", &ca.own.cert),
                flag("peer-tls-cert", &server.cert),
                flag("peer-tls-key", &other.key),
            ]
            .to_vec(),
            vec!["TLS (peer)", "other.key"],
        ),
    ];
    for (flags, expected) in cases {
        let told = refused(&flags, 1);
        for part in expected {
            assert!(told.contains(part), "{flags:?}: {part:?} in {told}");
        }
    }
}

/// Nobody writes into the pipes: to wait for that would be to wait for ever.
#[test]
fn a_pipe_in_the_place_of_a_file_is_refused() {
    let ca = Authority::new("t4-ca");
    let server = ca.issue("server", Some(SERVER));
    let pipe = ca.join("pipe.pem");
    make_pipe(&pipe);
    let pair =
        |cert: &Path, key: &Path| shows(&Pair { cert: cert.to_owned(), key: key.to_owned() });
    let with = |more: String| [shows(&server), vec![more]].concat();
    for flags in [
        pair(&pipe, &server.key),
        pair(&server.cert, &pipe),
        with(flag("client-tls-ca", &pipe)),
        [with(flag("client-tls-ca", &ca.own.cert)), vec![flag("client-crl-file", &pipe)]].concat(),
    ] {
        let told = refused(&flags, 1);
        let named = format!("cannot read {}: it is a named pipe", pipe.display());
        assert!(told.contains(&named), "{flags:?}: {told}");
    }
}

/// A certificate whose time was over long ago.
fn expired(ca: &Authority) -> Pair {
    let pair = ca.issue("expired", Some(SERVER));
    let config = ca.join("expired.cnf");
    let text = format!(
        "[ca]\ndefault_ca = this\n[this]\ndatabase = {}\nserial = {}\nnew_certs_dir = {}\n\
         default_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n",
        ca.join("expired.index").display(),
        ca.join("expired.serial").display(),
        ca.join("").display(),
    );
    fs::write(&config, text).expect("write");
    fs::write(ca.join("expired.index"), "").expect("write");
    fs::write(ca.join("expired.serial"), "4242\n").expect("write");
    let mut sign = openssl(&["ca", "-batch", "-startdate", "20200101000000Z"]);
    sign.args(["-enddate", "20200201000000Z", "-config"]).arg(&config);
    sign.arg("-cert").arg(&ca.own.cert).arg("-keyfile").arg(&ca.own.key);
    sign.arg("-in").arg(ca.join("expired.csr")).arg("-out").arg(&pair.cert);
    let output = sign.output().expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    pair
}

#[test]
fn flags_that_do_not_go_together() {
    let ca = Authority::new("t4-ca");
    let server = ca.issue("server", Some(SERVER));
    let own = |flags: &[&str]| flags.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
    let with = |flags: &[&str]| [shows(&server), own(flags)].concat();
    let cases = [
        (own(&["--client-tls-cert=/c"]), "belong together"),
        (own(&["--client-tls-ca=/c"]), "need TLS"),
        (own(&["--listen=https://127.0.0.1:1"]), "asks for TLS"),
        (with(&["--listen=http://127.0.0.1:1"]), "no address speaks TLS"),
        (with(&["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"]), "is greater than"),
        (with(&["--tls-min-version=TLS1.0"]), "use one of TLS1.2, TLS1.3"),
        (with(&["--cipher-suites=TLS_RSA_WITH_RC4_128_SHA"]), "use one of TLS_"),
        (with(&["--client-crl-file=/c"]), "give --client-tls-ca"),
        (own(&["--peer-tls-ca=/c"]), "belong together"),
    ];
    for (flags, expected) in cases {
        let told = refused(&flags, 2);
        assert!(told.contains(expected), "{flags:?}: {told}");
    }
}

#[test]
fn etcds_refusals_have_its_words_and_exit_codes() {
    let ca = Authority::new("etcd-ca");
    let server = ca.issue("server", Some(SERVER));
    let client = ca.issue("client", Some(CLIENT));
    let pair = [flag("cert-file", &server.cert), flag("key-file", &server.key)];
    let wrong_pair = [flag("cert-file", &server.cert), flag("key-file", &client.key)];
    let url = format!("https://127.0.0.1:{}", free_port());
    let urls = [format!("--listen-client-urls={url}"), format!("--advertise-client-urls={url}")];
    let own = |flags: &[&str]| flags.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
    let with_pair = |flags: &[&str]| [&pair[..], &urls, &own(flags)].concat();
    let cases: Vec<(Vec<String>, i32, &str)> = vec![
        (own(&["--nope"]), 2, "flag provided but not defined: -nope"),
        (
            own(&["--auto-tls=maybe"]),
            2,
            "invalid boolean value \"maybe\" for -auto-tls: parse error",
        ),
        (own(&["--max-txn-ops", "x"]), 2, "invalid value \"x\" for flag -max-txn-ops: parse error"),
        (own(&["--name"]), 2, "flag needs an argument: -name"),
        (own(&["extra"]), 1, "\"extra\" is not a valid flag"),
        (own(&["gateway", "start"]), 1, "gateway is not part of T4"),
        (own(&["grpc-proxy"]), 1, "grpc-proxy is not part of T4"),
        (
            urls.to_vec(),
            1,
            "TLS key/cert (--cert-file, --key-file) must be provided for client url",
        ),
        (
            own(&[&urls[0]]),
            1,
            "--advertise-client-urls is required when --listen-client-urls is set",
        ),
        ([&wrong_pair[..], &urls].concat(), 1, "client.key"),
        (
            with_pair(&["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"]),
            1,
            "min version (TLS1.3) is greater",
        ),
        (with_pair(&["--tls-min-version=TLS9"]), 1, "unexpected TLS version \"TLS9\""),
        (with_pair(&["--cipher-suites=TLS_FOO"]), 1, "unexpected TLS cipher suite \"TLS_FOO\""),
        (with_pair(&["--client-cert-allowed-hostname=a"]), 1, "give --trusted-ca-file"),
        (
            own(&["--peer-cert-allowed-cn=a", "--peer-cert-allowed-hostname=b"]),
            1,
            "mutually exclusive",
        ),
        (
            own(&[
                "--listen-client-urls=http://a.example:1",
                "--advertise-client-urls=http://a.example:1",
            ]),
            1,
            "expected IP in URL for binding (http://a.example:1)",
        ),
        (
            own(&["--name=a", "--initial-cluster=b=http://localhost:2380"]),
            1,
            "couldn't find local name \"a\"",
        ),
        (
            own(&["--name=a", "--initial-cluster=a=http://localhost:2380,b=http://x:1"]),
            1,
            "has 2 members (a, b)",
        ),
        (own(&["--unsafe-no-fsync"]), 1, "--unsafe-no-fsync is refused"),
        (own(&["--force-new-cluster"]), 1, "--force-new-cluster is refused"),
        (own(&["--discovery-srv=example.com"]), 1, "--discovery-srv is refused"),
        (own(&["--config-file=/nowhere"]), 1, "/nowhere cannot be read"),
        (own(&["--auth-token=paseto"]), 1, "auth: invalid auth options"),
    ];
    for (flags, code, expected) in cases {
        let etcd = Etcd::new();
        let output = etcd.command().args(&flags).output().expect("run");
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {told}");
        assert!(told.contains(expected), "{flags:?}: {expected:?} in {told}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains(READY), "{flags:?}");
        assert!(!etcd.scratch.join("default.etcd/log").exists(), "{flags:?}");
    }
    let etcd = Etcd::new();
    let output = etcd.command().args(["--name", "a"]).env("ETCD_NAME", "b").output().expect("run");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(told.contains("conflicting environment variable is shadowed by"), "{told}");
    fs::create_dir_all(etcd.scratch.join("default.etcd/member/wal")).expect("made");
    let output = etcd.command().output().expect("run");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(told.contains("holds the data of an etcd"), "{told}");
}
