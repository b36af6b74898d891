//! Who is let in, and what the others are told.

use t4_testkit::Metrics;

use crate::authority::{Authority, CLIENT, SERVER};
use crate::tools::Client;
use crate::{DEADLINE, flag, shows, started};

#[test]
fn without_a_ca_every_client_is_let_in() {
    let ca = Authority::new("t4-ca");
    let t4 = started(shows(&ca.issue("t4-server", Some(SERVER))));
    let url = format!("https://{}", t4.endpoint());
    let client = Client::trusting(&ca.own.cert);
    assert!(client.curl(&[&format!("{url}/version")]).well().contains("etcdserver"));
    assert_eq!(client.etcdctl(&url, &["put", "/hello", "world"]).well(), "OK\n");
    assert_eq!(client.etcdctl(&url, &["get", "/hello"]).well(), "/hello\nworld\n");
    // Who does not know the CA refuses the server, and it is told.
    Client::default().curl(&[&format!("{url}/version")]).refused("certificate");
    // No plain text where TLS was asked for.
    let plain = format!("http://{}/version", t4.endpoint());
    assert!(!Client::default().curl(&[&plain]).ok);
    let counted = Metrics::read(t4.metrics_endpoint()).expect("metrics");
    assert!(counted.sample("t4_tls_handshakes_total") >= Some(3), "{counted:?}");
    let expiry = "t4_tls_certificate_expiry_timestamp_seconds{listener=\"client\",path=\"";
    assert!(counted.sum(expiry) > 1_700_000_000, "{counted:?}");
}

#[test]
fn with_a_ca_clients_need_a_certificate_of_it() {
    let ca = Authority::new("t4-ca");
    let mut flags = shows(&ca.issue("t4-server", Some(SERVER)));
    flags.push(flag("client-tls-ca", &ca.own.cert));
    let mut t4 = started(flags);
    let url = format!("https://{}", t4.endpoint());
    let version = format!("{url}/version");
    let client = Client::trusting(&ca.own.cert);

    // The recipe of the page makes certificates of X.509 version 1.
    let of_the_page = ca.issue("my-app", None);
    let for_clients = ca.issue("client", Some(CLIENT));
    for pair in [&of_the_page, &for_clients] {
        assert!(client.showing(pair).curl(&[&version]).well().contains("etcdserver"));
        assert_eq!(client.showing(pair).etcdctl(&url, &["put", "k", "v"]).well(), "OK\n");
    }

    client.curl(&[&version]).refused("certificate required");
    client.curl(&["--tls-max", "1.2", &version]).refused("alert");
    let other = Authority::new("other-ca");
    let stranger = other.issue("stranger", Some(CLIENT));
    client.showing(&stranger).curl(&[&version]).refused("alert");
    let server_only = ca.issue("server-only", Some("extendedKeyUsage=serverAuth"));
    client.showing(&server_only).curl(&[&version]).refused("alert");

    let told = "tls: client didn't provide a certificate";
    let line = t4.program().wait_for_line(told, DEADLINE).expect("told");
    for part in ["rejected connection on client endpoint", "remote-addr=\"127.0.0.1:"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let counted = Metrics::read(t4.metrics_endpoint()).expect("metrics");
    let refused = counted.sample("t4_tls_handshake_failures_total{reason=\"certificate\"}");
    assert!(refused >= Some(4), "{counted:?}");
}

#[test]
fn revoked_certificates_are_refused_in_pem_and_der() {
    let ca = Authority::new("t4-ca");
    let server = ca.issue("t4-server", Some(SERVER));
    let good = ca.issue("good", Some(CLIENT));
    let revoked = ca.issue("revoked", Some(CLIENT));
    let pem = ca.revoke("crl.pem", &[&revoked]);
    for list in [&pem, &ca.der(&pem)] {
        let mut flags = shows(&server);
        flags.push(flag("client-tls-ca", &ca.own.cert));
        flags.push(flag("client-crl-file", list));
        let mut t4 = started(flags);
        let version = format!("https://{}/version", t4.endpoint());
        let client = Client::trusting(&ca.own.cert);
        client.showing(&good).curl(&[&version]).well();
        client.showing(&revoked).curl(&[&version]).refused("alert");
        let serial = crate::authority::serial_of(&revoked.cert).to_lowercase();
        let told =
            format!("transport: certificate serial {} revoked", serial.trim_start_matches('0'));
        t4.program().wait_for_line(&told, DEADLINE).expect("told");
    }
}

#[test]
fn the_host_of_a_clients_certificate_can_be_asked_for() {
    let ca = Authority::new("t4-ca");
    let mut flags = shows(&ca.issue("t4-server", Some(SERVER)));
    flags.push(flag("client-tls-ca", &ca.own.cert));
    flags.push("--client-cert-allowed-hostname=app.example,other.example".to_owned());
    let mut t4 = started(flags);
    let version = format!("https://{}/version", t4.endpoint());
    let client = Client::trusting(&ca.own.cert);
    let right = ca.issue("right", Some("subjectAltName=DNS:app.example"));
    let wrong = ca.issue("wrong", Some("subjectAltName=DNS:web.example"));
    client.showing(&right).curl(&[&version]).well();
    client.showing(&wrong).curl(&[&version]).refused("alert");
    let told = "client certificate authentication failed";
    let line = t4.program().wait_for_line(told, DEADLINE).expect("told");
    assert!(line.contains("web.example"), "the names in the certificate are told: {line}");
}

#[test]
fn a_certificate_that_is_made_is_kept() {
    let mut t4 = started(vec!["--auto-tls".to_owned()]);
    let version = format!("https://{}/version", t4.endpoint());
    Client::default().curl(&[&version]).refused("self-signed");
    Client::default().curl(&["-k", &version]).well();
    let cert = t4.data_dir().join("fixtures/client/cert.pem");
    let made = std::fs::read(&cert).expect("a certificate");
    // It is for the address, and for localhost.
    Client::trusting(&cert).curl(&[&version]).well();
    let (_, port) = t4.endpoint().rsplit_once(':').expect("a port");
    Client::trusting(&cert).curl(&[&format!("https://localhost:{port}/version")]).well();
    t4.stop().expect("stop");
    t4.start_again().expect("start");
    assert_eq!(std::fs::read(&cert).expect("a certificate"), made, "not made anew");
    Client::trusting(&cert).curl(&[&version]).well();
}
