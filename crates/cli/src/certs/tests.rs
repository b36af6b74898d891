//! `t4 certs` without a process; the real binary runs in `tests/tests/cli`.

use clap::{FromArgMatches, Parser};

use super::{CertsArgs, days};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    certs: CertsArgs,
}

/// Runs one command line in a directory and returns its output.
fn certs(line: &[&str]) -> Result<String, String> {
    let line = ["certs"].iter().chain(line);
    let matches = <Line as clap::CommandFactory>::command().try_get_matches_from(line);
    let line = matches.and_then(|matches| Line::from_arg_matches(&matches));
    let args = line.map_err(|told| told.to_string())?.certs;
    let (mut out, now) = (Vec::new(), std::time::SystemTime::now());
    let done = match args.command {
        super::Certs::InitCa(args) => args.run(now, &mut out),
        super::Certs::Issue(args) => args.run(now, &mut out),
        super::Certs::Renew(args) => args.run(now, &mut out),
        super::Certs::Inspect(args) => args.run(now, &mut out),
        super::Certs::Verify(args) => args.run(now, &mut out),
    };
    done.map_err(|error| crate::with_causes(&error))?;
    Ok(String::from_utf8(out).expect("text"))
}

#[test]
fn a_pair_is_issued_shown_and_renewed() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let dir_arg = format!("--dir={}", dir.path().display());
    let (ca, key) = (format!("--ca={}", at("ca.crt")), format!("--ca-key={}", at("ca.key")));

    let made = certs(&["init-ca", &dir_arg]).expect("made");
    assert_eq!(made, format!("{}\n{}\n", at("ca.key"), at("ca.crt")));
    let again = certs(&["init-ca", &dir_arg]).expect_err("replaced");
    assert!(again.contains("ca.crt") && again.contains("exists already; --force"), "{again}");

    let issue = ["issue", "server", "--san=localhost,127.0.0.1", &dir_arg, &ca, &key];
    certs(&issue).expect("issued");
    assert!(certs(&issue).expect_err("replaced").contains("server.crt"));
    certs(&[&issue[..], &["--force"]].concat()).expect("issued again");

    let shown = certs(&["inspect", &at("server.crt"), &at("ca.crt")]).expect("shown");
    for words in [
        "subject      CN=localhost",
        "DNS:localhost, IP:127.0.0.1",
        "usable for   server\n",
        "status       in force\n",
    ] {
        assert!(shown.contains(words), "{words} in\n{shown}");
    }
    let json = certs(&["inspect", "--json", &at("server.crt")]).expect("shown");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["ca"], &json["for_clients"]), (&false.into(), &false.into()));

    let (before, old_key) = (std::fs::read(at("server.crt")), std::fs::read(at("server.key")));
    certs(&["renew", &at("server.crt"), &ca, &key]).expect("renewed");
    assert_ne!(std::fs::read(at("server.crt")).ok(), before.ok());
    assert_eq!(std::fs::read(at("server.key")).ok(), old_key.as_ref().ok().cloned());
    certs(&["renew", &at("server.crt"), "--new-key=ed25519", "--days=7", &ca, &key])
        .expect("renewed");
    assert_ne!(std::fs::read(at("server.key")).ok(), old_key.ok());
    certs(&["renew", &at("ca.crt"), &ca, &key]).expect("renewed");
    certs(&["renew", &at("server.crt"), &ca, &key]).expect("by the renewed CA");
}

#[test]
fn what_would_not_be_believed_is_told_before_it_is_used() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let dir_arg = format!("--dir={}", dir.path().display());
    let (ca, key) = (format!("--ca={}", at("ca.crt")), format!("--ca-key={}", at("ca.key")));
    certs(&["init-ca", "--days=10", &dir_arg]).expect("made");
    certs(&["issue", "server", "--san=localhost,10.0.0.7", &dir_arg, &ca, &key]).expect("issued");
    certs(&["issue", "client", "--common-name=alice", &dir_arg, &ca, &key]).expect("issued");
    let other = tempfile::tempdir().expect("a directory");
    certs(&["init-ca", &format!("--dir={}", other.path().display())]).expect("made");

    let server = at("server.crt");
    let verify = |args: &[&str]| certs(&[&["verify"], args].concat());
    let right = format!("--key={}", at("server.key"));
    let told = verify(&[&server, &ca, &right, "--host=localhost,10.0.0.7", "--for=server"]);
    assert!(told.expect("good").contains("server.crt: OK, CN=localhost, until "));
    assert!(verify(&[&server, &at("client.crt"), &ca]).expect("both").lines().count() == 2);
    let wrong_key = format!("--key={}", at("client.key"));
    let other_ca = format!("--ca={}", other.path().join("ca.crt").display());
    for (args, expected) in [
        (&[server.as_str(), &ca, &wrong_key][..], "not the one of the certificate in"),
        (&[&server, &other_ca], "signed by unknown authority"),
        (&[&server, &ca, "--host=t4"], "valid for localhost, 10.0.0.7, not t4"),
        (&[&server, &ca, "--for=client"], "incompatible key usage"),
        (&[&server, &ca, "--for=peer"], "incompatible key usage"),
        (&[&server, "--ca=/nowhere"], "cannot read /nowhere"),
    ] {
        let told = verify(args).expect_err("refused");
        assert!(told.contains(expected), "{args:?}: {told}");
    }
    for san in ["300.1.1.1", "10.0.0"] {
        let line = ["issue", "peer", "--san", san, &dir_arg, &ca, &key];
        let told = certs(&line).expect_err("issued");
        assert!(told.contains("neither an IP address nor a DNS name"), "{told}");
    }
}

#[test]
fn until_when_it_is_valid_is_told() {
    let end = std::time::UNIX_EPOCH + std::time::Duration::from_secs(86_400 * 365);
    let day = std::time::Duration::from_secs(86_400);
    let note = |asked| super::validity_note(std::path::Path::new("a.crt"), end, asked);
    assert_eq!(note(None), "a.crt is valid until 1971-01-01T00:00:00Z");
    assert_eq!(note(Some(end)), note(None));
    assert!(note(Some(end + day)).ends_with("the end of its CA and earlier than was asked for"));
}

#[test]
fn what_is_missing_is_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let ca = dir.path().join("ca.crt").display().to_string();
    let ca = format!("--ca={ca}");
    for (line, told) in [
        (&["issue", "server"][..], "--san localhost,127.0.0.1"),
        (&["issue", "client"], "--common-name is missing"),
        (&["issue", "peer", "--san=m1", &ca], "t4 certs init-ca"),
        (&["issue", "peer", "--san=m1", "--key-type=dsa"], "ed25519"),
        (&["issue", "peer", "--san=m1", "--days=0"], "from 1"),
        (&["issue", "nobody"], "server"),
        (&["issue", "peer", "--san=m1", "--name=a/b"], "--name \"a/b\" is not the name of a file"),
        (&["issue", "peer", "--san=m1", "--name="], "is not the name of a file"),
        (&["verify"], "CERT"),
        (&["verify", "a", "b", "--key=k"], "--key is the key of one certificate"),
        (&["renew"], "CERT"),
        (&["inspect", "/nonexistent.crt"], "cannot read /nonexistent.crt"),
    ] {
        let error = certs(line).expect_err("done");
        assert!(error.contains(told), "{told} in {error}");
    }
}

#[test]
fn days_are_whole_and_some() {
    assert_eq!(days("1").map(|days| days.as_secs()), Ok(86_400));
    for wrong in ["0", "-1", "1.5", "", "99999999999"] {
        assert!(days(wrong).is_err(), "{wrong}");
    }
}
