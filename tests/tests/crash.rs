//! The real t4, killed under 64 concurrent writers, again and again.
//!
//! `T4_CRASH_ROUNDS` is how often (default 50). After each restart every
//! acknowledged write is there, at the revision that it was acknowledged with;
//! the revisions have no hole; transactions are whole; what watchers saw before
//! the crash and after is the history, each event once.

use std::time::Duration;

use t4_testkit::{Etcd, EtcdOptions, Rng, Rpc, Seed, T4, T4Options};
use t4_tests::crash::{
    Attempt, Checker, Outcome, Victim, Violation, Watchers, Workload, current_state, history_since,
};

const COMMAND: &str = "cargo test -p t4-tests --test crash";
const WRITERS: u32 = 64;
const WATCHERS: usize = 3;
// The whole history is read again after so many rounds, else only its end.
const FULL_READ_EVERY: u32 = 10;

fn rounds(default: u32) -> u32 {
    match std::env::var("T4_CRASH_ROUNDS") {
        Ok(text) if !text.is_empty() => {
            text.parse().unwrap_or_else(|_| panic!("T4_CRASH_ROUNDS={text:?} is no number"))
        }
        _ => default,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_keeps_what_it_acknowledged() {
    let mut t4 = T4::start(T4Options::default()).expect("start t4");
    crash_again_and_again("crash", &mut t4, rounds(50)).await;
    t4.stop().expect("a clean end");
    t4.start_again().expect("a start after a clean end");
    let rpc = Rpc::connect(t4.endpoint()).await.expect("connect");
    let (revision, _) = current_state(&rpc).await.expect("the state");
    assert!(revision > 1, "a clean end keeps everything too");
}

/// That the suite asks nothing that a correct server does not give. etcd is
/// stopped, not killed: see its [`Victim`].
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_etcd() {
    let mut etcd = Etcd::start(EtcdOptions::default()).expect("start etcd");
    crash_again_and_again("stops of etcd", &mut etcd, 3).await;
}

async fn crash_again_and_again(name: &str, victim: &mut impl Victim, rounds: u32) {
    let seed = Seed::announce(name, COMMAND);
    let mut rng = seed.rng();
    let mut workload = Workload::new(WRITERS, &mut rng);
    let mut watchers = Watchers::new(WATCHERS);
    let mut checker = Checker::default();
    let (mut acknowledged, mut unknown) = (0, 0);
    for round in 1..=rounds {
        workload.start(&victim.endpoint()).await.expect("start the writers");
        watchers.resume(&victim.endpoint()).await.expect("resume the watchers");
        // Not a wait for anything: the moment of the crash is arbitrary.
        tokio::time::sleep(Duration::from_millis(rng.between(300, 700) as u64)).await;
        victim.take_down().expect("take it down");
        let attempts = workload.stopped().await.expect("writers");
        watchers.stopped().await.expect("watchers");
        let known = attempts.iter().filter(|a| a.outcome != Outcome::Unknown).count();
        acknowledged += known;
        unknown += attempts.len() - known;

        restart(victim, &mut rng);
        let all = round == rounds || round % FULL_READ_EVERY == 0;
        let violations = judge(&mut checker, victim, attempts, all).await;
        assert!(violations.is_empty(), "seed {seed}, round {round}: {violations:#?}");
        for (watcher, seen) in watchers.seen().iter().enumerate() {
            if let Some(place) = checker.watched(seen) {
                panic!(
                    "seed {seed}, round {round}: watcher {watcher} saw {:?} where the history has {:?}",
                    seen.get(place),
                    checker.log().get(place)
                );
            }
        }
    }
    println!(
        "{rounds} crashes: {acknowledged} acknowledged writes, {unknown} without an answer, \
         {} revisions",
        checker.revision()
    );
    assert!(acknowledged > 0, "seed {seed}: nothing was written, so nothing was tested");
    assert!(unknown > 0, "seed {seed}: no crash hit a write");
}

// Sometimes it crashes again while it recovers.
fn restart(victim: &mut impl Victim, rng: &mut Rng) {
    while rng.chance(1, 4) {
        victim.stumble(Duration::from_millis(rng.below(80))).expect("crash while it starts");
    }
    victim.start_again().expect("start again");
}

// Reads what the server tells now, all of it or only what is new.
async fn judge(
    checker: &mut Checker,
    victim: &impl Victim,
    attempts: Vec<Attempt>,
    all: bool,
) -> Vec<Violation> {
    let rpc = Rpc::connect(&victim.endpoint()).await.expect("connect");
    let from = if all { 2 } else { checker.revision() + 1 };
    let told = history_since(&rpc, from).await.expect("the history");
    let mut violations = checker.round(attempts, from, &told);
    let (current, state) = current_state(&rpc).await.expect("the state");
    violations.extend(checker.state(current, &state));
    // One loss moves everything after it: what came first is told first.
    violations.sort_by_key(|violation| matches!(violation, Violation::Moved(..)));
    violations.truncate(20);
    violations
}
