//! A client that does nothing wrong, beside those that do: how long its calls
//! take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use t4_testkit::Rpc;
use tokio::sync::oneshot;

use crate::server::Target;
use crate::{DEADLINE, get, put};

/// Fewer calls than this say nothing.
const CALLS_MIN: usize = 20;

/// How long calls took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    sorted: Vec<Duration>,
    /// Why a call was not answered; it was the last one.
    pub(crate) failure: Option<String>,
}

impl Times {
    pub(crate) fn of(mut times: Vec<Duration>) -> Times {
        times.sort_unstable();
        Times { sorted: times, failure: None }
    }

    pub(crate) fn count(&self) -> usize {
        self.sorted.len()
    }

    /// Half of the calls took at most so long.
    pub(crate) fn p50(&self) -> Duration {
        self.percentile(50)
    }

    /// Nearly all of the calls took at most so long.
    pub(crate) fn p99(&self) -> Duration {
        self.percentile(99)
    }

    pub(crate) fn max(&self) -> Duration {
        self.percentile(100)
    }

    fn percentile(&self, percent: usize) -> Duration {
        let place = (self.sorted.len() * percent / 100).min(self.sorted.len().saturating_sub(1));
        self.sorted.get(place).copied().unwrap_or_default()
    }
}

/// One that writes and reads, again and again, until it is asked how it was. It
/// has a thread of its own: what attackers do in this process does not keep it
/// from its turn.
pub(crate) struct Bystander {
    done: Arc<AtomicBool>,
    calling: JoinHandle<Times>,
}

impl Bystander {
    /// Returns when it is connected.
    pub(crate) async fn begin(target: &Target) -> Bystander {
        let done = Arc::new(AtomicBool::new(false));
        let (connected, begun) = oneshot::channel();
        let (target, asked) = (target.clone(), done.clone());
        let calling = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(call_until(&target, &asked, connected))
        });
        // An error: it could not connect, which it tells at the end.
        let _ = begun.await;
        Bystander { done, calling }
    }

    pub(crate) async fn end(self) -> Times {
        self.done.store(true, Ordering::Relaxed);
        let times = tokio::task::spawn_blocking(|| self.calling.join()).await;
        times.expect("a thread").expect("a bystander does not panic")
    }

    /// Every call was answered. How fast they must be is for [`crate::endure`].
    pub(crate) async fn assert_served(self, attack: &str) {
        let times = self.end().await;
        println!("{attack}: {} calls, p50 {:?}, p99 {:?}", times.count(), times.p50(), times.p99());
        assert_eq!(times.failure, None, "{attack}");
    }
}

async fn call_until(target: &Target, done: &AtomicBool, connected: oneshot::Sender<()>) -> Times {
    let mut times = Times::default();
    match target.try_rpc().await {
        Ok(mut rpc) => {
            // An error: nobody waits for this any more.
            let _ = connected.send(());
            while times.failure.is_none()
                && (times.sorted.len() < CALLS_MIN || !done.load(Ordering::Relaxed))
            {
                let called = write_and_read(&mut rpc, &mut times.sorted).await;
                times.failure = called.err().map(|error| format!("{error:#}"));
            }
        }
        Err(error) => times.failure = Some(format!("{error:#}")),
    }
    times.sorted.sort_unstable();
    times
}

async fn write_and_read(rpc: &mut Rpc, times: &mut Vec<Duration>) -> anyhow::Result<()> {
    let begun = Instant::now();
    let written = tokio::time::timeout(DEADLINE, rpc.kv.put(put("by", [7; 100]))).await;
    written.context("no answer to a put")?.context("a put of another client")?;
    times.push(begun.elapsed());
    let begun = Instant::now();
    let found = tokio::time::timeout(DEADLINE, rpc.kv.range(get("by"))).await;
    let found = found.context("no answer to a get")?.context("a get of another client")?;
    times.push(begun.elapsed());
    ensure!(found.get_ref().count == 1, "the key is not there");
    Ok(())
}
