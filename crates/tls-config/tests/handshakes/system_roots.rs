//! Client certificates without a CA file are verified against the system's
//! roots. In a separate process, because an environment variable sets their
//! location.

use std::process::Command;

use t4_tls_config::{LeafKind, ServerOptions, ServerTls, TlsError};

use crate::fixture::{Shop, load, shake};

/// The variable with the directory of the second process's files.
const DIRECTORY: &str = "T4_TLS_TEST_ROOTS";

#[tokio::test]
#[ignore = "runs in the process that the test below starts"]
async fn in_a_system_with_one_root() {
    let dir = std::env::var_os(DIRECTORY).expect("started by the test below");
    let (shop, stranger) = (Shop::new(), Shop::new());
    for file in ["ca.crt", "server.crt", "server.key", "alice.crt", "alice.key"] {
        std::fs::copy(std::path::Path::new(&dir).join(file), shop.path(file)).expect("copied");
    }
    let options =
        ServerOptions { require_client_cert: true, ..ServerOptions::new(shop.pair("server")) };
    let server = load(options);
    assert!(server.options().client_ca.is_none());
    let alice = shop.client(Some(shop.pair("alice")));
    assert!(shake(&server, &alice).await.identity().verified);
    let bob = shop.client(Some(stranger.issue("bob", LeafKind::Client, &[])));
    assert!(shake(&server, &bob).await.rejection().error.ends_with("unknown authority"));
}

#[tokio::test]
#[ignore = "runs in the process that the test below starts"]
async fn in_a_system_without_roots() {
    let shop = Shop::new();
    let options = ServerOptions { require_client_cert: true, ..shop.open_server() };
    let error = ServerTls::load(options).expect_err("loaded");
    assert!(matches!(error, TlsError::SystemRoots { .. }), "{error}");
    assert!(error.to_string().contains("ca-certificates"), "{error}");
}

#[test]
fn the_systems_roots_decide_where_no_ca_is_named() {
    let shop = Shop::new();
    shop.issue("server", LeafKind::Server, &["localhost"]);
    shop.issue("alice", LeafKind::Client, &[]);
    let none = shop.write("none.crt", "");
    let ca = shop.path("ca.crt");
    for (test, roots) in [("in_a_system_with_one_root", ca), ("in_a_system_without_roots", none)] {
        let run = Command::new(std::env::current_exe().expect("this test"))
            .args([&format!("system_roots::{test}"), "--exact", "--ignored"])
            .env(DIRECTORY, shop.dir())
            .env("SSL_CERT_FILE", roots)
            .env_remove("SSL_CERT_DIR")
            .output()
            .expect("a second process");
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(run.status.success() && said.contains("1 passed"), "{test}: {said}");
    }
}
