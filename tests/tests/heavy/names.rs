//! Users, roles and permissions of megabytes: each within what a message may
//! be, and beyond what a write may be.

use bytes::Bytes;
use t4_proto::authpb::Permission;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::auth_client::AuthClient;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::{assert_served, connect, t4};

const TOO_LARGE: &str = "etcdserver: request is too large";

fn assert_too_large<T: std::fmt::Debug>(name: &str, answer: Result<T, Status>) {
    let refused = answer.expect_err(name);
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, TOO_LARGE), "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_permissions_of_megabytes_are_refused() {
    let mut t4 = t4(&[]);
    let mut rpc = connect(t4.endpoint()).await;
    let mut auth = AuthClient::new(rpc.channel.clone());
    let huge = || "n".repeat(1_900_000);
    for name in ["root", "r"] {
        auth.role_add(pb::AuthRoleAddRequest { name: name.into() }).await.expect("a role");
    }
    let add = |name: String, password: &str| pb::AuthUserAddRequest {
        name,
        password: password.into(),
        ..Default::default()
    };
    assert_too_large("a user", auth.user_add(add(huge(), "p")).await);
    assert_too_large("a user that cannot log in", auth.user_add(add("n".repeat(5_000), "p")).await);
    assert_too_large("a password", auth.user_add(add("u".into(), &huge())).await);
    for name in [huge(), "n".repeat(5_000)] {
        assert_too_large("a role", auth.role_add(pb::AuthRoleAddRequest { name }).await);
    }
    let long = auth.user_add(add("u".into(), &"p".repeat(73))).await.expect_err("73 bytes");
    assert_eq!(long.message(), "bcrypt: password length exceeds 72 bytes");

    // Together they once made an entry that ended the node.
    let mut grants = JoinSet::new();
    for number in 0..160u8 {
        let mut auth = auth.clone();
        grants.spawn(async move {
            let key = Bytes::from(vec![number; 1_900_000]);
            let perm = Some(Permission { perm_type: 0, key, range_end: Bytes::new() });
            let grant = pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm };
            auth.role_grant_permission(grant).await
        });
    }
    while let Some(answer) = grants.join_next().await {
        assert_too_large("a permission", answer.expect("a call"));
    }

    auth.user_add(add("root".into(), "p")).await.expect("root");
    let grant = pb::AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
    auth.user_grant_role(grant).await.expect("the role root");
    assert_served(&mut rpc).await;
    auth.auth_enable(pb::AuthEnableRequest {}).await.expect("enable");
    for (name, password) in [(huge(), String::new()), ("root".to_owned(), huge())] {
        let login = pb::AuthenticateRequest { name, password };
        assert_too_large("a login", auth.authenticate(login).await);
    }
    let login = pb::AuthenticateRequest { name: "root".into(), password: "p".into() };
    auth.authenticate(login).await.expect("a login");
    t4.stop().expect("a clean stop");
}
