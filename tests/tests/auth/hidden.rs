//! Passwords and tokens are nowhere: in no file of the data directory, no line
//! of the log, no metric, no listing of keys.

use std::path::Path;

use t4_proto::authpb::permission::Type;
use t4_proto::etcdserverpb as pb;
use t4_testkit::Metrics;

use crate::session::{Session, shown};
use crate::t4;

const SECRETS: [&str; 4] = ["rootword-6K1d", "aliceword-9Qz2", "newword-4Hf8", "guessed-0Wx7"];

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn search(dir: &Path, texts: &[&str], found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            search(&path, texts, found);
            continue;
        }
        let bytes = std::fs::read(&path).expect("a file");
        for text in texts {
            if holds(&bytes, text) {
                found.push(format!("{text} in {}", path.display()));
            }
        }
    }
}

#[tokio::test]
async fn passwords_and_tokens_are_found_nowhere() {
    let mut t4 = t4(&["--log-level", "trace"]);
    let mut session = Session::connect(t4.endpoint()).await.expect("connect");
    session.role("a", &[(Type::Readwrite, "a", "b")]).await.expect("role");
    session.user("root", SECRETS[0], &["root"]).await.expect("root");
    session.user("alice", SECRETS[1], &["a"]).await.expect("alice");
    session.enable().await.expect("enable");
    let root = session.login("root", SECRETS[0]).await.expect("login");
    let alice = session.login("alice", SECRETS[1]).await.expect("login");
    session.login("alice", SECRETS[3]).await.expect_err("wrong");
    // A password where the name should be.
    session.login(SECRETS[3], "x").await.expect_err("wrong");
    let put =
        pb::PutRequest { key: "a1".into(), value: "marker-value".into(), ..Default::default() };
    session.rpc.kv.put(shown(&alice, put)).await.expect("put");
    let forged = format!("{}x.1", &alice[..22]);
    let read = pb::RangeRequest { key: "a1".into(), ..Default::default() };
    session.rpc.kv.range(shown(&forged, read)).await.expect_err("forged");
    let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
    let keys = session.rpc.kv.range(shown(&root, all)).await.expect("all keys").into_inner().kvs;
    assert_eq!(keys.len(), 1, "users and tokens are no keys: {keys:?}");
    let change = pb::AuthUserChangePasswordRequest {
        name: "alice".into(),
        password: SECRETS[2].into(),
        ..Default::default()
    };
    session.auth.user_change_password(shown(&root, change)).await.expect("change");
    let newest = session.login("alice", SECRETS[2]).await.expect("login");

    let letters = |token: &str| token.split('.').next().expect("letters").to_owned();
    let tokens = [letters(&root), letters(&alice), letters(&forged), letters(&newest)];
    let texts: Vec<&str> = SECRETS.into_iter().chain(tokens.iter().map(String::as_str)).collect();
    let shown_metrics = Metrics::read(t4.metrics_endpoint()).expect("metrics");
    let shown_metrics = shown_metrics.text();
    assert!(shown_metrics.contains("t4_auth_attempts_total{result=\"failure\"} 2"));
    assert!(shown_metrics.contains("etcd_debugging_auth_revision "));
    for text in &texts {
        assert!(!shown_metrics.contains(text), "{text} among the metrics");
    }
    t4.stop().expect("stop");
    let mut found = Vec::new();
    // The data, and the log of the process.
    search(t4.scratch(), &texts, &mut found);
    assert!(found.is_empty(), "{found:#?}");
    let mut found = Vec::new();
    search(t4.scratch(), &["marker-value"], &mut found);
    assert!(!found.is_empty(), "the search finds what is there");
}
