//! A replica on a disk that is slow or hangs: nobody waits longer than was said,
//! and what gives room back goes first.

mod gated_log;

use std::future::Future;
use std::time::Duration;

use gated_log::open;
use t4_kv_types::{
    AlarmKind, DeleteRangeRequest, KeyRange, LeaseId, OpError, PutRequest, Revision, TxnOp,
    TxnRequest,
};
use t4_node::{AutoCompaction, Config, Node};

fn put(key: impl Into<String>) -> PutRequest {
    PutRequest { key: key.into().into(), value: "v".into(), ..Default::default() }
}

/// Far beyond what is waited for.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it ends")
}

/// Lets tasks run until so many requests are under way.
async fn until_pending(node: &Node, count: usize) {
    while node.status().pending != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_log_that_hangs_hangs_nobody() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = Config::new(scratch.path());
    // What is written before and afterwards is to be in time on a busy machine, too.
    config.request_timeout = Duration::from_secs(1);
    config.commit_queue_requests_max = 8;
    config.lease_ttl_min_s = 1;
    let (node, gate) = open(config).await;
    let lease = node.lease_grant(LeaseId(7), 1).await.unwrap().id;
    gate.close();

    // Of an entry for which nobody waits: the lease's end.
    gate.sync_waits().await;
    assert_eq!(soon(node.lease_keep_alive(lease)).await, Err(OpError::Timeout));
    // Behind it, one after the other; then as many as there is room for, twice.
    for n in 0..3 {
        assert_eq!(soon(node.put(put(n.to_string()))).await, Err(OpError::Timeout), "{n}");
    }
    for round in 0..2 {
        let all: Vec<_> = (0..8)
            .map(|n| {
                let node = node.clone();
                // More than the open batch takes: some wait before it.
                let large =
                    PutRequest { value: vec![0; 1 << 20].into(), ..put(format!("{round}/{n}")) };
                tokio::spawn(async move { node.put(large).await })
            })
            .collect();
        for one in all {
            assert_eq!(soon(one).await.unwrap(), Err(OpError::Timeout));
        }
        assert_eq!(node.status().pending, 0, "they take no places any more");
    }
    // Also what changes nothing, but has seen what is in flight.
    let nothing = DeleteRangeRequest { range: KeyRange::single("none"), prev_kv: false };
    assert_eq!(soon(node.delete_range(nothing)).await, Err(OpError::Timeout));
    let member = node.member_id();
    let alarm = node.set_alarm(member, AlarmKind::NoSpace, false);
    assert_eq!(soon(alarm).await, Err(OpError::Timeout));

    gate.open();
    soon(node.put(put("after"))).await.expect("the log answers again");
    assert_eq!(node.lease_keep_alive(lease).await, Ok(0));
    soon(node.stop()).await;
}

#[tokio::test]
async fn what_gives_room_back_goes_ahead_of_a_full_queue() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = Config::new(scratch.path());
    config.commit_queue_requests_max = 20;
    let (node, gate) = open(config).await;
    node.lease_grant(LeaseId(7), 1000).await.unwrap();
    node.put(PutRequest { lease: LeaseId(7), ..put("leased") }).await.unwrap();
    gate.close();
    let spawn_put = |n: usize| {
        let node = node.clone();
        tokio::spawn(async move { node.put(put(n.to_string())).await })
    };
    let first = spawn_put(0);
    gate.sync_waits().await;
    let queued: Vec<_> = (1..20).map(spawn_put).collect();
    until_pending(&node, 20).await;
    assert_eq!(node.put(put("one more")).await, Err(OpError::TooManyRequests));

    let revoke = tokio::spawn({
        let node = node.clone();
        async move { node.lease_revoke(LeaseId(7)).await }
    });
    let compact = tokio::spawn({
        let node = node.clone();
        async move { node.compact(Revision(1), false).await }
    });
    until_pending(&node, 22).await;
    gate.open();
    let first = soon(first).await.unwrap().unwrap().revision;
    assert_eq!(soon(revoke).await.unwrap(), Ok(first.next()));
    assert_eq!(soon(compact).await.unwrap(), Ok(first.next()));
    for put in queued {
        assert!(soon(put).await.unwrap().unwrap().revision > first.next());
    }
    soon(node.stop()).await;
}

#[tokio::test]
async fn a_compaction_that_is_waited_for_ends_with_the_node() {
    let scratch = tempfile::tempdir().unwrap();
    let node = Node::open(Config::new(scratch.path())).await.unwrap();
    // So many versions that the pass takes longer than the stop.
    let puts = (0..128).map(|n| TxnOp::Put(put(n.to_string()))).collect();
    let txn = TxnRequest { success: puts, ..Default::default() };
    let mut txns = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (node, txn) = (node.clone(), txn.clone());
        txns.spawn(async move { assert!(node.txn(txn).await.is_ok()) });
    }
    txns.join_all().await;
    let last = node.revision();
    let (compacted, _) = tokio::join!(soon(node.compact(last, true)), soon(node.stop()));
    assert!(matches!(compacted, Ok(_) | Err(OpError::Stopped)), "{compacted:?}");
}

#[tokio::test]
async fn retention_is_kept_under_load() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = Config::new(scratch.path());
    config.auto_compaction = AutoCompaction::Periodic(Duration::from_secs(1));
    // Each put brings a seal: maintenance is never idle for long.
    config.seal_bytes = 1;
    let node = Node::open(config).await.unwrap();
    let load = async {
        while node.status().compacted.is_none() {
            node.put(put("k")).await.unwrap();
        }
    };
    soon(load).await;
    node.stop().await;
}

#[tokio::test]
async fn who_follows_changes_of_users_hears_of_the_end() {
    let scratch = tempfile::tempdir().unwrap();
    let node = Node::open(Config::new(scratch.path())).await.unwrap();
    let mut changes = node.auth_changes();
    let (goes_on, _) = tokio::join!(soon(changes.changed()), node.stop());
    assert!(!goes_on);
}
