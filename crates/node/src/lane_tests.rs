//! A lane on a store, fed by hand: what its watchers get when it is not in time.

use super::*;
use crate::inbox::{BYTES_MAX, REVISIONS_MAX};
use crate::watch::WatchStream;
use t4_kv_types::{KeyRange, LeaseId, OpError, Write};
use t4_mvcc::Store;
use t4_state_machine::Response;
use t4_watch_hub::{Message, WatchSpec};
use tokio::sync::oneshot;

struct Bed {
    store: Store,
    lane: Arc<Lane>,
    /// A watcher of everything, which is there from the start.
    stream: WatchStream,
    seen: Revision,
    _scratch: tempfile::TempDir,
}

impl Bed {
    /// The lane's task does not run yet.
    fn new() -> Bed {
        let scratch = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(t4_mvcc::Config::new(scratch.path())).unwrap();
        let lane = Arc::new(Lane::new(store.reader(), Damage::unheard()));
        let stream = WatchStream::open(lane.clone());
        stream.create(None, WatchSpec::new(KeyRange::all()));
        assert!(matches!(stream.try_next(), Some(Message::Created { .. })));
        let seen = store.revision();
        Bed { store, lane, stream, seen, _scratch: scratch }
    }

    fn write(&mut self, revisions: usize, value_bytes: usize) -> Revisions {
        let value: bytes::Bytes = vec![0; value_bytes].into();
        let one = |_| {
            let (key, value) = ("k".into(), value.clone());
            let revision = self.store.revision().next();
            let write = Write::Put { key, value, lease: LeaseId::NONE };
            let events = self.store.apply(revision, &[write]);
            self.store.publish(revision);
            (revision, events)
        };
        (0..revisions).map(one).collect()
    }

    fn deliver(&self, revisions: Revisions, compacted: Option<Revision>) {
        assert!(self.lane.deliver(&mut Vec::new(), &News::new(revisions, compacted)));
    }

    /// Returns once the lane has taken all that was delivered before.
    async fn round(&self) {
        let (to, taken) = oneshot::channel();
        let result = Ok(Response::Done(Revision(0)));
        self.lane.deliver(&mut vec![Completion { to, result }], &News::default());
        let taken: Result<Response, OpError> = taken.await.unwrap();
        taken.unwrap();
    }

    /// Everything up to the newest revision comes, without a gap.
    async fn sees_all(&mut self) {
        while self.seen < self.store.revision() {
            let next = tokio::time::timeout(Duration::from_secs(60), self.stream.next()).await;
            match next.expect("it hears of everything").expect("the stream goes on") {
                Message::Events { batch, .. } => {
                    for event in batch.events() {
                        assert_eq!(event.kv.mod_revision, self.seen.next());
                        self.seen = event.kv.mod_revision;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_compaction_that_meets_a_full_inbox_loses_nothing() {
    for excess in [0, 1] {
        let mut bed = Bed::new();
        let full = bed.write(REVISIONS_MAX + excess, 0);
        bed.deliver(full, None);
        bed.deliver(Vec::new(), Some(Revision(1)));
        tokio::spawn(bed.lane.clone().run());
        // Twice: what was dropped has been read when the second one is taken.
        bed.round().await;
        bed.round().await;
        let more = bed.write(1, 0);
        bed.deliver(more, None);
        bed.sees_all().await;
        bed.lane.close();
    }
}

#[tokio::test]
async fn what_is_too_large_to_wait_comes_from_history() {
    let mut bed = Bed::new();
    for _ in 0..5 {
        let large = bed.write(1, BYTES_MAX / 4);
        bed.deliver(large, None);
    }
    tokio::spawn(bed.lane.clone().run());
    bed.sees_all().await;
    bed.lane.close();
}

#[tokio::test]
async fn streams_end_rather_than_lose_a_revision() {
    let mut bed = Bed::new();
    tokio::spawn(bed.lane.clone().run());
    let mut two = bed.write(2, 0);
    two.remove(0);
    bed.deliver(two, None);
    let next = tokio::time::timeout(Duration::from_secs(60), bed.stream.next()).await;
    assert!(next.expect("it hears of it").is_none());
    bed.lane.close();
}
