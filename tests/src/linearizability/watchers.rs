//! Watches: one of everything, which is the log; some that go on over all lives;
//! and many short ones, from now on or from behind a list.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use t4_kv_types::{KeyRange, LeaseId, PutRequest, RangeRequest, Revision};
use t4_linearizability::{Call, Outcome, Request, Watch, WatchNews};
use t4_testkit::Rng;

use super::callers::{Stage, call};
use super::stream::{WatchStream, Wish};
use super::wire::Wire;

/// How long a watch may take to tell how far it is.
const PATIENCE: Duration = Duration::from_secs(30);
/// A server may pass over a request for progress while the watch is behind.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How often a watch looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// A watch that goes on, over all lives of the server.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    pub(super) wish: Wish,
    /// The log itself: what it has delivered may be compacted.
    pub(super) is_log: bool,
}

impl Follower {
    /// Watches until the server goes away, or until everyone closes and it has
    /// heard of everything. Gives itself back, to go on behind what it has seen.
    pub(super) async fn follow(
        mut self,
        stage: Arc<Stage>,
        mut wire: Wire,
    ) -> (Follower, Vec<Watch>) {
        let mut watches = Vec::new();
        loop {
            match WatchStream::open(&mut wire, stage.clock, self.wish.clone()).await {
                Ok(stream) => {
                    let again = self.one(&stage, stream, &mut watches).await;
                    if !again {
                        return (self, watches);
                    }
                }
                Err(error) => {
                    stage.complain(|| format!("client {}: watch: {error:#}", self.wish.client));
                    return (self, watches);
                }
            }
        }
    }

    // True: it was compacted away, and goes on from there.
    async fn one(
        &mut self,
        stage: &Stage,
        mut stream: WatchStream,
        watches: &mut Vec<Watch>,
    ) -> bool {
        let mut again = false;
        loop {
            if stage.is_closing() {
                if let Err(error) = catch_up(&mut stream).await {
                    stage.complain(|| format!("client {}: {error:#}", self.wish.client));
                }
                break;
            }
            match tokio::time::timeout(LOOK, stream.receive()).await {
                Err(_) => {}
                Ok(Ok(true)) => {
                    if self.is_log {
                        stage.delivered(stream.delivered().unwrap_or(Revision(0)));
                    }
                    if let Some(WatchNews::Compacted(to)) = stream.last() {
                        self.wish.start = Some(*to);
                        again = true;
                        break;
                    }
                }
                Ok(Ok(false)) => {
                    stage.complain(|| format!("client {}: the watch ended", self.wish.client));
                    break;
                }
                Ok(Err(error)) => {
                    stage.complain(|| format!("client {}: {error:#}", self.wish.client));
                    break;
                }
            }
        }
        if let (Some(delivered), false) = (stream.delivered(), again) {
            self.wish.start = Some(delivered.next());
        }
        watches.push(stream.watch);
        again
    }
}

/// Asks for progress and receives until it comes: then everything up to it must
/// have been delivered.
async fn catch_up(stream: &mut WatchStream) -> anyhow::Result<()> {
    let asked = async {
        loop {
            stream.ask_for_progress().await;
            match tokio::time::timeout(ASK_AGAIN, receive_progress(stream)).await {
                Ok(answer) => return answer,
                Err(_) => continue,
            }
        }
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => bail!("no answer to a request for progress in {PATIENCE:?}"),
    }
}

async fn receive_progress(stream: &mut WatchStream) -> anyhow::Result<()> {
    loop {
        if !stream.receive().await? {
            bail!("the watch ended while it was to tell its progress");
        }
        if matches!(stream.last(), Some(WatchNews::Progress | WatchNews::Compacted(_))) {
            return Ok(());
        }
    }
}

/// Someone who writes or lists over one connection, and watches over another
/// what came of it; again and again.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) client: u32,
    pub(super) rng: Rng,
    // Counts values: each is written once.
    written: u64,
}

impl Visitor {
    pub(super) fn new(client: u32, rng: Rng) -> Visitor {
        Visitor { client, rng, written: 0 }
    }

    /// Visits until the server goes away or everyone closes.
    pub(super) async fn visit(
        mut self,
        stage: Arc<Stage>,
        mut calls_on: Wire,
        mut watches_on: Wire,
    ) -> (Visitor, Vec<Call>, Vec<Watch>) {
        let (mut calls, mut watches) = (Vec::new(), Vec::new());
        while !stage.is_over() {
            if self.rng.chance(1, 3) {
                calls.extend(self.attach(&stage, &mut calls_on, &mut watches_on).await);
                continue;
            }
            let key = format!("k/{:03}", self.rng.below(40));
            let range = match self.rng.below(3) {
                0 => KeyRange::prefix("k/"),
                1 => KeyRange::all(),
                _ => KeyRange::single(key.clone()),
            };
            let lists = self.rng.chance(1, 3);
            let request = match lists {
                true => Request::Range(Box::new(RangeRequest::new(range.clone()))),
                false => Request::Put(self.put(key)),
            };
            let call = call(&stage, &mut calls_on, self.client, request).await;
            let outcome = call.outcome.clone();
            calls.push(call);
            let Outcome::Done { revision, .. } = outcome else { break };
            let wish = Wish {
                client: self.client,
                range,
                start: lists.then(|| revision.next()),
                prev_kv: self.rng.chance(1, 2),
                no_put: self.rng.chance(1, 10),
                no_delete: self.rng.chance(1, 10),
            };
            match self.watch(&stage, &mut watches_on, wish).await {
                Ok(watch) => watches.push(watch),
                Err(error) => {
                    stage.complain(|| format!("client {}: watch: {error:#}", self.client));
                    break;
                }
            }
        }
        (self, calls, watches)
    }

    /// Puts a key with a lease, and looks at both over another connection in the
    /// meantime: what the lease shows, a get shows too.
    async fn attach(&mut self, stage: &Stage, one: &mut Wire, other: &mut Wire) -> Vec<Call> {
        const LOOKS: usize = 6;
        let id = LeaseId(self.rng.between(1, 6));
        let key = format!("lease/{}/{}", id.0, self.rng.below(3));
        let get = RangeRequest::new(KeyRange::single(key.clone()));
        let detached = self.rng.chance(1, 3);
        let lease = if detached { LeaseId::NONE } else { id };
        let put = Request::Put(PutRequest { lease, ..self.put(key) });
        let looks = async {
            let mut calls = Vec::new();
            for _ in 0..LOOKS {
                let look = Request::LeaseTimeToLive { id, keys: true };
                calls.push(call(stage, other, self.client, look).await);
                let get = Request::Range(Box::new(get.clone()));
                calls.push(call(stage, other, self.client, get).await);
            }
            calls
        };
        let (put, mut calls) = tokio::join!(call(stage, one, self.client, put), looks);
        calls.push(put);
        calls
    }

    fn put(&mut self, key: String) -> PutRequest {
        self.written += 1;
        let value = format!("{}.{}", self.client, self.written).into();
        PutRequest { key: key.into(), value, ..PutRequest::default() }
    }

    // For a moment, and then until everything up to some revision is here.
    async fn watch(&mut self, stage: &Stage, wire: &mut Wire, wish: Wish) -> anyhow::Result<Watch> {
        let mut stream = WatchStream::open(wire, stage.clock, wish).await?;
        let moment = Duration::from_millis(self.rng.below(20));
        let listen = async {
            while stream.receive().await? {}
            anyhow::Ok(())
        };
        // Not a wait for anything: the watch is looked at for an arbitrary time.
        if let Ok(ended) = tokio::time::timeout(moment, listen).await {
            ended?;
        }
        if !matches!(stream.last(), Some(WatchNews::Compacted(_))) {
            catch_up(&mut stream).await?;
        }
        Ok(stream.watch)
    }
}
