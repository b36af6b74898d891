//! Random requests of several users, with authentication on, to t4 and to a
//! real etcd, over TLS: every answer must be the same. Now and then root changes roles
//! and permissions.
//!
//! `T4_DIFF_OPS` is how many (default 3,000), `T4_SEED` which. Left out is what
//! 3.5.1 is known to do otherwise, each by an advisory: what is nested in
//! transactions, `prev_kv` and leases in their puts, compaction and leases,
//! which it lets strangers ask for; the status of authentication, which it tells
//! root alone; and a second permission on one key, of which it keeps both.

use t4_proto::authpb::permission::Type;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::request_op::Request as Op;
use t4_testkit::{Etcd, EtcdOptions, Rng, Rpc, Scratch, Seed, TestAuthority};
use t4_tls_config::{ClientOptions, ClientTls, KeyType};
use tonic::Status;

use crate::session::{Session, permission, shown};
use crate::t4_that_shows;

const COMMAND: &str = "cargo test -p t4-tests --test auth differential";

/// Users; the last is nobody.
const USERS: [&str; 5] = ["root", "alice", "bob", "eve", ""];
const ROLES: [&str; 3] = ["one", "two", "three"];
const KEYS: [&str; 8] = ["a", "a1", "a2", "b", "b1", "c", "c5", "d"];
/// One for each key that a permission begins at.
const RANGES: [(&str, &str); 7] =
    [("a", "b"), ("a1", ""), ("a2", "c"), ("b", "\0"), ("b1", "b2"), ("c", "d"), ("\0", "\0")];
const ENDS: [&str; 8] = ["", "b", "c", "d", "e", "\0", "a1", "b5"];

/// A request that both servers are sent.
#[derive(Clone, Debug)]
enum Ask {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Grant(i64),
    Revoke(i64),
    UserGet(&'static str),
    RoleGet(&'static str),
    UserList,
    RoleList,
    GrantPermission(&'static str, Type, (&'static str, &'static str)),
    RevokePermission(&'static str, (&'static str, &'static str)),
    GrantRole(&'static str, &'static str),
    RevokeRole(&'static str, &'static str),
    RoleAdd(&'static str),
    RoleDelete(&'static str),
    Status,
}

/// What comes back, less what is each server's own.
type Answer = Result<String, (i32, String)>;

fn settle<T: std::fmt::Debug>(
    answer: Result<tonic::Response<T>, Status>,
    header: impl FnOnce(&mut T) -> Option<&mut pb::ResponseHeader>,
) -> Answer {
    match answer {
        Err(status) => Err((status.code() as i32, status.message().to_owned())),
        Ok(response) => {
            let mut response = response.into_inner();
            if let Some(header) = header(&mut response) {
                *header = pb::ResponseHeader { revision: header.revision, ..Default::default() };
            }
            Ok(format!("{response:?}"))
        }
    }
}

macro_rules! ask {
    ($client:expr, $method:ident, $token:expr, $message:expr) => {
        settle($client.$method(shown($token, $message)).await, |it| it.header.as_mut())
    };
}

async fn perform(session: &mut Session, token: &str, ask: Ask) -> Answer {
    let Session { rpc, auth } = session;
    let text = str::to_owned;
    match ask {
        Ask::Range(request) => ask!(rpc.kv, range, token, request),
        Ask::Put(request) => ask!(rpc.kv, put, token, request),
        Ask::Delete(request) => ask!(rpc.kv, delete_range, token, request),
        Ask::Txn(request) => ask!(rpc.kv, txn, token, request),
        Ask::Grant(id) => {
            ask!(rpc.lease, lease_grant, token, pb::LeaseGrantRequest { id, ttl: 5000 })
        }
        Ask::Revoke(id) => ask!(rpc.lease, lease_revoke, token, pb::LeaseRevokeRequest { id }),
        Ask::UserGet(name) => {
            ask!(auth, user_get, token, pb::AuthUserGetRequest { name: text(name) })
        }
        Ask::RoleGet(role) => {
            ask!(auth, role_get, token, pb::AuthRoleGetRequest { role: text(role) })
        }
        Ask::UserList => ask!(auth, user_list, token, pb::AuthUserListRequest {}),
        Ask::RoleList => ask!(auth, role_list, token, pb::AuthRoleListRequest {}),
        Ask::GrantPermission(role, kind, (key, end)) => {
            let perm = permission(kind, key, end);
            let request = pb::AuthRoleGrantPermissionRequest { name: text(role), perm };
            ask!(auth, role_grant_permission, token, request)
        }
        Ask::RevokePermission(role, (key, end)) => {
            let (key, range_end) = (text(key).into(), text(end).into());
            let request = pb::AuthRoleRevokePermissionRequest { role: text(role), key, range_end };
            ask!(auth, role_revoke_permission, token, request)
        }
        Ask::GrantRole(user, role) => {
            let request = pb::AuthUserGrantRoleRequest { user: text(user), role: text(role) };
            ask!(auth, user_grant_role, token, request)
        }
        Ask::RevokeRole(name, role) => {
            let request = pb::AuthUserRevokeRoleRequest { name: text(name), role: text(role) };
            ask!(auth, user_revoke_role, token, request)
        }
        Ask::RoleAdd(name) => {
            ask!(auth, role_add, token, pb::AuthRoleAddRequest { name: text(name) })
        }
        Ask::RoleDelete(role) => {
            ask!(auth, role_delete, token, pb::AuthRoleDeleteRequest { role: text(role) })
        }
        Ask::Status => ask!(auth, auth_status, token, pb::AuthStatusRequest {}),
    }
}

fn one(rng: &mut Rng, of: &[&'static str]) -> &'static str {
    of[rng.below(of.len() as u64) as usize]
}

fn key(rng: &mut Rng) -> bytes::Bytes {
    (*rng.pick(&KEYS)).into()
}

fn range(rng: &mut Rng) -> pb::RangeRequest {
    let key = key(rng);
    let mut range_end = bytes::Bytes::from_static(rng.pick(&ENDS).as_bytes());
    // Whether a range without a key in it is denied is up to etcd's tree of
    // intervals; there is nothing in it to protect.
    if rng.chance(1, 2) || (range_end <= key && range_end != "\0") {
        range_end = bytes::Bytes::new();
    }
    pb::RangeRequest { key, range_end, ..Default::default() }
}

fn delete(rng: &mut Rng) -> pb::DeleteRangeRequest {
    let pb::RangeRequest { key, range_end, .. } = range(rng);
    pb::DeleteRangeRequest { key, range_end, prev_kv: rng.chance(1, 3) }
}

fn operations(rng: &mut Rng) -> Vec<pb::RequestOp> {
    let op = |rng: &mut Rng| match rng.below(3) {
        0 => Op::RequestRange(range(rng)),
        1 => Op::RequestDeleteRange(pb::DeleteRangeRequest { key: key(rng), ..Default::default() }),
        _ => Op::RequestPut(pb::PutRequest {
            key: key(rng),
            value: "t".into(),
            ..Default::default()
        }),
    };
    (0..rng.below(3)).map(|_| pb::RequestOp { request: Some(op(rng)) }).collect()
}

fn txn(rng: &mut Rng) -> pb::TxnRequest {
    let compare = |rng: &mut Rng| pb::Compare { key: key(rng), ..Default::default() };
    pb::TxnRequest {
        // One at least: 3.5.1 lets nobody have an empty transaction.
        compare: (0..1 + rng.below(2)).map(|_| compare(rng)).collect(),
        success: operations(rng),
        failure: operations(rng),
    }
}

fn next(rng: &mut Rng) -> Ask {
    match rng.below(100) {
        0..30 => Ask::Range(range(rng)),
        30..50 => Ask::Put(pb::PutRequest {
            key: key(rng),
            value: rng.bytes(3).into(),
            lease: if rng.chance(1, 4) { rng.between(1, 4) } else { 0 },
            prev_kv: rng.chance(1, 4),
            ..Default::default()
        }),
        50..60 => Ask::Delete(delete(rng)),
        60..75 => Ask::Txn(txn(rng)),
        75..79 => Ask::Grant(rng.between(1, 4)),
        79..81 => Ask::Revoke(rng.between(1, 4)),
        81..83 => Ask::UserGet(one(rng, &USERS[..4])),
        83..85 => Ask::RoleGet(one(rng, &ROLES)),
        85 => Ask::UserList,
        86 => Ask::RoleList,
        87..92 => {
            let kind = *rng.pick(&[Type::Read, Type::Write, Type::Readwrite]);
            Ask::GrantPermission(one(rng, &ROLES), kind, *rng.pick(&RANGES))
        }
        92..94 => Ask::RevokePermission(one(rng, &ROLES), *rng.pick(&RANGES)),
        94..96 => Ask::GrantRole(one(rng, &USERS[1..4]), one(rng, &ROLES)),
        96 => Ask::RevokeRole(one(rng, &USERS[1..4]), one(rng, &ROLES)),
        97 => Ask::RoleAdd(one(rng, &ROLES)),
        98 => Ask::RoleDelete(one(rng, &ROLES)),
        _ => Ask::Status,
    }
}

/// A server with the users, and the token of each.
async fn begin(endpoint: &str, tls: &ClientTls) -> (Session, Vec<String>) {
    let mut session = Session::over(Rpc::connect_tls(endpoint, tls).await.expect("connect"));
    for role in ROLES {
        session.role(role, &[]).await.expect("a role");
    }
    for user in &USERS[..4] {
        let roles: &[&str] = if *user == "root" { &["root"] } else { &[] };
        session.user(user, user, roles).await.expect("a user");
    }
    session.enable().await.expect("enable");
    let mut tokens = Vec::new();
    for user in &USERS[..4] {
        tokens.push(session.login(user, user).await.expect("log in"));
    }
    tokens.push(String::new());
    (session, tokens)
}

#[tokio::test]
async fn users_are_answered_as_by_etcd() {
    let seed = Seed::announce("differential with authentication", COMMAND);
    let mut rng = seed.rng();
    let count = std::env::var("T4_DIFF_OPS").ok().and_then(|text| text.parse().ok());
    let count: u32 = count.unwrap_or(3_000);
    let scratch = Scratch::new("auth-differential").expect("a directory");
    let ca = TestAuthority::create(&scratch.join("ca"), KeyType::EcdsaP256).expect("a CA");
    let shown = Some(ca.server().expect("a certificate"));
    let trusted = ClientOptions { ca: Some(ca.cert()), ..ClientOptions::default() };
    let tls = ClientTls::load(trusted).expect("the CA's certificate");
    let etcd = Etcd::start(EtcdOptions {
        fsync: false,
        tls: shown.clone(),
        flags: vec!["--bcrypt-cost".into(), "4".into(), "--auth-token-ttl".into(), "3600".into()],
        ..EtcdOptions::default()
    })
    .expect("start etcd");
    let t4 = t4_that_shows(shown, &["--token-ttl", "3600"]);
    let (mut reference, reference_tokens) = begin(etcd.endpoint(), &tls).await;
    let (mut subject, subject_tokens) = begin(t4.endpoint(), &tls).await;
    let (mut denied, mut served) = (0, 0);
    for number in 0..count {
        let ask = next(&mut rng);
        // Users and roles are root's mostly, keys everyone's.
        let is_admin = matches!(
            ask,
            Ask::GrantPermission(..)
                | Ask::RevokePermission(..)
                | Ask::GrantRole(..)
                | Ask::RevokeRole(..)
                | Ask::RoleAdd(_)
                | Ask::RoleDelete(_)
        );
        let user = match ask {
            Ask::Status => 0,
            Ask::Grant(_) | Ask::Revoke(_) => rng.below(4) as usize,
            _ if is_admin && rng.chance(4, 5) => 0,
            _ => rng.below(5) as usize,
        };
        let want = perform(&mut reference, &reference_tokens[user], ask.clone()).await;
        let got = perform(&mut subject, &subject_tokens[user], ask.clone()).await;
        assert_eq!(
            got, want,
            "seed {seed}, request {number}, by {:?}: {ask:?}\n(left: t4, right: etcd)",
            USERS[user]
        );
        match want {
            Ok(_) => served += 1,
            Err((7, _)) => denied += 1,
            Err(_) => {}
        }
    }
    println!("{served} served, {denied} denied");
    assert!(served > count / 10 && denied > count / 10, "seed {seed}: {served}, {denied}");
}
