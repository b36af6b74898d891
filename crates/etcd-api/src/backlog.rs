//! What one connection's client has asked for and does not read, or has begun to
//! ask and does not end, held within bounds.
//!
//! HTTP/2 bounds what is on its way to a client, not what was made for it: a
//! response waits in memory until the client opens its window, and a client
//! may have any number of calls open. So the bytes of answers that a
//! connection has not taken are counted, and beyond [`HELD_BYTES_MAX`], or its
//! share of the process's (`memory`), its next call is served only when some have
//! been taken. Nothing is refused: who reads comes by what they asked for.
//!
//! Each kind has an account of its own. Answers that may be large: a list which
//! takes its time holds up other lists of its connection, but no get, no put and
//! no keep-alive. Parts of streamed ranges: a client may well pause one of them
//! until it has the answer to another call. Requests of which more is to come:
//! these cannot wait, as what they wait for may be behind them in the socket, so
//! that those beyond the share are refused. So are calls that are open
//! (`open_calls`), with the requests that came with them, and watchers. History that
//! watchers catch up with waits as parts do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::memory::{Account, ClientMemory, Held};
use crate::open_calls::OpenCalls;

/// Bytes of answers that a connection may leave unread, of small and of large
/// ones, before its next call of that kind waits.
const HELD_BYTES_MAX: usize = 16 << 20;

/// Answers that may be large and are being made for a connection at a time.
/// The node reads 16 for all of them, and others are to have some of those.
const LARGE_AT_A_TIME: usize = 4;

/// From so many bytes on, making an answer takes long enough to hold up others.
const LARGE_BYTES: usize = 64 << 10;

/// Shorter messages are not counted: the call that carries them costs as much.
const COUNTED_BYTES_MIN: usize = 4 * 1024;

/// How long a turn that was given up rests, at least and at most. Between them,
/// as long as it was used: its work does not stop at once, and a client that
/// cancels what it asks for gets no more of it than one that reads it.
const REST_MIN: Duration = Duration::from_millis(10);
const REST_MAX: Duration = Duration::from_secs(1);

/// What is held for one connection.
#[derive(Debug)]
pub(crate) struct Backlog {
    small: Arc<Account>,
    /// Calls that wait for room do so one by one, in order.
    small_line: Semaphore,
    large: Arc<Account>,
    large_turns: Arc<Semaphore>,
    parts: Arc<Account>,
    part_turns: Semaphore,
    unfinished: Arc<Account>,
    calls: Arc<OpenCalls>,
    watchers: Arc<Account>,
    history: Arc<Account>,
    /// Streams that wait for history do so one by one, in order.
    history_line: Semaphore,
}

impl Backlog {
    /// Of a connection that has taken everything.
    pub(crate) fn new(memory: &Arc<ClientMemory>) -> Self {
        Self::with_bound(memory, HELD_BYTES_MAX)
    }

    /// For callers in this process, which have what they ask for in memory
    /// anyway.
    pub(crate) fn unbounded() -> Self {
        Self::with_bound(&Arc::new(ClientMemory::new(usize::MAX)), usize::MAX)
    }

    fn with_bound(memory: &Arc<ClientMemory>, bytes_max: usize) -> Self {
        Backlog {
            small: Account::new(memory, bytes_max),
            small_line: Semaphore::new(1),
            large: Account::new(memory, bytes_max),
            large_turns: Arc::new(Semaphore::new(LARGE_AT_A_TIME)),
            parts: Account::new(memory, usize::MAX),
            part_turns: Semaphore::new(LARGE_AT_A_TIME),
            unfinished: Account::new(memory, usize::MAX),
            calls: OpenCalls::new(memory),
            watchers: Account::new(memory, usize::MAX),
            history: Account::new(memory, usize::MAX),
            history_line: Semaphore::new(1),
        }
    }

    /// Waits until another call may be read from the connection.
    pub(crate) async fn room(&self) {
        if !self.small.has_room(COUNTED_BYTES_MIN) {
            // Boxed: it is rare, and would make the future of every call larger.
            Box::pin(room_in_order(&self.small, &self.small_line, COUNTED_BYTES_MIN)).await;
        }
    }

    /// An answer that was made, counted until the last of its bytes is dropped.
    pub(crate) fn count(&self, answer: Bytes) -> Bytes {
        count(&self.small, answer)
    }

    /// Waits until an answer that may be large can be made.
    pub(crate) async fn large_turn(&self) -> LargeTurn {
        let turn = self.large_turns.clone().try_acquire_owned().ok();
        if let Some(turn) = turn
            && self.large.has_room(0)
        {
            return LargeTurn::new(&self.large, Some(turn));
        }
        Box::pin(async {
            // Never closed: there is always one, some time.
            let turn = self.large_turns.clone().acquire_owned().await.ok();
            self.large.room(0).await;
            LargeTurn::new(&self.large, turn)
        })
        .await
    }

    /// Waits until a part of a stream, of about so many bytes, can be made.
    pub(crate) async fn part_turn(&self, bytes: usize) -> PartTurn<'_> {
        // Never closed: there is always one, some time.
        let turn = self.part_turns.acquire().await.ok();
        self.parts.room(bytes).await;
        PartTurn { account: &self.parts, reserved: self.parts.hold(bytes), turn }
    }

    /// What a request holds until it is there as a whole: nothing so far.
    pub(crate) fn unfinished(&self) -> Held {
        self.unfinished.hold(0)
    }

    /// The calls that are open.
    pub(crate) fn calls(&self) -> &Arc<OpenCalls> {
        &self.calls
    }

    /// What the watchers of a stream hold: nothing so far.
    pub(crate) fn watchers(&self) -> Held {
        self.watchers.hold(0)
    }

    /// Waits until a watch stream may have a piece of history of so many bytes,
    /// and counts it. A connection that holds none has one, whatever others hold,
    /// so that those who read come by it.
    pub(crate) async fn history_room(&self, bytes: usize) -> Held {
        let _first = self.history_line.acquire().await;
        self.history.first_or_room(bytes).await;
        self.history.hold(bytes)
    }
}

async fn room_in_order(account: &Account, line: &Semaphore, bytes: usize) {
    let _first = line.acquire().await;
    account.room(bytes).await;
}

fn count(account: &Arc<Account>, answer: Bytes) -> Bytes {
    if answer.len() < COUNTED_BYTES_MIN {
        return answer;
    }
    let _held = account.hold(answer.len());
    Bytes::from_owner(Counted { answer, _held })
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

/// The right to make a part of a stream.
pub(crate) struct PartTurn<'a> {
    account: &'a Arc<Account>,
    /// What it may take, until it is there: others must not be given the same room
    /// while it is made.
    reserved: Held,
    /// `None`: nothing gives turns any more.
    turn: Option<SemaphorePermit<'a>>,
}

impl PartTurn<'_> {
    /// The part, counted until the last of its bytes is dropped.
    pub(crate) fn count(&mut self, part: Bytes) -> Bytes {
        let part = count(self.account, part);
        self.reserved.set(0);
        part
    }

    /// Ends the turn once others have had theirs.
    pub(crate) async fn end(self) {
        tokio::task::yield_now().await;
        drop(self.turn);
    }
}

/// The right to make an answer that may be large.
#[derive(Debug)]
pub(crate) struct LargeTurn {
    account: Arc<Account>,
    begun: Instant,
    /// `None`: it is over, or nothing gives turns any more.
    turn: Option<OwnedSemaphorePermit>,
}

impl LargeTurn {
    fn new(account: &Arc<Account>, turn: Option<OwnedSemaphorePermit>) -> Self {
        LargeTurn { account: account.clone(), begun: Instant::now(), turn }
    }

    /// Whether there is room for an answer of so many bytes. If there is not, it
    /// is to be dropped, and made anew when there is.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.account.has_room(bytes)
    }

    /// Holds so many bytes, whether there is room for them or not.
    pub(crate) fn hold(&self, bytes: usize) -> Held {
        self.account.hold(bytes)
    }

    /// Waits for room, and holds it.
    pub(crate) async fn hold_room(&self, bytes: usize) -> Held {
        self.account.room(bytes).await;
        self.account.hold(bytes)
    }

    /// The answer, counted until the last of its bytes is dropped. If it was
    /// large the turn ends once others of this runtime have had theirs: however
    /// many such answers a connection asks for, it makes a few, and then it is
    /// the turn of the next connection.
    pub(crate) async fn count(mut self, answer: Bytes) -> Bytes {
        let answer = count(&self.account, answer);
        if answer.len() >= LARGE_BYTES {
            tokio::task::yield_now().await;
        }
        self.turn = None;
        answer
    }

    /// There is no answer: the call was refused.
    pub(crate) fn end(mut self) {
        self.turn = None;
    }
}

impl Drop for LargeTurn {
    fn drop(&mut self) {
        // Still there: the call was cancelled on its way.
        let Some(turn) = self.turn.take() else { return };
        let rest = self.begun.elapsed().clamp(REST_MIN, REST_MAX);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(rest).await;
                drop(turn);
            });
        }
    }
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

    fn backlog() -> Backlog {
        Backlog::new(&Arc::new(ClientMemory::new(usize::MAX)))
    }

    /// Whether a future is done when it is looked at once.
    fn is_done(future: &mut (impl Future + Unpin)) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(pin!(future).poll(&mut cx), Poll::Ready(_))
    }

    #[test]
    fn what_is_not_read_holds_the_next_call_back() {
        let backlog = backlog();
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
        assert_eq!(backlog.small.held(), 0);
    }

    #[test]
    fn small_answers_and_callers_in_this_process_do_not_count() {
        let backlog = backlog();
        let small = backlog.count(answer(COUNTED_BYTES_MIN - 1));
        assert_eq!((backlog.small.held(), small.len()), (0, 4095));
        let unbounded = Backlog::unbounded();
        let _answer = unbounded.count(answer(2 * HELD_BYTES_MAX));
        assert!(is_done(&mut Box::pin(unbounded.room())));
    }

    #[tokio::test]
    async fn large_answers_wait_for_one_another_and_for_nothing_else() {
        let backlog = backlog();
        let list = backlog.large_turn().await.count(answer(2 * HELD_BYTES_MAX)).await;
        let mut waiting = Box::pin(backlog.large_turn());
        assert!(!is_done(&mut waiting));
        assert!(is_done(&mut Box::pin(backlog.room())), "others are served");
        drop(list);
        let turn = waiting.await;
        assert_eq!(turn.count(answer(3)).await, answer(3));
    }

    #[tokio::test]
    async fn only_so_many_large_answers_are_made_at_a_time() {
        let backlog = backlog();
        let mut turns = Vec::new();
        for _ in 0..LARGE_AT_A_TIME {
            turns.push(backlog.large_turn().await);
        }
        let mut waiting = Box::pin(backlog.large_turn());
        assert!(!is_done(&mut waiting));
        turns.pop().expect("a turn").end();
        assert!(is_done(&mut waiting));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_given_up_rests() {
        let backlog = backlog();
        for _ in 0..LARGE_AT_A_TIME {
            drop(backlog.large_turn().await);
        }
        let before = tokio::time::Instant::now();
        backlog.large_turn().await.end();
        assert!(before.elapsed() >= REST_MIN);
        // One that ended well does not.
        let before = tokio::time::Instant::now();
        backlog.large_turn().await.end();
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_turn_lasts_until_others_have_had_theirs() {
        let backlog = backlog();
        let mut turns = Vec::new();
        for _ in 0..LARGE_AT_A_TIME {
            turns.push(backlog.large_turn().await);
        }
        let (last, small) = (turns.pop().expect("a turn"), turns.pop().expect("a turn"));
        let mut counting = Box::pin(last.count(answer(LARGE_BYTES)));
        assert!(!is_done(&mut counting), "it yields first");
        let mut waiting = Box::pin(backlog.large_turn());
        assert!(!is_done(&mut waiting));
        assert!(is_done(&mut Box::pin(small.count(answer(LARGE_BYTES - 1)))));
        assert!(is_done(&mut waiting));
        counting.await;
    }

    #[tokio::test]
    async fn parts_that_are_not_read_hold_back_parts_alone() {
        let memory = Arc::new(ClientMemory::new(100 << 20));
        let backlog = Backlog::new(&memory);
        let mut parts = Vec::new();
        for _ in 0..26 {
            let mut turn = backlog.part_turn(0).await;
            parts.push(turn.count(answer(2 << 20)));
            turn.end().await;
        }
        let mut waiting = Box::pin(backlog.part_turn(1 << 20));
        assert!(!is_done(&mut waiting));
        assert!(is_done(&mut Box::pin(backlog.room())), "gets go on");
        assert!(is_done(&mut Box::pin(backlog.large_turn())), "lists go on");
        let other = Backlog::new(&memory);
        assert!(is_done(&mut Box::pin(other.part_turn(1 << 20))), "others go on");
        drop(parts);
        assert!(is_done(&mut waiting));
    }

    #[tokio::test]
    async fn parts_that_are_being_made_count() {
        let memory = Arc::new(ClientMemory::new(4 << 20));
        let crowd: Vec<_> = (0..100).map(|_| Backlog::new(&memory)).collect();
        let mut turns = Vec::new();
        for backlog in &crowd {
            let mut turn = Box::pin(backlog.part_turn(1 << 20));
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(turn) = turn.as_mut().poll(&mut cx) {
                turns.push(turn);
            }
        }
        assert_eq!((turns.len(), memory.held()), (4, 4 << 20));
        let part = turns[0].count(answer(100));
        assert_eq!(memory.held(), 3 << 20, "what it is, and no more what it might be");
        drop((part, turns));
        assert_eq!(memory.held(), 0);
    }

    #[tokio::test]
    async fn history_waits_for_its_own_connection_and_for_no_other() {
        const PIECE: usize = 1 << 20;
        let memory = Arc::new(ClientMemory::new(8 << 20));
        let [backlog, other] = [(); 2].map(|()| Backlog::new(&memory));
        let mut pieces = Vec::new();
        for _ in 0..4 {
            pieces.push(backlog.history_room(PIECE).await);
        }
        let mut first = Box::pin(backlog.history_room(PIECE));
        let mut second = Box::pin(backlog.history_room(PIECE));
        assert!(!is_done(&mut first) && !is_done(&mut second));
        // One that has none has one, though all is spent.
        let _much = Account::new(&memory, usize::MAX).hold(100 << 20);
        let one = other.history_room(PIECE).await;
        assert!(!is_done(&mut Box::pin(other.history_room(PIECE))));
        drop((one, _much));
        pieces.pop();
        assert!(!is_done(&mut second), "in order");
        assert!(is_done(&mut first));
    }

    #[test]
    fn what_is_unfinished_is_counted_and_refused_at_the_end() {
        let memory = Arc::new(ClientMemory::new(10 << 20));
        let [backlog, other] = [(); 2].map(|()| Backlog::new(&memory));
        let mut requests: Vec<_> = (0..9).map(|_| backlog.unfinished()).collect();
        let taken =
            requests.iter_mut().filter_map(|request| request.try_set(1 << 20).then_some(()));
        assert_eq!(taken.count(), 5, "half of the memory");
        assert!(other.unfinished().try_set(1 << 20), "others go on");
        drop(requests);
        assert_eq!(memory.held(), 0);
    }

    /// Tasks on several threads: no wake-up is lost, whoever drops what when.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_are_served_in_the_end() {
        let backlog = Arc::new(backlog());
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let backlog = backlog.clone();
                tokio::spawn(async move {
                    backlog.room().await;
                    let turn = backlog.large_turn().await;
                    let list = turn.count(answer(HELD_BYTES_MAX / 2)).await;
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
        assert_eq!((backlog.small.held(), backlog.large.held()), (0, 0));
    }
}
