//! The real t4 under many clients, killed, stopped and started again: what
//! they saw is linearizable, and watches keep etcd's guarantees.
//!
//! `T4_LINEARIZABILITY_OPS` is how many calls are made at least (default
//! 500,000); `T4_LONG` makes them for so many hours instead.
//! `T4_LINEARIZABILITY_GO_ON=1` goes on after a fault, to count them.
//! `T4_LINEARIZABILITY_OF=etcd` asks the etcd in `T4_ETCD_DIR` the same, which
//! shows that the suite asks nothing that a correct server does not give.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use t4_linearizability::{Checker, Fault, History, Request, Verdict, Violation, show};
use t4_testkit::Seed;
use t4_tests::linearizability::{Life, Run, Server};

const COMMAND: &str = "cargo test -p t4-tests --test linearizability";
const CALLERS: u32 = 64;
const SHOWN: usize = 2;

/// When it is enough.
enum Enough {
    Calls(usize),
    Time(Duration),
}

impl Enough {
    fn from_env() -> Enough {
        if let Some(hours) = number("T4_LONG") {
            return Enough::Time(Duration::from_secs(hours as u64 * 3600));
        }
        Enough::Calls(number("T4_LINEARIZABILITY_OPS").unwrap_or(500_000))
    }

    fn is_reached(&self, calls: usize, since: Instant) -> bool {
        match self {
            Enough::Calls(enough) => calls >= *enough,
            Enough::Time(enough) => since.elapsed() >= *enough,
        }
    }
}

fn number(name: &str) -> Option<usize> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_see_is_linearizable() {
    let seed = Seed::announce("linearizability", COMMAND);
    let mut rng = seed.rng();
    let enough = Enough::from_env();
    let server = Server::start().expect("start the server");
    let mut run = Run::new(server, CALLERS, &mut rng);
    let mut checker = Checker::new();
    let began = Instant::now();
    let (mut calls, mut watches, mut lives, mut inconclusive, mut faulty) = (0, 0, 0, 0, 0);
    let go_on = number("T4_LINEARIZABILITY_GO_ON").is_some();
    loop {
        let quiet = enough.is_reached(calls, began);
        let end = match (quiet, rng.chance(1, 3)) {
            (true, _) => Life::Quiet,
            (_, true) => Life::Stopped,
            (_, false) => Life::Killed,
        };
        // The first is short: what is badly wrong shows at once.
        let length = if lives == 0 { 1000 } else { rng.between(4000, 8000) };
        let length = Duration::from_millis(length as u64);
        let history = run.life(end, length).await.expect("a life of the server");
        calls += history.calls.len();
        watches += history.watches.len();
        lives += 1;
        let checking = Instant::now();
        let mut verdict = tokio::task::block_in_place(|| checker.check(&history));
        if run.server().is_etcd() {
            verdict.forgive(|violation| etcd_does_so(violation, &history));
        }
        println!(
            "life {lives} ({end:?}): {} calls and {} watches, {calls} calls in {:.1} s, revision {}; \
             checked in {:.1} s",
            history.calls.len(),
            history.watches.len(),
            began.elapsed().as_secs_f64(),
            checker.revision(),
            checking.elapsed().as_secs_f64(),
        );
        inconclusive += verdict.inconclusive;
        if !verdict.is_clean() {
            let kept = keep(&run, &history, &verdict);
            let report = verdict.report(&history, SHOWN);
            let text = format!("seed {seed}, life {lives}: {kept}\n{report}");
            assert!(go_on, "{text}");
            println!("{text}");
            faulty += 1;
        }
        if quiet {
            break;
        }
    }
    println!(
        "{calls} calls and {watches} watches in {lives} lives, {:.0} s; {inconclusive} searches given up",
        began.elapsed().as_secs_f64()
    );
    assert_eq!(faulty, 0, "seed {seed}: lives with faults");
    assert!(watches > lives, "seed {seed}: nothing was watched");
    assert!(inconclusive * 100 <= lives, "seed {seed}: too many orders were possible");
}

/// etcd attaches a key to a lease, and tells watches of a write, a moment before
/// the revision that does so is the current one. A look at the lease that comes
/// in between shows the key; a renewal shows the revision before.
fn etcd_does_so(violation: &Violation, history: &History) -> bool {
    let is_renewal =
        |index: &usize| matches!(history.calls[*index].request, Request::LeaseKeepAlive(_));
    match violation.fault {
        Fault::LeaseKeys => true,
        Fault::WentBack => violation.calls.iter().any(is_renewal),
        _ => false,
    }
}

/// Writes the history down beside the server's data, and says where.
fn keep(run: &Run, history: &History, verdict: &Verdict) -> String {
    let path = run.server().scratch().join("history.txt");
    let mut text = verdict.report(history, usize::MAX);
    let mut calls: Vec<_> = history.calls.iter().collect();
    calls.sort_by_key(|call| call.invoked);
    for call in calls {
        let _ = writeln!(text, "{}", show(call));
    }
    for event in &history.log {
        let _ = writeln!(text, "log: {event:?}");
    }
    for watch in &history.watches {
        let _ = writeln!(text, "{watch:?}");
    }
    match std::fs::write(&path, text) {
        Ok(()) => format!("the history is in {}", path.display()),
        Err(error) => format!("the history cannot be kept in {}: {error}", path.display()),
    }
}
