//! The threads that serve connections: one single-threaded runtime each, with
//! its own lane to the node, so that nothing on the way of a request is shared
//! between them but the node itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::connection::{Port, Serving, converse};
use crate::front::Front;
use crate::places::Place;
use crate::socket::Accepted;

/// Connections handed to a shard that it has not taken yet, at most.
const HAND_OVER_QUEUE: usize = 1024;

/// What a shard is asked to serve, and by what.
pub(crate) struct Handed {
    pub(crate) connection: Accepted,
    /// The listener that it came to.
    pub(crate) port: Arc<Port>,
    /// Counts it as open until it is dropped.
    pub(crate) open: OpenConnection,
}

/// One open connection of a shard.
pub(crate) struct OpenConnection {
    of_shard: Arc<AtomicUsize>,
    _place: Place,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.of_shard.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thread that serves connections.
pub(crate) struct Shard {
    connections: mpsc::Sender<Handed>,
    open: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Shard {
    /// Starts a shard; `drain` turns true when connections shall end.
    pub(crate) fn start(
        number: usize,
        config: Arc<Config>,
        front: Front,
        drain: watch::Receiver<bool>,
    ) -> io::Result<Shard> {
        let (connections, incoming) = mpsc::channel(HAND_OVER_QUEUE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread =
            std::thread::Builder::new().name(format!("t4-io-{number}")).spawn(move || {
                runtime.block_on(async move {
                    let serving = Serving { config, front: front.on_this_runtime() };
                    serve(incoming, Arc::new(serving), drain).await;
                });
                // Connections that did not drain in time end with their runtime.
                runtime.shutdown_background();
            })?;
        Ok(Shard { connections, open: Arc::new(AtomicUsize::new(0)), thread })
    }

    /// How many connections it has.
    pub(crate) fn load(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Hands a connection over; waits while the shard has many that it has not
    /// taken yet, and others wait in the kernel's queue. False: it has ended.
    pub(crate) async fn hand_over(
        &self,
        connection: Accepted,
        port: Arc<Port>,
        place: Place,
    ) -> bool {
        self.open.fetch_add(1, Ordering::Relaxed);
        let open = OpenConnection { of_shard: self.open.clone(), _place: place };
        self.connections.send(Handed { connection, port, open }).await.is_ok()
    }

    /// Lets the shard end and waits for it.
    pub(crate) fn join(self) {
        drop(self.connections);
        // A panic in it was reported by the panic hook.
        let _ = self.thread.join();
    }
}

/// Serves connections until they are drained, or until the drain takes too long.
async fn serve(
    mut incoming: mpsc::Receiver<Handed>,
    serving: Arc<Serving>,
    drain: watch::Receiver<bool>,
) {
    let mut drained = drain.clone();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            handed = incoming.recv() => {
                let Some(handed) = handed else { break };
                let Handed { connection, port, open } = handed;
                let conversation = converse(connection, port, serving.clone(), drain.clone());
                connections.spawn(async move {
                    conversation.await;
                    drop(open);
                });
            }
            Some(_) = connections.join_next() => {}
            _ = drained.wait_for(|drain| *drain) => break,
        }
    }
    incoming.close();
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(serving.config.drain_timeout, all).await;
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use tokio::task::JoinHandle;

    use super::*;
    use crate::front::Purpose;
    use crate::places::Places;

    /// A shard whose thread takes nothing but what the test takes in its place.
    fn shard(queue: usize) -> (Arc<Shard>, mpsc::Receiver<Handed>) {
        let (connections, incoming) = mpsc::channel(queue);
        let thread = std::thread::spawn(|| {});
        (Arc::new(Shard { connections, open: Arc::default(), thread }), incoming)
    }

    /// So many connections that are handed over at once, and their clients. Each has
    /// been tried when this returns.
    async fn arrive(
        count: usize,
        shard: &Arc<Shard>,
        places: &Arc<Places>,
    ) -> (Vec<JoinHandle<bool>>, Vec<UnixStream>) {
        let tried = Arc::new(AtomicUsize::new(0));
        let arriving = (0..count).map(|_| {
            let (connection, client) = UnixStream::pair().unwrap();
            let port = Arc::new(Port { purpose: Purpose::Client, plain: true, tls: None });
            let (shard, place, tried) = (shard.clone(), places.take(), tried.clone());
            let handing = async move {
                // On one thread: it is polled at once, and nothing runs in between.
                tried.fetch_add(1, Ordering::Relaxed);
                shard.hand_over(Accepted::Unix(connection), port, place).await
            };
            (tokio::spawn(handing), client)
        });
        let arriving = arriving.unzip();
        while tried.load(Ordering::Relaxed) < count {
            tokio::task::yield_now().await;
        }
        arriving
    }

    #[tokio::test]
    async fn a_burst_waits_for_its_thread_and_none_of_it_is_dropped() {
        const BURST: usize = 50;
        let (shard, mut incoming) = shard(4);
        let places = Places::new(1000, 0, || 0);
        let (handing, _clients) = arrive(BURST, &shard, &places).await;
        let done = handing.iter().filter(|handing| handing.is_finished()).count();
        assert_eq!((done, incoming.len()), (4, 4), "the others wait");
        assert_eq!(places.occupancy().taken, BURST as u64, "and have their places");

        let mut served = Vec::new();
        for handing in handing {
            served.push(incoming.recv().await.unwrap());
            assert!(handing.await.unwrap(), "it was handed over");
        }
        served.pop();
        assert_eq!((shard.load(), places.occupancy().taken), (BURST - 1, BURST as u64 - 1));
        drop(served);
        assert_eq!((shard.load(), places.occupancy().taken), (0, 0));
    }

    #[tokio::test]
    async fn connections_that_wait_for_a_thread_that_ends_give_their_places_back() {
        let (shard, mut incoming) = shard(1);
        let places = Places::new(1000, 0, || 0);
        let (handing, _clients) = arrive(3, &shard, &places).await;
        let waiting = handing.iter().filter(|handing| !handing.is_finished()).count();
        assert_eq!((waiting, places.occupancy().taken), (2, 3));
        incoming.close();
        let mut outcomes = Vec::new();
        for handing in handing {
            outcomes.push(handing.await.unwrap());
        }
        assert_eq!(outcomes, [true, false, false]);
        drop(incoming);
        assert_eq!((shard.load(), places.occupancy().taken), (0, 0));
    }
}
