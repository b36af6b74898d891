//! Lives of a server: from a start under load to its end, and what it tells of
//! it after the next start.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use t4_bench::transport::Connection;
use t4_kv_types::{KeyRange, RangeRequest, Revision};
use t4_linearizability::{
    Call, History, Outcome, Request, Watch, WatchEvent, WatchNews, Workload, WorkloadOptions,
};
use t4_testkit::Rng;
use tokio::task::JoinSet;

use super::callers::{Stage, call, calls};
use super::server::Server;
use super::stream::{WatchStream, Wish};
use super::watchers::{Follower, Visitor};
use super::wire::{Clock, Wire};

const CONNECTIONS: usize = 10;
const VISITORS: u32 = 4;
/// Numbers of clients that are not callers.
const VISITOR: u32 = 1000;
const FOLLOWER: u32 = 2000;
const LOG: u32 = 3000;
/// How long clients may take to notice that the server is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// By SIGKILL, under load.
    Killed,
    /// By SIGTERM, under load.
    Stopped,
    /// It does not: the clients end, and the watches hear of everything.
    Quiet,
}

/// A server with clients, life after life.
#[derive(Debug)]
pub struct Run {
    server: Server,
    clock: Clock,
    workloads: Vec<Workload>,
    visitors: Vec<Visitor>,
    followers: Vec<Follower>,
}

enum Part {
    Caller(usize, Workload, Vec<Call>),
    Visitor(Visitor, Vec<Call>, Vec<Watch>),
    Follower(Follower, Vec<Watch>),
}

impl Run {
    /// So many callers of a fresh server, that draw from `rng`.
    #[must_use]
    pub fn new(server: Server, callers: u32, rng: &mut Rng) -> Run {
        let options = WorkloadOptions::default();
        let workload = |client| Workload::new(options, client, 0, rng.fork());
        let workloads = (0..callers).map(workload).collect();
        let visitor = |number| Visitor::new(VISITOR + number, rng.fork());
        let visitors = (0..VISITORS).map(visitor).collect();
        let follower = |client, range, prev_kv, no_put, no_delete, is_log| {
            let start = Some(Revision::EMPTY_STORE.next());
            Follower { wish: Wish { client, range, start, prev_kv, no_put, no_delete }, is_log }
        };
        let followers = vec![
            follower(LOG, KeyRange::all(), true, false, false, true),
            follower(FOLLOWER, KeyRange::prefix("k/"), false, false, false, false),
            follower(FOLLOWER + 1, KeyRange::prefix("lease/"), true, false, false, false),
            follower(FOLLOWER + 2, KeyRange::prefix("rare/"), true, true, false, false),
            follower(FOLLOWER + 3, KeyRange::single("k/000"), false, false, true, false),
        ];
        Run { server, clock: Clock::start(), workloads, visitors, followers }
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// One life of so long, and what everyone saw in it.
    ///
    /// # Errors
    /// When the server does not start, stop or serve as it should.
    pub async fn life(&mut self, end: Life, length: Duration) -> anyhow::Result<History> {
        let log = self.followers.iter().find(|follower| follower.is_log);
        let from = log.and_then(|log| log.wish.start).context("a log")?;
        let stage = Stage::new(self.clock, Revision(from.0 - 1));
        let mut parts = self.begin(&stage).await?;
        // Not a wait for anything: the moment of the end is arbitrary.
        tokio::time::sleep(length).await;
        match end {
            Life::Quiet => stage.close(),
            Life::Killed => {
                stage.go_down();
                tokio::task::block_in_place(|| self.server.kill())?;
            }
            Life::Stopped => {
                stage.go_down();
                tokio::task::block_in_place(|| self.server.stop())?;
            }
        }
        let ended = self.clock.now();
        let mut history = self.gather(&mut parts).await?;
        let trouble = stage.trouble();
        ensure!(trouble.is_empty(), "while the server should have served: {trouble:#?}");
        // What got no answer has happened by now, or never will.
        for call in history.calls.iter_mut().filter(|call| call.outcome == Outcome::Unknown) {
            call.returned = ended;
        }
        if end != Life::Quiet {
            tokio::task::block_in_place(|| self.server.start_again())?;
        }
        self.afterwards(&stage, &mut history).await?;
        Ok(history)
    }

    async fn begin(&mut self, stage: &Arc<Stage>) -> anyhow::Result<JoinSet<Part>> {
        let mut wires = Vec::new();
        for _ in 0..CONNECTIONS {
            wires.push(Wire::new(&Connection::open(self.server.address()?).await?));
        }
        let wire = |number: usize| wires[number % CONNECTIONS].clone();
        let mut parts = JoinSet::new();
        for (number, follower) in self.followers.drain(..).enumerate() {
            let (stage, wire) = (Arc::clone(stage), wire(number));
            parts.spawn(async move {
                let (follower, watches) = follower.follow(stage, wire).await;
                Part::Follower(follower, watches)
            });
        }
        for (number, visitor) in self.visitors.drain(..).enumerate() {
            let (stage, one, other) = (Arc::clone(stage), wire(number), wire(number + 3));
            parts.spawn(async move {
                let (visitor, calls, watches) = visitor.visit(stage, one, other).await;
                Part::Visitor(visitor, calls, watches)
            });
        }
        for (number, workload) in self.workloads.drain(..).enumerate() {
            let (stage, wire) = (Arc::clone(stage), wire(number));
            parts.spawn(async move {
                let (workload, calls) = calls(stage, wire, number as u32, workload).await;
                Part::Caller(number, workload, calls)
            });
        }
        Ok(parts)
    }

    async fn gather(&mut self, parts: &mut JoinSet<Part>) -> anyhow::Result<History> {
        let mut history = History::default();
        let mut workloads = Vec::new();
        while !parts.is_empty() {
            let next = tokio::time::timeout(PATIENCE, parts.join_next()).await;
            let Some(part) = next.context("a client does not come to an end")? else { break };
            match part? {
                Part::Caller(number, workload, mut calls) => {
                    workloads.push((number, workload));
                    history.calls.append(&mut calls);
                }
                Part::Visitor(visitor, mut calls, mut watches) => {
                    self.visitors.push(visitor);
                    history.calls.append(&mut calls);
                    history.watches.append(&mut watches);
                }
                Part::Follower(follower, mut watches) => {
                    if follower.is_log {
                        history.log.extend(watches.iter().flat_map(events).cloned());
                    }
                    self.followers.push(follower);
                    history.watches.append(&mut watches);
                }
            }
        }
        workloads.sort_by_key(|(number, _)| *number);
        self.visitors.sort_by_key(|visitor| visitor.client);
        self.followers.sort_by_key(|follower| std::cmp::Reverse(follower.wish.client));
        self.workloads = workloads.into_iter().map(|(_, workload)| workload).collect();
        Ok(history)
    }

    /// The state after the life, and the rest of the log up to it.
    async fn afterwards(&mut self, stage: &Stage, history: &mut History) -> anyhow::Result<()> {
        let mut wire = Wire::new(&Connection::open(self.server.address()?).await?);
        let everything = Request::Range(Box::new(RangeRequest::new(KeyRange::all())));
        let state = call(stage, &mut wire, LOG, everything).await;
        let Outcome::Done { revision: current, .. } = state.outcome else {
            anyhow::bail!("no state after a life: {:?}", state.outcome)
        };
        history.calls.push(state);
        let log = self.followers.iter_mut().find(|follower| follower.is_log).context("a log")?;
        let from = log.wish.start.context("a log has a start")?;
        if from > current {
            return Ok(());
        }
        let mut stream = WatchStream::open(&mut wire, self.clock, log.wish.clone()).await?;
        let rest = async {
            while stream.delivered().is_none_or(|delivered| delivered < current) {
                ensure!(stream.receive().await?, "the watch of the log ended");
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, rest).await.context("the log does not come")??;
        log.wish.start = stream.delivered().map(Revision::next);
        history.log.extend(events(&stream.watch).cloned());
        history.watches.push(stream.watch);
        Ok(())
    }
}

fn events(watch: &Watch) -> impl Iterator<Item = &WatchEvent> {
    watch.responses.iter().flat_map(|response| match &response.news {
        WatchNews::Events { events, .. } => events.as_slice(),
        _ => &[],
    })
}
