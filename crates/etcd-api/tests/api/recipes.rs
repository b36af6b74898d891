//! The services Lock and Election.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_proto::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use t4_proto::v3lockpb::{LockRequest, UnlockRequest};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::support::{Server, assert_error, range, watch, within_hang};

async fn grant(server: &Server, id: i64) {
    grant_for(server, id, 100).await;
}

async fn grant_for(server: &Server, id: i64, ttl: i64) {
    server.lease().lease_grant(pb::LeaseGrantRequest { ttl, id }).await.unwrap();
}

fn lock(lease: i64) -> LockRequest {
    LockRequest { name: "l".into(), lease }
}

fn campaign(lease: i64, value: &'static str) -> CampaignRequest {
    CampaignRequest { name: "e".into(), lease, value: value.into() }
}

/// Waits until there are `count` keys under a prefix.
async fn keys_under(server: &Server, prefix: &'static str, count: usize) {
    let mut stream = server.watch().await;
    let from = pb::WatchCreateRequest { range_end: "z".into(), ..watch(prefix) };
    stream.created(from).await;
    loop {
        let found = server.kv().range(range(prefix, "z")).await.unwrap().into_inner();
        if found.kvs.len() == count {
            return;
        }
        stream.next().await;
    }
}

#[tokio::test]
async fn locks_are_held_by_the_oldest() {
    let server = Server::start().await;
    for lease in [0x10, 0x11, 0x12] {
        grant(&server, lease).await;
    }
    let first = server.lock().lock(lock(0x10)).await.unwrap().into_inner();
    assert_eq!(first.key, "l/10");
    // Again with the same lease: held already.
    assert_eq!(server.lock().lock(lock(0x10)).await.unwrap().into_inner().key, "l/10");

    let mut waiting = Vec::new();
    for (count, lease) in [(2, 0x11), (3, 0x12)] {
        let mut client = server.lock();
        waiting.push(tokio::spawn(async move { client.lock(lock(lease)).await }));
        keys_under(&server, "l/", count).await;
    }
    // Not the oldest gives up: the next one goes on waiting.
    server.lock().unlock(UnlockRequest { key: first.key }).await.unwrap();
    let second = within_hang(waiting.remove(0)).await.unwrap().unwrap().into_inner();
    assert_eq!(second.key, "l/11");
    assert!(!waiting[0].is_finished());
    let revoke = pb::LeaseRevokeRequest { id: 0x11 };
    server.lease().lease_revoke(revoke).await.unwrap();
    let third = within_hang(waiting.remove(0)).await.unwrap().unwrap().into_inner();
    assert_eq!(third.key, "l/12");
}

#[tokio::test]
async fn a_lock_without_lease_has_one_of_its_own() {
    let server = Server::start().await;
    let held = server.lock().lock(lock(0)).await.unwrap().into_inner();
    let leases = server.lease().lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
    let id = leases.leases[0].id;
    assert_eq!(held.key, format!("l/{id:x}"));
    let request = pb::LeaseTimeToLiveRequest { id, keys: true };
    let lease = server.lease().lease_time_to_live(request).await.unwrap().into_inner();
    assert_eq!((lease.granted_ttl, lease.keys), (60, vec![held.key.clone()]));
    server.lock().unlock(UnlockRequest { key: held.key.clone() }).await.unwrap();
    // Unlocking what is not locked is no error.
    server.lock().unlock(UnlockRequest { key: held.key }).await.unwrap();
    assert_error(
        server.lock().lock(lock(0x99)).await,
        Code::NotFound,
        "etcdserver: requested lease not found",
    );
}

#[tokio::test]
async fn who_goes_away_leaves_the_queue() {
    let server = Server::start().await;
    for lease in [0x10, 0x11] {
        grant(&server, lease).await;
    }
    server.lock().lock(lock(0x10)).await.unwrap();
    let mut client = server.lock();
    let waiting = tokio::spawn(async move { client.lock(lock(0x11)).await });
    keys_under(&server, "l/", 2).await;
    waiting.abort();
    keys_under(&server, "l/", 1).await;
    assert!(server.get("l/10").await.is_some());
}

#[tokio::test]
async fn a_lock_whose_lease_ends_is_not_got() {
    let server = Server::start().await;
    for lease in [0x10, 0x11] {
        grant(&server, lease).await;
    }
    let held = server.lock().lock(lock(0x10)).await.unwrap().into_inner();
    let mut client = server.lock();
    let waiting = tokio::spawn(async move { client.lock(lock(0x11)).await });
    keys_under(&server, "l/", 2).await;
    server.lease().lease_revoke(pb::LeaseRevokeRequest { id: 0x11 }).await.unwrap();
    // At once, not only when the holder goes.
    let result = within_hang(waiting).await.unwrap();
    assert_error(result, Code::Unknown, "mutex: session is expired");
    assert!(server.get("l/10").await.is_some());
    server.lock().unlock(UnlockRequest { key: held.key }).await.unwrap();
}

/// A candidate whose key goes away never leads, and hears of it at once.
#[tokio::test]
async fn a_candidate_whose_key_is_gone_is_no_leader() {
    let server = Server::start().await;
    grant(&server, 0x10).await;
    let held = server.election().campaign(campaign(0x10, "one")).await.unwrap().into_inner();
    for (lease, ends) in [(0x11, "revoked"), (0x12, "deleted"), (0x13, "replaced")] {
        grant(&server, lease).await;
        let mut client = server.election();
        let waiting = tokio::spawn(async move { client.campaign(campaign(lease, "two")).await });
        keys_under(&server, "e/", 2).await;
        let key = format!("e/{lease:x}");
        match ends {
            "revoked" => {
                server.lease().lease_revoke(pb::LeaseRevokeRequest { id: lease }).await.unwrap();
            }
            "deleted" => {
                let delete = pb::DeleteRangeRequest { key: key.into(), ..Default::default() };
                server.kv().delete_range(delete).await.unwrap();
            }
            _ => {
                // Deleted and put again: another key of the same name.
                let delete =
                    pb::DeleteRangeRequest { key: key.clone().into(), ..Default::default() };
                server.kv().delete_range(delete).await.unwrap();
                let put = pb::PutRequest {
                    key: key.into(),
                    value: "x".into(),
                    lease,
                    ..Default::default()
                };
                server.kv().put(put).await.unwrap();
            }
        }
        let result = within_hang(waiting).await.unwrap();
        assert_error(result, Code::Unknown, "election: not leader");
        let now = server.election().leader(LeaderRequest { name: "e".into() }).await.unwrap();
        assert_eq!(now.into_inner().kv.unwrap().key, "e/10", "{ends}");
    }
    server.election().resign(ResignRequest { leader: held.leader }).await.unwrap();
}

/// How the key of somebody who waits goes away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Deleted,
    Revoked,
    Expired,
}

const ENDS: [End; 3] = [End::Deleted, End::Revoked, End::Expired];

/// Seconds that the lease in the middle lives: more than it takes all to queue up.
fn ttl_of_the_middle(how: End) -> i64 {
    if how == End::Expired { 5 } else { 100 }
}

/// Takes the key with this lease away.
async fn end(server: &Server, end: End, key: String, lease: i64) {
    match end {
        End::Deleted => {
            let delete = pb::DeleteRangeRequest { key: key.into(), ..Default::default() };
            server.kv().delete_range(delete).await.unwrap();
        }
        End::Revoked => {
            server.lease().lease_revoke(pb::LeaseRevokeRequest { id: lease }).await.unwrap();
        }
        // By itself.
        End::Expired => {}
    }
}

/// A call, and whether its turn had come when it was answered.
fn spawned<T: Send + 'static>(
    turn: &Arc<AtomicBool>,
    call: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> JoinHandle<(Result<T, Status>, bool)> {
    let turn = turn.clone();
    tokio::spawn(async move {
        let result = call.await;
        (result, turn.load(SeqCst))
    })
}

/// Three in a line: the key of the middle one goes away. It hears of that at once, and
/// the last one goes on waiting: its turn comes when the first one has gone.
#[tokio::test]
async fn who_loses_a_place_in_a_line_for_a_lock_neither_waits_nor_wakes_others() {
    for how in ENDS {
        let server = Server::start().await;
        let [first, middle, last] = [0x10, 0x11, 0x12];
        grant(&server, first).await;
        grant_for(&server, middle, ttl_of_the_middle(how)).await;
        grant(&server, last).await;
        let held = server.lock().lock(lock(first)).await.unwrap().into_inner();
        let turn = Arc::new(AtomicBool::new(false));
        let mut waiting = Vec::new();
        for (count, lease) in [(2, middle), (3, last)] {
            let mut client = server.lock();
            waiting.push(spawned(&turn, async move { client.lock(lock(lease)).await }));
            keys_under(&server, "l/", count).await;
        }
        let (last, lost) = (waiting.pop().unwrap(), waiting.pop().unwrap());

        end(&server, how, format!("l/{middle:x}"), middle).await;
        let (result, _) = within_hang(lost).await.unwrap();
        assert_error(result, Code::Unknown, "mutex: session is expired");
        keys_under(&server, "l/", 2).await;

        turn.store(true, SeqCst);
        server.lock().unlock(UnlockRequest { key: held.key }).await.unwrap();
        let (result, was_its_turn) = within_hang(last).await.unwrap();
        let locked = result.unwrap().into_inner();
        assert!(was_its_turn, "{how:?}: woken before the lock was free");
        let [only] = &server.kv().range(range("l/", "l0")).await.unwrap().into_inner().kvs[..]
        else {
            panic!("{how:?}: the holder is not alone")
        };
        assert_eq!(only.key, locked.key, "{how:?}");
    }
}

/// The same of candidates.
#[tokio::test]
async fn who_loses_a_place_among_candidates_neither_waits_nor_wakes_others() {
    for how in ENDS {
        let server = Server::start().await;
        grant(&server, 0x10).await;
        grant_for(&server, 0x11, ttl_of_the_middle(how)).await;
        grant(&server, 0x12).await;
        let won = server.election().campaign(campaign(0x10, "one")).await.unwrap().into_inner();
        let turn = Arc::new(AtomicBool::new(false));
        let mut waiting = Vec::new();
        for (count, lease) in [(2, 0x11), (3, 0x12)] {
            let mut client = server.election();
            let call = async move { client.campaign(campaign(lease, "next")).await };
            waiting.push(spawned(&turn, call));
            keys_under(&server, "e/", count).await;
        }
        let (last, lost) = (waiting.pop().unwrap(), waiting.pop().unwrap());

        end(&server, how, "e/11".to_owned(), 0x11).await;
        let (result, _) = within_hang(lost).await.unwrap();
        assert_error(result, Code::Unknown, "election: not leader");
        keys_under(&server, "e/", 2).await;
        let leader = server.election().leader(LeaderRequest { name: "e".into() }).await.unwrap();
        assert_eq!(leader.into_inner().kv.unwrap().key, "e/10", "{how:?}");

        turn.store(true, SeqCst);
        server.election().resign(ResignRequest { leader: won.leader }).await.unwrap();
        let (result, was_its_turn) = within_hang(last).await.unwrap();
        assert_eq!(result.unwrap().into_inner().leader.unwrap().key, "e/12", "{how:?}");
        assert!(was_its_turn, "{how:?}: elected before the leader resigned");
    }
}

#[tokio::test]
async fn elections_have_one_leader() {
    let server = Server::start().await;
    for lease in [0x10, 0x11] {
        grant(&server, lease).await;
    }
    let name = || LeaderRequest { name: "e".into() };
    assert_error(server.election().leader(name()).await, Code::Unknown, "election: no leader");

    let won = server.election().campaign(campaign(0x10, "one")).await.unwrap().into_inner();
    let leader = won.leader.unwrap();
    let expected = LeaderKey { name: "e".into(), key: "e/10".into(), rev: 2, lease: 0x10 };
    assert_eq!(leader, expected);
    assert_eq!(won.header.unwrap().revision, 2);

    // The same candidate again, with another value: it proclaims that.
    let again = server.election().campaign(campaign(0x10, "uno")).await.unwrap().into_inner();
    assert_eq!(again.leader.unwrap().rev, 2);
    let now = server.election().leader(name()).await.unwrap().into_inner().kv.unwrap();
    assert_eq!((now.key, now.value), (Bytes::from("e/10"), Bytes::from("uno")));

    let mut client = server.election();
    let waiting = tokio::spawn(async move { client.campaign(campaign(0x11, "two")).await });
    keys_under(&server, "e/", 2).await;
    let resign = ResignRequest { leader: Some(leader.clone()) };
    server.election().resign(resign.clone()).await.unwrap();
    let won = within_hang(waiting).await.unwrap().unwrap().into_inner();
    assert_eq!(won.leader.unwrap().key, "e/11");

    // What was given up cannot proclaim; giving it up again is no error.
    let stale = ProclaimRequest { leader: Some(leader), value: "x".into() };
    let refused = server.election().proclaim(stale).await;
    assert_error(refused, Code::Unknown, "election: not leader");
    server.election().resign(resign).await.unwrap();
    let text = "\"leader\" field must be provided";
    let nobody = server.election().proclaim(ProclaimRequest::default()).await;
    assert_error(nobody, Code::Unknown, text);
    assert_error(server.election().resign(ResignRequest::default()).await, Code::Unknown, text);
}

#[tokio::test]
async fn observers_follow_the_leaders() {
    let server = Server::start().await;
    for lease in [0x10, 0x11] {
        grant(&server, lease).await;
    }
    let request = LeaderRequest { name: "e".into() };
    let mut observed = server.election().observe(request).await.unwrap().into_inner();
    let won = server.election().campaign(campaign(0x10, "one")).await.unwrap().into_inner();
    let mut next = async || {
        let response = within_hang(observed.message()).await.unwrap().unwrap();
        let kv = response.kv.unwrap();
        assert_eq!(response.header.unwrap().revision, kv.mod_revision);
        (kv.key, kv.value)
    };
    assert_eq!(next().await, ("e/10".into(), "one".into()));
    let proclaim = ProclaimRequest { leader: won.leader.clone(), value: "uno".into() };
    server.election().proclaim(proclaim).await.unwrap();
    assert_eq!(next().await, ("e/10".into(), "uno".into()));
    server.election().resign(ResignRequest { leader: won.leader }).await.unwrap();
    server.election().campaign(campaign(0x11, "two")).await.unwrap();
    assert_eq!(next().await, ("e/11".into(), "two".into()));
}
