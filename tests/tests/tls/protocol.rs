//! Versions, cipher suites, HTTP/1.1 and HTTP/2, names that are not sent, and
//! TLS beside plain text.

use std::io::Read;
use std::net::TcpStream;

use t4_testkit::{Metrics, Scratch, T4, T4Options, poll_until};

use crate::authority::{Authority, SERVER};
use crate::tools::Client;
use crate::{shows, started};

#[test]
fn http_1_and_2_by_alpn_and_without_a_server_name() {
    let ca = Authority::new("t4-ca");
    let t4 = started(shows(&ca.issue("t4-server", Some(SERVER))));
    let url = format!("https://{}/version", t4.endpoint());
    let client = Client::trusting(&ca.own.cert);
    let answered_with = ["-o", "/dev/null", "-w", "%{http_version}"];
    for (asked, version) in [("--http1.1", "1.1"), ("--http2", "2"), ("--no-alpn", "1.1")] {
        let args = [&[asked], &answered_with[..], &[&url]].concat();
        assert_eq!(client.curl(&args).well(), version);
    }
    for (asked, told) in [("h2", "ALPN protocol: h2"), ("http/1.1", "ALPN protocol: http/1.1")] {
        let said = client.s_client(t4.endpoint(), &["-noservername", "-alpn", asked]);
        assert!(said.well().contains(told));
    }
}

#[test]
fn versions_have_a_first_and_a_last() {
    let ca = Authority::new("t4-ca");
    let server = ca.issue("t4-server", Some(SERVER));
    let client = Client::trusting(&ca.own.cert);
    let with = |flag: &str| {
        let mut flags = shows(&server);
        flags.push(flag.to_owned());
        started(flags)
    };
    let default = started(shows(&server));
    for version in ["-tls1_2", "-tls1_3"] {
        client.s_client(default.endpoint(), &[version]).well();
    }
    client.s_client(default.endpoint(), &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]).refused("");
    let newest = with("--tls-min-version=TLS1.3");
    client.s_client(newest.endpoint(), &["-tls1_3"]).well();
    client.s_client(newest.endpoint(), &["-tls1_2"]).refused("alert protocol version");
    let older = with("--tls-max-version=TLS1.2");
    client.s_client(older.endpoint(), &["-tls1_2"]).well();
    client.s_client(older.endpoint(), &["-tls1_3"]).refused("alert protocol version");
}

// The example of etcd's page, with a suite that today's curl still knows.
#[test]
fn a_cipher_suite_that_is_not_listed_is_a_handshake_failure() {
    let ca = Authority::new("t4-ca");
    let mut flags = shows(&ca.issue("t4-server", Some(SERVER)));
    flags.push(
        "--cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,\
         TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
            .to_owned(),
    );
    let t4 = started(flags);
    let url = format!("https://{}/metrics", t4.endpoint());
    let client = Client::trusting(&ca.own.cert);
    let with = |suite| client.curl(&["--tls-max", "1.2", "--ciphers", suite, &url]);
    assert!(with("ECDHE-ECDSA-AES128-GCM-SHA256").well().contains("etcd_server_version{"));
    with("ECDHE-ECDSA-CHACHA20-POLY1305").refused("alert handshake failure");
    // TLS 1.3 has suites of its own.
    client.curl(&["--tlsv1.3", &url]).well();
}

// As Go's servers do: a processor with instructions for AES chooses the suite,
// unless the client has none and says so by its order.
#[test]
fn the_server_chooses_the_suite_unless_the_client_wants_chacha20() {
    let ca = Authority::new("t4-ca");
    let t4 = started(shows(&ca.issue("t4-server", Some(SERVER))));
    let client = Client::trusting(&ca.own.cert);
    let [aes256, aes128, chacha] =
        ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];
    for (offered, chosen) in [
        ([aes256, aes128, chacha], aes128),
        ([aes256, chacha, aes128], aes128),
        ([chacha, aes256, aes128], chacha),
    ] {
        let said = client.s_client(t4.endpoint(), &["-ciphersuites", &offered.join(":")]).well();
        assert!(said.contains(&format!("Cipher is {chosen}")), "{offered:?}: {said}");
    }
    let [aes256, chacha] = ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"];
    for (first, second) in [(aes256, chacha), (chacha, aes256)] {
        let offered = format!("{first}:{second}");
        let said = client.s_client(t4.endpoint(), &["-tls1_2", "-cipher", &offered]).well();
        assert!(said.contains(&format!("Cipher is {first}")), "{offered}: {said}");
    }
}

#[test]
fn tls_and_plain_text_share_a_port_and_a_socket() {
    let ca = Authority::new("t4-ca");
    let server = ca.issue("t4-server", Some(SERVER));
    let port = t4_testkit::free_port();
    let mut flags = shows(&server);
    // Paths of sockets are short.
    let socket = std::env::temp_dir().join(format!("t4-tls-{port}"));
    let socket = socket.to_str().expect("UTF-8").to_owned();
    for scheme in ["http", "https"] {
        flags.push(format!("--listen={scheme}://127.0.0.1:{port}"));
    }
    flags.push(format!("--listen=unix://{socket},unixs://{socket}"));
    let t4 = T4::start(T4Options { flags, ..T4Options::default() }).expect("start");
    let client = Client::trusting(&ca.own.cert);

    for (scheme, client) in [("http", Client::default()), ("https", client)] {
        let url = format!("{scheme}://localhost:{port}");
        let version = format!("{url}/version");
        for http in ["--http1.1", "--http2-prior-knowledge"] {
            let http = if scheme == "https" && http.contains("prior") { "--http2" } else { http };
            assert!(client.curl(&[http, &version]).well().contains("etcdserver"));
            let through =
                ["--unix-socket", &socket, http, &format!("{scheme}://localhost/version")];
            assert!(client.curl(&through).well().contains("etcdserver"));
        }
        assert_eq!(client.etcdctl(&url, &["put", scheme, "v"]).well(), "OK\n");
    }
    // Killed, it cannot remove its socket.
    drop(t4);
    std::fs::remove_file(&socket).expect("remove");
}

#[test]
fn metrics_can_be_over_tls() {
    let ca = Authority::new("t4-ca");
    let mut flags = shows(&ca.issue("t4-server", Some(SERVER)));
    let port = t4_testkit::free_port();
    flags.push(format!("--metrics-addr=https://127.0.0.1:{port}"));
    let scratch = Scratch::new("tls").expect("scratch");
    let mut command = std::process::Command::new(t4_testkit::t4_binary().expect("a t4"));
    let listen = format!("--listen=127.0.0.1:{}", t4_testkit::free_port());
    command.arg("run").arg(listen).args(flags).arg("--data-dir").arg(scratch.join("data"));
    let program =
        t4_testkit::Program::start("t4", command, &scratch.join("t4.log")).expect("start");
    let line = program.wait_for_line(crate::READY, crate::DEADLINE).expect("ready");
    assert!(line.contains(&format!("metrics on https://127.0.0.1:{port}")), "{line}");
    let client = Client::trusting(&ca.own.cert);
    let url = format!("https://127.0.0.1:{port}");
    assert!(client.curl(&[&format!("{url}/metrics")]).well().contains("t4_tls_handshakes_total"));
    assert!(client.curl(&[&format!("{url}/healthz")]).well().contains("ok"));
    assert!(!Client::default().curl(&[&format!("http://127.0.0.1:{port}/metrics")]).ok);
}

// GHSA-6vch-q96h-7gc3: who never finishes a handshake costs a place for 10 s,
// and nobody else anything.
#[test]
fn who_says_nothing_holds_up_nobody_and_is_cut_off() {
    let ca = Authority::new("t4-ca");
    let t4 = started(shows(&ca.issue("t4-server", Some(SERVER))));
    let connect = |_| TcpStream::connect(t4.endpoint()).expect("connect");
    let mut silent: Vec<TcpStream> = (0..200).map(connect).collect();
    let url = format!("https://{}/version", t4.endpoint());
    for _ in 0..5 {
        Client::trusting(&ca.own.cert).curl(&[&url]).well();
    }
    for connection in &mut silent {
        connection.set_read_timeout(Some(crate::DEADLINE)).expect("a timeout");
        let mut rest = Vec::new();
        // Closed by the server: the end, or a reset, and not the timeout.
        let ended = connection.read_to_end(&mut rest);
        let timed_out = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "still open after {:?}", crate::DEADLINE);
    }
    // Counted when the connection is over for the server, which may be a moment later.
    poll_until("all are cut off, and no handshake is under way", crate::DEADLINE, || {
        let counted = Metrics::read(t4.metrics_endpoint())?;
        let cut_off = counted.sample("t4_tls_handshake_failures_total{reason=\"timed_out\"}");
        let under_way = counted.sample("t4_tls_handshakes_in_progress");
        anyhow::ensure!((cut_off, under_way) == (Some(200), Some(0)), "{counted:?}");
        Ok(())
    })
    .expect("all have given up their places");
}
