//! Many clients that write until the server goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use t4_proto::etcdserverpb::request_op::Request;
use t4_proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RequestOp, TxnRequest};
use t4_testkit::{Rng, Rpc};
use tokio::task::JoinSet;

use super::attempt::{Attempt, AttemptId, Change, Outcome};

// Longer than a server may take to answer; a write that takes longer is unknown.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECTIONS: usize = 8;
const OWN_KEYS: u64 = 12;
const SHARED_KEYS: u64 = 6;

/// The writers. Their counters go on over all rounds, so that no attempt's name
/// comes twice.
#[derive(Debug)]
pub struct Workload {
    writers: Vec<Writer>,
    // Counts the beginnings and ends of attempts: what orders them in time.
    clock: Arc<AtomicU64>,
    running: JoinSet<(Writer, Vec<Attempt>)>,
}

#[derive(Debug)]
struct Writer {
    number: u32,
    attempts: u32,
    rng: Rng,
}

impl Workload {
    /// `count` writers that draw from `rng`.
    #[must_use]
    pub fn new(count: u32, rng: &mut Rng) -> Workload {
        let writer = |number| Writer { number, attempts: 0, rng: rng.fork() };
        Workload {
            writers: (0..count).map(writer).collect(),
            clock: Arc::new(AtomicU64::new(0)),
            running: JoinSet::new(),
        }
    }

    /// Starts every writer. Each writes one thing after another and stops at
    /// the first that fails.
    ///
    /// # Errors
    /// When the server does not take the connections.
    pub async fn start(&mut self, endpoint: &str) -> anyhow::Result<()> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Rpc::connect(endpoint).await?);
        }
        for writer in self.writers.drain(..) {
            let rpc = connections[writer.number as usize % CONNECTIONS].clone();
            self.running.spawn(write(writer, rpc, Arc::clone(&self.clock)));
        }
        Ok(())
    }

    /// Waits until every writer has stopped, and gives all attempts since the start.
    ///
    /// # Errors
    /// When a writer failed otherwise than by a write that failed.
    pub async fn stopped(&mut self) -> anyhow::Result<Vec<Attempt>> {
        let mut all = Vec::new();
        while let Some(joined) = self.running.join_next().await {
            let (writer, mut attempts) = joined.context("a writer")?;
            self.writers.push(writer);
            all.append(&mut attempts);
        }
        Ok(all)
    }
}

async fn write(mut writer: Writer, mut rpc: Rpc, clock: Arc<AtomicU64>) -> (Writer, Vec<Attempt>) {
    let mut attempts = Vec::new();
    loop {
        let (id, changes) = writer.next();
        let began = clock.fetch_add(1, Ordering::SeqCst);
        let answer = tokio::time::timeout(PATIENCE, send(&mut rpc, &changes)).await;
        let (ended, outcome) = match answer {
            Ok(Ok(revision)) => {
                (clock.fetch_add(1, Ordering::SeqCst), Outcome::Acknowledged(revision))
            }
            Ok(Err(_)) | Err(_) => (u64::MAX, Outcome::Unknown),
        };
        attempts.push(Attempt { id, changes, began, ended, outcome });
        if outcome == Outcome::Unknown {
            return (writer, attempts);
        }
    }
}

async fn send(rpc: &mut Rpc, changes: &[Change]) -> anyhow::Result<i64> {
    let header = if let [Change::Put(key, value)] = changes {
        rpc.kv.put(put(key, value)).await?.into_inner().header
    } else {
        let success = changes.iter().map(request_op).collect();
        let txn = TxnRequest { success, ..TxnRequest::default() };
        rpc.kv.txn(txn).await?.into_inner().header
    };
    Ok(header.context("a header")?.revision)
}

fn put(key: &Bytes, value: &Bytes) -> PutRequest {
    PutRequest { key: key.clone(), value: value.clone(), ..PutRequest::default() }
}

fn request_op(change: &Change) -> RequestOp {
    let request = match change {
        Change::Put(key, value) => Request::RequestPut(put(key, value)),
        Change::Delete(key) => Request::RequestDeleteRange(DeleteRangeRequest {
            key: key.clone(),
            ..DeleteRangeRequest::default()
        }),
    };
    RequestOp { request: Some(request) }
}

impl Writer {
    // A put, or a transaction over keys of its own and shared ones.
    fn next(&mut self) -> (AttemptId, Vec<Change>) {
        self.attempts += 1;
        let id = AttemptId { writer: self.number, number: self.attempts };
        let filler = if self.rng.chance(1, 20) { 6000 } else { self.rng.below(200) as usize };
        let own = |slot: u64| Bytes::from(format!("own/{}/{slot}", self.number));
        let shared = |slot: u64| Bytes::from(format!("shared/{slot}"));
        let slot = self.rng.below(OWN_KEYS);
        let common = self.rng.below(SHARED_KEYS);
        let changes = match self.rng.below(10) {
            0..5 => vec![Change::Put(own(slot), id.value(filler))],
            5..7 => vec![Change::Put(shared(common), id.value(filler))],
            7..9 => vec![
                Change::Put(shared(common), id.value(filler)),
                Change::Put(own(slot), id.value(0)),
                Change::Put(own(slot + 1), id.value(filler)),
                Change::Delete(own(slot + 2)),
            ],
            _ => vec![
                Change::Put(own(slot), id.value(0)),
                Change::Delete(shared(common)),
                Change::Delete(own(slot + 1)),
            ],
        };
        (id, changes)
    }
}
