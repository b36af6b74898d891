//! What is counted of leases: an expiry once, however often its revocation had to be
//! tried; a revocation on request as that, and nothing of what a restart replays.

mod gated_log;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use t4_kv_types::{LeaseId, PutRequest};
use t4_node::{Config, Node};

/// Far beyond what is waited for.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long a lease lives that is to expire: more than it takes to attach its keys,
/// also on a busy machine.
const SHORT_S: i64 = 4;

/// Leases that expired, keys that went with them, leases that were revoked on request.
fn counts(node: &Node) -> (u64, u64, u64) {
    let counters = node.counters();
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
    (read(&counters.leases_expired), read(&counters.keys_expired), read(&counters.leases_revoked))
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

/// A lease that lives for so many seconds, with keys.
async fn lease(node: &Node, id: i64, ttl_s: i64, keys: &[&'static str]) {
    let lease = node.lease_grant(LeaseId(id), ttl_s).await.unwrap().id;
    for &key in keys {
        let put = PutRequest { key: key.into(), value: "v".into(), lease, ..Default::default() };
        node.put(put).await.unwrap();
    }
}

#[tokio::test]
async fn each_expiry_is_counted_once_and_no_revocation_is() {
    let scratch = tempfile::tempdir().unwrap();
    let config = Config::new(scratch.path());
    let (node, gate) = gated_log::open(config.clone()).await;
    lease(&node, 3, 1000, &["revoked"]).await;
    lease(&node, 4, 1000, &["stays"]).await;
    lease(&node, 5, SHORT_S, &["a", "b"]).await;
    lease(&node, 6, SHORT_S, &[]).await;
    node.lease_revoke(LeaseId(3)).await.unwrap();

    // When their time is over the log has no room for that: it is tried again, a second
    // later.
    assert_eq!(counts(&node), (0, 0, 1), "the machine is too slow for this test");
    gate.refuse_next_write();
    until("the log refuses", || !gate.will_refuse()).await;
    until("both expire", || counts(&node).0 >= 2).await;
    assert_eq!(node.leases().await.unwrap(), [LeaseId(4)]);
    // Behind whatever else there might be.
    lease(&node, 7, 1000, &["after"]).await;
    assert_eq!(counts(&node), (2, 2, 1));
    node.stop().await;

    // What is replayed was counted by the process before.
    let node = Node::open(config).await.unwrap();
    assert_eq!(counts(&node), (0, 0, 0));
    lease(&node, 8, SHORT_S, &["c", "d", "e"]).await;
    node.lease_revoke(LeaseId(7)).await.unwrap();
    until("it expires", || counts(&node).0 >= 1).await;
    lease(&node, 9, 1000, &[]).await;
    assert_eq!(counts(&node), (1, 3, 1));
    node.stop().await;
}
