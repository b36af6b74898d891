//! Closed-loop load: each client sends its next request when the answer to the
//! previous one has arrived.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::client::Client;
use crate::cores::Cores;
use crate::histogram::Histogram;
use crate::sample::Window;
use crate::server::{Server, cpu_of};
use crate::transport::Connection;

/// The operation that a client repeats.
pub trait Operation: Send + 'static {
    /// Runs it once. Returns true if it had its intended effect; a
    /// compare-and-swap that lost to another client returns false, which is not
    /// an error.
    fn run(&mut self) -> impl Future<Output = anyhow::Result<bool>> + Send;
}

/// The amount and duration of load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Clients, each with one request in flight.
    pub clients: usize,
    /// Duration of the unmeasured load before the measurement.
    pub warmup: Duration,
    /// Duration of the measured load.
    pub window: Duration,
}

/// The result of a closed loop.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// All operations that ended in the window.
    pub window: Window,
    /// The operations among them that had their effect.
    pub effective: u64,
}

/// The number of connections that this many clients share: one each up to 16,
/// like the processes on a machine, and 32 for hundreds.
#[must_use]
pub fn connections_for(clients: usize) -> usize {
    if clients >= 256 { 32 } else { clients.min(16) }
}

/// Connects `clients` clients over [`connections_for`] connections. The number
/// returned with each client is that of its connection, which selects its core.
///
/// # Errors
/// If the server does not accept.
pub fn connect(
    cores: &Cores,
    server: &Server,
    clients: usize,
) -> anyhow::Result<Vec<(usize, Client)>> {
    let mut opened = Vec::new();
    for number in 0..connections_for(clients) {
        let opening = cores.of(number).spawn(Connection::open(server.endpoint()));
        opened.push(Client::new(cores.wait(opening)??));
    }
    let on = |client: usize| client % opened.len();
    Ok((0..clients).map(|client| (on(client), opened[on(client)].clone())).collect())
}

/// Puts load on a server and measures it. `make` gets the number of each client
/// and its stubs.
///
/// # Errors
/// The first error of any operation: a failed run is not measured.
pub fn closed_loop<O: Operation>(
    cores: &Cores,
    server: &Server,
    load: Load,
    mut make: impl FnMut(usize, Client) -> O,
) -> anyhow::Result<Outcome> {
    let clients = connect(cores, server, load.clients)?;
    let begin = Instant::now() + load.warmup;
    let end = begin + load.window;
    let mut running = Vec::with_capacity(load.clients);
    for (number, (core, client)) in clients.into_iter().enumerate() {
        let operation = make(number, client);
        running.push(cores.of(core).spawn(drive(operation, begin, end)));
    }
    let (elapsed, server_cpu, client_cpu) = watch_cpu(server, begin, end)?;
    let mut latency = Histogram::default();
    let mut effective = 0;
    for client in running {
        let (ended, with_effect) = cores.wait(client)?.context("an operation failed")?;
        latency.merge(&ended);
        effective += with_effect;
    }
    Ok(Outcome { window: Window { elapsed, server_cpu, client_cpu, latency }, effective })
}

/// One client, for operations so long that few fit into a window: runs all that
/// start in the window, and at least `least`, and measures to the end of the
/// last one.
///
/// # Errors
/// The first error of any operation.
pub fn sequence<O: Operation>(
    cores: &Cores,
    server: &Server,
    window: Duration,
    least: u64,
    make: impl FnOnce(Client) -> O,
) -> anyhow::Result<Window> {
    let (core, client) = connect(cores, server, 1)?.remove(0);
    let mut operation = make(client);
    let pid = server.pid().to_string();
    let running = cores.of(core).spawn(async move {
        operation.run().await?; // the warm-up
        let mut latency = Histogram::default();
        let (server_cpu, client_cpu) = (cpu_of(&pid)?, cpu_of("self")?);
        let began = Instant::now();
        while began.elapsed() < window || latency.len() < least {
            let sent = Instant::now();
            operation.run().await?;
            latency.record(sent.elapsed());
        }
        let elapsed = began.elapsed();
        let server_cpu = cpu_of(&pid)? - server_cpu;
        Ok(Window { elapsed, server_cpu, client_cpu: cpu_of("self")? - client_cpu, latency })
    });
    cores.wait(running)?
}

/// Sleeps through a window and returns its actual length and the CPU time that
/// the server and this process used in it.
fn watch_cpu(
    server: &Server,
    begin: Instant,
    end: Instant,
) -> anyhow::Result<(Duration, Duration, Duration)> {
    std::thread::sleep(begin.saturating_duration_since(Instant::now()));
    let (server_before, client_before) = (server.cpu()?, cpu_of("self")?);
    std::thread::sleep(end.saturating_duration_since(Instant::now()));
    Ok((end - begin, server.cpu()? - server_before, cpu_of("self")? - client_before))
}

async fn drive<O: Operation>(
    mut operation: O,
    begin: Instant,
    end: Instant,
) -> anyhow::Result<(Histogram, u64)> {
    let mut latency = Histogram::default();
    let mut effective = 0;
    let mut sent = Instant::now();
    loop {
        let with_effect = operation.run().await?;
        let answered = Instant::now();
        if answered >= end {
            return Ok((latency, effective));
        }
        if answered >= begin {
            latency.record(answered - sent);
            effective += u64::from(with_effect);
        }
        sent = answered;
    }
}
