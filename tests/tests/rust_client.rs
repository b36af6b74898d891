//! The Rust client that people use, `etcd-client`, against t4.
//!
//! Each test states what a user of the client relies on, and runs against a
//! real etcd too: a test that etcd does not pass would ask for something else.

use std::future::Future;
use std::time::Duration;

use etcd_client::{
    AlarmAction, AlarmType, Client, CompactionOptions, Compare, CompareOp, ConnectOptions,
    DeleteOptions, EventType, GetOptions, LeaseGrantOptions, LeaseTimeToLiveOptions, LockOptions,
    ProclaimOptions, PutOptions, ResignOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse,
    WatchFilterType, WatchOptions, WatchStream,
};
use t4_testkit::{Etcd, EtcdOptions, T4, T4Options, poll_until_async};

const DEADLINE: Duration = Duration::from_secs(60);

// Runs a test against etcd, then against t4.
async fn both<F: Future<Output = ()>>(test: impl Fn(Client) -> F) {
    let etcd = Etcd::start(EtcdOptions { fsync: false, ..EtcdOptions::default() }).expect("etcd");
    within(test(connect(etcd.endpoint()).await)).await;
    drop(etcd);
    let t4 = T4::start(T4Options::default()).expect("t4");
    within(test(connect(t4.endpoint()).await)).await;
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("an answer within a minute")
}

async fn connect(endpoint: &str) -> Client {
    let options = ConnectOptions::new().with_require_leader(true);
    Client::connect([endpoint], Some(options)).await.expect("connect")
}

async fn revision(client: &mut Client) -> i64 {
    let status = client.status().await.expect("status");
    status.header().expect("a header").revision()
}

#[tokio::test]
async fn keys_and_values() {
    both(|mut client| async move {
        client.put("a", "1", None).await.expect("put");
        let options = PutOptions::new().with_prev_key();
        let put = client.put("a", "2", Some(options)).await.expect("put");
        let before = put.prev_key().expect("the value before");
        assert_eq!((before.value(), before.version()), (&b"1"[..], 1));
        for (key, value) in [("b", "9"), ("c", "5"), ("d", "7")] {
            client.put(key, value, None).await.expect("put");
        }
        let options = GetOptions::new()
            .with_range("d")
            .with_sort(SortTarget::Value, SortOrder::Descend)
            .with_limit(2);
        let got = client.get("a", Some(options)).await.expect("get");
        let keys: Vec<&[u8]> = got.kvs().iter().map(|kv| kv.key()).collect();
        assert_eq!(keys, [b"b", b"c"]);
        assert_eq!((got.count(), got.more()), (3, true));
        let options = GetOptions::new().with_all_keys().with_count_only();
        assert_eq!(client.get("", Some(options)).await.expect("count").count(), 4);

        let before = revision(&mut client).await;
        let options = DeleteOptions::new().with_prefix().with_prev_key();
        let deleted = client.delete("a", Some(options)).await.expect("delete");
        assert_eq!(deleted.deleted(), 1);
        assert_eq!(deleted.prev_kvs()[0].value(), b"2");
        let past = GetOptions::new().with_revision(before);
        let got = client.get("a", Some(past)).await.expect("the past");
        assert_eq!(got.kvs()[0].value(), b"2");
        assert!(client.get("a", None).await.expect("get").kvs().is_empty());
    })
    .await;
}

#[tokio::test]
async fn refusals_carry_etcds_codes_and_texts() {
    both(|mut client| async move {
        client.put("a", "1", None).await.expect("put");
        let refused = |error: etcd_client::Error, code: &str, text: &str| {
            let etcd_client::Error::GRpcStatus(status) = error else { panic!("{error}") };
            assert_eq!((format!("{:?}", status.code()).as_str(), status.message()), (code, text));
        };
        let empty = client.put("", "1", None).await.expect_err("an empty key");
        refused(empty, "InvalidArgument", "etcdserver: key is not provided");
        let options = PutOptions::new().with_lease(99);
        let lease = client.put("a", "1", Some(options)).await.expect_err("no such lease");
        refused(lease, "NotFound", "etcdserver: requested lease not found");
        let options = GetOptions::new().with_revision(1000);
        let future = client.get("a", Some(options)).await.expect_err("the future");
        let text = "etcdserver: mvcc: required revision is a future revision";
        refused(future, "OutOfRange", text);
        let physical = CompactionOptions::new().with_physical();
        client.compact(2, Some(physical)).await.expect("compact");
        let again = client.compact(2, None).await.expect_err("compacted");
        let text = "etcdserver: mvcc: required revision has been compacted";
        refused(again, "OutOfRange", text);
    })
    .await;
}

#[tokio::test]
async fn transactions() {
    both(|mut client| async move {
        client.put("count", "1", None).await.expect("put");
        let bump = |from: &'static str, to: &'static str| {
            Txn::new()
                .when([Compare::value("count", CompareOp::Equal, from)])
                .and_then([TxnOp::put("count", to, None), TxnOp::get("count", None)])
                .or_else([TxnOp::get("count", None)])
        };
        let done = client.txn(bump("1", "2")).await.expect("txn");
        assert!(done.succeeded());
        let [TxnOpResponse::Put(_), TxnOpResponse::Get(got)] = &done.op_responses()[..] else {
            panic!("{done:?}");
        };
        assert_eq!(got.kvs()[0].value(), b"2", "a read sees the writes before it");
        let refused = client.txn(bump("1", "3")).await.expect("txn");
        assert!(!refused.succeeded());
        assert_eq!(client.get("count", None).await.expect("get").kvs()[0].value(), b"2");

        let nested = Txn::new()
            .when([Compare::version("count", CompareOp::Greater, 1)])
            .and_then([TxnOp::delete("count", None)]);
        let outer = Txn::new().and_then([TxnOp::txn(nested), TxnOp::put("other", "x", None)]);
        let before = revision(&mut client).await;
        let done = client.txn(outer).await.expect("txn");
        let [TxnOpResponse::Txn(inner), TxnOpResponse::Put(_)] = &done.op_responses()[..] else {
            panic!("{done:?}");
        };
        assert!(inner.succeeded());
        assert_eq!(revision(&mut client).await, before + 1, "one transaction, one revision");
    })
    .await;
}

// The next response that has events or says that something ended.
async fn next(stream: &mut WatchStream) -> etcd_client::WatchResponse {
    within(stream.message()).await.expect("a message").expect("the stream is open")
}

#[tokio::test]
async fn watches() {
    both(|mut client| async move {
        let first = revision(&mut client).await + 1;
        for value in ["1", "2"] {
            client.put("w/a", value, None).await.expect("put");
        }
        // From the past, then live.
        let options = WatchOptions::new().with_prefix().with_start_revision(first).with_prev_key();
        let mut stream = client.watch("w/", Some(options)).await.expect("watch");
        let mut seen = Vec::new();
        while seen.len() < 2 {
            collect(&next(&mut stream).await, &mut seen);
        }
        client.delete("w/a", None).await.expect("delete");
        while seen.len() < 3 {
            collect(&next(&mut stream).await, &mut seen);
        }
        let expected = [
            (EventType::Put, first, None),
            (EventType::Put, first + 1, Some(b"1".to_vec())),
            (EventType::Delete, first + 2, Some(b"2".to_vec())),
        ];
        assert_eq!(seen, expected);

        // A second watcher on the same stream, filtered, with an id of its own.
        let filtered = WatchOptions::new()
            .with_watch_id(42)
            .with_filters([WatchFilterType::NoPut])
            .with_start_revision(first);
        stream.watch("w/a", Some(filtered)).await.expect("watch");
        let created = next(&mut stream).await;
        assert!(created.created() && created.watch_id() == 42, "{created:?}");
        let deleted = next(&mut stream).await;
        assert_eq!(deleted.watch_id(), 42);
        assert_eq!(deleted.events()[0].event_type(), EventType::Delete);

        // Everybody is caught up: progress is answered with what is current.
        stream.request_progress().await.expect("ask");
        let progress = next(&mut stream).await;
        assert_eq!(progress.header().expect("a header").revision(), first + 2);
        assert!(progress.events().is_empty());

        stream.cancel(42).await.expect("cancel");
        let cancelled = next(&mut stream).await;
        assert!(cancelled.canceled() && cancelled.watch_id() == 42, "{cancelled:?}");
        assert_eq!(cancelled.compact_revision(), 0);
    })
    .await;
}

type Seen = (EventType, i64, Option<Vec<u8>>);

fn collect(response: &etcd_client::WatchResponse, into: &mut Vec<Seen>) {
    for event in response.events() {
        let revision = event.kv().expect("a key").mod_revision();
        into.push((event.event_type(), revision, event.prev_kv().map(|kv| kv.value().to_vec())));
    }
}

#[tokio::test]
async fn a_watch_from_a_compacted_revision_says_so() {
    both(|mut client| async move {
        for value in ["1", "2", "3"] {
            client.put("a", value, None).await.expect("put");
        }
        client.compact(4, None).await.expect("compact");
        let options = WatchOptions::new().with_start_revision(2);
        let mut stream = client.watch("a", Some(options)).await.expect("watch");
        let mut response = next(&mut stream).await;
        while !response.canceled() {
            response = next(&mut stream).await;
        }
        assert_eq!(response.compact_revision(), 4);
    })
    .await;
}

#[tokio::test]
async fn leases() {
    both(|mut client| async move {
        let options = LeaseGrantOptions::new().with_id(7);
        let granted = client.lease_grant(600, Some(options)).await.expect("grant");
        assert_eq!((granted.id(), granted.ttl()), (7, 600));
        let options = PutOptions::new().with_lease(7);
        client.put("leased", "x", Some(options)).await.expect("put");
        let (mut keeper, mut answers) = client.lease_keep_alive(7).await.expect("keep alive");
        for _ in 0..3 {
            keeper.keep_alive().await.expect("ask");
            let answer = answers.message().await.expect("an answer").expect("open");
            assert_eq!((answer.id(), answer.ttl()), (7, 600));
        }
        let options = LeaseTimeToLiveOptions::new().with_keys();
        let left = client.lease_time_to_live(7, Some(options)).await.expect("ttl");
        assert_eq!((left.granted_ttl(), left.keys()), (600, &[b"leased".to_vec()][..]));
        assert_eq!(client.leases().await.expect("leases").leases().len(), 1);
        client.lease_revoke(7).await.expect("revoke");
        assert!(client.get("leased", None).await.expect("get").kvs().is_empty());
        let gone = client.lease_time_to_live(7, None).await.expect("ttl");
        assert_eq!(gone.ttl(), -1);
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_nobody_keeps_alive_takes_its_keys_with_it() {
    both(|mut client| async move {
        let granted = client.lease_grant(1, None).await.expect("grant");
        assert!(granted.ttl() >= 1);
        for key in ["x/1", "x/2"] {
            let options = PutOptions::new().with_lease(granted.id());
            client.put(key, "short", Some(options)).await.expect("put");
        }
        let options = WatchOptions::new().with_prefix();
        let mut stream = client.watch("x/", Some(options)).await.expect("watch");
        let mut response = next(&mut stream).await;
        while response.events().is_empty() {
            response = next(&mut stream).await;
        }
        let of = |event: &etcd_client::Event| event.kv().expect("a key").mod_revision();
        let events = response.events();
        assert_eq!(events.len(), 2, "both keys go in one revision");
        assert!(events.iter().all(|event| event.event_type() == EventType::Delete));
        assert_eq!(of(&events[0]), of(&events[1]));
    })
    .await;
}

#[tokio::test]
async fn locks() {
    both(|mut client| async move {
        let one = client.lease_grant(600, None).await.expect("grant").id();
        let two = client.lease_grant(600, None).await.expect("grant").id();
        let options = |lease| Some(LockOptions::new().with_lease(lease));
        let held = client.lock("lock", options(one)).await.expect("lock");
        assert_eq!(held.key(), format!("lock/{one:x}").as_bytes());
        let mut waiter = client.clone();
        let waits = tokio::spawn(async move { waiter.lock("lock", options(two)).await });
        // The waiter queues up by a key of its own.
        poll_until_async("a second key", DEADLINE, || {
            let mut client = client.clone();
            async move {
                let options = GetOptions::new().with_prefix().with_count_only();
                let count = client.get("lock/", Some(options)).await?.count();
                anyhow::ensure!(count == 2, "{count} keys");
                Ok(())
            }
        })
        .await
        .expect("the waiter waits");
        assert!(!waits.is_finished());
        client.unlock(held.key()).await.expect("unlock");
        let held = waits.await.expect("the waiter").expect("lock");
        assert_eq!(held.key(), format!("lock/{two:x}").as_bytes());
        // A revoked lease gives up the lock.
        client.lease_revoke(two).await.expect("revoke");
        client.lock("lock", options(one)).await.expect("lock again");
    })
    .await;
}

#[tokio::test]
async fn elections() {
    both(|mut client| async move {
        let lease = client.lease_grant(600, None).await.expect("grant").id();
        let elected = client.campaign("office", "first", lease).await.expect("campaign");
        let leader = elected.leader().expect("a leader key").clone();
        assert_eq!((leader.name(), leader.lease()), (&b"office"[..], lease));
        // Only now: a stream without a leader to tell of does not begin.
        let mut observer = client.observe("office").await.expect("observe");
        let seen = within(observer.message()).await.expect("a message").expect("open");
        assert_eq!(seen.kv().expect("a leader").value(), b"first");
        let options = ProclaimOptions::new().with_leader(leader.clone());
        client.proclaim("second", Some(options)).await.expect("proclaim");
        let now = client.leader("office").await.expect("leader");
        assert_eq!(now.kv().expect("a leader").value(), b"second");
        let seen = within(observer.message()).await.expect("a message").expect("open");
        assert_eq!(seen.kv().expect("a leader").value(), b"second");
        let options = ResignOptions::new().with_leader(leader);
        client.resign(Some(options)).await.expect("resign");
        client.leader("office").await.expect_err("nobody leads");
    })
    .await;
}

#[tokio::test]
async fn maintenance_and_members() {
    both(|mut client| async move {
        client.put("a", "1", None).await.expect("put");
        let status = client.status().await.expect("status");
        assert!(!status.version().is_empty() && status.db_size() > 0, "{status:?}");
        assert!(status.errors().is_empty() && !status.is_learner());
        let members = client.member_list().await.expect("members");
        assert_eq!(members.members().len(), 1);
        assert_eq!(members.members()[0].id(), status.leader());
        assert!(!members.members()[0].client_urls().is_empty());
        assert_ne!(client.hash_kv(0).await.expect("hash").hash(), 0);
        client.defragment().await.expect("defragment");
        let alarms = client.alarm(AlarmAction::Get, AlarmType::None, None).await.expect("alarms");
        assert!(alarms.alarms().is_empty());
        client.move_leader(12345).await.expect_err("nobody of that name");
        assert_eq!(client.get("a", None).await.expect("get").kvs()[0].value(), b"1");
    })
    .await;
}
