//! Closed-loop puts and gets that run until they are stopped, monitored for
//! stalls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use t4_proto::etcdserverpb::{PutRequest, RangeRequest};
use t4_testkit::Rng;
use tokio::task::JoinHandle;

use super::Bench;
use crate::client::Client;
use crate::closed_loop::connect;
use crate::dataset::{Keys, Values};
use crate::gaps::{Gaps, Seen};
use crate::histogram::Histogram;
use crate::server::Server;

/// The requests that the clients send.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kinds {
    /// This many puts in total, then they stop.
    Puts(usize),
    /// Half of the clients put, half get, until they are stopped.
    PutsAndGets,
}

/// Running clients.
#[derive(Debug)]
pub(super) struct Traffic {
    puts: Arc<Gaps>,
    gets: Arc<Gaps>,
    state: Arc<State>,
    running: Vec<JoinHandle<anyhow::Result<Histogram>>>,
}

#[derive(Debug)]
struct State {
    stop: AtomicBool,
    left: AtomicUsize,
}

impl Traffic {
    /// Starts them.
    pub(super) fn start(
        bench: &Bench,
        server: &Server,
        keys: &Arc<Keys>,
        clients: usize,
        kinds: Kinds,
    ) -> anyhow::Result<Traffic> {
        let left = if let Kinds::Puts(count) = kinds { count } else { usize::MAX };
        let state = Arc::new(State { stop: AtomicBool::new(false), left: AtomicUsize::new(left) });
        let (puts, gets) = (Arc::new(Gaps::default()), Arc::new(Gaps::default()));
        let mut running = Vec::with_capacity(clients);
        for (number, (core, client)) in
            connect(&bench.cores, server, clients)?.into_iter().enumerate()
        {
            let putting = matches!(kinds, Kinds::Puts(_)) || number % 2 == 0;
            let one = One {
                client,
                keys: Arc::clone(keys),
                values: bench.values.clone(),
                rng: Rng::new(number as u64),
                gaps: Arc::clone(if putting { &puts } else { &gets }),
                putting,
                state: Arc::clone(&state),
            };
            running.push(bench.cores.of(core).spawn(one.run()));
        }
        let traffic = Traffic { puts, gets, state, running };
        // Connecting does not count as a stall.
        traffic.end_window();
        Ok(traffic)
    }

    /// Ends a window and returns the observations on puts and on gets.
    pub(super) fn end_window(&self) -> (Seen, Seen) {
        (self.puts.end(), self.gets.end())
    }

    /// Tells the clients to stop after their current request.
    pub(super) fn stop(&self) {
        self.state.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until all have stopped; adds the latencies of all requests, and
    /// ends the last window.
    pub(super) fn finish(
        mut self,
        bench: &Bench,
        latency: &mut Histogram,
    ) -> anyhow::Result<(Seen, Seen)> {
        for client in self.running.drain(..) {
            latency.merge(&bench.cores.wait(client)??);
        }
        Ok(self.end_window())
    }
}

struct One {
    client: Client,
    keys: Arc<Keys>,
    values: Values,
    rng: Rng,
    gaps: Arc<Gaps>,
    putting: bool,
    state: Arc<State>,
}

impl One {
    async fn run(mut self) -> anyhow::Result<Histogram> {
        let mut latency = Histogram::default();
        while self.state.another() {
            let key = self.keys.pick(&mut self.rng);
            let sent = Instant::now();
            if self.putting {
                let value = self.values.pick(&mut self.rng);
                self.client.kv.put(PutRequest { key, value, ..PutRequest::default() }).await?;
            } else {
                self.client.kv.range(RangeRequest { key, ..RangeRequest::default() }).await?;
            }
            latency.record(sent.elapsed());
            self.gaps.answered();
        }
        Ok(latency)
    }
}

impl State {
    /// Whether to send one more request; counts it.
    fn another(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        !self.stop.load(Ordering::Relaxed)
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}
