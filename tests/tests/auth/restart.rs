//! What a restart keeps: users, roles, tokens, and that authentication is on.

use t4_proto::authpb::permission::Type;
use t4_proto::etcdserverpb as pb;
use tonic::Code;

use crate::session::{Session, shown};
use crate::t4;

fn put(key: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: "v".into(), ..Default::default() }
}

#[tokio::test]
async fn users_and_tokens_are_there_after_a_kill() {
    let mut t4 = t4(&[]);
    let mut session = Session::connect(t4.endpoint()).await.expect("connect");
    session.role("a", &[(Type::Readwrite, "a", "b")]).await.expect("role");
    session.user("root", "rootpw", &["root"]).await.expect("root");
    session.user("alice", "alicepw", &["a"]).await.expect("alice");
    session.enable().await.expect("enable");
    let alice = session.login("alice", "alicepw").await.expect("login");
    let gone = session.login("alice", "alicepw").await.expect("login");
    let root = session.login("root", "rootpw").await.expect("login");
    session.rpc.kv.put(shown(&alice, put("a1"))).await.expect("put");

    for kill in [true, false] {
        if kill {
            t4.kill().expect("kill");
        } else {
            t4.stop().expect("stop");
        }
        t4.start_again().expect("start again");
        let mut session = Session::connect(t4.endpoint()).await.expect("connect");
        let nobody = session.rpc.kv.put(put("a1")).await.expect_err("nobody");
        assert_eq!(nobody.message(), "etcdserver: user name is empty");
        for token in [&alice, &gone] {
            session.rpc.kv.put(shown(token, put("a2"))).await.expect("a token stays");
        }
        let denied = session.rpc.kv.put(shown(&alice, put("c"))).await.expect_err("denied");
        assert_eq!(denied.code(), Code::PermissionDenied);
        session.rpc.kv.put(shown(&root, put("c"))).await.expect("root may");
        session.login("alice", "alicepw").await.expect("the password stays");
        session.login("alice", "wrong").await.expect_err("so does that it is wrong");
    }

    // What ended before a kill has ended after it.
    let mut session = Session::connect(t4.endpoint()).await.expect("connect");
    let delete = pb::AuthUserDeleteRequest { name: "alice".into() };
    session.auth.user_delete(shown(&root, delete)).await.expect("delete");
    t4.kill().expect("kill");
    t4.start_again().expect("start again");
    let mut session = Session::connect(t4.endpoint()).await.expect("connect");
    let refused = session.rpc.kv.put(shown(&alice, put("a1"))).await.expect_err("gone");
    assert_eq!(refused.code(), Code::Unauthenticated);
    session.login("alice", "alicepw").await.expect_err("gone");
}
