//! Users and roles: the 17 methods, with etcd's errors.

use std::sync::atomic::Ordering;

use t4_proto::authpb;
use t4_proto::authpb::permission::Type;
use t4_proto::etcdserverpb as pb;
use tonic::{Code, Status};

use super::{World, grant, login, shown, user_add};
use crate::support::{Server, assert_error, get, put, range};

fn grant_role(user: &str, role: &str) -> pb::AuthUserGrantRoleRequest {
    pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() }
}

fn revoke_role(name: &str, role: &str) -> pb::AuthUserRevokeRoleRequest {
    pb::AuthUserRevokeRoleRequest { name: name.into(), role: role.into() }
}

fn role(name: &str) -> pb::AuthRoleAddRequest {
    pb::AuthRoleAddRequest { name: name.into() }
}

async fn status(server: &Server) -> (bool, u64) {
    let status = server.auth().auth_status(pb::AuthStatusRequest {}).await.unwrap().into_inner();
    assert!(status.header.is_some_and(|header| header.revision == server.node.revision().0));
    (status.enabled, status.auth_revision)
}

#[tokio::test]
async fn it_is_off_until_there_is_somebody_in_charge() {
    let server = Server::start().await;
    let mut auth = server.auth();
    assert_eq!(status(&server).await, (false, 1));
    let refused = login(&server.services, "root", "x").await;
    let text = "etcdserver: authentication is not enabled";
    assert_error(refused, Code::FailedPrecondition, text);
    auth.auth_disable(pb::AuthDisableRequest {}).await.unwrap();
    let enable = pb::AuthEnableRequest {};
    let text = "etcdserver: root user does not exist";
    assert_error(auth.auth_enable(enable).await, Code::FailedPrecondition, text);
    auth.user_add(user_add("root", "x")).await.unwrap();
    let text = "etcdserver: root user does not have root role";
    assert_error(auth.auth_enable(enable).await, Code::FailedPrecondition, text);
    auth.user_grant_role(grant_role("root", "root")).await.unwrap();
    auth.auth_enable(enable).await.unwrap();
    assert_eq!(status(&server).await, (true, 3));

    let token = login(&server.services, "root", "x").await.unwrap();
    auth.auth_enable(shown(&token, enable)).await.unwrap();
    let found = server.kv().range(get("k")).await;
    assert_error(found, Code::InvalidArgument, "etcdserver: user name is empty");
    auth.auth_disable(shown(&token, pb::AuthDisableRequest {})).await.unwrap();
    assert_eq!(status(&server).await, (false, 4));
    // A token that is left over does not matter now.
    server.kv().range(shown(&token, get("k"))).await.unwrap();
}

#[tokio::test]
async fn users_are_added_shown_and_removed() {
    let server = Server::start().await;
    let mut auth = server.auth();
    let empty = auth.user_add(user_add("", "x")).await;
    assert_error(empty, Code::InvalidArgument, "etcdserver: user name is empty");
    for name in ["b", "a", "c"] {
        auth.user_add(user_add(name, "x")).await.unwrap();
    }
    let again = auth.user_add(user_add("a", "x")).await;
    assert_error(again, Code::FailedPrecondition, "etcdserver: user name already exists");
    let long = auth.user_add(user_add("d", &"x".repeat(73))).await;
    assert_error(long, Code::Unknown, "bcrypt: password length exceeds 72 bytes");

    let users = auth.user_list(pb::AuthUserListRequest {}).await.unwrap().into_inner().users;
    assert_eq!(users, ["a", "b", "c"]);
    let missing = "etcdserver: user name not found";
    let delete = async |name: &str| {
        server.auth().user_delete(pb::AuthUserDeleteRequest { name: name.into() }).await
    };
    delete("b").await.unwrap();
    assert_error(delete("b").await, Code::FailedPrecondition, missing);
    let gone = auth.user_get(pb::AuthUserGetRequest { name: "b".into() }).await;
    assert_error(gone, Code::FailedPrecondition, missing);

    let grant = auth.user_grant_role(grant_role("a", "none")).await;
    assert_error(grant, Code::FailedPrecondition, "etcdserver: role name not found");
    for name in ["y", "x"] {
        auth.role_add(role(name)).await.unwrap();
        auth.user_grant_role(grant_role("a", name)).await.unwrap();
    }
    let get = pb::AuthUserGetRequest { name: "a".into() };
    assert_eq!(auth.user_get(get.clone()).await.unwrap().into_inner().roles, ["x", "y"]);
    auth.user_revoke_role(revoke_role("a", "y")).await.unwrap();
    let twice = auth.user_revoke_role(revoke_role("a", "y")).await;
    let text = "etcdserver: role is not granted to the user";
    assert_error(twice, Code::FailedPrecondition, text);
    assert_eq!(auth.user_get(get).await.unwrap().into_inner().roles, ["x"]);
}

#[tokio::test]
async fn roles_are_added_filled_shown_and_removed() {
    let server = Server::start().await;
    let mut auth = server.auth();
    let empty = auth.role_add(role("")).await;
    assert_error(empty, Code::InvalidArgument, "etcdserver: role name is empty");
    auth.role_add(role("r")).await.unwrap();
    auth.role_add(role("other")).await.unwrap();
    let again = auth.role_add(role("r")).await;
    assert_error(again, Code::FailedPrecondition, "etcdserver: role name already exists");
    let roles = auth.role_list(pb::AuthRoleListRequest {}).await.unwrap().into_inner().roles;
    assert_eq!(roles, ["other", "r"]);

    let none = pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm: None };
    let none = auth.role_grant_permission(none).await;
    assert_error(none, Code::InvalidArgument, "etcdserver: permission not given");
    let backwards = auth.role_grant_permission(grant("r", Type::Read, "b", "a")).await;
    assert_error(backwards, Code::InvalidArgument, "etcdserver: invalid auth management");
    let odd = pb::AuthRoleGrantPermissionRequest {
        name: "r".into(),
        perm: Some(authpb::Permission { perm_type: 9, key: "k".into(), ..Default::default() }),
    };
    let odd = auth.role_grant_permission(odd).await;
    assert_error(odd, Code::InvalidArgument, "etcdserver: invalid auth management");

    auth.role_grant_permission(grant("r", Type::Write, "k", "")).await.unwrap();
    auth.role_grant_permission(grant("r", Type::Read, "a", "c")).await.unwrap();
    let show = pb::AuthRoleGetRequest { role: "r".into() };
    let perms = auth.role_get(show.clone()).await.unwrap().into_inner().perm;
    let shown: Vec<_> = perms.iter().map(|it| (it.perm_type(), &it.key[..])).collect();
    assert_eq!(shown, [(Type::Read, &b"a"[..]), (Type::Write, b"k")]);

    let revoke = |key: &str| pb::AuthRoleRevokePermissionRequest {
        role: "r".into(),
        key: key.to_owned().into(),
        range_end: "".into(),
    };
    auth.role_revoke_permission(revoke("k")).await.unwrap();
    let twice = auth.role_revoke_permission(revoke("k")).await;
    let text = "etcdserver: permission is not granted to the role";
    assert_error(twice, Code::FailedPrecondition, text);
    let delete = pb::AuthRoleDeleteRequest { role: "r".into() };
    auth.role_delete(delete.clone()).await.unwrap();
    let missing = "etcdserver: role name not found";
    assert_error(auth.role_delete(delete).await, Code::FailedPrecondition, missing);
    assert_error(auth.role_get(show).await, Code::FailedPrecondition, missing);
}

#[tokio::test]
async fn root_stays_in_charge() {
    let world = World::start().await;
    let mut auth = world.server.auth();
    let text = "etcdserver: invalid auth management";
    let delete = pb::AuthUserDeleteRequest { name: "root".into() };
    let refused = auth.user_delete(shown(&world.root, delete)).await;
    assert_error(refused, Code::InvalidArgument, text);
    let refused = auth.user_revoke_role(shown(&world.root, revoke_role("root", "root"))).await;
    assert_error(refused, Code::InvalidArgument, text);
    auth.role_add(shown(&world.root, role("root"))).await.unwrap();
    let delete = pb::AuthRoleDeleteRequest { role: "root".into() };
    let refused = auth.role_delete(shown(&world.root, delete)).await;
    assert_error(refused, Code::InvalidArgument, text);
}

#[tokio::test]
async fn users_see_themselves_and_their_roles() {
    let world = World::start().await;
    let mut auth = world.server.auth();
    let own = pb::AuthUserGetRequest { name: "alice".into() };
    let roles = auth.user_get(shown(&world.alice, own)).await.unwrap().into_inner().roles;
    assert_eq!(roles, ["a"]);
    let own = pb::AuthRoleGetRequest { role: "a".into() };
    assert_eq!(auth.role_get(shown(&world.alice, own)).await.unwrap().into_inner().perm.len(), 1);
}

#[tokio::test]
async fn a_name_and_a_password_log_in() {
    let world = World::start().await;
    let services = &world.server.services;
    let text = "etcdserver: authentication failed, invalid user ID or password";
    for (name, password) in [("alice", "wrong"), ("alice", ""), ("nobody", "alice"), ("", "")] {
        assert_error(login(services, name, password).await, Code::InvalidArgument, text);
    }
    login(services, "alice", "alice").await.unwrap();
    let stats = services.login_stats();
    // Three logged in when the world began.
    assert_eq!(stats.succeeded.load(Ordering::Relaxed), 4);
    assert_eq!(stats.failed.load(Ordering::Relaxed), 4);

    let no_password = pb::AuthUserAddRequest {
        options: Some(authpb::UserAddOptions { no_password: true }),
        ..user_add("cert", "ignored")
    };
    let mut auth = world.server.auth();
    auth.user_add(shown(&world.root, no_password)).await.unwrap();
    let text = "auth: authentication failed, password was given for no password user";
    assert_error(login(services, "cert", "ignored").await, Code::Unknown, text);
}

#[tokio::test]
async fn passwords_change_and_old_ones_and_tokens_end() {
    let world = World::start().await;
    let services = &world.server.services;
    let change = async |password: &str, hashed: &str| -> Result<(), Status> {
        let request = pb::AuthUserChangePasswordRequest {
            name: "alice".into(),
            password: password.into(),
            hashed_password: hashed.into(),
        };
        let mut auth = world.server.auth();
        auth.user_change_password(shown(&world.root, request)).await.map(drop)
    };
    change("new", "").await.unwrap();
    assert!(login(services, "alice", "alice").await.is_err());
    let old = world.server.kv().range(shown(&world.alice, get("a1"))).await;
    assert_error(old, Code::Unauthenticated, "etcdserver: invalid auth token");
    let token = login(services, "alice", "new").await.unwrap();
    world.server.kv().range(shown(&token, get("a1"))).await.unwrap();

    // A hash that the client made, as `etcdctl` sends none but others do.
    let salt = [7; t4_auth_rbac::password::SALT_BYTES];
    let cost = t4_auth_rbac::password::Cost::MIN;
    let hash = t4_auth_rbac::password::hash(b"third", cost, salt).unwrap();
    change("", &t4_auth_rbac::password::to_wire(&hash)).await.unwrap();
    login(services, "alice", "third").await.unwrap();
    let text = "auth: authentication failed, password was given for no password user";
    assert_error(change("", "not base64!").await, Code::Unknown, text);
    change("", "").await.unwrap();
    assert!(login(services, "alice", "").await.is_err(), "nothing fits");
}

/// GHSA-rfx7-8w68-q57q and GHSA-x35m-3gp4-4fh5, through the API.
#[tokio::test]
async fn a_transaction_is_checked_whole() {
    use t4_proto::etcdserverpb::request_op::Request;

    let world = World::start().await;
    let op = |request| pb::RequestOp { request: Some(request) };
    let read = |key| op(Request::RequestRange(get(key)));
    let write = |key| op(Request::RequestPut(put(key, "x")));
    let nested = |txn| op(Request::RequestTxn(txn));
    let of = |success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>| pb::TxnRequest {
        success,
        failure,
        ..Default::default()
    };
    let compare = |key: &'static str| pb::TxnRequest {
        compare: vec![pb::Compare { key: key.into(), ..Default::default() }],
        ..Default::default()
    };
    let wide = op(Request::RequestRange(range("a", "t")));
    let prev = op(Request::RequestDeleteRange(pb::DeleteRangeRequest {
        key: "secret".into(),
        prev_kv: true,
        ..Default::default()
    }));
    for txn in [
        of(vec![read("secret")], vec![]),
        of(vec![], vec![read("secret")]),
        of(vec![], vec![write("secret")]),
        of(vec![write("a1")], vec![write("secret")]),
        of(vec![nested(of(vec![write("secret")], vec![]))], vec![]),
        of(vec![nested(of(vec![nested(of(vec![], vec![read("secret")]))], vec![]))], vec![]),
        of(vec![nested(compare("secret"))], vec![]),
        compare("secret"),
        of(vec![wide], vec![]),
        of(vec![prev], vec![]),
    ] {
        let refused = world.server.kv().txn(shown(&world.alice, txn)).await;
        assert_error(refused, Code::PermissionDenied, "etcdserver: permission denied");
    }
    let good = of(vec![read("a1"), nested(of(vec![write("a2")], vec![]))], vec![read("a9")]);
    world.server.kv().txn(shown(&world.alice, good)).await.unwrap();
    let found = world.server.kv().range(shown(&world.root, get("secret"))).await.unwrap();
    assert_eq!(found.into_inner().kvs[0].value, "hidden");
}

/// Permissions that no single role has, and keys on leases.
#[tokio::test]
async fn ranges_and_leases_follow_the_keys() {
    let world = World::start().await;
    let mut kv = world.server.kv();
    let denied = "etcdserver: permission denied";
    kv.range(shown(&world.alice, range("a", "b"))).await.unwrap();
    for (key, end) in [("a", "c"), ("a", "\0"), ("A", "b"), ("\0", "\0")] {
        let refused = kv.range(shown(&world.alice, range(key, end))).await;
        assert_error(refused, Code::PermissionDenied, denied);
    }
    let mut lease = world.server.lease();
    let grant = pb::LeaseGrantRequest { ttl: 600, id: 5 };
    lease.lease_grant(shown(&world.alice, grant)).await.unwrap();
    let on_lease = |key| pb::PutRequest { lease: 5, ..put(key, "x") };
    kv.put(shown(&world.alice, on_lease("a1"))).await.unwrap();
    let left = pb::LeaseTimeToLiveRequest { id: 5, keys: true };
    lease.lease_time_to_live(shown(&world.alice, left)).await.unwrap();
    lease.lease_leases(shown(&world.alice, pb::LeaseLeasesRequest {})).await.unwrap();
    // Whoever ends the lease would delete the key of another.
    kv.put(shown(&world.root, on_lease("secret"))).await.unwrap();
    let refused = lease.lease_time_to_live(shown(&world.alice, left)).await;
    assert_error(refused, Code::PermissionDenied, denied);
    let refused = lease.lease_leases(shown(&world.alice, pb::LeaseLeasesRequest {})).await;
    assert_error(refused, Code::PermissionDenied, denied);
    let revoke = pb::LeaseRevokeRequest { id: 5 };
    let refused = lease.lease_revoke(shown(&world.alice, revoke)).await;
    assert_error(refused, Code::PermissionDenied, denied);
    let refused = kv.put(shown(&world.alice, on_lease("a3"))).await;
    assert_error(refused, Code::PermissionDenied, denied);
    let without_keys = pb::LeaseTimeToLiveRequest { id: 5, keys: false };
    lease.lease_time_to_live(shown(&world.eve, without_keys)).await.unwrap();
}

/// They count as keys do, so nobody fills the memory with them; what makes room,
/// and a new password, is taken all the same.
#[tokio::test]
async fn users_roles_and_permissions_count_towards_the_quota() {
    let server = Server::start_with(|node| node.quota_bytes = Some(200_000), |_| {}).await;
    let mut auth = server.auth();
    let text = "etcdserver: mvcc: database space exceeded";
    let full = Code::ResourceExhausted;
    let long = |n: usize| format!("{n}{}", "x".repeat(4_000));
    auth.user_add(user_add("u", "x")).await.unwrap();
    let key = "k".repeat(4_000);
    auth.role_add(role("low")).await.unwrap();
    auth.role_grant_permission(grant("low", Type::Readwrite, &key, "")).await.unwrap();
    let mut added = 0;
    let refused = loop {
        match auth.role_add(role(&long(added))).await {
            Ok(_) => added += 1,
            Err(refused) => break refused,
        }
        let status = server.node.status();
        assert!(status.bytes_in_use < 200_000 && status.bytes_in_use > 4_000 * added as u64);
        assert!(status.size_in_use() <= status.size());
    };
    assert_eq!((refused.code(), refused.message()), (full, text));
    assert!((45..50).contains(&added), "{added}");
    assert_eq!(server.node.alarms().len(), 1);
    assert_error(server.kv().put(put("k", "v")).await, full, text);
    // The alarm is on: what fits is taken, as in etcd, and what does not is not.
    auth.role_add(role("app")).await.unwrap();
    assert_error(auth.user_add(user_add(&long(0), "x")).await, full, text);
    assert_error(auth.user_grant_role(grant_role("u", &long(0))).await, full, text);
    assert_error(auth.role_grant_permission(grant("app", Type::Read, &key, "")).await, full, text);
    // A right is lowered, and what is wrong is refused for what is wrong with it.
    auth.role_grant_permission(grant("low", Type::Read, &key, "")).await.unwrap();
    let lowered = auth.role_get(pb::AuthRoleGetRequest { role: "low".into() }).await.unwrap();
    assert_eq!(lowered.into_inner().perm[0].perm_type, i32::from(Type::Read));
    let there = "etcdserver: role name already exists";
    let refused = auth.role_add(role(&long(0))).await;
    assert_error(refused, Code::FailedPrecondition, there);
    let missing = "etcdserver: role name not found";
    let refused = auth.role_grant_permission(grant(&long(0)[1..], Type::Read, &key, "")).await;
    assert_error(refused, Code::FailedPrecondition, missing);

    let password = |password: &str| pb::AuthUserChangePasswordRequest {
        name: "u".into(),
        password: password.into(),
        ..Default::default()
    };
    auth.user_change_password(password("y")).await.unwrap();
    auth.role_grant_permission(grant("app", Type::Read, "k", "")).await.unwrap();
    let revoke = pb::AuthRoleRevokePermissionRequest {
        role: "app".into(),
        key: "k".into(),
        ..Default::default()
    };
    auth.role_revoke_permission(revoke).await.unwrap();
    for n in 0..added {
        auth.role_delete(pb::AuthRoleDeleteRequest { role: long(n) }).await.unwrap();
    }
    auth.role_delete(pb::AuthRoleDeleteRequest { role: "low".into() }).await.unwrap();
    auth.user_delete(pb::AuthUserDeleteRequest { name: "u".into() }).await.unwrap();
    assert!(server.node.status().bytes_in_use < 1_000);
    let gone = async {
        while !server.node.alarms().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let limit = std::time::Duration::from_secs(30);
    tokio::time::timeout(limit, gone).await.expect("the alarm goes off");
    server.kv().put(put("k", "v")).await.unwrap();
    auth.role_add(role(&long(0))).await.unwrap();
}
