//! `t4 certs` without a process; the real binary runs in `tests/tests/cli`.

use clap::{FromArgMatches, Parser};

use super::{CertsArgs, days};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    certs: CertsArgs,
}

/// Runs one command line in a directory; what it printed.
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
        super::Certs::Inspect(args) => args.run(&mut out),
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
    assert!(again.contains("ca.crt") && again.contains("exists already"), "{again}");

    let issue = ["issue", "server", "--san=localhost,127.0.0.1", &dir_arg, &ca, &key];
    certs(&issue).expect("issued");
    assert!(certs(&issue).expect_err("replaced").contains("server.crt"));
    certs(&[&issue[..], &["--force"]].concat()).expect("issued again");

    let shown = certs(&["inspect", &at("server.crt"), &at("ca.crt")]).expect("shown");
    for words in
        ["subject      CN=localhost", "DNS:localhost, IP:127.0.0.1", "usable for   server\n"]
    {
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
