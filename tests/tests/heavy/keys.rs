//! Deletes of many keys, and a lease with many keys.

use std::time::Instant;

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_testkit::Rpc;

use crate::{MIB, assert_served, connect, count, get_prefix, put_op, sized, t4, write_all};

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

    let memory = t4.memory();
    let before = memory.begin_peak();
    let list = get_prefix("many/");
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
    let memory = t4.memory();
    let before = memory.begin_peak();
    let revision = |header: Option<pb::ResponseHeader>| header.expect("a header").revision;
    let last = rpc.kv.range(get_prefix("many/0000000")).await.expect("a range").into_inner();
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
