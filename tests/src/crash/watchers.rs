//! Clients that watch everything, across crashes: each resumes after the last
//! event that it saw, and must in the end have seen each event once.

use std::time::Duration;

use anyhow::Context;
use t4_proto::mvccpb::Event;
use t4_testkit::Rpc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use super::tell::watch_all;

const PATIENCE: Duration = Duration::from_secs(60);

/// A few watchers and what each has seen since the beginning.
#[derive(Debug)]
pub struct Watchers {
    seen: Vec<Vec<Event>>,
    running: JoinSet<(usize, Vec<Event>)>,
}

impl Watchers {
    /// `count` watchers that have seen nothing yet.
    #[must_use]
    pub fn new(count: usize) -> Watchers {
        Watchers { seen: vec![Vec::new(); count], running: JoinSet::new() }
    }

    /// Resumes every watcher, over a connection of its own. They run until the
    /// server goes away.
    ///
    /// # Errors
    /// When the server does not take the connections.
    pub async fn resume(&mut self, endpoint: &str) -> anyhow::Result<()> {
        for place in 0..self.seen.len() {
            let rpc = Rpc::connect(endpoint).await?;
            let seen = std::mem::take(&mut self.seen[place]);
            self.running.spawn(async move { (place, watch(rpc, seen).await) });
        }
        Ok(())
    }

    /// Waits until the watchers have noticed that the server is gone.
    ///
    /// # Errors
    /// When one does not notice within a minute.
    pub async fn stopped(&mut self) -> anyhow::Result<()> {
        while !self.running.is_empty() {
            let next = tokio::time::timeout(PATIENCE, self.running.join_next());
            let joined = next.await.context("a watcher does not notice that the server is gone")?;
            if let Some(joined) = joined {
                let (place, seen) = joined?;
                self.seen[place] = seen;
            }
        }
        Ok(())
    }

    /// What each watcher has seen since the beginning; while they run, nothing.
    #[must_use]
    pub fn seen(&self) -> &[Vec<Event>] {
        &self.seen
    }
}

async fn watch(mut rpc: Rpc, mut seen: Vec<Event>) -> Vec<Event> {
    let last = seen.last().and_then(|event| event.kv.as_ref()).map_or(1, |kv| kv.mod_revision);
    let (requests, queue) = tokio::sync::mpsc::channel(1);
    if requests.send(watch_all(last + 1)).await.is_err() {
        return seen;
    }
    let Ok(responses) = rpc.watch.watch(ReceiverStream::new(queue)).await else { return seen };
    let mut responses = responses.into_inner();
    // Any end of the stream is the end of the server; a cancelled watch shows
    // as events that are missing in what was seen.
    while let Ok(Some(response)) = responses.message().await {
        seen.extend(response.events);
    }
    seen
}
