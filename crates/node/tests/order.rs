//! What one answer has shown, every later one shows: whatever the call, the
//! connection and the runtime.

mod gated_log;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gated_log::Gate;
use t4_auth_rbac::{Command, Identity, PasswordHash};
use t4_kv_types::{
    AlarmKind, AuthError, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyRange,
    LeaseId, OpError, PutRequest, RangeRequest, Revision, TxnOp, TxnOpResult, TxnRequest,
    TxnResult,
};
use t4_node::watch_hub::CancelReason;
use t4_node::{Config, Node, WatchMessage, WatchSpec, WatchStream};

/// Transactions of 128 puts in an entry that takes long to apply: just below
/// what is one entry.
const LARGE_TXNS: usize = 900;

fn put(key: impl Into<String>) -> PutRequest {
    PutRequest { key: key.into().into(), ..Default::default() }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest::new(KeyRange::single(key.to_owned()))
}

/// A transaction of which the compare fails and which then looks at `k`.
fn failing() -> TxnRequest {
    let never = DeleteRangeRequest { range: KeyRange::single("never"), prev_kv: false };
    TxnRequest {
        compares: vec![Compare {
            range: KeyRange::single("k"),
            result: CompareResult::Equal,
            target: CompareTarget::Version(-7),
        }],
        success: vec![TxnOp::DeleteRange(never)],
        failure: vec![TxnOp::Range(get("k"))],
    }
}

/// The revision at which `k` was changed last, by the answer to [`failing`].
fn shown(result: &TxnResult) -> Revision {
    match &result.responses[..] {
        [TxnOpResult::Range(range)] => range.kvs.first().map_or(Revision(0), |kv| kv.mod_revision),
        other => panic!("{other:?}"),
    }
}

async fn mod_revision(node: &Node, key: &str) -> Revision {
    let found = node.range(get(key)).await.unwrap();
    found.kvs.first().map_or(Revision(0), |kv| kv.mod_revision)
}

fn user_add() -> Command {
    let password = Some(PasswordHash("$2a$04$hash".into()));
    Command::UserAdd { name: "alice".into(), no_password: false, password }
}

/// A replica of which the log holds back an entry that takes long to apply:
/// what is answered before that is done is seen to be.
struct LargeEntry {
    node: Node,
    gate: Gate,
    /// How many requests were made.
    requests: usize,
    tasks: tokio::task::JoinSet<()>,
    _scratch: tempfile::TempDir,
}

impl LargeEntry {
    async fn begin() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let (node, gate) = gated_log::open(Config::new(scratch.path())).await;
        node.lease_grant(LeaseId(8), 1000).await.unwrap();
        node.put(put("k")).await.unwrap();
        gate.close();
        let tasks = tokio::task::JoinSet::new();
        let mut this = LargeEntry { node, gate, requests: 0, tasks, _scratch: scratch };
        for n in 0..=LARGE_TXNS {
            let puts = (0..128).map(|key| TxnOp::Put(put(format!("{n}/{key}"))));
            let txn = TxnRequest { success: puts.collect(), ..Default::default() };
            let node = this.node.clone();
            this.request(async move {
                node.txn(txn).await.unwrap();
            });
            if n == 0 {
                this.gate.sync_waits().await;
            }
        }
        this
    }

    /// Makes a request, in the order of the calls.
    fn request(&mut self, request: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(request);
        self.requests += 1;
    }

    async fn until_pending(&self, count: usize) {
        while self.node.status().pending != count {
            tokio::task::yield_now().await;
        }
    }

    /// What was requested so far is evaluated and on its way to the disk.
    async fn close_entry(&mut self) {
        self.until_pending(self.requests).await;
        self.gate.next_sync().await;
        // The first one is through.
        self.requests -= 1;
    }

    /// The entry becomes durable; then everything ends.
    async fn finish(self) {
        self.until_pending(self.requests).await;
        self.gate.open();
        self.tasks.join_all().await;
        self.node.stop().await;
    }
}

/// Each of the answers changes nothing, and rests on an entry that is durable
/// and not applied. None may come before that is done.
#[tokio::test]
async fn answers_without_an_effect_wait_for_what_they_have_seen() {
    let mut entry = LargeEntry::begin().await;
    macro_rules! requests {
        ($(|$node:ident| $check:expr;)*) => {
            $(let $node = entry.node.clone(); entry.request(async move { $check });)*
        };
    }
    requests! {
        |node| assert!(node.put(put("k")).await.is_ok());
        |node| assert!(node.lease_grant(LeaseId(7), 1000).await.is_ok());
        |node| assert!(node.lease_revoke(LeaseId(8)).await.is_ok());
        |node| assert!(node.auth_command(user_add()).await.is_ok());
        |node| assert!(node.compact(Revision(2), false).await.is_ok());
    }
    entry.close_entry().await;
    requests! {
        |node| {
            let seen = node.txn(failing()).await.unwrap();
            assert!(shown(&seen) > Revision(3));
            assert!(mod_revision(&node, "k").await >= shown(&seen), "a failed compare");
            assert!(node.revision() >= seen.revision);
        };
        |node| {
            let none = DeleteRangeRequest { range: KeyRange::single("never"), prev_kv: false };
            let seen = node.delete_range(none).await.unwrap();
            assert!(node.revision() >= seen.revision, "a delete of nothing");
        };
        |node| {
            assert_eq!(node.lease_grant(LeaseId(7), 1000).await, Err(OpError::LeaseExists));
            let found = node.lease_time_to_live(LeaseId(7), false).await.unwrap();
            assert_eq!(found.granted_ttl_s, 1000, "a lease that exists");
        };
        |node| {
            let leased = PutRequest { lease: LeaseId(8), ..put("k") };
            assert_eq!(node.put(leased).await, Err(OpError::LeaseNotFound));
            assert!(!node.leases().await.unwrap().contains(&LeaseId(8)), "a lease that is gone");
        };
        |node| {
            let added = node.auth_command(user_add()).await;
            assert_eq!(added, Err(OpError::Auth(AuthError::UserAlreadyExist)));
            let users = node.auth().user_list(&Identity::Server).unwrap();
            assert_eq!(users.len(), 1, "a user that exists");
        };
        |node| {
            assert_eq!(node.compact(Revision(2), false).await, Err(OpError::Compacted));
            assert_eq!(node.status().compacted, Some(Revision(2)), "a compaction");
        };
    }
    entry.finish().await;
}

#[tokio::test]
async fn a_refusal_for_want_of_space_waits_for_the_alarm() {
    let mut entry = LargeEntry::begin().await;
    let alarm = (entry.node.member_id(), AlarmKind::NoSpace);
    let node = entry.node.clone();
    entry.request(async move {
        node.set_alarm(alarm.0, alarm.1, true).await.unwrap();
    });
    entry.close_entry().await;
    let node = entry.node.clone();
    entry.request(async move {
        assert_eq!(node.put(put("k")).await, Err(OpError::NoSpace));
        assert_eq!(node.alarms(), [alarm]);
    });
    entry.finish().await;
}

/// A put that is there can only have come after the end of the alarm.
#[tokio::test]
async fn an_alarm_goes_off_before_the_puts_that_it_forbade_are_seen() {
    let scratch = tempfile::tempdir().unwrap();
    let (node, gate) = gated_log::open(Config::new(scratch.path())).await;
    let alarm = (node.member_id(), AlarmKind::NoSpace);
    node.set_alarm(alarm.0, alarm.1, true).await.unwrap();
    gate.close();
    let mut requests = tokio::task::JoinSet::new();
    let first = node.clone();
    requests.spawn(async move { assert!(first.compact(Revision(1), false).await.is_ok()) });
    gate.sync_waits().await;
    let off = node.clone();
    requests.spawn(async move { assert!(off.set_alarm(alarm.0, alarm.1, false).await.is_ok()) });
    for n in 0..LARGE_TXNS {
        let puts = (0..128).map(|key| TxnOp::Put(put(format!("{n}/{key}"))));
        let txn = TxnRequest { success: puts.collect(), ..Default::default() };
        let node = node.clone();
        requests.spawn(async move { assert!(node.txn(txn).await.is_ok()) });
    }
    while node.status().pending != 2 + LARGE_TXNS {
        tokio::task::yield_now().await;
    }
    let looking = node.clone();
    let looker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let node = looking.on_this_runtime();
            while mod_revision(&node, "0/0").await == Revision(0) {}
            node.alarms()
        })
    });
    gate.open();
    requests.join_all().await;
    assert_eq!(looker.join().unwrap(), []);
    node.stop().await;
}

/// What a race of real clients finds in the first second, if there is anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_failed_compare_is_never_ahead_of_the_next_read() {
    let scratch = tempfile::tempdir().unwrap();
    let node = Node::open(Config::new(scratch.path())).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let mut checkers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (node, done) = (node.on_this_runtime(), done.clone());
        checkers.spawn(async move {
            let mut checks = 0;
            while !done.load(Ordering::Relaxed) || checks < 20 {
                let seen = node.txn(failing()).await.unwrap();
                let found = node.range(get("k")).await.unwrap();
                let newest = found.kvs.first().map_or(Revision(0), |kv| kv.mod_revision);
                assert!(newest >= shown(&seen) && found.revision >= seen.revision);
                checks += 1;
            }
        });
    }
    for _ in 0..1_000 {
        node.put(put("k")).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    checkers.join_all().await;
    node.stop().await;
}

/// Keys are attached to a lease, detached, and attached again; the lease ends
/// and begins anew. Between two reads that show the same, the lease shows it too.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_lease_and_its_keys_are_shown_alike() {
    let scratch = tempfile::tempdir().unwrap();
    let node = Node::open(Config::new(scratch.path())).await.unwrap();
    let lease = LeaseId(7);
    let done = Arc::new(AtomicBool::new(false));
    let mut checkers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (node, done) = (node.on_this_runtime(), done.clone());
        checkers.spawn(async move {
            let mut checks = 0;
            while !done.load(Ordering::Relaxed) || checks < 20 {
                let before = node.range(get("0")).await.unwrap();
                let found = node.lease_time_to_live(lease, true).await.unwrap();
                let after = node.range(get("0")).await.unwrap();
                if before.revision == after.revision {
                    let attached = after.kvs.first().is_some_and(|kv| kv.lease == lease);
                    let shown = found.keys.iter().any(|key| *key == "0");
                    assert_eq!(shown, attached, "at revision {}", after.revision);
                    checks += 1;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    // Many keys at once: there is much to do before they are visible.
    let all = |lease: LeaseId| {
        let puts = (0..128).map(|key| TxnOp::Put(PutRequest { lease, ..put(key.to_string()) }));
        TxnRequest { success: puts.collect(), ..Default::default() }
    };
    for _ in 0..60 {
        node.lease_grant(lease, 1000).await.unwrap();
        for holder in [lease, LeaseId::NONE, lease] {
            node.txn(all(holder)).await.unwrap();
        }
        node.lease_revoke(lease).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    checkers.join_all().await;
    node.stop().await;
}

/// Two runtimes, each with its lane; the other one does not run while nobody
/// asks for something there.
struct TwoRuntimes {
    one: tokio::runtime::Runtime,
    other: tokio::runtime::Runtime,
    node: Node,
    watching: WatchStream,
    elsewhere: Node,
    _scratch: tempfile::TempDir,
}

impl TwoRuntimes {
    fn start() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let runtime =
            || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (one, other) = (runtime(), runtime());
        let node = one.block_on(Node::open(Config::new(scratch.path()))).unwrap();
        // The hub of the other runtime begins here.
        let (elsewhere, watching) = other.block_on(async {
            let elsewhere = node.on_this_runtime();
            let watching = elsewhere.watch();
            watching.create(None, WatchSpec::new(KeyRange::all()));
            assert!(matches!(watching.next().await, Some(WatchMessage::Created { .. })));
            (elsewhere, watching)
        });
        TwoRuntimes { one, other, node, watching, elsewhere, _scratch: scratch }
    }

    fn put(&self) -> Revision {
        self.one.block_on(self.node.put(put("k"))).unwrap().revision
    }
}

async fn next(stream: &WatchStream) -> WatchMessage {
    let next = tokio::time::timeout(Duration::from_secs(60), stream.next()).await;
    next.expect("a message").expect("the stream goes on")
}

async fn next_event(stream: &WatchStream) -> Revision {
    match next(stream).await {
        WatchMessage::Events { batch, .. } => batch.events().next().unwrap().kv.mod_revision,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_watch_from_now_begins_after_what_was_acknowledged_elsewhere() {
    let two = TwoRuntimes::start();
    let acknowledged = two.put();
    let stream = two.other.block_on(async {
        let stream = two.elsewhere.watch();
        stream.create(None, WatchSpec::new(KeyRange::all()));
        let WatchMessage::Created { revision, .. } = next(&stream).await else {
            panic!("it is created");
        };
        assert!(revision >= acknowledged, "created at {revision}, after {acknowledged}");
        stream
    });
    let later = two.put();
    two.other.block_on(async {
        assert_eq!(next_event(&stream).await, later);
        // The one that was there before has both.
        assert_eq!(next_event(&two.watching).await, acknowledged);
        assert_eq!(next_event(&two.watching).await, later);
        stream.cancel(0);
        let WatchMessage::Canceled { revision, .. } = next(&stream).await else {
            panic!("it is cancelled");
        };
        assert!(revision >= later);
    });
    two.one.block_on(two.node.stop());
}

#[test]
fn progress_is_as_new_as_what_was_acknowledged_elsewhere() {
    let two = TwoRuntimes::start();
    let acknowledged = two.put();
    two.other.block_on(async {
        two.watching.request_progress();
        assert_eq!(next_event(&two.watching).await, acknowledged);
        let WatchMessage::Progress { revision, .. } = next(&two.watching).await else {
            panic!("it is told of its progress");
        };
        assert!(revision >= acknowledged, "progress {revision}, after {acknowledged}");
    });
    two.one.block_on(two.node.stop());
}

#[test]
fn a_compaction_is_known_where_it_was_not_asked_for() {
    let two = TwoRuntimes::start();
    let acknowledged = two.put();
    let last = two.put();
    two.one.block_on(two.node.compact(last, false)).unwrap();
    two.other.block_on(async {
        let stream = two.elsewhere.watch();
        let start = acknowledged;
        stream.create(None, WatchSpec { start, ..WatchSpec::new(KeyRange::all()) });
        assert!(matches!(next(&stream).await, WatchMessage::Created { .. }));
        let WatchMessage::Canceled { reason, .. } = next(&stream).await else {
            panic!("it is compacted away");
        };
        assert_eq!(reason, CancelReason::Compacted(last));
    });
    two.one.block_on(two.node.stop());
}
