//! Many leases that expire within a second, while others write.

use std::time::{Duration, Instant};

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_testkit::Rpc;
use t4_testkit::requests::put;
use tokio::task::JoinSet;

use crate::{assert_served, connect, count, put_op, t4};

const LEASES: usize = 50_000;
/// How long all of them together live. The first that is enough for this machine
/// to make them is taken.
const BUDGETS: [Duration; 3] =
    [Duration::from_secs(12), Duration::from_secs(30), Duration::from_secs(90)];
/// Puts are measured for so long before the leases expire.
const BEFORE: Duration = Duration::from_millis(2500);
/// The leases expire so long before and after the time that was computed.
const MARGIN: Duration = Duration::from_millis(500);
const DEADLINE: Duration = Duration::from_secs(180);

/// While leases expire the p99 of puts is at most this many times that of before.
const RATIO: u32 = 3;
/// Below this a put is fast enough, whatever it was before.
const PUT_FLOOR: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_go_on_while_many_leases_expire_at_once() {
    // A machine has moods: once more if it is slow.
    for chance in 1..=2 {
        let (before, during) = puts_before_and_during().await;
        if p99(&during) <= RATIO * p99(&before).max(PUT_FLOOR) {
            return;
        }
        assert!(chance == 1, "p99 {:?}, then {:?}", p99(&before), p99(&during));
    }
}

async fn puts_before_and_during() -> (Vec<Duration>, Vec<Duration>) {
    let t4 = t4(&[]);
    let mut rpc = connect(t4.endpoint()).await;
    let end = leases_that_end_together(&rpc).await;
    // Not before: there may be much time left.
    tokio::time::sleep_until((end - MARGIN - BEFORE).into()).await;
    let until = end - MARGIN;
    let before = puts_until(&rpc, || Instant::now() >= until).await;
    let watching = tokio::spawn(expired(connect(t4.endpoint()).await));
    let during = puts_until(&rpc, || watching.is_finished()).await;
    let took = watching.await.expect("the leases expire");
    println!(
        "{LEASES} leases gone in {took:?}; p99 of {} puts before {:?}, max {:?}, of {} during {:?}, max {:?}",
        before.len(),
        p99(&before),
        before.last(),
        during.len(),
        p99(&during),
        during.last(),
    );
    assert_served(&mut rpc).await;
    (before, during)
}

/// Makes leases with a key each that expire within a second of each other, from
/// the time on that is returned.
async fn leases_that_end_together(rpc: &Rpc) -> Instant {
    for (round, budget) in BUDGETS.into_iter().enumerate() {
        let begun = Instant::now();
        let (end, first) = (begun + budget, 1 + round * LEASES);
        let made = make_leases(rpc, first, end).await;
        println!("leases for {budget:?}: made in {:?}, in time: {made}", begun.elapsed());
        if made {
            return end;
        }
    }
    panic!("the machine is too slow for this test");
}

/// Whether all were made in time.
async fn make_leases(rpc: &Rpc, first: usize, end: Instant) -> bool {
    let ids: Vec<usize> = (first..first + LEASES).collect();
    let in_time = || Instant::now() + BEFORE + 2 * MARGIN < end;
    let mut tasks = JoinSet::new();
    for ids in ids.chunks(100) {
        if tasks.len() >= 32 {
            tasks.join_next().await.expect("a task").expect("leases");
        }
        if !in_time() {
            break;
        }
        tasks.spawn(make_some(rpc.clone(), ids.to_vec(), end));
    }
    while let Some(made) = tasks.join_next().await {
        made.expect("leases");
    }
    in_time()
}

async fn make_some(mut rpc: Rpc, ids: Vec<usize>, end: Instant) {
    let mut success = Vec::new();
    for id in ids {
        let left = end.saturating_duration_since(Instant::now());
        let (ttl, id) = (left.as_secs() as i64 + 1, id as i64);
        rpc.lease.lease_grant(pb::LeaseGrantRequest { ttl, id }).await.expect("a grant");
        success.push(put_op(format!("leased/{id:06}"), Bytes::new(), id));
    }
    rpc.kv.txn(pb::TxnRequest { success, ..Default::default() }).await.expect("their keys");
}

/// How long puts take, one after the other, until `done`; sorted. At least one.
async fn puts_until(rpc: &Rpc, mut done: impl FnMut() -> bool) -> Vec<Duration> {
    let mut kv = rpc.kv.clone();
    let mut all = Vec::new();
    loop {
        let begun = Instant::now();
        kv.put(put("put", "v")).await.expect("a put");
        all.push(begun.elapsed());
        if done() {
            break;
        }
    }
    all.sort();
    all
}

fn p99(sorted: &[Duration]) -> Duration {
    sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)]
}

/// From the first lease that is gone to the last.
async fn expired(mut rpc: Rpc) -> Duration {
    let mut begun = None;
    let deadline = Instant::now() + DEADLINE;
    loop {
        let left = count(&mut rpc, "leased/").await;
        assert!(Instant::now() < deadline, "{left} leases are left");
        if left < LEASES as i64 {
            begun.get_or_insert_with(Instant::now);
        }
        if left == 0 {
            return begun.map(|begun| begun.elapsed()).unwrap_or_default();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
