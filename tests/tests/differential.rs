//! T4 beside a real etcd: the same operations, every field of every answer.
//!
//! `T4_DIFF_OPS` is how many (default 100,000), `T4_SEED` which. A difference
//! is shown with both answers, and with the fewest operations that still show
//! it, found by replaying on fresh servers for `T4_DIFF_SHRINK_SECONDS`
//! (default 90). Everything that was asked and answered goes into a file.
//!
//! That the comparison is deterministic and sees what it should is tested too:
//! two etcds show no difference, and a planted one is found.

use std::collections::BTreeMap;
use std::time::Duration;

use t4_testkit::{Etcd, EtcdOptions, Seed, T4, T4Options, target_dir};
use t4_tests::differential::{
    Difference, Fault, FaultKind, Generator, Op, Report, Target, compare, replay, run, shrink,
};

const COMMAND: &str = "cargo test -p t4-tests --test differential";
const PATIENCE: Duration = Duration::from_secs(20);
// In replays of shortened sequences, watchers may wait for what cannot come.
const REPLAY_PATIENCE: Duration = Duration::from_secs(2);

fn number(variable: &str, default: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) if !text.is_empty() => {
            text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is no number"))
        }
        _ => default,
    }
}

// Its answers are the same without fsync, and it is several times faster.
fn etcd() -> Etcd {
    Etcd::start(EtcdOptions { fsync: false, ..EtcdOptions::default() }).expect("start etcd")
}

fn t4() -> T4 {
    T4::start(T4Options::default()).expect("start t4")
}

async fn of_etcd(etcd: &Etcd, patience: Duration) -> Target {
    Target::connect(etcd.endpoint(), patience).await.expect("connect").of_old_line()
}

async fn of_t4(t4: &T4, patience: Duration) -> Target {
    Target::connect(t4.endpoint(), patience).await.expect("connect")
}

/// Shortens the sequence that led to a difference and panics with all of it.
async fn explain(seed: Seed, report: &Report, difference: &Difference) -> ! {
    let transcript = target_dir().join(format!("differential-{seed}.log"));
    std::fs::write(&transcript, report.transcript()).expect("write the transcript");
    println!("everything that was asked and answered: {}", transcript.display());
    assert!(
        !difference.reference.is_missing(),
        "etcd itself gave no answer, which tells nothing of t4; seed {seed}\n{difference}"
    );
    let budget = Duration::from_secs(number("T4_DIFF_SHRINK_SECONDS", 90) as u64);
    let last = &difference.op;
    let fails = |ops: Vec<Op>| async move {
        let (etcd, t4) = (etcd(), t4());
        let reference = of_etcd(&etcd, REPLAY_PATIENCE).await;
        let subject = of_t4(&t4, REPLAY_PATIENCE).await;
        // Another operation may go wrong for want of what was left out.
        let difference = replay(reference, subject, ops).await.difference;
        difference.is_some_and(|found| found.op == *last && !found.reference.is_missing())
    };
    let fewest = shrink(report.ops(), budget, fails).await;
    let shown = fewest.len().min(50);
    let listing = Report::listing(&fewest[fewest.len() - shown..]);
    panic!(
        "t4 differs from etcd; seed {seed}, replay: T4_SEED={seed} {COMMAND}\n{difference}\n\
         {} operations still show it; the last {shown}:\n{listing}",
        fewest.len()
    );
}

fn print_coverage(coverage: &BTreeMap<String, usize>) {
    for (what, times) in coverage {
        println!("{times:>8}  {what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_answers_like_etcd() {
    let seed = Seed::announce("differential", COMMAND);
    let count = number("T4_DIFF_OPS", 100_000);
    let (etcd, t4) = (etcd(), t4());
    let reference = of_etcd(&etcd, PATIENCE).await;
    let subject = of_t4(&t4, PATIENCE).await;
    let report = run(reference, subject, Generator::new(seed), count, None).await.expect("run");
    print_coverage(&report.coverage());
    if let Some(difference) = &report.difference {
        explain(seed, &report, difference).await;
    }
    assert_eq!(report.history.len(), count, "seed {seed}");
}

/// The proof that the comparison is deterministic, and that the generator goes
/// everywhere; then, on the same answers, that no spoiled one would pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_etcds_answer_alike_and_every_fault_would_show() {
    let seed = Seed::announce("differential of etcd with itself", COMMAND);
    let count = number("T4_DIFF_SELF_OPS", 15_000);
    let (one, two) = (etcd(), etcd());
    let reference = of_etcd(&one, PATIENCE).await;
    let subject = of_etcd(&two, PATIENCE).await;
    let generator = Generator::for_old_line(seed);
    let report = run(reference, subject, generator, count, None).await.expect("run");
    if let Some(difference) = &report.difference {
        panic!("two etcds differ; seed {seed}\n{difference}");
    }
    let coverage = report.coverage();
    print_coverage(&coverage);
    for expected in EXPECTED_COVERAGE {
        assert!(coverage.contains_key(*expected), "seed {seed}: never seen: {expected}");
    }
    for kind in FaultKind::ALL {
        let struck = faults_that_show(*kind, &report);
        println!("{kind:?}: {struck} spoiled answers, all found");
        assert!(struck > 0, "seed {seed}: {kind:?} never applied");
    }
}

// Spoils every answer that the fault applies to; each must be found.
fn faults_that_show(kind: FaultKind, report: &Report) -> usize {
    let mut struck = 0;
    for (op, want, got) in &report.history {
        let mut spoiled = got.clone();
        if kind.spoil(&mut spoiled) {
            struck += 1;
            assert!(
                compare(op, want, &spoiled).is_some(),
                "{kind:?} passes unseen in {op:?}\n{got:?}\n{spoiled:?}"
            );
        }
    }
    struck
}

/// The whole way: a planted difference stops a run at the right operation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planted_difference_stops_the_run() {
    let seed = Seed::announce("planted difference", COMMAND);
    let (one, two) = (etcd(), etcd());
    let reference = of_etcd(&one, PATIENCE).await;
    let subject = of_etcd(&two, PATIENCE).await;
    let fault = Fault { kind: FaultKind::HeaderRevision, from: 500 };
    let generator = Generator::for_old_line(seed);
    let report = run(reference, subject, generator, 5_000, Some(fault)).await.expect("run");
    let difference = report.difference.expect("the planted difference is found");
    assert!((500..600).contains(&difference.number), "seed {seed}: {difference}");
    assert_eq!(report.history.len(), difference.number + 1);
}

/// Every kind of operation, and every refusal that the contract names and that
/// can be had without users, other members or a full disk.
const EXPECTED_COVERAGE: &[&str] = &[
    "Range",
    "Put",
    "Delete",
    "Txn",
    "Compact",
    "LeaseGrant",
    "LeaseGrantAny",
    "LeaseRevoke",
    "LeaseTimeToLive",
    "LeaseLeases",
    "LeaseKeepAlive",
    "HashKv",
    "Alarm",
    "Status",
    "Hash",
    "Defragment",
    "MoveLeader",
    "Downgrade",
    "MemberList",
    "MemberAddRefused",
    "MemberRemove",
    "MemberUpdate",
    "MemberPromote",
    "Lock",
    "LockContended",
    "Unlock",
    "Campaign",
    "Proclaim",
    "Leader",
    "Resign",
    "ObserveOnce",
    "WatchCreate",
    "WatchCancel",
    "WatchProgress",
    "WatchNothing",
    "WatchJoin",
    "WatchClose",
    "InvalidArgument: etcdserver: key is not provided",
    "InvalidArgument: etcdserver: key not found",
    "InvalidArgument: etcdserver: value is provided",
    "InvalidArgument: etcdserver: lease is provided",
    "InvalidArgument: etcdserver: too many operations in txn request",
    "InvalidArgument: etcdserver: duplicate key given in txn request",
    "OutOfRange: etcdserver: mvcc: required revision has been compacted",
    "OutOfRange: etcdserver: mvcc: required revision is a future revision",
    "NotFound: etcdserver: requested lease not found",
    "FailedPrecondition: etcdserver: lease already exists",
    "OutOfRange: etcdserver: too large lease TTL",
];
