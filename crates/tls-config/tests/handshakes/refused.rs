//! Rejected clients, the log entry for each, and the error that they receive.

use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use t4_tls_config::{
    ClientOptions, HANDSHAKE_LIMIT, LeafKind, Protocol, RejectionKind, ServerOptions, TlsVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::fixture::{DAY, Shaken, Shop, load, owned, shake};

fn check(shaken: Shaken, kind: RejectionKind, server: &str, client: &str) {
    let heard = shaken.client.clone().expect_err("the client was let in");
    let rejection = shaken.rejection();
    assert_eq!(rejection.kind, kind, "{rejection:?}");
    assert!(rejection.error.starts_with(server), "{rejection:?}");
    assert!(heard.contains(client), "{heard}");
}

#[tokio::test]
async fn a_client_without_a_certificate() {
    let shop = Shop::new();
    let shaken = shake(&load(shop.mutual_server()), &shop.client(None)).await;
    let text = "tls: client didn't provide a certificate";
    check(shaken, RejectionKind::Certificate, text, "CertificateRequired");
}

#[tokio::test]
async fn a_client_of_another_ca() {
    let (shop, other) = (Shop::new(), Shop::new());
    let mallory = other.issue("alice", LeafKind::Client, &["alice.example", "10.0.0.7"]);
    let shaken = shake(&load(shop.mutual_server()), &shop.client(Some(mallory))).await;
    let rejection = shaken.server.as_ref().expect_err("let in");
    assert_eq!(rejection.server_name.as_deref(), Some("localhost"));
    assert_eq!(rejection.dns_names, ["alice.example"]);
    assert_eq!(rejection.ip_addresses, [std::net::IpAddr::from([10, 0, 0, 7])]);
    let text = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    check(shaken, RejectionKind::Certificate, text, "UnknownCA");
}

#[tokio::test]
async fn a_client_whose_time_is_over_or_has_not_come() {
    let shop = Shop::new();
    let server = load(shop.mutual_server());
    let now = SystemTime::now();
    for (name, at) in [("old", now - 2 * DAY), ("young", now + 2 * DAY)] {
        shop.issue_at(name, LeafKind::Client, &[], at);
        // A client that does not check its own dates.
        let heard = bare_client(&shop, name, &server).await;
        let rejection = heard.rejection();
        let text =
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid";
        assert!(rejection.error.starts_with(text), "{rejection:?}");
    }
}

/// A handshake with a pair that our own client would not load.
async fn bare_client(shop: &Shop, name: &str, server: &t4_tls_config::ServerTls) -> Shaken {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
    let cert = CertificateDer::from_pem_file(shop.path(&format!("{name}.crt"))).expect("cert");
    let key = PrivateKeyDer::from_pem_file(shop.path(&format!("{name}.key"))).expect("key");
    let ca = CertificateDer::from_pem_file(shop.path("ca.crt")).expect("ca");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca).expect("a root");
    t4_tls_config::install_crypto_provider();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![cert], key)
        .expect("a configuration");
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let (near, far) = duplex(65536);
    let name = ServerName::try_from("localhost").expect("a name");
    let connect = async {
        let mut stream = connector.connect(name, near).await.map_err(|e| e.to_string())?;
        stream.read_u8().await.map(drop).map_err(|e| e.to_string())
    };
    let (server, client) = tokio::join!(server.accept(far, None), connect);
    Shaken { server: server.map(|(_, identity)| identity), client }
}

#[tokio::test]
async fn a_servers_certificate_is_no_clients() {
    let shop = Shop::new();
    let server = shop.mutual_server();
    let shaken = shake(&load(server), &shop.client(Some(shop.pair("server")))).await;
    let text =
        "tls: failed to verify certificate: x509: certificate specifies an incompatible key usage";
    check(shaken, RejectionKind::Certificate, text, "UnsupportedCertificate");
}

#[tokio::test]
async fn a_name_that_is_not_allowed() {
    let shop = Shop::new();
    let alice = shop.issue("m1.etcd.local", LeafKind::Client, &["m1.etcd.local"]);
    let client = shop.client(Some(alice));
    let cns = ServerOptions { allowed_cns: owned(&["etcd.local"]), ..shop.mutual_server() };
    let hosts =
        ServerOptions { allowed_hostnames: owned(&["m2.etcd.local"]), ..shop.mutual_server() };
    for (options, text) in [
        (cns, "CommonName authentication failed"),
        (hosts, "client certificate authentication failed"),
    ] {
        let shaken = shake(&load(options), &client).await;
        check(shaken, RejectionKind::Certificate, text, "BadCertificate");
    }
}

#[tokio::test]
async fn a_server_that_is_not_the_one_meant() {
    let (shop, other) = (Shop::new(), Shop::new());
    let server = load(other.open_server());
    let shaken = shake(&server, &shop.client(None)).await;
    let text = "remote error: tls: unknown certificate authority";
    check(shaken, RejectionKind::Remote, text, "certificate signed by unknown authority");
    // A version 1 name would not help: there is none to compare.
    let elsewhere = ClientOptions { server_name: Some("m9".to_owned()), ..Default::default() };
    let shaken = shake(&load(shop.open_server()), &shop.client_with(elsewhere)).await;
    check(shaken, RejectionKind::Remote, "remote error: tls: bad certificate", "m9");
}

#[tokio::test]
async fn nothing_in_common() {
    let shop = Shop::new();
    let only = |version| Protocol {
        min_version: version,
        max_version: Some(version),
        ..Protocol::default()
    };
    let suites = |name: &str| Protocol { cipher_suites: owned(&[name]), ..only(TlsVersion::Tls12) };
    for (server, client) in [
        (only(TlsVersion::Tls13), only(TlsVersion::Tls12)),
        (
            suites("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
            suites("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
        ),
    ] {
        let server = load(ServerOptions { protocol: server, ..shop.open_server() });
        let client =
            shop.client_with(ClientOptions { protocol: client, ..ClientOptions::default() });
        let rejection = shake(&server, &client).await.rejection();
        assert_eq!(rejection.kind, RejectionKind::Protocol, "{rejection:?}");
    }
}

#[tokio::test]
async fn plain_http_on_the_tls_port() {
    let shop = Shop::new();
    let server = load(shop.open_server());
    let (mut near, far) = duplex(1024);
    let request = near.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (written, accepted) = tokio::join!(request, server.accept(far, None));
    written.expect("written");
    let rejection = accepted.map(drop).expect_err("no TLS");
    assert_eq!(rejection.error, "tls: first record does not look like a TLS handshake");
}

#[tokio::test]
async fn a_port_scan() {
    let shop = Shop::new();
    let server = load(shop.open_server());
    let (near, far) = duplex(1024);
    drop(near);
    let rejection = server.accept(far, None).await.map(drop).expect_err("nobody there");
    assert_eq!((rejection.kind, rejection.error.as_str()), (RejectionKind::Closed, "EOF"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_finishes() {
    let shop = Shop::new();
    let server = load(shop.open_server());
    // Sends nothing; half a record; half of a hello, and then waits.
    for said in [&b""[..], b"\x16\x03", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let (mut near, far) = duplex(1024);
        near.write_all(said).await.expect("written");
        let began = tokio::time::Instant::now();
        let rejection = server.accept(far, None).await.map(drop).expect_err("too slow");
        assert_eq!(rejection.kind, RejectionKind::TimedOut);
        assert_eq!(rejection.error, "handshake not done within 10 s");
        let took = began.elapsed();
        assert!((HANDSHAKE_LIMIT..HANDSHAKE_LIMIT + Duration::from_secs(1)).contains(&took));
        // The transport is closed.
        let mut rest = Vec::new();
        let end = near.read_to_end(&mut rest).await;
        assert!(end.is_ok() || end.is_err_and(|e| e.kind() == ErrorKind::BrokenPipe));
    }
}

#[tokio::test]
async fn nothing_is_kept_of_those_who_failed() {
    let (shop, other) = (Shop::new(), Shop::new());
    let server = load(shop.mutual_server());
    let config = server.current();
    // Anything kept of a connection would hold a reference to the
    // configuration.
    let before = std::sync::Arc::strong_count(&config);
    let stranger = other.client(Some(other.issue("x", LeafKind::Client, &[])));
    let mallory = shop.client(Some(shop.issue("y", LeafKind::Server, &["y"])));
    for _ in 0..100 {
        assert!(shake(&server, &stranger).await.server.is_err());
        assert!(shake(&server, &mallory).await.server.is_err());
        let (mut near, far) = duplex(64);
        near.write_all(b"GET / HTTP/1.0").await.expect("written");
        assert!(server.accept(far, None).await.is_err());
    }
    assert_eq!(std::sync::Arc::strong_count(&config), before);
}

#[tokio::test]
async fn a_hello_without_end_is_cut_short() {
    let shop = Shop::new();
    let server = load(shop.open_server());
    let (mut near, far) = duplex(1 << 20);
    // A handshake message that claims 16 MiB, sent record by record: buffers
    // must not grow to the claimed size.
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.extend([1, 0xff, 0xff, 0xff]);
    record.resize(5 + 0x4000, 0);
    let flood = async {
        let mut sent = 0_usize;
        while near.write_all(&record).await.is_ok() && sent < 64 << 20 {
            sent += record.len();
            record[5..9].fill(0);
        }
        sent
    };
    let (sent, accepted) = tokio::join!(flood, server.accept(far, None));
    let rejection = accepted.map(drop).expect_err("no hello");
    assert_eq!(rejection.kind, RejectionKind::Protocol, "{rejection:?}");
    assert!(sent < 4 << 20, "{sent} bytes were taken in");
}
