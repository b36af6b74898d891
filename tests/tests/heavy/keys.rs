//! Deletes of many keys, leases with many keys, many leases that expire at once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_testkit::Rpc;
use tokio::task::JoinSet;

use crate::{MIB, Memory, all, assert_served, connect, count, put_op, sized, t4, write_all};

/// What deleting a key may take until it is done, in bytes: its record, its
/// event, its place in the index, the entry, what is in flight.
const DELETE_BYTES_MAX: u64 = 1024;

async fn write_keys(rpc: &Rpc, keys: usize, lease: i64) {
    let keys: Vec<usize> = (0..keys).collect();
    let txns = keys.chunks(100).map(|keys| {
        let op = |number: &usize| put_op(format!("many/{number:08}"), Bytes::from("value"), lease);
        keys.iter().map(op).collect()
    });
    write_all(rpc, txns).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_are_deleted_at_once_in_bounded_memory() {
    let keys = sized(200_000, 1_000_000);
    let mut t4 = t4(&[]);
    let mut rpc = connect(t4.endpoint()).await;
    let begun = Instant::now();
    write_keys(&rpc, keys, 0).await;
    let writing = begun.elapsed();

    let memory = Memory::of(&mut t4);
    let before = memory.begin_peak();
    let list = all("many/");
    let delete =
        pb::DeleteRangeRequest { key: list.key, range_end: list.range_end, ..Default::default() };
    let begun = Instant::now();
    let deleted = rpc.kv.delete_range(delete).await.expect("a delete").into_inner();
    let deleting = begun.elapsed();
    assert_eq!(deleted.deleted, keys as i64);
    assert_eq!(count(&mut rpc, "many/").await, 0);
    let grown = memory.peak().saturating_sub(before);
    println!(
        "{keys} keys: written in {writing:?}, deleted in {deleting:?} with {} MiB",
        grown / MIB
    );
    assert!(grown < keys as u64 * DELETE_BYTES_MAX, "{} MiB", grown / MIB);
    assert_served(&mut rpc).await;
    t4.stop().expect("a clean stop");
    t4.start_again().expect("a start");
    let mut rpc = connect(t4.endpoint()).await;
    assert_eq!(count(&mut rpc, "many/").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_with_many_keys_ends_with_all_of_them() {
    let keys = sized(200_000, 1_000_000);
    let mut t4 = t4(&[]);
    let mut rpc = connect(t4.endpoint()).await;
    let grant = pb::LeaseGrantRequest { ttl: 600, id: 7 };
    rpc.lease.lease_grant(grant).await.expect("a lease");
    write_keys(&rpc, keys, 7).await;
    let memory = Memory::of(&mut t4);
    let before = memory.begin_peak();
    let revision = |header: Option<pb::ResponseHeader>| header.expect("a header").revision;
    let last = rpc.kv.range(all("many/0000000")).await.expect("a range").into_inner();
    let begun = Instant::now();
    let revoked = rpc.lease.lease_revoke(pb::LeaseRevokeRequest { id: 7 }).await;
    let revoked = revoked.expect("a revocation").into_inner();
    let took = begun.elapsed();
    let grown = memory.peak().saturating_sub(before);
    println!("{keys} keys of a lease: ended in {took:?} with {} MiB", grown / MIB);
    assert!(grown < keys as u64 * DELETE_BYTES_MAX, "{} MiB", grown / MIB);
    assert_eq!(count(&mut rpc, "many/").await, 0);
    assert_eq!(revision(revoked.header), revision(last.header) + 1, "one revision");
    // Killed, so that the log is read again.
    t4.kill().expect("a kill");
    t4.start_again().expect("a start");
    let mut rpc = connect(t4.endpoint()).await;
    assert_eq!(count(&mut rpc, "many/").await, 0);
    let left = pb::LeaseTimeToLiveRequest { id: 7, keys: true };
    let left = rpc.lease.lease_time_to_live(left).await.expect("a look").into_inner();
    assert_eq!((left.ttl, left.keys.len()), (-1, 0));
}

/// How long puts take, one after the other, until `done`; sorted.
async fn puts_until(rpc: &Rpc, mut done: impl FnMut() -> bool) -> Vec<Duration> {
    let mut kv = rpc.kv.clone();
    let mut all = Vec::new();
    while !done() {
        let put = pb::PutRequest { key: "put".into(), value: "v".into(), ..Default::default() };
        let begun = Instant::now();
        kv.put(put).await.expect("a put");
        all.push(begun.elapsed());
    }
    all.sort();
    all
}

fn p99(sorted: &[Duration]) -> Duration {
    sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)]
}

/// Below this a put is as fast as it need be, whatever it was before: a busy
/// machine makes single ones slow.
const PUT_FLOOR: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_go_on_while_many_leases_expire_at_once() {
    let leases = sized(20_000, 50_000);
    let t4 = t4(&[]);
    let mut rpc = connect(t4.endpoint()).await;
    // All are granted by then, and expire within one second.
    let end = Instant::now() + Duration::from_secs(sized(30, 60) as u64);
    grant_all(&rpc, leases, end).await;
    let ids: Vec<usize> = (0..leases).collect();
    let txns = ids.chunks(100).map(|ids| {
        let op = |id: &usize| put_op(format!("leased/{id:06}"), Bytes::new(), *id as i64 + 1);
        ids.iter().map(op).collect()
    });
    write_all(&rpc, txns).await;
    assert_eq!(count(&mut rpc, "leased/").await, leases as i64);
    assert!(end.elapsed() == Duration::ZERO, "the machine is too slow for this test");

    let until = Instant::now() + Duration::from_secs(3);
    let before = puts_until(&rpc, || Instant::now() >= until).await;
    let watching = tokio::spawn(expired(connect(t4.endpoint()).await, leases as i64));
    tokio::time::sleep_until((end - Duration::from_millis(500)).into()).await;
    let during = puts_until(&rpc, || watching.is_finished()).await;
    let took = watching.await.expect("the leases expire");
    println!(
        "{leases} leases gone in {took:?}; p99 of {} puts before {:?}, of {} during {:?}, max {:?}",
        before.len(),
        p99(&before),
        during.len(),
        p99(&during),
        during.last(),
    );
    assert!(p99(&during) <= 3 * p99(&before).max(PUT_FLOOR));
    assert_served(&mut rpc).await;
}

/// From the first lease that is gone to the last.
async fn expired(mut rpc: Rpc, all: i64) -> Duration {
    let mut begun = None;
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let left = count(&mut rpc, "leased/").await;
        assert!(Instant::now() < deadline, "{left} leases are left");
        if left < all {
            begun.get_or_insert_with(Instant::now);
        }
        if left == 0 {
            return begun.map(|begun| begun.elapsed()).unwrap_or_default();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Leases 1 to `leases`, all of which expire at about `end`.
async fn grant_all(rpc: &Rpc, leases: usize, end: Instant) {
    let mut tasks = JoinSet::new();
    for id in 1..=leases as i64 {
        if tasks.len() >= 64 {
            tasks.join_next().await.expect("a task").expect("a grant");
        }
        let mut lease = rpc.lease.clone();
        tasks.spawn(async move {
            let left = end.saturating_duration_since(Instant::now());
            let grant = pb::LeaseGrantRequest { ttl: left.as_secs() as i64 + 1, id };
            lease.lease_grant(grant).await.expect("a grant");
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a grant");
    }
}
