//! Every attack, one after the other, against a T4 that has 1 GiB of memory in
//! all: others are served, its memory is bounded, and it goes on.

use std::sync::Arc;

use t4_testkit::{EtcdOptions, MemoryGroup, T4, T4Options};

use crate::attacks::{self, Attack, CLIENT_BYTES};
use crate::endure::{Outcome, endure, is_as_before, is_endurable, is_no_worse, store_values};
use crate::server::{Server, Target, Transport};
use crate::{MIB, assert_log_is_calm, assert_served};

const MEMORY: u64 = 1024 * MIB;
const ETCD_MEMORY: u64 = 3 * MEMORY;
/// How often an attack is tried that others seem to have noticed.
const CHANCES: u32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_served_during_every_attack() {
    for transport in Transport::ALL {
        let (mut t4, target) = transport.t4(in_one_gib());
        let mut rpc = target.rpc().await;
        store_values(&mut rpc).await;
        let mut etcd = Rival { transport, running: None };
        let mut peak = 0;
        for attack in attacks::all() {
            println!("{transport:?}, {}:", attack.name);
            peak = peak.max(withstand(&mut t4, &target, attack, &mut etcd).await);
            assert_served(&mut rpc, attack.name).await;
        }
        println!("{transport:?}: {} MiB at the peak", peak / MIB);
        assert!(peak < MEMORY, "{peak} B");
        // A connection that is closed at a limit may be logged, for each attack.
        assert_log_is_calm(&mut t4, attacks::all().len() * CHANCES as usize);
        assert!(t4.program().is_running().expect("a process"));
        assert_served(&mut target.rpc().await, "a new client").await;
    }
}

/// A T4 that has so much memory: the kernel kills it if it needs more. Where no
/// control group can be made, one that shares as much out to its clients; its
/// peak is looked at in either case.
fn in_one_gib() -> T4Options {
    match MemoryGroup::create(MEMORY) {
        Ok(group) => {
            println!("a control group allows 1 GiB");
            T4Options { group: Some(Arc::new(group)), ..T4Options::default() }
        }
        Err(reason) => {
            println!("only the peak is looked at: {reason:#}");
            T4Options::flags(&[&format!("--client-memory-bytes={CLIENT_BYTES}")])
        }
    }
}

/// The attack is endured: not always at the first time, as the machine has moods. Gives the peak of the memory.
async fn withstand(t4: &mut T4, target: &Target, attack: Attack, etcd: &mut Rival) -> u64 {
    let mut peak = 0;
    for chance in 1..=CHANCES {
        let ours = endure(target, t4.memory(), attack).await;
        tell("  t4", &ours);
        peak = peak.max(ours.peak);
        assert_eq!(ours.during.failure, None, "{}\n{}", attack.name, t4.program().log_tail());
        assert_eq!(ours.refusal, None, "{} is no attack at all", attack.name);
        let (grown, bound) = (ours.grown() / MIB, attack.bytes_max / MIB);
        assert!(grown <= bound, "{}: {grown} MiB more, {bound} allowed", attack.name);
        if is_as_before(&ours.quiet, &ours.during) {
            break;
        }
        let theirs = etcd.endure(attack).await;
        if let Some(theirs) = &theirs {
            tell("  etcd", theirs);
        }
        let no_worse = theirs.is_none_or(|theirs| is_no_worse(&ours.during, &theirs.during));
        if no_worse && is_endurable(&ours.during) {
            break;
        }
        let etcd = if no_worse { "too long" } else { "and with etcd they do not" };
        assert!(chance < CHANCES, "{}: others wait, {etcd}", attack.name);
    }
    peak
}

/// The real etcd, started when it is needed.
struct Rival {
    transport: Transport,
    running: Option<(Server, Target)>,
}

impl Rival {
    /// `None`: it cannot be bounded here, and would take all the memory of the
    /// machine.
    async fn endure(&mut self, attack: Attack) -> Option<Outcome> {
        if self.running.is_none() {
            let group = MemoryGroup::create(ETCD_MEMORY)
                .inspect_err(|reason| println!("  etcd: not tried: {reason:#}"))
                .ok()?;
            // Where it meets its bound its end counts as well.
            let options = EtcdOptions { group: Some(Arc::new(group)), ..Default::default() };
            let (etcd, target) = self.transport.etcd(options);
            store_values(&mut target.rpc().await).await;
            self.running = Some((Server::Etcd(etcd), target));
        }
        let (etcd, target) = self.running.as_ref()?;
        let outcome = endure(target, etcd.memory(), attack).await;
        if outcome.during.failure.is_some() {
            self.running = None;
        }
        Some(outcome)
    }
}

fn tell(who: &str, outcome: &Outcome) {
    let Outcome { quiet, during, .. } = outcome;
    println!(
        "{who}: p50 {:?}, then {:?}; p99 {:?}, then {:?} of {} calls; {} MiB more at most",
        quiet.p50(),
        during.p50(),
        quiet.p99(),
        during.p99(),
        during.count(),
        outcome.grown() / MIB
    );
}
