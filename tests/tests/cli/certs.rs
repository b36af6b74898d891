//! `t4 certs`: what it makes is what openssl and T4's own flags want.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use t4_testkit::Scratch;

use crate::{binary, stderr, stdout};

/// `t4 certs` in a directory, which must do what it is asked.
fn certs(dir: &Path, args: &[&str]) -> String {
    let output = binary().current_dir(dir).arg("certs").args(args).output().expect("start t4");
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

fn openssl(dir: &Path, args: &[&str]) -> std::process::Output {
    let missing = "openssl is not installed, and this test needs it";
    Command::new("openssl").current_dir(dir).args(args).output().expect(missing)
}

#[test]
fn certs_makes_a_ca_and_pairs_that_openssl_accepts() {
    let scratch = Scratch::new("certs").expect("scratch");
    let dir = scratch.path();
    assert_eq!(certs(dir, &["init-ca", "--days", "30"]), "./ca.key\n./ca.crt\n");
    certs(dir, &["issue", "server", "--san", "localhost,127.0.0.1"]);
    certs(dir, &["issue", "client", "--common-name", "alice", "--name", "alice"]);
    certs(dir, &["issue", "peer", "--san", "m1.local", "--key-type", "rsa-2048"]);
    for key in ["ca.key", "server.key", "alice.key", "peer.key"] {
        let mode = std::fs::metadata(scratch.join(key)).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    for (file, purpose) in [
        ("server.crt", "sslserver"),
        ("alice.crt", "sslclient"),
        ("peer.crt", "sslserver"),
        ("peer.crt", "sslclient"),
    ] {
        let verify = ["verify", "-x509_strict", "-CAfile", "ca.crt", "-purpose", purpose, file];
        let verified = openssl(dir, &verify);
        assert!(verified.status.success(), "{file}: {}", stderr(&verified));
    }
    let wrong =
        openssl(dir, &["verify", "-CAfile", "ca.crt", "-purpose", "sslclient", "server.crt"]);
    assert!(!wrong.status.success());

    let before = std::fs::read(scratch.join("server.crt")).expect("a certificate");
    certs(dir, &["renew", "server.crt", "peer.crt"]);
    assert!(std::fs::read(scratch.join("server.crt")).expect("a certificate") != before);
    assert!(openssl(dir, &["verify", "-CAfile", "ca.crt", "server.crt"]).status.success());
    let shown = certs(dir, &["inspect", "server.crt", "ca.crt"]);
    assert!(shown.contains("names        DNS:localhost, IP:127.0.0.1"), "{shown}");
    assert!(shown.contains("CA           yes"), "{shown}");
}

#[test]
fn every_kind_of_key_that_certs_makes_loads_in_openssl() {
    for kind in ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa-2048", "rsa-4096"] {
        let scratch = Scratch::new("certs").expect("scratch");
        let dir = scratch.path();
        let loads = |name: &str| {
            let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
            let read = openssl(dir, &["pkey", "-in", &key, "-pubout"]);
            assert!(read.status.success(), "{kind} {key}: {}", stderr(&read));
            let shown = openssl(dir, &["x509", "-in", &cert, "-noout", "-pubkey"]);
            assert_eq!(stdout(&read), stdout(&shown), "{kind} {key}");
            let verified = openssl(dir, &["verify", "-x509_strict", "-CAfile", "ca.crt", &cert]);
            assert!(verified.status.success(), "{kind} {cert}: {}", stderr(&verified));
            stdout(&read)
        };
        certs(dir, &["init-ca", "--key-type", kind]);
        let client = ["issue", "client", "--common-name", "alice", "--name", "alice"];
        certs(dir, &[&client[..], &["--key-type", kind]].concat());
        let (ca, issued) = (loads("ca"), loads("alice"));
        certs(dir, &["renew", "ca.crt", "alice.crt"]);
        assert_eq!((loads("ca"), loads("alice")), (ca, issued.clone()), "{kind}: the keys stay");
        certs(dir, &["renew", "alice.crt", &format!("--new-key={kind}")]);
        assert_ne!(loads("alice"), issued, "{kind}");
    }
}

#[test]
fn certs_replaces_nothing_unasked_and_says_what_is_wrong() {
    let scratch = Scratch::new("certs").expect("scratch");
    let dir = scratch.path();
    certs(dir, &["init-ca"]);
    let ca = std::fs::read(scratch.join("ca.crt")).expect("a CA");
    for (args, code, told) in [
        (&["init-ca"][..], 1, "it exists already; --force"),
        (&["issue", "server"], 2, "--san is missing"),
        (&["issue", "client"], 2, "--common-name is missing"),
        (&["issue", "peer", "--san", "m1", "--name", "../x"], 2, "is not the name of a file"),
        (&["issue", "peer", "--san", "300.1.1.1"], 1, "neither an IP address nor a DNS name"),
        (&["issue", "peer", "--san", "a b"], 1, "neither an IP address nor a DNS name"),
        (&["issue", "peer", "--san", "m1", "--ca", "none.crt"], 1, "t4 certs init-ca"),
        (&["renew", "none.crt"], 1, "cannot read none.crt"),
        (&["inspect", "ca.key"], 1, "no certificate in it"),
    ] {
        let output = binary().current_dir(dir).arg("certs").args(args).output().expect("start t4");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(told), "{args:?}: {}", stderr(&output));
    }
    assert!(std::fs::read(scratch.join("ca.crt")).expect("a CA") == ca);
    assert!(!scratch.join("peer.key").exists(), "a key without its certificate");
}
