//! Errors before anything listens: options that contradict each other, and
//! invalid files. Each error names the file.

use std::time::SystemTime;

use t4_tls_config::{
    Certificate, ClientOptions, ClientTls, FileFault, LeafKind, PairSource, Protocol, SelfSigned,
    ServerOptions, ServerTls, TlsError, TlsVersion, certificates_in,
};

use crate::fixture::{DAY, Shop, load, owned};

fn refused(options: ServerOptions) -> TlsError {
    ServerTls::load(options).expect_err("it was loaded")
}

/// Checks that the error is about `file` and contains all of `words`.
fn about(error: TlsError, file: &std::path::Path, words: &[&str]) {
    let text = error.to_string();
    assert!(text.contains(&file.display().to_string()), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} in {text}");
    }
}

#[test]
fn pairs_that_are_none() {
    let shop = Shop::new();
    let (cert, key) = (shop.path("server.crt"), shop.path("server.key"));
    let good = shop.open_server();
    shop.issue("other", LeafKind::Server, &["other"]);
    let other_key = shop.path("other.key");
    let with = |cert: &std::path::Path, key: &std::path::Path| {
        let pair = PairSource::Files { cert: cert.to_owned(), key: key.to_owned() };
        refused(ServerOptions { pair, ..good.clone() })
    };
    about(with(&cert, &other_key), &other_key, &["not the one of the certificate", "server.crt"]);
    about(with(&key, &key), &key, &["no certificate in it", "BEGIN CERTIFICATE"]);
    about(with(&cert, &cert), &cert, &["no private key in it"]);
    let missing = shop.path("missing");
    about(with(&missing, &key), &missing, &["cannot read", "No such file"]);

    let noise =
        shop.write("noise", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    about(with(&noise, &key), &noise, &["cannot be parsed"]);
    let noise =
        shop.write("noise", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n");
    about(with(&cert, &noise), &noise, &["cannot be used", "Ed25519"]);
}

#[test]
fn a_leaf_out_of_its_time() {
    let shop = Shop::new();
    let now = SystemTime::now();
    let old = shop.issue_at("old", LeafKind::Server, &["localhost"], now - 2 * DAY);
    about(refused(ServerOptions::new(old)), &shop.path("old.crt"), &["expired at 20", "renew it"]);
    let young = shop.issue_at("young", LeafKind::Server, &["localhost"], now + 2 * DAY);
    let error = refused(ServerOptions::new(young));
    about(error, &shop.path("young.crt"), &["not valid before 20", "clock"]);
}

#[test]
fn a_ca_that_is_none() {
    let shop = Shop::new();
    let good = shop.mutual_server();
    let with =
        |name: &str| refused(ServerOptions { client_ca: Some(shop.path(name)), ..good.clone() });
    about(with("server.crt"), &shop.path("server.crt"), &["is not a CA", "CN=server"]);
    about(with("server.key"), &shop.path("server.key"), &["no certificate in it"]);
    shop.write("both.crt", &format!("{}{}", shop.read("ca.crt"), shop.read("server.crt")));
    about(with("both.crt"), &shop.path("both.crt"), &["is not a CA"]);
}

#[test]
fn a_bundle_may_have_an_old_ca_beside_a_good_one_only() {
    let shop = Shop::new();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let old = params.self_signed(&key).expect("a CA").pem();
    let path = shop.write("old-ca.crt", &old);
    let with_old = ServerOptions { client_ca: Some(path.clone()), ..shop.open_server() };
    about(refused(with_old.clone()), &path, &["every CA in it has expired"]);
    shop.write("old-ca.crt", &format!("{old}{}", shop.read("ca.crt")));
    load(with_old);
}

#[test]
fn options_that_would_weaken_silently() {
    let shop = Shop::new();
    let open = shop.open_server();
    let text = |options: ServerOptions| refused(options).to_string();
    for options in [
        ServerOptions { crl: Some(shop.path("crl")), ..open.clone() },
        ServerOptions { allowed_cns: owned(&["x"]), ..open.clone() },
        ServerOptions { allowed_hostnames: owned(&["x"]), ..open.clone() },
    ] {
        let text = text(options);
        assert!(text.contains("would never be looked at"), "{text}");
    }
    let both = ServerOptions {
        allowed_cns: owned(&["a"]),
        allowed_hostnames: owned(&["b", "c"]),
        ..shop.mutual_server()
    };
    let both = text(both);
    assert!(
        both.starts_with("AllowedCNs and AllowedHostnames are mutually exclusive (cns="),
        "{both}"
    );
    let blind = ClientOptions {
        ca: Some(shop.path("ca.crt")),
        insecure_skip_verify: true,
        ..ClientOptions::default()
    };
    assert!(ClientTls::load(blind).is_err());
    let nameless =
        ClientOptions { server_name: Some("a b".to_owned()), ..ClientOptions::default() };
    assert!(ClientTls::load(nameless).is_err());
}

#[test]
fn versions_and_suites_that_do_not_fit() {
    let shop = Shop::new();
    let open = shop.open_server();
    let text = |protocol: Protocol| refused(ServerOptions { protocol, ..open.clone() }).to_string();
    let backwards = Protocol {
        min_version: TlsVersion::Tls13,
        max_version: Some(TlsVersion::Tls12),
        ..Protocol::default()
    };
    assert!(text(backwards).contains("greater than max version"));
    let unknown =
        Protocol { cipher_suites: owned(&["TLS_RSA_WITH_AES_256_CBC_SHA"]), ..Protocol::default() };
    assert!(text(unknown).starts_with("unexpected TLS cipher suite"));
}

#[test]
fn self_signed_certificates_are_kept_renewed_and_left_alone() {
    let shop = Shop::new();
    let own = SelfSigned::in_dir(&shop.path("fixtures/client"), owned(&["127.0.0.1", "m1"]), 1)
        .expect("a year");
    let now = SystemTime::now();
    let cert = || std::fs::read_to_string(&own.cert).expect("cert");
    let key = || std::fs::read_to_string(&own.key).expect("key");
    assert!(own.ensure(now).expect("made"));
    let (first_cert, first_key) = (cert(), key());
    let facts = certificates_in(&own.cert).expect("readable").remove(0);
    assert_eq!((facts.is_ca, facts.dns_names.as_slice()), (false, &["m1".to_owned()][..]));

    assert!(!own.ensure(now + 330 * DAY).expect("kept"), "renewed too early");
    assert!(own.ensure(now + 340 * DAY).expect("renewed"));
    assert_ne!(cert(), first_cert);
    assert_eq!(key(), first_key, "the key stays");

    // Another host to serve, or a lost key.
    let more = SelfSigned { hosts: owned(&["m2"]), ..own.clone() };
    assert!(more.ensure(now).expect("renewed"));
    std::fs::write(&own.key, "lost").expect("written");
    assert!(more.ensure(now).expect("made"));
    load(ServerOptions::new(PairSource::SelfSigned(more.clone())));

    // A certificate signed by somebody else.
    shop.issue("server", LeafKind::Server, &["localhost"]);
    std::fs::copy(shop.path("server.crt"), &own.cert).expect("copied");
    assert!(!more.ensure(now).expect("left alone"));
    let none = SelfSigned::in_dir(shop.dir(), Vec::new(), 0).expect_err("no years");
    assert_eq!(none.to_string(), "selfSignedCertValidity is invalid,it should be greater than 0");
}

#[test]
fn authorities_renew_what_they_issued() {
    use t4_tls_config::{Authority, KeyType, Renewal};
    const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);
    let shop = Shop::new();
    shop.issue("m1", LeafKind::Peer, &["m1.local", "10.0.0.1"]);
    let (cert, key, now) = (shop.path("ca.crt"), shop.path("ca.key"), SystemTime::now());
    let read = |name: &str| shop.read(name).into_bytes();
    let (ca_cert, ca_key) = (read("ca.crt"), read("ca.key"));
    let ca = Authority::load((&cert, &ca_cert), (&key, &ca_key), now).expect("a CA");
    let path = shop.path("m1.crt");
    let facts = |pem: &str| {
        shop.write("look.crt", pem);
        certificates_in(&shop.path("look.crt")).expect("readable").remove(0)
    };
    let old = facts(&shop.read("m1.crt"));
    let same = |new: &Certificate| {
        (&new.subject, &new.dns_names, &new.ip_addresses, new.purposes)
            == (&old.subject, &old.dns_names, &old.ip_addresses, old.purposes)
    };

    let kept = ca.renew(&path, &read("m1.crt"), Renewal::default(), now + MINUTE).expect("renewed");
    assert_eq!(kept.key, None);
    let new = facts(&kept.certificate);
    assert!(
        same(&new) && new.serial != old.serial && new.not_after == old.not_after + MINUTE,
        "{new}"
    );
    shop.write("m1.crt", &kept.certificate);
    load(ServerOptions::new(shop.pair("m1")));

    let renewal = Renewal { validity: Some(2 * DAY), new_key: Some(KeyType::Ed25519) };
    let both = ca.renew(&path, &read("m1.crt"), renewal, now).expect("renewed");
    let new = facts(&both.certificate);
    assert!(same(&new) && new.key == "Ed25519", "{new}");

    let itself = ca.renew_itself(&cert, Some(400 * DAY), now).expect("renewed");
    let new = facts(&itself.certificate);
    assert!(new.is_ca && new.not_after > ca.certificate().not_after && itself.key.is_none());

    let request = t4_tls_config::CaRequest {
        common_name: "another-ca".to_owned(),
        organization: None,
        validity: DAY,
        key_type: KeyType::EcdsaP256,
    };
    let (another, _) = Authority::create(&request, now).expect("a CA");
    let error = another.renew(&path, &read("m1.crt"), Renewal::default(), now);
    let error = error.expect_err("of another issuer");
    assert!(matches!(error, TlsError::File { fault: FileFault::OtherIssuer { .. }, .. }));
}

#[test]
fn nothing_outlives_its_ca_and_servers_have_names() {
    use t4_tls_config::LeafRequest;
    let shop = Shop::new();
    let (cert, key, now) = (shop.path("ca.crt"), shop.path("ca.key"), SystemTime::now());
    let (ca_cert, ca_key) = (shop.read("ca.crt"), shop.read("ca.key"));
    let (ca_cert, ca_key) = (ca_cert.as_bytes(), ca_key.as_bytes());
    let ca = t4_tls_config::Authority::load((&cert, ca_cert), (&key, ca_key), now).expect("a CA");
    let long = LeafRequest { validity: 4000 * DAY, ..crate::fixture::leaf(LeafKind::Client, "x") };
    let issued = ca.issue(&long, now).expect("issued");
    let path = shop.write("long.crt", &issued.certificate);
    let long = certificates_in(&path).expect("readable").remove(0);
    assert_eq!(long.not_after, ca.certificate().not_after);
    let nameless = ca.issue(&crate::fixture::leaf(LeafKind::Server, "x"), now);
    assert!(nameless.expect_err("no names").to_string().contains("needs the names"));
    // A leaf is not a CA.
    shop.issue("x", LeafKind::Peer, &["x"]);
    let (leaf, leaf_key) = (shop.read("x.crt"), shop.read("x.key"));
    let (cert, key) = (shop.path("x.crt"), shop.path("x.key"));
    let loaded =
        t4_tls_config::Authority::load((&cert, leaf.as_bytes()), (&key, leaf_key.as_bytes()), now);
    about(loaded.expect_err("no CA"), &cert, &["is not a CA"]);
}
