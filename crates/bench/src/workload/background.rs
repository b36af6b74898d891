//! Puts at a fixed rate, alongside the measured load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use t4_proto::etcdserverpb::PutRequest;
use t4_testkit::Rng;
use tokio::task::JoinHandle;

use super::Bench;
use super::single::KEY_BYTES;
use crate::client::Client;
use crate::closed_loop::connect;
use crate::dataset::{Keys, Values};
use crate::server::Server;

const CLIENTS: u32 = 16;
const KEYS: usize = 10_000;

/// Clients that put until they are stopped.
#[derive(Debug)]
pub(super) struct Background {
    stop: Arc<AtomicBool>,
    started: Instant,
    running: Vec<JoinHandle<anyhow::Result<u64>>>,
}

impl Background {
    /// Starts 16 clients that together put `per_second` times a second, as long
    /// as the server keeps up.
    pub(super) fn start(
        bench: &Bench,
        server: &Server,
        per_second: u32,
    ) -> anyhow::Result<Background> {
        let keys = Arc::new(Keys::new("bench/background/", KEYS, KEY_BYTES));
        let stop = Arc::new(AtomicBool::new(false));
        let mut running = Vec::new();
        for (core, client) in connect(&bench.cores, server, CLIENTS as usize)? {
            let putting = Putting {
                client,
                keys: Arc::clone(&keys),
                values: bench.values.clone(),
                rng: Rng::new(running.len() as u64),
                stop: Arc::clone(&stop),
            };
            let pause = Duration::from_secs(1) * CLIENTS / per_second;
            running.push(bench.cores.of(core).spawn(putting.run(pause)));
        }
        Ok(Background { stop, started: Instant::now(), running })
    }

    /// Stops them and returns the number of puts per second.
    pub(super) fn stop(self, bench: &Bench) -> anyhow::Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let elapsed = self.started.elapsed();
        let mut puts = 0;
        for client in self.running {
            puts += bench.cores.wait(client)??;
        }
        Ok(puts as f64 / elapsed.as_secs_f64())
    }
}

struct Putting {
    client: Client,
    keys: Arc<Keys>,
    values: Values,
    rng: Rng,
    stop: Arc<AtomicBool>,
}

impl Putting {
    async fn run(mut self, pause: Duration) -> anyhow::Result<u64> {
        // After a slow answer, puts are sent immediately until the schedule is met again.
        let mut due = Instant::now();
        let mut puts = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let (key, value) = (self.keys.pick(&mut self.rng), self.values.pick(&mut self.rng));
            self.client.kv.put(PutRequest { key, value, ..PutRequest::default() }).await?;
            puts += 1;
            due += pause;
            tokio::time::sleep_until(due.into()).await;
        }
        Ok(puts)
    }
}
