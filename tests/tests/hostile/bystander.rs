//! A client that does nothing wrong, beside those that do: how long its calls
//! take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use t4_testkit::Rpc;
use tokio::task::JoinHandle;

use crate::{get, put};

/// Half of its calls, and nearly all of them, take at most so long during an
/// attack. On a quiet machine they take milliseconds; that of a test may well be
/// busy. Without a defence they take longer than a client waits.
const P50_MAX: Duration = Duration::from_secs(2);
const P99_MAX: Duration = Duration::from_secs(5);
/// Fewer calls than this say nothing.
const CALLS_MIN: usize = 20;

/// One that writes and reads, again and again, until it is asked how it was.
pub(crate) struct Bystander {
    done: Arc<AtomicBool>,
    calling: JoinHandle<Vec<Duration>>,
}

impl Bystander {
    pub(crate) fn begin(rpc: &Rpc) -> Bystander {
        let done = Arc::new(AtomicBool::new(false));
        let calling = tokio::spawn(call(rpc.clone(), done.clone()));
        Bystander { done, calling }
    }

    /// Every call was answered, and nearly all in time.
    pub(crate) async fn assert_served(self, attack: &str) {
        self.done.store(true, Ordering::Relaxed);
        let mut times = self.calling.await.expect("each call is answered");
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        println!("{attack}: {} calls, p50 {:?}, p99 {:?}", times.len(), at(50), at(99));
        assert!(at(50) <= P50_MAX, "{attack}: p50 {:?} of {} calls", at(50), times.len());
        assert!(at(99) <= P99_MAX, "{attack}: p99 {:?} of {} calls", at(99), times.len());
    }
}

async fn call(mut rpc: Rpc, done: Arc<AtomicBool>) -> Vec<Duration> {
    let mut times = Vec::new();
    while times.len() < CALLS_MIN || !done.load(Ordering::Relaxed) {
        let begun = Instant::now();
        rpc.kv.put(put("by", vec![7; 100])).await.expect("a put of somebody else");
        times.push(begun.elapsed());
        let begun = Instant::now();
        let found = rpc.kv.range(get("by")).await.expect("a get of somebody else").into_inner();
        times.push(begun.elapsed());
        assert_eq!(found.count, 1);
    }
    times
}
