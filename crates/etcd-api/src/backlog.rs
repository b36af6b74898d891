//! What one connection's client has asked for and does not read, held within
//! bounds.
//!
//! HTTP/2 bounds what is on its way to a client, not what was made for it: a
//! response waits in memory until the client opens its window, and a client
//! may have any number of calls open. So the bytes of answers that a
//! connection has not taken are counted, and beyond [`HELD_BYTES_MAX`] its next
//! call is served only when some have been taken. Nothing is refused: who
//! reads comes by what they asked for.
//!
//! Answers that may be large have a count of their own, so that a list which
//! takes its time holds up other lists of its connection, but no get, no put
//! and no keep-alive.
//!
//! Streams are not counted: their work runs only while the client reads, so that
//! each holds two chunks at most; and a client may well pause one of them until
//! it has the answer to another call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::request_op::Request;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// Bytes of answers that a connection may leave unread, of each of the two
/// kinds, before its next call of that kind waits.
const HELD_BYTES_MAX: usize = 16 << 20;

/// Answers that may be large and are being made for a connection at a time. As
/// many as the node reads on blocking threads: more would only wait there,
/// and would all be made before the first of them counts.
const LARGE_AT_A_TIME: usize = 16;

/// Shorter messages are not counted: the call that carries them costs as much.
const COUNTED_BYTES_MIN: usize = 4 * 1024;

/// A transaction with more reads than this may have a large answer, even if
/// each of them is of one key.
const SMALL_TXN_READS_MAX: usize = 4;

/// The answers of one connection.
#[derive(Debug)]
pub(crate) struct Backlog {
    small: Arc<Lane>,
    large: Arc<Lane>,
}

impl Backlog {
    /// Of a connection that has taken everything.
    pub(crate) fn new() -> Self {
        Self::with_bound(HELD_BYTES_MAX)
    }

    /// For callers in this process, which have what they ask for in memory
    /// anyway.
    pub(crate) fn unbounded() -> Self {
        Self::with_bound(usize::MAX)
    }

    fn with_bound(bytes_max: usize) -> Self {
        let lane = |slots| Arc::new(Lane::new(bytes_max, slots));
        Backlog { small: lane(1), large: lane(LARGE_AT_A_TIME) }
    }

    /// Waits until another call may be read from the connection.
    pub(crate) async fn room(&self) {
        if self.small.is_full() {
            // Boxed: it is rare, and would make the future of every call larger.
            Box::pin(self.small.wait_in_turn()).await;
        }
    }

    /// An answer that was made, counted until the last of its bytes is dropped.
    pub(crate) fn count(&self, answer: Bytes) -> Bytes {
        self.small.count(answer)
    }

    /// Waits until an answer that may be large can be made for the request.
    /// A request that has to wait is counted as an answer is, so that requests
    /// cannot pile up instead.
    pub(crate) async fn large_turn(&self, request_bytes: usize) -> LargeTurn<'_> {
        match self.large.slots.try_acquire() {
            Ok(slot) if !self.large.is_full() => LargeTurn { lane: &self.large, _slot: Some(slot) },
            slot => {
                let counts = request_bytes >= COUNTED_BYTES_MIN;
                let _waiting = counts.then(|| Held::new(&self.small, request_bytes));
                Box::pin(self.large.turn(slot.ok())).await
            }
        }
    }
}

/// The right to make an answer that may be large.
#[derive(Debug)]
pub(crate) struct LargeTurn<'a> {
    lane: &'a Arc<Lane>,
    /// Given back only when the answer is counted. `None`: nothing gives turns
    /// any more.
    _slot: Option<SemaphorePermit<'a>>,
}

impl LargeTurn<'_> {
    /// The answer, counted until the last of its bytes is dropped.
    pub(crate) fn count(self, answer: Bytes) -> Bytes {
        self.lane.count(answer)
    }
}

/// Answers of one kind.
#[derive(Debug)]
struct Lane {
    bytes_max: usize,
    /// Bytes of answers that were made and have not been dropped.
    held: AtomicUsize,
    /// Told when `held` falls below the bound.
    freed: Notify,
    /// Calls that look for room at a time; the others wait for those, in order.
    slots: Semaphore,
}

impl Lane {
    fn new(bytes_max: usize, slots: usize) -> Self {
        Lane {
            bytes_max,
            held: AtomicUsize::new(0),
            freed: Notify::new(),
            slots: Semaphore::new(slots),
        }
    }

    fn is_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= self.bytes_max
    }

    async fn wait_in_turn(&self) {
        let _turn = self.turn_slot().await;
        self.room().await;
    }

    async fn turn<'a>(self: &'a Arc<Self>, slot: Option<SemaphorePermit<'a>>) -> LargeTurn<'a> {
        let slot = match slot {
            Some(slot) => Some(slot),
            None => self.turn_slot().await,
        };
        self.room().await;
        LargeTurn { lane: self, _slot: slot }
    }

    async fn turn_slot(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed: there is always one, some time.
        self.slots.acquire().await.ok()
    }

    async fn room(&self) {
        while self.is_full() {
            // Asked for first: what is freed after the look is told.
            let freed = self.freed.notified();
            if self.is_full() {
                freed.await;
            }
        }
    }

    fn count(self: &Arc<Self>, answer: Bytes) -> Bytes {
        if answer.len() < COUNTED_BYTES_MIN {
            return answer;
        }
        let _held = Held::new(self, answer.len());
        Bytes::from_owner(Counted { answer, _held })
    }
}

/// Bytes that count for a lane until this is dropped.
#[derive(Debug)]
struct Held {
    lane: Arc<Lane>,
    bytes: usize,
}

impl Held {
    fn new(lane: &Arc<Lane>, bytes: usize) -> Self {
        lane.held.fetch_add(bytes, Ordering::Relaxed);
        Held { lane: lane.clone(), bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let before = self.lane.held.fetch_sub(self.bytes, Ordering::Relaxed);
        let was_full = before >= self.lane.bytes_max;
        if was_full && before - self.bytes < self.lane.bytes_max {
            self.lane.freed.notify_waiters();
        }
    }
}

/// An answer, and that it counts. The connection owns it from when it takes
/// the first byte, so that only the drop of the bytes themselves tells when
/// they are sent.
struct Counted {
    answer: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

/// Whether the answer may have many keys.
pub(crate) fn range_is_large(request: &pb::RangeRequest) -> bool {
    !request.range_end.is_empty() && !request.count_only && request.limit != 1
}

/// Whether the answer may have many keys.
pub(crate) fn delete_is_large(request: &pb::DeleteRangeRequest) -> bool {
    !request.range_end.is_empty() && request.prev_kv
}

/// Whether the answer may have many keys, or few but often.
pub(crate) fn txn_is_large(request: &pb::TxnRequest) -> bool {
    let mut reads = 0;
    txn_has_large_op(request, &mut reads) || reads > SMALL_TXN_READS_MAX
}

/// Requests nest no deeper than their decoder allows.
fn txn_has_large_op(request: &pb::TxnRequest, reads: &mut usize) -> bool {
    request.success.iter().chain(&request.failure).any(|op| match &op.request {
        Some(Request::RequestRange(range)) => {
            *reads += 1;
            range_is_large(range)
        }
        Some(Request::RequestDeleteRange(delete)) => {
            *reads += usize::from(delete.prev_kv);
            delete_is_large(delete)
        }
        Some(Request::RequestPut(put)) => {
            *reads += usize::from(put.prev_kv);
            false
        }
        Some(Request::RequestTxn(txn)) => txn_has_large_op(txn, reads),
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn answer(bytes: usize) -> Bytes {
        vec![7; bytes].into()
    }

    /// Whether a future is done when it is looked at once.
    fn is_done(future: &mut (impl Future + Unpin)) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(pin!(future).poll(&mut cx), Poll::Ready(_))
    }

    #[test]
    fn what_is_not_read_holds_the_next_call_back() {
        let backlog = Backlog::new();
        let answers = [backlog.count(answer(HELD_BYTES_MAX - 1)), backlog.count(answer(5000))];
        let mut waiting = Box::pin(backlog.room());
        assert!(!is_done(&mut waiting));
        // Slices of an answer are the answer.
        let [first, second] = answers;
        let rest = first.slice(first.len() - 1..);
        drop(first);
        assert!(!is_done(&mut waiting));
        assert_eq!(rest, [7][..]);
        drop(rest);
        assert!(is_done(&mut waiting));
        drop(second);
        assert_eq!(backlog.small.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn small_answers_and_callers_in_this_process_do_not_count() {
        let backlog = Backlog::new();
        let small = backlog.count(answer(COUNTED_BYTES_MIN - 1));
        assert_eq!((backlog.small.held.load(Ordering::Relaxed), small.len()), (0, 4095));
        let unbounded = Backlog::unbounded();
        let _answer = unbounded.count(answer(2 * HELD_BYTES_MAX));
        assert!(is_done(&mut Box::pin(unbounded.room())));
    }

    #[tokio::test]
    async fn large_answers_wait_for_one_another_and_for_nothing_else() {
        let backlog = Backlog::new();
        let list = backlog.large_turn(10).await.count(answer(2 * HELD_BYTES_MAX));
        let mut waiting = Box::pin(backlog.large_turn(50_000));
        assert!(!is_done(&mut waiting));
        assert_eq!(backlog.small.held.load(Ordering::Relaxed), 50_000, "the request waits here");
        assert!(is_done(&mut Box::pin(backlog.room())), "others are served");
        drop(list);
        let turn = waiting.await;
        assert_eq!(backlog.small.held.load(Ordering::Relaxed), 0);
        assert_eq!(turn.count(answer(3)), answer(3));
    }

    #[tokio::test]
    async fn only_so_many_large_answers_are_made_at_a_time() {
        let backlog = Backlog::new();
        let mut turns = Vec::new();
        for _ in 0..LARGE_AT_A_TIME {
            turns.push(backlog.large_turn(0).await);
        }
        let mut waiting = Box::pin(backlog.large_turn(0));
        assert!(!is_done(&mut waiting));
        turns.pop();
        assert!(is_done(&mut waiting));
    }

    /// Tasks on several threads: no wake-up is lost, whoever drops what when.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_are_served_in_the_end() {
        let backlog = Arc::new(Backlog::new());
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let backlog = backlog.clone();
                tokio::spawn(async move {
                    backlog.room().await;
                    let list = backlog.large_turn(5000).await.count(answer(HELD_BYTES_MAX / 2));
                    let get = backlog.count(answer(HELD_BYTES_MAX / 8));
                    if number % 2 == 0 {
                        tokio::task::yield_now().await;
                    }
                    list.len() + get.len()
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let held = |lane: &Lane| lane.held.load(Ordering::Relaxed);
        assert_eq!((held(&backlog.small), held(&backlog.large)), (0, 0));
    }

    #[test]
    fn requests_are_told_apart() {
        let get = pb::RangeRequest { key: "a".into(), ..Default::default() };
        let list = pb::RangeRequest { range_end: "b".into(), ..get.clone() };
        assert!(!range_is_large(&get) && range_is_large(&list));
        assert!(!range_is_large(&pb::RangeRequest { count_only: true, ..list.clone() }));
        assert!(!range_is_large(&pb::RangeRequest { limit: 1, ..list.clone() }));
        let delete = pb::DeleteRangeRequest { range_end: "b".into(), ..Default::default() };
        assert!(!delete_is_large(&delete));
        assert!(delete_is_large(&pb::DeleteRangeRequest { prev_kv: true, ..delete }));

        let op = |request: &pb::RangeRequest| pb::RequestOp {
            request: Some(Request::RequestRange(request.clone())),
        };
        let txn = |success| pb::TxnRequest { success, ..Default::default() };
        assert!(!txn_is_large(&txn(vec![op(&get); SMALL_TXN_READS_MAX])));
        assert!(txn_is_large(&txn(vec![op(&get); SMALL_TXN_READS_MAX + 1])));
        let inner = pb::RequestOp { request: Some(Request::RequestTxn(txn(vec![op(&list)]))) };
        assert!(txn_is_large(&txn(vec![inner])));
    }
}
