//! Authentication through the public API of a replica: who may do what, what
//! survives a kill and a seal, tokens, and reads that race with a change.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use t4_auth_rbac::{
    Command, PasswordHash, Permission, PermissionKind, PresentedToken, ROOT, SimpleToken,
};
use t4_kv_types::{
    AlarmKind, AuthError, DeleteRangeRequest, KeyRange, LeaseId, LogIndex, OpError, PutRequest,
    RangeRequest, Revision, TxnOp, TxnRequest,
};
use t4_node::{Caller, Config, Node, Offline};

const DENIED: OpError = OpError::Auth(AuthError::PermissionDenied);
const NOBODY: OpError = OpError::Auth(AuthError::UserEmpty);
const OLD: OpError = OpError::Auth(AuthError::AuthOldRevision);

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest::new(KeyRange::single(key.to_owned()))
}

fn caller(node: &Node, user: &str) -> Caller {
    Caller { user: user.into(), auth_revision: node.auth().revision(), pinned: false }
}

fn as_user(node: &Node, user: &str) -> Node {
    node.as_caller(Some(caller(node, user)))
}

fn user_add(name: &str) -> Command {
    Command::UserAdd {
        name: name.into(),
        no_password: false,
        password: Some(PasswordHash(format!("$2a$04$hash-of-{name}").into())),
    }
}

fn grant_role(user: &str, role: &str) -> Command {
    Command::UserGrantRole { user: user.into(), role: role.into() }
}

fn grant(key: &str, end: &str) -> Command {
    let permission = Permission::new(PermissionKind::ReadWrite, key.to_owned(), end.to_owned());
    Command::RoleGrantPermission { role: "app".into(), permission: Some(permission) }
}

fn revoke(key: &str, end: &str) -> Command {
    let (key, range_end) = (key.to_owned().into(), end.to_owned().into());
    Command::RoleRevokePermission { role: "app".into(), key, range_end }
}

/// The user root, and alice, who has what is below `app/`.
async fn set_up(node: &Node) {
    for command in [
        user_add(ROOT),
        grant_role(ROOT, ROOT),
        user_add("alice"),
        Command::RoleAdd { name: "app".into() },
        grant("app/", "app0"),
        grant_role("alice", "app"),
        Command::Enable,
    ] {
        node.auth_command(command).await.expect("authentication is set up");
    }
    assert!(node.auth_is_on());
}

async fn open(config: &Config) -> Node {
    Node::open(config.clone()).await.expect("the node opens")
}

/// Logs a user in, and gives the text that a client would have.
async fn log_in(node: &Node, user: &str, random: u8) -> String {
    let token = SimpleToken::from_random([random; 16]);
    let command = Command::IssueToken {
        user: user.into(),
        hash: token.hash(),
        verified_at: node.auth().revision(),
        nearest: None,
    };
    let done = node.auth_command(command).await.expect("a token");
    assert!(done.index > LogIndex(0) && done.auth_revision == node.auth().revision());
    token.reveal(done.index.0)
}

fn use_token(node: &Node, text: &str) -> Result<Arc<str>, AuthError> {
    let presented = PresentedToken::parse(text).expect("the form of a token");
    assert!(presented.index <= node.status().applied_index.0);
    node.use_token(&presented.hash).map(|caller| caller.user)
}

#[tokio::test]
async fn a_handle_may_do_what_its_caller_may() {
    let scratch = tempfile::tempdir().unwrap();
    let node = open(&Config::new(scratch.path())).await;
    node.put(put("other", "v")).await.expect("authentication is off: everybody may");
    set_up(&node).await;

    let (alice, root) = (as_user(&node, "alice"), as_user(&node, ROOT));
    alice.put(put("app/a", "1")).await.unwrap();
    assert_eq!(alice.put(put("other", "1")).await, Err(DENIED));
    assert_eq!(alice.range(get("app/a")).await.unwrap().kvs.len(), 1);
    assert_eq!(alice.range(get("other")).await, Err(DENIED));
    let all = DeleteRangeRequest { range: KeyRange::all(), prev_kv: false };
    assert_eq!(alice.delete_range(all.clone()).await, Err(DENIED));
    for hidden in [TxnOp::Range(get("other")), TxnOp::DeleteRange(all.clone())] {
        // In the branch that is not taken, of a transaction that is nested.
        let nested = TxnRequest { failure: vec![hidden], ..Default::default() };
        let txn = TxnRequest { failure: vec![TxnOp::Txn(nested)], ..Default::default() };
        assert_eq!(alice.txn(txn.clone()).await, Err(DENIED));
        root.txn(txn).await.expect("root may");
    }
    assert_eq!(alice.compact(Revision(2), false).await, Err(DENIED));
    assert_eq!(alice.set_alarm(node.member_id(), AlarmKind::NoSpace, true).await, Err(DENIED));
    assert_eq!(alice.auth_command(Command::Disable).await, Err(DENIED));
    let expire = Command::ExpireTokens { ids: Vec::new() };
    assert_eq!(root.auth_command(expire).await, Err(DENIED), "nobody's but the replica's");

    for stranger in [node.clone(), node.as_caller(None), node.on_this_runtime()] {
        assert_eq!(stranger.put(put("app/a", "2")).await, Err(NOBODY));
        assert_eq!(stranger.range(get("app/a")).await, Err(NOBODY));
        assert_eq!(stranger.lease_grant(LeaseId(9), 60).await, Err(NOBODY));
        assert_eq!(stranger.lease_keep_alive(LeaseId(9)).await, Err(NOBODY));
        assert_eq!(stranger.leases().await, Err(NOBODY));
        assert_eq!(stranger.auth_command(Command::Disable).await, Err(NOBODY));
    }
    assert_eq!(as_user(&node, "ghost").put(put("app/a", "2")).await, Err(DENIED));
    node.on_own_authority().delete_range(all).await.expect("its owner may");
    root.auth_command(Command::Disable).await.unwrap();
    node.put(put("other", "v")).await.expect("it is off again");
    node.stop().await;
}

#[tokio::test]
async fn a_lease_is_its_keys() {
    let scratch = tempfile::tempdir().unwrap();
    let node = open(&Config::new(scratch.path())).await;
    set_up(&node).await;
    let (alice, root) = (as_user(&node, "alice"), as_user(&node, ROOT));
    let lease = alice.lease_grant(LeaseId(7), 1000).await.expect("any user may").id;
    let leased = |key: &str| PutRequest { lease, ..put(key, "v") };
    alice.put(leased("app/a")).await.unwrap();
    assert_eq!(alice.leases().await, Ok(vec![lease]));
    assert_eq!(alice.lease_keep_alive(lease).await, Ok(1000));

    // In flight already when alice asks: one after the other in the queue.
    let (foreign, refused) = tokio::join!(root.put(leased("other")), alice.put(leased("app/b")));
    foreign.unwrap();
    assert_eq!(refused, Err(DENIED), "who ends the lease deletes the other key");
    assert_eq!(alice.lease_keep_alive(lease).await, Err(DENIED));
    assert_eq!(alice.lease_revoke(lease).await, Err(DENIED));
    assert_eq!(alice.lease_time_to_live(lease, true).await, Err(DENIED));
    assert_eq!(alice.leases().await, Err(DENIED));
    assert_eq!(alice.lease_time_to_live(lease, false).await.unwrap().granted_ttl_s, 1000);
    root.lease_revoke(lease).await.unwrap();
    node.stop().await;
}

#[tokio::test]
async fn a_right_that_goes_in_flight_is_gone_for_what_is_behind_it() {
    let scratch = tempfile::tempdir().unwrap();
    let node = open(&Config::new(scratch.path())).await;
    set_up(&node).await;
    let (alice, root) = (as_user(&node, "alice"), as_user(&node, ROOT));
    let pinned = node.as_caller(Some(Caller { pinned: true, ..caller(&node, "alice") }));
    pinned.put(put("app/a", "0")).await.unwrap();

    // Each pair is submitted in this order, before either is answered.
    let (granted, unmoved) =
        tokio::join!(root.auth_command(grant("b", "")), alice.put(put("app/a", "1")));
    granted.unwrap();
    unmoved.expect("what alice asks for is still hers");
    assert_eq!(pinned.put(put("app/a", "2")).await, Err(OLD));
    assert_eq!(pinned.range(get("app/a")).await, Err(OLD));
    let (gone, late) =
        tokio::join!(root.auth_command(revoke("app/", "app0")), alice.put(put("app/a", "3")));
    gone.unwrap();
    assert_eq!(late, Err(DENIED));
    let gone = root.auth_command(Command::UserDelete { name: "alice".into() });
    let (gone, late) = tokio::join!(gone, alice.put(put("b", "4")));
    gone.unwrap();
    assert_eq!(late, Err(DENIED));
    node.stop().await;
}

/// What is written while alice may not read is never what she reads, though
/// the change, the writes and the change back are in one log entry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_sees_what_is_behind_a_change_that_forbids_it() {
    let scratch = tempfile::tempdir().unwrap();
    let node = open(&Config::new(scratch.path())).await;
    set_up(&node).await;
    let root = as_user(&node, ROOT);
    root.put(put("app/k", "public")).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (alice, over) = (as_user(&node.on_this_runtime(), "alice"), over.clone());
        async move {
            let (mut seen, mut denied) = (0, 0);
            while !over.load(Ordering::Relaxed) {
                match alice.range(get("app/k")).await {
                    Ok(found) => {
                        assert_eq!(found.kvs[0].value, "public");
                        seen += 1;
                    }
                    Err(error) => {
                        assert_eq!(error, DENIED);
                        denied += 1;
                    }
                }
                tokio::task::yield_now().await;
            }
            (seen, denied)
        }
    });
    for _ in 0..200 {
        let (gone, secret) = tokio::join!(
            root.auth_command(revoke("app/", "app0")),
            root.put(put("app/k", "secret")),
        );
        gone.unwrap();
        secret.unwrap();
        let (public, back) = tokio::join!(
            root.put(put("app/k", "public")),
            root.auth_command(grant("app/", "app0")),
        );
        public.unwrap();
        back.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let (seen, denied) = reader.await.unwrap();
    assert!(seen > 0 && denied > 0, "{seen} seen, {denied} denied");
    node.stop().await;
}

#[tokio::test]
async fn everything_survives_a_kill_and_a_seal() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = Config::new(scratch.path());
    config.seal_bytes = 1 << 10;
    let node = open(&config).await;
    set_up(&node).await;
    let token = log_in(&node, "alice", 1).await;
    let state = node.auth().encode();

    // A kill: what the disk holds of a replica that was not told to stop.
    let killed = tempfile::tempdir().unwrap();
    copy(scratch.path(), killed.path());
    let again = open(&Config::new(killed.path())).await;
    assert_eq!(again.auth().encode(), state);
    assert_eq!(use_token(&again, &token).as_deref(), Ok("alice"));
    assert_eq!(again.put(put("app/a", "v")).await, Err(NOBODY));
    again.stop().await;

    let root = as_user(&node, ROOT);
    let changed = node.status().applied_index;
    while node.counters().times.seal.snapshot().count == 0 {
        root.put(put("other", &"x".repeat(500))).await.unwrap();
    }
    node.stop().await;
    let offline = Offline::open(scratch.path()).unwrap();
    assert!(offline.sealed().index > changed, "the log behind the seal has no users in it");
    assert_eq!(offline.auth().encode(), state);
    drop(offline);
    let node = open(&config).await;
    assert_eq!(node.auth().encode(), state);
    assert_eq!(use_token(&node, &token).as_deref(), Ok("alice"));
    let other = log_in(&node, "alice", 2).await;
    assert_eq!(use_token(&node, &other).as_deref(), Ok("alice"));
    assert_eq!(node.put(put("app/a", "v")).await, Err(NOBODY));
    node.stop().await;
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn tokens_end_with_what_they_rest_on() {
    let scratch = tempfile::tempdir().unwrap();
    let node = open(&Config::new(scratch.path())).await;
    set_up(&node).await;
    let root = as_user(&node, ROOT);
    let unknown = SimpleToken::from_random([9; 16]).reveal(1);
    assert_eq!(use_token(&node, &unknown), Err(AuthError::InvalidAuthToken));

    let (one, two) = (log_in(&node, "alice", 1).await, log_in(&node, ROOT, 2).await);
    assert_eq!(use_token(&node, &one).as_deref(), Ok("alice"));
    let password = Some(PasswordHash("$2a$04$another".into()));
    let name: Arc<str> = "alice".into();
    root.auth_command(Command::UserChangePassword { name, password }).await.unwrap();
    assert_eq!(use_token(&node, &one), Err(AuthError::InvalidAuthToken));
    assert_eq!(use_token(&node, &two).as_deref(), Ok(ROOT));
    root.auth_command(Command::Disable).await.unwrap();
    assert_eq!(use_token(&node, &two), Err(AuthError::InvalidAuthToken));
    node.stop().await;
}

#[tokio::test]
async fn a_token_that_is_not_used_ends_for_good() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = Config::new(scratch.path());
    config.token_ttl = Duration::from_secs(1);
    let node = open(&config).await;
    set_up(&node).await;
    let begun = Instant::now();
    let token = log_in(&node, "alice", 1).await;
    while node.auth().token_count() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(begun.elapsed() >= config.token_ttl, "never early");
    assert_eq!(use_token(&node, &token), Err(AuthError::InvalidAuthToken));
    node.stop().await;
    // Its end was logged: a restart does not give it its time again.
    let node = open(&config).await;
    assert_eq!(use_token(&node, &token), Err(AuthError::InvalidAuthToken));
    node.stop().await;
}

#[tokio::test]
async fn changes_of_rights_are_told_and_logins_are_not() {
    let scratch = tempfile::tempdir().unwrap();
    let node = open(&Config::new(scratch.path())).await;
    let mut changes = node.auth_changes();
    assert!(!changes.has_changed());
    set_up(&node).await;
    assert!(changes.has_changed() && changes.changed().await);
    let set_up = changes.take();
    assert!(set_up.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "none is left out");
    assert!(!set_up[0].1.is_enabled() && set_up.last().unwrap().1.is_enabled());
    log_in(&node, "alice", 1).await;
    assert!(!changes.has_changed() && changes.take().is_empty());
    as_user(&node, ROOT).auth_command(revoke("app/", "app0")).await.unwrap();
    as_user(&node, ROOT).auth_command(grant("app/", "app0")).await.unwrap();
    assert!(changes.has_changed());
    let numbers: Vec<u64> = changes.take().iter().map(|(number, _)| *number).collect();
    let newest = node.numbered_auth().0;
    assert_eq!(numbers, [newest - 1, newest]);
    assert!(!changes.has_changed());
    node.stop().await;
}

#[tokio::test]
async fn the_quota_raises_its_alarm_whoever_uses_it_up() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = Config::new(scratch.path());
    config.quota_bytes = Some(64 << 10);
    let node = open(&config).await;
    set_up(&node).await;
    let alice = as_user(&node, "alice");
    while alice.check_quota(1 << 10).await.is_ok() {
        alice.put(put("app/k", &"x".repeat(1 << 10))).await.unwrap();
    }
    assert_eq!(node.alarms(), [(node.member_id(), AlarmKind::NoSpace)]);
    assert_eq!(alice.put(put("app/k", "")).await, Err(OpError::NoSpace));
    assert_eq!(alice.put(put("other", "")).await, Err(DENIED), "denied before anything else");
    node.stop().await;
}
