//! How many connections may be open at a time, so that they never use up the
//! files that the process may have open: the log's next segment needs one, and
//! a server that cannot make it can take no more writes.
//!
//! As in etcd, a connection beyond that is not refused: it waits in the kernel's
//! queue until another one ends. Metrics and health have a few places more than
//! clients, so that they can still be asked when clients have taken all of theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::front::Purpose;

/// Files that are kept for the node and for everything else that opens some now
/// and then, beside those that are open when it begins to serve. etcd's number.
const RESERVE: u64 = 150;
/// How many of them connections to the metrics port may take.
const METRICS_RESERVE: u64 = 16;
/// How often it is looked whether there is room, beside when a connection ends:
/// the node gives files back too.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How many connections there may be, by what is known at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    clients: u64,
    /// Of all kinds, while one to the metrics port is let in.
    metrics: u64,
}

/// `limit`: files that the process may have open. `others`: those that are open
/// and no connections. Of a small limit connections get half of what is free.
fn bounds(limit: u64, others: u64) -> Bounds {
    let free = limit.saturating_sub(others);
    let reserve = RESERVE.min(free / 2);
    let clients = (free - reserve).max(1);
    Bounds { clients, metrics: clients + METRICS_RESERVE.min(reserve / 2) }
}

/// The places for connections of a server.
pub(crate) struct Places {
    /// Files that the process may have open.
    limit: u64,
    /// Files open at the start that are not of the node.
    others: u64,
    /// How many files the node needs now.
    node_files: Box<dyn Fn() -> u64 + Send + Sync>,
    taken: AtomicUsize,
    freed: Notify,
    /// Some listener waits, and it was told.
    waiting: AtomicBool,
    /// How often all places were taken.
    episodes: AtomicU64,
}

/// One open connection.
pub(crate) struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify_waiters();
    }
}

/// What metrics show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Occupancy {
    pub(crate) taken: u64,
    pub(crate) max: u64,
    pub(crate) episodes: u64,
}

impl Places {
    /// `others`: files that are open while nobody is connected, but for those of
    /// the node.
    pub(crate) fn new(
        limit: u64,
        others: u64,
        node_files: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Arc<Places> {
        let places = Places {
            limit,
            others,
            node_files: Box::new(node_files),
            taken: AtomicUsize::new(0),
            freed: Notify::new(),
            waiting: AtomicBool::new(false),
            episodes: AtomicU64::new(0),
        };
        Arc::new(places)
    }

    fn bounds(&self) -> Bounds {
        bounds(self.limit, self.others + (self.node_files)())
    }

    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire) as u64
    }

    fn has_room(&self, purpose: Purpose) -> bool {
        let Bounds { clients, metrics } = self.bounds();
        self.taken() < if purpose == Purpose::Metrics { metrics } else { clients }
    }

    /// Returns when there is room for one more. Several listeners may be told of
    /// the same place; each of them takes one connection too many at most.
    pub(crate) async fn wait_for_room(&self, purpose: Purpose) {
        while !self.has_room(purpose) {
            if !self.waiting.swap(true, Ordering::Relaxed) {
                self.episodes.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    connections = self.taken(),
                    open_files_max = self.limit,
                    "new connections wait: more would use up the open files; raise their limit \
                     (LimitNOFILE, ulimit -n), or find out who connects so often"
                );
            }
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            // One that ended before it was enabled.
            if self.has_room(purpose) {
                break;
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, freed).await;
        }
        // Over when a good part is free: at the bound they come and go.
        if self.waiting.load(Ordering::Relaxed)
            && self.taken() < self.bounds().clients / 10 * 9
            && self.waiting.swap(false, Ordering::Relaxed)
        {
            tracing::info!(connections = self.taken(), "there is room for connections again");
        }
    }

    /// Takes a place for a connection that was accepted.
    pub(crate) fn take(self: &Arc<Self>) -> Place {
        self.taken.fetch_add(1, Ordering::AcqRel);
        Place(self.clone())
    }

    pub(crate) fn occupancy(&self) -> Occupancy {
        let (taken, max) = (self.taken(), self.bounds().clients);
        Occupancy { taken, max, episodes: self.episodes.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_stop_short_of_the_limit() {
        // As in etcd, where the limit is large.
        assert_eq!(bounds(1024, 30), Bounds { clients: 844, metrics: 860 });
        // The more files the node has open, the fewer connections.
        assert_eq!(bounds(1024, 530).clients, 344);
        for limit in 0..2048 {
            for others in [0, 10, 40, 500] {
                let Bounds { clients, metrics } = bounds(limit, others);
                assert!(clients >= 1 && metrics >= clients);
                if limit >= others + 8 {
                    let left = limit - others - metrics;
                    assert!(
                        left >= 134.min((limit - others) / 4 - 1),
                        "{limit} {others}: {left} left"
                    );
                }
            }
        }
    }

    #[test]
    fn without_a_limit_there_is_none() {
        assert!(bounds(u64::MAX, 40).clients > u64::from(u32::MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_waits_until_a_connection_ends() {
        let places = Places::new(40, 20, || 0);
        let taken: Vec<_> = (0..10).map(|_| places.take()).collect();
        assert_eq!(places.occupancy(), Occupancy { taken: 10, max: 10, episodes: 0 });
        places.wait_for_room(Purpose::Metrics).await;
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.wait_for_room(Purpose::Client).await }
        });
        tokio::time::sleep(10 * LOOK_AGAIN).await;
        assert!(!waiting.is_finished());
        drop(taken);
        waiting.await.unwrap();
        assert_eq!(places.occupancy(), Occupancy { taken: 0, max: 10, episodes: 1 });
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_the_node_opens_and_closes_count() {
        let files = Arc::new(AtomicU64::new(10));
        let now = files.clone();
        let places = Places::new(1000, 50, move || now.load(Ordering::Relaxed));
        assert_eq!(places.occupancy().max, 790);
        files.store(900, Ordering::Relaxed);
        assert_eq!(places.occupancy().max, 25);
        let _taken: Vec<_> = (0..25).map(|_| places.take()).collect();
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.wait_for_room(Purpose::Client).await }
        });
        tokio::time::sleep(10 * LOOK_AGAIN).await;
        assert!(!waiting.is_finished());
        files.store(10, Ordering::Relaxed);
        waiting.await.unwrap();
    }
}
