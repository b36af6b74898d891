//! Runs an attack against a server with a client beside it that does nothing
//! wrong, and judges what that client noticed.
//!
//! How long calls take depends on the machine, which the attackers share. So the
//! bounds are ratios: calls take at most some times as long as on the same server
//! when it was quiet, or else no longer than those of a real etcd under the same
//! attack, in the same run. There are attacks that etcd does not survive, which
//! excuse nothing: however slow the machine, a client does not wait for seconds.

use std::time::Duration;

use anyhow::Context;
use t4_testkit::{Memory, Rpc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::attacks::{Attack, VALUE_BYTES, VALUES};
use crate::bystander::{Bystander, Times};
use crate::put;
use crate::server::Target;

/// How long the bystander calls before an attack, for comparison.
const QUIET: Duration = Duration::from_millis(300);
/// An attack lasts so long from its beginning, and so long from when all of it
/// is there: the later of both.
const ATTACK: Duration = Duration::from_millis(1200);
const ATTACK_HELD: Duration = Duration::from_millis(400);
/// All of an attack is there after so long, or the server has stopped to take it.
const ATTACK_DEADLINE: Duration = Duration::from_secs(120);

/// Calls may take so many times as long as when the server was quiet: the
/// attackers have most of the cores then.
const RATIO_TO_QUIET: u32 = 5;
/// A server that is quieter than this counts as if it were not: a machine that
/// others use, too, makes calls of a busy server as slow.
const P50_FLOOR: Duration = Duration::from_millis(10);
const P99_FLOOR: Duration = Duration::from_millis(100);
/// Two measurements of the same on a busy machine differ by about this; in
/// percent of what etcd's bystander saw.
const NO_WORSE_PERCENT: u32 = 150;
/// Calls that take longer than this are slow on any machine.
const P50_MAX: Duration = Duration::from_secs(1);
const P99_MAX: Duration = Duration::from_secs(5);

/// What an attack did.
pub(crate) struct Outcome {
    pub(crate) quiet: Times,
    pub(crate) during: Times,
    /// Memory of the server before it, and its peak, in bytes.
    pub(crate) before: u64,
    pub(crate) peak: u64,
    /// Why the server let the attack not even begin.
    pub(crate) refusal: Option<String>,
}

impl Outcome {
    pub(crate) fn grown(&self) -> u64 {
        self.peak.saturating_sub(self.before)
    }
}

/// What the attacks ask for.
pub(crate) async fn store_values(rpc: &mut Rpc) {
    for key in 0..VALUES {
        rpc.kv.put(put(&format!("v/{key:03}"), vec![7; VALUE_BYTES])).await.expect("put");
    }
}

/// The length of an attack is its measure: these sleeps wait for nothing.
pub(crate) async fn endure(target: &Target, memory: Memory, attack: Attack) -> Outcome {
    let bystander = Bystander::begin(target).await;
    sleep(QUIET).await;
    let quiet = bystander.end().await;

    let before = memory.begin_peak();
    let bystander = Bystander::begin(target).await;
    let least = Instant::now() + ATTACK;
    let begun = timeout(ATTACK_DEADLINE, (attack.begin)(target.clone())).await;
    let held = begun.context("the server takes no more of it, and does not refuse it");
    let held = held.flatten();
    sleep_until(least.max(Instant::now() + ATTACK_HELD)).await;
    let during = bystander.end().await;
    // Its failure tells if it was killed.
    let peak = memory.peak_if_alive().unwrap_or(before);
    let refusal = held.err().map(|error| format!("{error:#}"));
    Outcome { quiet, during, before, peak, refusal }
}

/// Whether calls took about as long during an attack as before it.
pub(crate) fn is_as_before(quiet: &Times, during: &Times) -> bool {
    during.failure.is_none()
        && during.p50() <= RATIO_TO_QUIET * quiet.p50().max(P50_FLOOR)
        && during.p99() <= RATIO_TO_QUIET * quiet.p99().max(P99_FLOOR)
}

/// Whether a client could live with it, whatever else is the case.
pub(crate) fn is_endurable(during: &Times) -> bool {
    during.failure.is_none() && during.p50() <= P50_MAX && during.p99() <= P99_MAX
}

/// Whether calls took no longer than those of another server, as far as that
/// can be told. One that does not answer is the worst.
pub(crate) fn is_no_worse(ours: &Times, theirs: &Times) -> bool {
    let no_longer = |ours: Duration, theirs: Duration| ours <= theirs * NO_WORSE_PERCENT / 100;
    ours.failure.is_none()
        && (theirs.failure.is_some()
            || no_longer(ours.p50(), theirs.p50()) && no_longer(ours.p99(), theirs.p99()))
}

fn times(p50_ms: u64, p99_ms: u64) -> Times {
    let mut all = vec![Duration::from_millis(p50_ms); 90];
    all.resize(100, Duration::from_millis(p99_ms));
    Times::of(all)
}

#[test]
fn what_is_judged_is_the_ratio() {
    assert!(is_as_before(&times(0, 1), &times(50, 500)), "below the floor it does not matter");
    assert!(!is_as_before(&times(0, 1), &times(51, 500)));
    assert!(!is_as_before(&times(0, 1), &times(50, 501)));
    assert!(is_as_before(&times(20, 200), &times(100, 1000)));
    assert!(!is_as_before(&times(20, 200), &times(100, 1001)));

    assert!(is_no_worse(&times(30, 300), &times(20, 200)));
    assert!(!is_no_worse(&times(31, 300), &times(20, 200)));
    assert!(!is_no_worse(&times(30, 301), &times(20, 200)));
    assert!(is_endurable(&times(1_000, 5_000)));
    assert!(!is_endurable(&times(1_001, 5_000)) && !is_endurable(&times(1_000, 5_001)));

    let mut silent = times(1, 1);
    silent.failure = Some("no answer".to_owned());
    assert!(is_no_worse(&times(30, 300), &silent));
    assert!(!is_endurable(&silent));
    assert!(!is_no_worse(&silent, &silent) && !is_as_before(&times(9, 9), &silent));
}
