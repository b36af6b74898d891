//! Good gRPC that asks for what cannot be: the same answers as etcd's.
//!
//! What the tests of `t4-etcd-api` and the differential suite ask for is left
//! to them; here is what lies at the ends of each field.

use t4_proto::etcdserverpb as pb;
use t4_proto::v3electionpb::CampaignRequest;
use t4_proto::v3lockpb::{LockRequest, UnlockRequest};
use t4_testkit::{Etcd, EtcdOptions, Rpc};
use tonic::{Code, Response, Status};

use crate::raw::RawConnection;
use crate::{assert_log_is_calm, assert_served, connect, get, put, t4};

/// What a client is told: the code, and the text or what there is to see.
type Told = (&'static str, Code, String);

fn told<T>(
    name: &'static str,
    result: Result<Response<T>, Status>,
    shown: impl FnOnce(T) -> String,
) -> Told {
    match result {
        Ok(response) => (name, Code::Ok, shown(response.into_inner())),
        Err(status) => (name, status.code(), status.message().to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ends_of_every_field_are_answered_as_by_etcd() {
    let mut t4 = t4(&[]);
    let etcd = Etcd::start(EtcdOptions { fsync: false, ..EtcdOptions::default() }).expect("etcd");
    let (mut ours, mut theirs) = (connect(t4.endpoint()).await, connect(etcd.endpoint()).await);
    let mut found = Vec::new();
    for rpc in [&mut ours, &mut theirs] {
        let mut all = keys(rpc).await;
        all.extend(ranges(rpc).await);
        all.extend(transactions(rpc).await);
        all.extend(leases(rpc).await);
        all.extend(names(rpc).await);
        found.push(all);
    }
    assert!(found[0].len() > 30);
    let differences: Vec<_> =
        found[0].iter().zip(&found[1]).filter(|(ours, theirs)| ours != theirs).collect();
    assert!(differences.is_empty(), "{differences:#?}");
    assert_served(&mut ours, "after").await;
    assert_log_is_calm(&mut t4, 0);
}

async fn keys(rpc: &mut Rpc) -> Vec<Told> {
    const MIB: usize = 1 << 20;
    let nothing = |_| String::new();
    let large_key = "k".repeat(MIB);
    let key_over_limit = "k".repeat(2 * MIB - 1000);
    let mut all = vec![
        told("empty key", rpc.kv.put(put("", vec![])).await, |_| String::new()),
        told("a key of 1 MiB", rpc.kv.put(put(&large_key, vec![1])).await, |_| String::new()),
    ];
    let found = rpc.kv.range(get(&large_key)).await;
    all.push(told("and back", found, |range| {
        format!("{} {}", range.count, range.kvs[0].key.len())
    }));
    let over = rpc.kv.put(put(&key_over_limit, vec![])).await;
    all.push(told("a key over the request limit", over, |_| String::new()));
    let over = rpc.kv.put(put("k", vec![0; 3 * MIB / 2])).await;
    all.push(told("a value over the request limit", over, |_| String::new()));
    let over = rpc.kv.put(put("k", vec![0; 3 * MIB])).await;
    all.push(told("a message over the limit", over, |_| String::new()));
    let over = rpc.kv.range(get(&"k".repeat(3 * MIB))).await;
    all.push(told("a read over the limit", over, |_| String::new()));
    let delete = pb::DeleteRangeRequest { range_end: "z".into(), ..Default::default() };
    all.push(told("delete from no key", rpc.kv.delete_range(delete).await, |_| String::new()));
    let lease = pb::PutRequest { lease: i64::MIN, ..put("k", vec![]) };
    all.push(told("a lease that is not", rpc.kv.put(lease).await, nothing));
    all
}

async fn ranges(rpc: &mut Rpc) -> Vec<Told> {
    let all_keys = pb::RangeRequest { range_end: vec![0].into(), ..get("\0") };
    let shown =
        |range: pb::RangeResponse| format!("{} of {} {}", range.kvs.len(), range.count, range.more);
    let mut all = Vec::new();
    for (name, request) in [
        ("limit -1", pb::RangeRequest { limit: -1, ..all_keys.clone() }),
        ("limit min", pb::RangeRequest { limit: i64::MIN, ..all_keys.clone() }),
        ("limit max", pb::RangeRequest { limit: i64::MAX, ..all_keys.clone() }),
        ("revision -1", pb::RangeRequest { revision: -1, ..all_keys.clone() }),
        ("revision min", pb::RangeRequest { revision: i64::MIN, ..all_keys.clone() }),
        ("revision max", pb::RangeRequest { revision: i64::MAX, ..all_keys.clone() }),
        ("min mod -1", pb::RangeRequest { min_mod_revision: -1, ..all_keys.clone() }),
        ("max mod -1", pb::RangeRequest { max_mod_revision: -1, ..all_keys.clone() }),
        ("max create min", pb::RangeRequest { max_create_revision: i64::MIN, ..all_keys.clone() }),
        ("end before start", pb::RangeRequest { range_end: "a".into(), ..get("b") }),
        ("end at start", pb::RangeRequest { range_end: "b".into(), ..get("b") }),
    ] {
        all.push(told(name, rpc.kv.range(request).await, shown));
    }
    for (name, revision) in [("compact 0", 0), ("compact -1", -1), ("compact max", i64::MAX)] {
        let request = pb::CompactionRequest { revision, physical: true };
        all.push(told(name, rpc.kv.compact(request).await, |_| String::new()));
    }
    let future = pb::HashKvRequest { revision: i64::MAX };
    all.push(told("hash max", rpc.maintenance.hash_kv(future).await, |_| String::new()));
    all
}

async fn transactions(rpc: &mut Rpc) -> Vec<Told> {
    let compare = |result, target| pb::TxnRequest {
        compare: vec![pb::Compare { result, target, key: "c".into(), ..Default::default() }],
        ..Default::default()
    };
    let nested = |depth| {
        (0..depth).fold(pb::TxnRequest::default(), |inner, _| pb::TxnRequest {
            success: vec![pb::RequestOp {
                request: Some(pb::request_op::Request::RequestTxn(inner)),
            }],
            ..Default::default()
        })
    };
    let mut all = Vec::new();
    for (name, request) in [
        ("no transaction", pb::TxnRequest::default()),
        ("comparison 9", compare(9, 0)),
        ("comparison of 9", compare(0, 9)),
        ("comparison -1 of -1", compare(-1, -1)),
        ("nested 20 deep", nested(20)),
    ] {
        all.push(told(name, rpc.kv.txn(request).await, |txn| txn.succeeded.to_string()));
    }
    all
}

async fn leases(rpc: &mut Rpc) -> Vec<Told> {
    let mut all = Vec::new();
    for (name, ttl, id) in [
        ("ttl 0", 0, 0),
        ("ttl -1", -1, 0),
        ("ttl min", i64::MIN, 0),
        ("ttl max", i64::MAX, 0),
        ("ttl at the limit", 9_000_000_000, 0),
        ("ttl over the limit", 9_000_000_001, 0),
        ("id min", 60, i64::MIN),
        ("id min again", 60, i64::MIN),
    ] {
        let result = rpc.lease.lease_grant(pb::LeaseGrantRequest { ttl, id }).await;
        all.push(told(name, result, |lease| lease.ttl.to_string()));
    }
    for (name, id) in [("revoke 0", 0), ("revoke -1", -1), ("revoke id min", i64::MIN)] {
        let result = rpc.lease.lease_revoke(pb::LeaseRevokeRequest { id }).await;
        all.push(told(name, result, |_| String::new()));
    }
    let unknown = pb::LeaseTimeToLiveRequest { id: i64::MAX, keys: true };
    let result = rpc.lease.lease_time_to_live(unknown).await;
    all.push(told("time of no lease", result, |lease| lease.ttl.to_string()));
    all
}

async fn names(rpc: &mut Rpc) -> Vec<Told> {
    let mut all = Vec::new();
    rpc.lease.lease_grant(pb::LeaseGrantRequest { ttl: 600, id: 77 }).await.expect("a lease");
    for (name, bytes) in [("not UTF-8", &b"\xff\xfe"[..]), ("no name", b""), ("zero", b"\0")] {
        let request = LockRequest { name: bytes.to_vec().into(), lease: 77 };
        let locked = rpc.lock.lock(request).await;
        let key = locked.as_ref().map(|lock| lock.get_ref().key.clone()).unwrap_or_default();
        all.push(told(name, locked, |lock| format!("{:?}", lock.key)));
        let unlocked = rpc.lock.unlock(UnlockRequest { key }).await;
        all.push(told("and back", unlocked, |_| String::new()));
        let request =
            CampaignRequest { name: bytes.to_vec().into(), lease: 77, value: b"v".to_vec().into() };
        let won = rpc.election.campaign(request).await;
        all.push(told(name, won, |won| format!("{:?}", won.leader.map(|leader| leader.key))));
    }
    for (name, url) in [("no URL", ""), ("a URL of no peer", "http://"), ("a path", "/a/b")] {
        let peer_urls = vec![url.to_owned()];
        let request = pb::MemberAddRequest { peer_urls, ..Default::default() };
        all.push(told(name, rpc.cluster.member_add(request).await, |_| String::new()));
    }
    let remove = pb::MemberRemoveRequest { id: u64::MAX };
    all.push(told("no member", rpc.cluster.member_remove(remove).await, |_| String::new()));
    all
}

/// What etcd 3.5.1 does not look at, or dies of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strings_that_are_not_text_and_actions_that_are_none_are_refused() {
    let mut t4 = t4(&[]);
    let mut rpc = connect(t4.endpoint()).await;
    let raw = RawConnection::open(t4.endpoint()).await;
    // Field 1, a string of two bytes.
    let not_text = vec![0, 0, 0, 0, 4, 0x0a, 2, 0xff, 0xfe];
    for path in ["/etcdserverpb.Cluster/MemberAdd", "/grpc.health.v1.Health/Check"] {
        let answer = raw.call(path, &[], not_text.clone()).await.expect("an answer");
        let (code, text) = answer.status.expect("a status");
        assert_eq!(code, Code::Internal, "{path}: {text}");
        assert!(text.starts_with("grpc: error unmarshalling request"), "{path}: {text}");
    }
    for (sort_order, sort_target) in [(0, 9), (1, -1), (9, 0), (-1, 2)] {
        let unknown = pb::RangeRequest { sort_order, sort_target, ..get("a") };
        let refused = rpc.kv.range(unknown).await.expect_err("an unknown order");
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.message(), "etcdserver: invalid sort option");
    }
    for (action, alarm) in [(9, 0), (-1, 1), (1, 9), (2, -1)] {
        let request = pb::AlarmRequest { action, member_id: 0, alarm };
        let refused = rpc.maintenance.alarm(request).await.expect_err("there is no such alarm");
        assert_eq!(refused.code(), Code::InvalidArgument, "{}", refused.message());
        let none = pb::AlarmRequest::default();
        let alarms = rpc.maintenance.alarm(none).await.expect("a list").into_inner().alarms;
        assert_eq!(alarms, [], "action {action} of {alarm}");
    }
    assert_served(&mut rpc, "after").await;
    assert_log_is_calm(&mut t4, 0);
}
