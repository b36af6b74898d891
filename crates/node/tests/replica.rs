//! A replica through its public API: what survives a stop, what a start
//! refuses, leases, alarms, watches.

mod gated_log;

use std::path::Path;
use std::time::Duration;

use t4_kv_types::{
    AlarmKind, DeleteRangeRequest, KeyRange, LeaseId, NodeId, OpError, PutRequest, RangeRequest,
    Revision,
};
use t4_node::{Config, Node, OpenError, WatchMessage, WatchSpec};

async fn open(dir: &Path) -> Node {
    Node::open(Config::new(dir)).await.expect("the node opens")
}

fn put(key: impl Into<String>, value: &str) -> PutRequest {
    PutRequest { key: key.into().into(), value: value.to_owned().into(), ..Default::default() }
}

async fn values(node: &Node) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found = node.range(RangeRequest::new(KeyRange::all())).await.expect("a range");
    found.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect()
}

#[tokio::test]
async fn writes_survive_a_stop_and_epochs_grow() {
    let scratch = tempfile::tempdir().unwrap();
    let first = open(scratch.path()).await;
    assert_eq!(first.put(put("a", "1")).await.unwrap().revision, Revision(2));
    assert_eq!(first.put(put("b", "2")).await.unwrap().revision, Revision(3));
    let identity = first.identity().clone();
    let epoch = first.epoch();
    first.stop().await;
    assert_eq!(first.put(put("c", "3")).await, Err(OpError::Stopped));

    let second = open(scratch.path()).await;
    assert_eq!(*second.identity(), identity);
    assert!(second.epoch() > epoch);
    assert_eq!(values(&second).await, [("a".into(), "1".into()), ("b".into(), "2".into())]);
    assert_eq!(second.put(put("c", "3")).await.unwrap().revision, Revision(4));
    second.stop().await;
}

#[tokio::test]
async fn peer_urls_are_the_memberships_from_the_first_start_on() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = Config::new(scratch.path());
    config.advertise_peer_urls = vec!["http://a:1".into()];
    config.advertise_client_urls = vec!["http://a:2".into()];
    let node = Node::open(config.clone()).await.unwrap();
    let id = node.member_id();
    let updated = node.update_member(id, vec!["http://b:1".into()]).await;
    assert_eq!(updated, Ok(Some(node.revision())));
    assert_eq!(node.update_member(NodeId(id.0 ^ 1), vec![]).await, Ok(None));
    node.stop().await;
    // Client URLs follow the configuration at each start; peer URLs do not.
    config.advertise_client_urls = vec!["http://c:2".into()];
    let node = Node::open(config).await.unwrap();
    let members = node.members();
    assert_eq!(members[0].peer_urls, ["http://b:1"]);
    assert_eq!(members[0].client_urls, ["http://c:2"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_get_distinct_revisions_in_one_order() {
    let scratch = tempfile::tempdir().unwrap();
    // Small tails and log segments: seals and releases happen on the way.
    let mut config = Config::new(scratch.path());
    config.seal_bytes = 64 << 10;
    config.log_segment_bytes = 64 << 10;
    let node = Node::open(config.clone()).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let node = node.on_this_runtime();
        writers.spawn(async move {
            let mut revisions = Vec::new();
            for n in 0..200 {
                let request = put(format!("{writer}/{n}"), &"x".repeat(100));
                revisions.push(node.put(request).await.unwrap().revision.0);
            }
            assert!(revisions.is_sorted());
            revisions
        });
    }
    let mut all: Vec<i64> = writers.join_all().await.concat();
    all.sort_unstable();
    assert_eq!(all, (2..2 + 16 * 200).collect::<Vec<_>>());
    let hash = node.hash_kv(Revision(0)).await.unwrap();
    node.stop().await;
    let node = Node::open(config).await.unwrap();
    assert_eq!(node.hash_kv(Revision(0)).await.unwrap(), hash);
    node.stop().await;
}

#[tokio::test]
async fn a_log_that_is_missing_or_older_than_the_state_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = Config::new(scratch.path());
    config.seal_bytes = 1 << 10;
    let old_log = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let node = Node::open(config.clone()).await.unwrap();
        for n in 0..50 {
            node.put(put(format!("{round}/{n}"), &"x".repeat(200))).await.unwrap();
        }
        node.stop().await;
        if round == 0 {
            copy(&scratch.path().join("log"), old_log.path());
        }
    }
    // Each attempt must refuse, also after an earlier one has looked.
    let log = scratch.path().join("log");
    for replacement in [Some(old_log.path()), None] {
        std::fs::remove_dir_all(&log).unwrap();
        std::fs::create_dir(&log).unwrap();
        if let Some(from) = replacement {
            copy(from, &log);
        }
        for _ in 0..2 {
            let refused = Node::open(config.clone()).await.err().expect("it is refused");
            let short = matches!(refused, OpenError::Log(_)) && replacement.is_some();
            let lost = matches!(refused, OpenError::LogLost { .. }) && replacement.is_none();
            assert!(short || lost, "{refused}");
            assert!(refused.to_string().contains("estore the whole data directory"), "{refused}");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn leases_keep_what_they_had_left_over_a_clean_stop() {
    let scratch = tempfile::tempdir().unwrap();
    let node = open(scratch.path()).await;
    let lease = node.lease_grant(LeaseId(7), 1000).await.unwrap();
    assert_eq!((lease.id, lease.ttl_s), (LeaseId(7), 1000));
    node.put(PutRequest { lease: LeaseId(7), ..put("leased", "v") }).await.unwrap();
    node.stop().await;
    assert_eq!(node.lease_keep_alive(LeaseId(7)).await, Err(OpError::Stopped));

    let node = open(scratch.path()).await;
    let found = node.lease_time_to_live(LeaseId(7), true).await.unwrap();
    assert!((998..=1000).contains(&found.ttl_s), "{found:?}");
    assert_eq!(found.granted_ttl_s, 1000);
    assert_eq!(found.keys, ["leased"]);
    assert_eq!(node.lease_revoke(LeaseId(7)).await, Ok(Revision(3)));
    assert!(values(&node).await.is_empty());
    assert_eq!(node.lease_keep_alive(LeaseId(7)).await, Ok(0));
    assert_eq!(node.lease_revoke(LeaseId(7)).await, Err(OpError::LeaseNotFound));
    node.stop().await;
}

#[tokio::test]
async fn an_expired_lease_takes_its_keys_and_watchers_hear_of_it() {
    let scratch = tempfile::tempdir().unwrap();
    let node = open(scratch.path()).await;
    let begun = std::time::Instant::now();
    // Longer than it takes to put two keys, also on a busy machine.
    let lease = node.lease_grant(LeaseId::NONE, 4).await.unwrap();
    for key in ["b", "a"] {
        node.put(PutRequest { lease: lease.id, ..put(key, "v") }).await.unwrap();
    }
    let stream = node.watch();
    stream.create(None, WatchSpec { start: Revision(4), ..WatchSpec::new(KeyRange::all()) });
    assert!(matches!(stream.next().await, Some(WatchMessage::Created { .. })));
    let Some(WatchMessage::Events { batch, header_revision, .. }) = stream.next().await else {
        panic!("events come");
    };
    assert!(begun.elapsed() >= Duration::from_secs(4), "never early");
    assert_eq!(header_revision, Revision(4));
    let keys: Vec<_> = batch.events().map(|event| event.kv.key.clone()).collect();
    assert_eq!(keys, ["a", "b"], "in one revision, in key order");
    assert_eq!(node.lease_keep_alive(lease.id).await, Ok(0));
    node.stop().await;
    assert!(stream.next().await.is_none(), "the stream ends with the node");
}

#[tokio::test]
async fn the_quota_raises_its_alarm_and_a_compaction_clears_it() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = Config::new(scratch.path());
    config.quota_bytes = Some(64 << 10);
    let node = Node::open(config).await.unwrap();
    let member = node.member_id();
    let mut last = Revision(0);
    while node.check_quota(1 << 10).await.is_ok() {
        last = node.put(put("k", &"x".repeat(1 << 10))).await.unwrap().revision;
    }
    assert_eq!(node.alarms(), [(member, AlarmKind::NoSpace)]);
    assert_eq!(node.put(put("k", "")).await, Err(OpError::NoSpace));
    let delete = DeleteRangeRequest { range: KeyRange::single("other"), prev_kv: false };
    assert_eq!(node.delete_range(delete).await.unwrap().deleted, 0);

    node.compact(last, true).await.unwrap();
    while !node.alarms().is_empty() {
        tokio::task::yield_now().await;
    }
    node.check_quota(1 << 10).await.unwrap();
    node.put(put("k", "")).await.unwrap();
    node.stop().await;
}

#[tokio::test]
async fn an_alarm_that_a_person_raised_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let node = open(scratch.path()).await;
    let alarm = (node.member_id(), AlarmKind::NoSpace);
    assert_eq!(node.set_alarm(alarm.0, alarm.1, true).await, Ok(vec![alarm]));
    assert_eq!(node.put(put("k", "v")).await, Err(OpError::NoSpace));
    let bystander = node.lease_revoke(LeaseId(1)).await;
    assert_eq!(bystander, Err(OpError::LeaseNotFound));
    assert_eq!(node.compact(Revision(1), true).await, Ok(Revision(1)));
    assert_eq!(node.alarms(), [alarm]);
    assert_eq!(node.set_alarm(alarm.0, alarm.1, false).await, Ok(vec![alarm]));
    node.put(put("k", "v")).await.unwrap();
    node.stop().await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_recovers() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = Config::new(scratch.path());
    config.commit_queue_requests_max = 4;
    let (node, gate) = gated_log::open(config).await;
    gate.close();
    let attempts = (0..64).map(|n| {
        let node = node.clone();
        tokio::spawn(async move { node.put(put(format!("{n}"), "v")).await })
    });
    let attempts: Vec<_> = attempts.collect();
    // Nothing is answered before all have asked.
    let refused = async {
        while attempts.iter().filter(|attempt| attempt.is_finished()).count() < 60 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.expect("60 are refused");
    assert_eq!(node.status().pending, 4);
    gate.open();
    let mut accepted = 0;
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(_) => accepted += 1,
            Err(refused) => assert_eq!(refused, OpError::TooManyRequests),
        }
    }
    assert_eq!(accepted, 4);
    assert_eq!(values(&node).await.len(), accepted);
    node.put(put("after", "v")).await.unwrap();
    node.stop().await;
}

/// Under overload what gives back room does not wait for it: revocations and
/// compactions have a reserve and go ahead of the puts that wait; a renewal does
/// not even need the log.
#[tokio::test]
async fn under_overload_what_gives_back_room_goes_ahead() {
    const PLACES: usize = 64;
    let scratch = tempfile::tempdir().unwrap();
    let mut config = Config::new(scratch.path());
    config.commit_queue_requests_max = PLACES;
    let (node, gate) = gated_log::open(config).await;
    for id in [7, 8] {
        node.lease_grant(LeaseId(id), 600).await.unwrap();
    }
    let leased = PutRequest { lease: LeaseId(7), ..put("leased", "v") };
    let before = node.put(leased).await.unwrap().revision;
    gate.close();
    let spawn_put = |key: String| {
        let node = node.clone();
        tokio::spawn(async move { node.put(put(key, "v")).await.unwrap().revision })
    };
    let first = spawn_put("first".to_owned());
    gate.sync_waits().await;
    let waiting: Vec<_> = (1..PLACES).map(|n| spawn_put(format!("{n}"))).collect();
    pending(&node, PLACES).await;
    assert_eq!(node.put(put("late", "v")).await.unwrap_err(), OpError::TooManyRequests);

    let revoking = tokio::spawn({
        let node = node.clone();
        async move { node.lease_revoke(LeaseId(7)).await.unwrap() }
    });
    pending(&node, PLACES + 1).await;
    let compacting = tokio::spawn({
        let node = node.clone();
        async move { node.compact(before, false).await }
    });
    pending(&node, PLACES + 2).await;
    // The log still hangs.
    assert_eq!(node.lease_keep_alive(LeaseId(8)).await, Ok(600));
    assert!(!revoking.is_finished() && !compacting.is_finished());
    gate.open();
    compacting.await.unwrap().unwrap();
    assert_eq!(first.await.unwrap(), before.next());
    assert_eq!(revoking.await.unwrap(), before.next().next(), "ahead of all that wait");
    for put in waiting {
        assert!(put.await.unwrap() > before.next().next());
    }
    node.stop().await;
}

/// However much goes ahead, puts have their turn.
#[tokio::test]
async fn what_goes_ahead_does_not_starve_puts() {
    const LEASES: i64 = 1_000;
    let scratch = tempfile::tempdir().unwrap();
    let (node, gate) = gated_log::open(Config::new(scratch.path())).await;
    for id in 1..=LEASES {
        node.lease_grant(LeaseId(id), 600).await.unwrap();
        let leased = PutRequest { lease: LeaseId(id), ..put(format!("{id}"), "v") };
        node.put(leased).await.unwrap();
    }
    let before = node.revision();
    gate.close();
    let spawn_put = |key: &'static str| {
        let node = node.clone();
        tokio::spawn(async move { node.put(put(key, "v")).await.unwrap().revision })
    };
    let first = spawn_put("first");
    gate.sync_waits().await;
    let revoking: Vec<_> = (1..=LEASES)
        .map(|id| {
            let node = node.clone();
            tokio::spawn(async move { node.lease_revoke(LeaseId(id)).await.unwrap() })
        })
        .collect();
    pending(&node, 1 + LEASES as usize).await;
    let waiting = spawn_put("waiting");
    pending(&node, 2 + LEASES as usize).await;
    gate.open();
    first.await.unwrap();
    let ahead = waiting.await.unwrap().0 - before.0;
    assert!(ahead <= LEASES / 3, "{ahead} of {LEASES} went ahead of a put");
    for revoked in revoking {
        revoked.await.unwrap();
    }
    assert_eq!(node.revision().0 - before.0, LEASES + 2);
    node.stop().await;
}

/// Waits until so many requests are admitted and not answered.
async fn pending(node: &Node, count: usize) {
    let there = async {
        while node.status().pending != count {
            tokio::task::yield_now().await;
        }
    };
    let there = tokio::time::timeout(Duration::from_secs(60), there).await;
    there.unwrap_or_else(|_| panic!("{} are pending, not {count}", node.status().pending));
}

/// What it needs is recent enough to be served without reading, and nothing
/// happens afterwards that would wake its stream by chance.
#[tokio::test]
async fn a_watcher_from_the_recent_past_is_served_in_silence() {
    let scratch = tempfile::tempdir().unwrap();
    let node = open(scratch.path()).await;
    // The hub begins with the first stream: what is written later is recent to it.
    let first = node.watch();
    for n in 0..3 {
        node.put(put("k", &n.to_string())).await.unwrap();
    }
    let stream = node.watch();
    let mut spec = WatchSpec::new(KeyRange::single("k"));
    spec.start = Revision(3);
    stream.create(None, spec);
    let created = stream.next().await;
    assert!(matches!(created, Some(WatchMessage::Created { .. })), "{created:?}");
    let events = tokio::time::timeout(Duration::from_secs(20), stream.next()).await;
    let Some(WatchMessage::Events { batch, .. }) = events.expect("it hears of them") else {
        panic!("no events");
    };
    let seen: Vec<i64> = batch.events().map(|event| event.kv.mod_revision.0).collect();
    assert_eq!(seen, [3, 4]);
    drop(first);
    node.stop().await;
}

#[tokio::test]
async fn a_watcher_from_the_past_goes_live_without_gap_or_repeat() {
    let scratch = tempfile::tempdir().unwrap();
    let node = open(scratch.path()).await;
    for n in 0..100 {
        node.put(put("k", &n.to_string())).await.unwrap();
    }
    let stream = node.watch();
    let mut spec = WatchSpec::new(KeyRange::single("k"));
    spec.start = Revision(2);
    stream.create(None, spec);
    let writer = tokio::spawn({
        let node = node.clone();
        async move {
            for n in 100..300 {
                node.put(put("k", &n.to_string())).await.unwrap();
            }
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 300 {
        match stream.next().await.expect("the stream goes on") {
            WatchMessage::Events { batch, .. } => {
                seen.extend(batch.events().map(|event| event.kv.mod_revision.0));
            }
            WatchMessage::Created { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, (2..302).collect::<Vec<_>>());
    writer.await.unwrap();
    node.stop().await;
}
