//! The service KV, but for transactions.

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::request_op::Request;
use t4_proto::mvccpb::KeyValue;
use tonic::Code;

use crate::support::{Server, assert_error, get, put, range};

#[tokio::test]
async fn what_is_put_is_found_with_its_history() {
    let server = Server::start().await;
    let first = server.put("k", "one").await;
    assert_eq!(first, 2);
    assert_eq!(server.put("k", "two").await, 3);
    server.put("l", "x").await;

    let found = server.kv().range(get("k")).await.unwrap().into_inner();
    let expected = KeyValue {
        key: "k".into(),
        value: "two".into(),
        create_revision: 2,
        mod_revision: 3,
        version: 2,
        lease: 0,
    };
    assert_eq!(found.kvs, [expected]);
    assert_eq!((found.count, found.more), (1, false));

    let header = found.header.unwrap();
    let identity = server.node.identity();
    assert_eq!(header.cluster_id, identity.cluster_id.0);
    assert_eq!(header.member_id, identity.member_id.0);
    assert_eq!(header.raft_term, server.node.epoch().0);
    // The store's revision, also when reading an old one.
    assert_eq!(header.revision, 4);
    let old = pb::RangeRequest { revision: 2, ..get("k") };
    let old = server.kv().range(old).await.unwrap().into_inner();
    assert_eq!((&old.kvs[0].value[..], old.header.unwrap().revision), (&b"one"[..], 4));
}

#[tokio::test]
async fn ranges_have_all_their_options() {
    let server = Server::start().await;
    for key in ["a", "b", "c", "d"] {
        server.put(key, key).await;
    }
    server.put("b", "again").await;
    let keys = async |request: pb::RangeRequest| {
        let found = server.kv().range(request).await.unwrap().into_inner();
        let keys: Vec<_> = found.kvs.iter().map(|kv| kv.key.clone()).collect();
        (keys.concat(), found.more, found.count)
    };
    let all = || range("a", "\0");
    assert_eq!(keys(all()).await, (b"abcd".to_vec(), false, 4));
    assert_eq!(keys(range("b", "d")).await, (b"bc".to_vec(), false, 2));
    assert_eq!(keys(range("d", "b")).await, (vec![], false, 0));
    assert_eq!(keys(pb::RangeRequest { limit: 3, ..all() }).await, (b"abc".to_vec(), true, 4));
    assert_eq!(keys(pb::RangeRequest { count_only: true, ..all() }).await, (vec![], false, 4));
    let by_mod = pb::RangeRequest { sort_order: 2, sort_target: 3, ..all() };
    assert_eq!(keys(by_mod).await, (b"bdca".to_vec(), false, 4));
    let changed = pb::RangeRequest { min_mod_revision: 5, ..all() };
    assert_eq!(keys(changed).await, (b"bd".to_vec(), false, 4));
    let keys_only = pb::RangeRequest { keys_only: true, ..get("a") };
    let found = server.kv().range(keys_only).await.unwrap().into_inner();
    assert_eq!(found.kvs[0].value, Bytes::new());
}

#[tokio::test]
async fn wrong_ranges_are_refused() {
    let server = Server::start().await;
    server.put("a", "1").await;
    server.put("a", "2").await;
    server.compact(3).await;
    let mut kv = server.kv();
    let invalid = Code::InvalidArgument;
    assert_error(kv.range(get("")).await, invalid, "etcdserver: key is not provided");
    let unsorted = pb::RangeRequest { sort_target: 9, ..get("a") };
    assert_error(kv.range(unsorted).await, invalid, "etcdserver: invalid sort option");
    assert_error(
        kv.range(pb::RangeRequest { revision: 2, ..get("a") }).await,
        Code::OutOfRange,
        "etcdserver: mvcc: required revision has been compacted",
    );
    assert_error(
        kv.range(pb::RangeRequest { revision: 99, ..get("a") }).await,
        Code::OutOfRange,
        "etcdserver: mvcc: required revision is a future revision",
    );
}

#[tokio::test]
async fn puts_tell_what_was_before_and_keep_what_they_are_asked_to() {
    let server = Server::start().await;
    let mut kv = server.kv();
    let prev = pb::PutRequest { prev_kv: true, ..put("k", "one") };
    assert_eq!(kv.put(prev.clone()).await.unwrap().into_inner().prev_kv, None);
    let before = kv.put(prev).await.unwrap().into_inner().prev_kv.unwrap();
    assert_eq!((before.version, &before.value[..]), (1, &b"one"[..]));

    let keep = pb::PutRequest { ignore_value: true, ..put("k", "") };
    kv.put(keep).await.unwrap();
    assert_eq!(server.get("k").await.unwrap(), "one");

    let invalid = Code::InvalidArgument;
    let missing = pb::PutRequest { ignore_lease: true, ..put("none", "") };
    assert_error(kv.put(missing).await, invalid, "etcdserver: key not found");
    let value = pb::PutRequest { ignore_value: true, ..put("k", "v") };
    assert_error(kv.put(value).await, invalid, "etcdserver: value is provided");
    let lease = pb::PutRequest { ignore_lease: true, lease: 1, ..put("k", "v") };
    assert_error(kv.put(lease).await, invalid, "etcdserver: lease is provided");
    let unknown = pb::PutRequest { lease: 77, ..put("k", "v") };
    assert_error(kv.put(unknown).await, Code::NotFound, "etcdserver: requested lease not found");
}

#[tokio::test]
async fn deletes_tell_what_was_there() {
    let server = Server::start().await;
    server.put("a", "1").await;
    server.put("b", "2").await;
    let all = pb::DeleteRangeRequest { key: "a".into(), range_end: "\0".into(), prev_kv: true };
    let deleted = server.kv().delete_range(all.clone()).await.unwrap().into_inner();
    assert_eq!((deleted.deleted, deleted.header.unwrap().revision), (2, 4));
    let values: Vec<_> = deleted.prev_kvs.iter().map(|kv| kv.value.clone()).collect();
    assert_eq!(values, ["1", "2"]);
    // Nothing to delete makes no revision.
    let again = server.kv().delete_range(all).await.unwrap().into_inner();
    assert_eq!((again.deleted, again.header.unwrap().revision), (0, 4));
}

#[tokio::test]
async fn compactions_move_forward_within_history() {
    let server = Server::start().await;
    server.put("a", "1").await;
    let mut kv = server.kv();
    let mut compact = async |revision| {
        let request = pb::CompactionRequest { revision, physical: false };
        kv.compact(request).await.map(|response| response.into_inner().header.unwrap().revision)
    };
    assert_eq!(compact(2).await.unwrap(), 2);
    let (code, prefix) = (Code::OutOfRange, "etcdserver: mvcc: required revision");
    assert_error(compact(2).await, code, &format!("{prefix} has been compacted"));
    assert_error(compact(3).await, code, &format!("{prefix} is a future revision"));
}

#[tokio::test]
async fn writes_have_a_largest_size() {
    let server = Server::start_with(|_| {}, |api| api.max_request_bytes = 10_000).await;
    let mut kv = server.kv();
    let put = |bytes| pb::PutRequest {
        key: "k".into(),
        value: vec![0; bytes].into(),
        ..Default::default()
    };
    // Around the value: 3 for the key, 3 for the value's tag and length, 17
    // as etcd's log counts.
    kv.put(put(10_000 - 23)).await.unwrap();
    let text = "etcdserver: request is too large";
    assert_error(kv.put(put(10_001 - 23)).await, Code::InvalidArgument, text);
}

#[tokio::test]
async fn the_quota_is_told_before_anything_else() {
    let server = Server::start_with(|node| node.quota_bytes = Some(10_000), |_| {}).await;
    let mut kv = server.kv();
    let text = "etcdserver: mvcc: database space exceeded";
    let full = Code::ResourceExhausted;
    // Wrong in itself, too. Below nine tenths that one alone is refused.
    let large = pb::PutRequest { value: vec![0; 20_000].into(), ..Default::default() };
    assert_error(kv.put(large.clone()).await, full, text);
    let filling = pb::PutRequest { value: vec![0; 9_200].into(), ..put("filling", "") };
    kv.put(filling).await.unwrap();
    assert_error(kv.put(large).await, full, text);
    // The alarm is on now; what frees or reads still works.
    assert_error(kv.put(put("k", "v")).await, full, text);
    let grant = pb::LeaseGrantRequest { ttl: 10, id: 0 };
    assert_error(server.lease().lease_grant(grant).await, full, text);
    kv.range(get("k")).await.unwrap();
    let delete = pb::DeleteRangeRequest { key: "k".into(), ..Default::default() };
    kv.delete_range(delete).await.unwrap();
    kv.txn(pb::TxnRequest::default()).await.unwrap();
    // The cost of a transaction is that of its own puts, as in etcd: what those
    // nested in it cost is not counted.
    let op = |request| pb::RequestOp { request: Some(request) };
    let own = pb::TxnRequest {
        success: vec![op(Request::RequestPut(put("k", "v")))],
        ..Default::default()
    };
    assert_error(kv.txn(own.clone()).await, full, text);
    let outer =
        pb::TxnRequest { success: vec![op(Request::RequestTxn(own))], ..Default::default() };
    kv.txn(outer).await.unwrap();
    assert_eq!(server.get("k").await.unwrap(), "v");
}

#[tokio::test]
async fn long_ranges_come_in_chunks_of_one_revision() {
    let server = Server::start().await;
    for _ in 0..2 {
        for n in 0..45 {
            let key = format!("key{n:03}");
            let put = pb::PutRequest { key: key.into(), value: "v".into(), ..Default::default() };
            server.kv().put(put).await.unwrap();
        }
    }
    let request = range("key", "kez");
    let mut chunks = server.kv().range_stream(request.clone()).await.unwrap().into_inner();
    let mut found = Vec::new();
    let mut sizes = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        let chunk = chunk.range_response.unwrap();
        // Writes meanwhile are not seen.
        server.put("key020", "changed").await;
        server.delete("key044").await;
        sizes.push(chunk.kvs.len());
        found.extend(chunk.kvs);
        let is_last = found.len() == 45;
        assert_eq!(chunk.header.map(|header| header.revision), is_last.then_some(91));
        assert_eq!((chunk.count, chunk.more), (if is_last { 45 } else { 0 }, false));
    }
    assert_eq!(sizes, [10, 20, 15]);
    assert!(found.iter().all(|kv| kv.value == "v" && kv.version == 2));

    let count = pb::RangeRequest { count_only: true, ..request.clone() };
    let mut chunks = server.kv().range_stream(count).await.unwrap().into_inner();
    let only = chunks.message().await.unwrap().unwrap().range_response.unwrap();
    assert_eq!((only.count, only.kvs.len()), (44, 0));
    assert!(chunks.message().await.unwrap().is_none());

    // A target without an order sorts the whole, not each chunk.
    server.put("key010", "a").await;
    let by_value =
        pb::RangeRequest { sort_target: pb::range_request::SortTarget::Value.into(), ..request };
    let mut chunks = server.kv().range_stream(by_value.clone()).await.unwrap().into_inner();
    let mut streamed = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        streamed.extend(chunk.range_response.unwrap().kvs);
    }
    assert_eq!((streamed.len(), &streamed[0].key[..]), (44, &b"key010"[..]));
    assert_eq!(streamed, server.kv().range(by_value.clone()).await.unwrap().into_inner().kvs);

    let sorted = pb::RangeRequest { sort_order: 2, ..by_value };
    let mut chunks = server.kv().range_stream(sorted).await.unwrap().into_inner();
    let text = "RangeStream does not support custom sort orders";
    assert_error(chunks.message().await, Code::Unimplemented, text);
}
