//! What a call shows: simple tokens, signed ones, certificates.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use t4_auth_rbac::TokenProvider;
use t4_auth_rbac::jwt::JwtKeys;
use t4_etcd_api::{Caller, Services, Tokens};
use t4_proto::etcdserverpb as pb;
use tonic::Code;

use super::{World, login, shown};
use crate::support::{Server, assert_error, get, put};

const INVALID: &str = "etcdserver: invalid auth token";
const DENIED: &str = "etcdserver: permission denied";
const NOBODY: &str = "etcdserver: user name is empty";
const OLD: &str = "etcdserver: revision of auth store is old";

fn kv(services: &Services) -> pb::kv_client::KvClient<Services> {
    pb::kv_client::KvClient::new(services.clone())
}

fn keys(text: &str) -> Tokens {
    let TokenProvider::Jwt(options) = TokenProvider::parse(text).unwrap().provider else {
        panic!("{text}")
    };
    Tokens::Jwt(Arc::new(JwtKeys::load(options, |path| std::fs::read(path)).unwrap()))
}

fn fixture(name: &str) -> String {
    format!("{}/../auth-rbac/tests/fixtures/jwt/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn both_headers_carry_a_token() {
    let world = World::start().await;
    let mut kv = world.server.kv();
    for (header, value) in [
        ("token", world.alice.clone()),
        ("authorization", world.alice.clone()),
        ("authorization", format!("Bearer {}", world.alice)),
    ] {
        let mut request = tonic::Request::new(get("a1"));
        request.metadata_mut().insert(header, value.parse().unwrap());
        kv.range(request).await.unwrap();
    }
    // The form that clients know: letters, a point, a number.
    let (letters, index) = world.alice.split_once('.').unwrap();
    assert!(letters.bytes().all(|b| b.is_ascii_alphabetic()) && index.parse::<u64>().is_ok());
}

#[tokio::test]
async fn a_token_that_is_not_used_expires() {
    let ttl = Duration::from_millis(50);
    let world = World::start_with(|config| config.token_ttl = ttl, |_| {}).await;
    let services = &world.server.services;
    let token = login(services, "alice", "alice").await.unwrap();
    while world.server.node.auth().token_count() > 0 {
        tokio::task::yield_now().await;
    }
    let refused = kv(services).range(shown(&token, get("a1"))).await;
    assert_error(refused, Code::Unauthenticated, INVALID);
}

#[tokio::test]
async fn tokens_end_with_authentication() {
    let world = World::start().await;
    let mut auth = world.server.auth();
    auth.auth_disable(shown(&world.root, pb::AuthDisableRequest {})).await.unwrap();
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
    let refused = world.server.kv().range(shown(&world.alice, get("a1"))).await;
    assert_error(refused, Code::Unauthenticated, INVALID);
}

#[tokio::test]
async fn a_certificate_names_a_user_unless_a_token_does() {
    let world = World::start().await;
    let as_alice = world
        .server
        .services
        .for_connection(Caller { common_name: Some("alice".into()), address: None });
    kv(&as_alice).range(get("a1")).await.unwrap();
    kv(&as_alice).put(put("a2", "x")).await.unwrap();
    assert_error(kv(&as_alice).range(get("secret")).await, Code::PermissionDenied, DENIED);
    let listed = pb::auth_client::AuthClient::new(as_alice.clone())
        .user_list(pb::AuthUserListRequest {})
        .await;
    assert_error(listed, Code::PermissionDenied, DENIED);
    // A token wins, also one that is bad.
    kv(&as_alice).range(shown(&world.root, get("secret"))).await.unwrap();
    let refused = kv(&as_alice).range(shown(&world.eve, get("a1"))).await;
    assert_error(refused, Code::PermissionDenied, DENIED);
    assert_error(
        kv(&as_alice).range(shown("x.1", get("a1"))).await,
        Code::Unauthenticated,
        INVALID,
    );
    // What the gateway sends is not the gateway's.
    let mut request = tonic::Request::new(get("a1"));
    request.metadata_mut().insert("grpcgateway-accept", "*/*".parse().unwrap());
    assert_error(kv(&as_alice).range(request).await, Code::InvalidArgument, NOBODY);
}

#[tokio::test]
async fn a_certificate_of_nobody_we_know_is_denied() {
    let world = World::start().await;
    let common_name = Some("mallory".into());
    let services = world.server.services.for_connection(Caller { common_name, address: None });
    assert_error(kv(&services).range(get("a1")).await, Code::PermissionDenied, DENIED);
    assert_error(kv(&services).put(put("a1", "x")).await, Code::PermissionDenied, DENIED);
    let listed =
        pb::auth_client::AuthClient::new(services).user_list(pb::AuthUserListRequest {}).await;
    assert_error(listed, Code::FailedPrecondition, "etcdserver: user name not found");
}

#[tokio::test]
async fn signed_tokens_log_in_until_something_changes() {
    let (public, private) = (fixture("rsa.pub"), fixture("rsa-pkcs8.key"));
    let tokens = keys(&format!("jwt,sign-method=RS256,pub-key={public},priv-key={private}"));
    let world = World::start_with(|_| {}, |config| config.auth.tokens = tokens).await;
    let mut kv = world.server.kv();
    assert_eq!(world.alice.split('.').count(), 3);
    kv.range(shown(&world.alice, get("a1"))).await.unwrap();
    kv.put(shown(&world.alice, put("a2", "x"))).await.unwrap();
    assert_error(
        kv.range(shown(&world.alice, get("secret"))).await,
        Code::PermissionDenied,
        DENIED,
    );
    let mut auth = world.server.auth();
    let role = pb::AuthRoleAddRequest { name: "new".into() };
    auth.role_add(shown(&world.root, role)).await.unwrap();
    for refused in [
        kv.range(shown(&world.alice, get("a1"))).await.map(drop),
        kv.put(shown(&world.alice, put("a2", "x"))).await.map(drop),
    ] {
        assert_error(refused, Code::InvalidArgument, OLD);
    }
    let again = login(&world.server.services, "alice", "alice").await.unwrap();
    kv.range(shown(&again, get("a1"))).await.unwrap();
    let refused = kv.range(shown(&again[..again.len() - 4], get("a1"))).await;
    assert_error(refused, Code::Unauthenticated, INVALID);
}

#[tokio::test]
async fn with_a_public_key_alone_tokens_come_from_elsewhere() {
    let (public, private) = (fixture("rsa.pub"), fixture("rsa-pkcs8.key"));
    let verify = keys(&format!("jwt,sign-method=RS256,pub-key={public}"));
    let Tokens::Jwt(signer) =
        keys(&format!("jwt,sign-method=RS256,pub-key={public},priv-key={private}"))
    else {
        panic!("no keys")
    };
    let server = Server::start_with(
        |_| {},
        |config| {
            config.auth.tokens = verify;
            config.auth.bcrypt_cost = t4_auth_rbac::password::Cost::MIN;
        },
    )
    .await;
    super::set_up(&server).await;
    let refused = login(&server.services, "alice", "alice").await;
    let text = "auth: token signing attempted with verify-only key";
    assert_error(refused, Code::Unknown, text);
    let now = SystemTime::now();
    let token = signer.sign(now, "alice", server.node.auth().revision()).unwrap();
    server.kv().put(shown(&token, put("a1", "x"))).await.unwrap();
    let other = signer.sign(now - Duration::from_secs(3600), "alice", 100).unwrap();
    let refused = server.kv().range(shown(&other, get("a1"))).await;
    assert_error(refused, Code::Unauthenticated, INVALID);
}

#[tokio::test]
async fn without_tokens_only_certificates_count() {
    let server = Server::start_with(
        |_| {},
        |config| {
            config.auth.tokens = Tokens::None;
            config.auth.bcrypt_cost = t4_auth_rbac::password::Cost::MIN;
        },
    )
    .await;
    super::set_up(&server).await;
    let refused = login(&server.services, "alice", "alice").await;
    let text = "etcdserver: authentication failed, invalid user ID or password";
    assert_error(refused, Code::InvalidArgument, text);
    let common_name = Some("alice".into());
    let as_alice = server.services.for_connection(Caller { common_name, address: None });
    kv(&as_alice).put(put("a1", "x")).await.unwrap();
}
