//! What clients make the server hold in memory: counted in bytes, bounded for the
//! process, and shared between the connections that hold something.
//!
//! An [`Account`] is what one connection holds of one kind. While less than half
//! of [`ClientMemory`] is held in all, accounts have only their own bounds.
//! Beyond that each account that holds more than a little ([`SHARE_BYTES_MIN`]) has an
//! equal share of what the others leave of that half; an account that holds nothing may
//! still begin with something larger, as long as all of the memory is not spent.
//! So clients that leave much unread slow themselves down, and what others ask
//! for is served unless it is larger than their share.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;

/// A share is never smaller than this, however many have one, and accounts that hold
/// no more take no share from others.
const SHARE_BYTES_MIN: usize = 64 << 10;

/// The memory of the process that clients may fill.
#[derive(Debug)]
pub struct ClientMemory {
    bytes_max: usize,
    held: AtomicUsize,
    /// What accounts hold that hold at most [`SHARE_BYTES_MIN`]. Signed: accounts
    /// change it in any order.
    held_by_small: AtomicIsize,
    /// Accounts that hold more.
    large: AtomicIsize,
    /// Told when something is freed while somebody waits.
    freed: Notify,
    waiting: AtomicUsize,
    /// How often something had to wait, and how often something was refused.
    waits: AtomicUsize,
    refusals: AtomicUsize,
}

impl ClientMemory {
    pub(crate) fn new(bytes_max: usize) -> Self {
        ClientMemory {
            bytes_max,
            held: AtomicUsize::new(0),
            held_by_small: AtomicIsize::new(0),
            large: AtomicIsize::new(0),
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
            waits: AtomicUsize::new(0),
            refusals: AtomicUsize::new(0),
        }
    }

    /// Bytes that clients make the server hold.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(SeqCst)
    }

    /// As many as it may become, more or less.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// How often an answer had to wait for memory so far.
    #[must_use]
    pub fn waits(&self) -> usize {
        self.waits.load(SeqCst)
    }

    /// How often a request was refused for want of memory so far.
    #[must_use]
    pub fn refusals(&self) -> usize {
        self.refusals.load(SeqCst)
    }

    /// Whether an account that holds `own` may hold `bytes` more.
    fn allows(&self, own: usize, bytes: usize) -> bool {
        let plenty = self.bytes_max / 2;
        let held = self.held.load(SeqCst);
        let all = held.saturating_add(bytes);
        if all <= plenty {
            return true;
        }
        let of_small = self.held_by_small.load(SeqCst).try_into().unwrap_or(0);
        let large: usize = self.large.load(SeqCst).try_into().unwrap_or(0);
        let sharing = large + usize::from(own <= SHARE_BYTES_MIN);
        let share = (plenty.saturating_sub(of_small) / sharing.max(1)).max(SHARE_BYTES_MIN);
        let is_idle = held <= self.bytes_max / 16;
        own.saturating_add(bytes) <= share || own == 0 && (all <= self.bytes_max || is_idle)
    }
}

impl ClientMemory {
    /// An account holds so many bytes now, and held so many before.
    fn account_changed(&self, before: usize, now: usize) {
        let small = |bytes: usize| if bytes <= SHARE_BYTES_MIN { bytes as isize } else { 0 };
        let change = small(now) - small(before);
        if change != 0 {
            self.held_by_small.fetch_add(change, SeqCst);
        }
        match (before > SHARE_BYTES_MIN, now > SHARE_BYTES_MIN) {
            (false, true) => _ = self.large.fetch_add(1, SeqCst),
            (true, false) => _ = self.large.fetch_sub(1, SeqCst),
            _ => {}
        }
    }
}

/// What one connection holds of one kind.
#[derive(Debug)]
pub(crate) struct Account {
    memory: Arc<ClientMemory>,
    /// From this on nothing more is taken, whatever the others hold.
    bytes_max: usize,
    held: AtomicUsize,
    freed: Notify,
}

impl Account {
    pub(crate) fn new(memory: &Arc<ClientMemory>, bytes_max: usize) -> Arc<Self> {
        let held = AtomicUsize::new(0);
        Arc::new(Account { memory: memory.clone(), bytes_max, held, freed: Notify::new() })
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(SeqCst)
    }

    /// Whether it may hold `bytes` more now.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let own = self.held();
        own < self.bytes_max && self.memory.allows(own, bytes)
    }

    /// Waits until it may hold `bytes` more. The waiting order is the caller's.
    pub(crate) async fn room(&self, bytes: usize) {
        self.wait_until(|| self.has_room(bytes)).await;
    }

    /// The same; if it holds nothing it may, whatever the others hold.
    pub(crate) async fn first_or_room(&self, bytes: usize) {
        self.wait_until(|| self.held() == 0 || self.has_room(bytes)).await;
    }

    async fn wait_until(&self, is_ready: impl Fn() -> bool) {
        if is_ready() {
            return;
        }
        self.memory.waits.fetch_add(1, SeqCst);
        let _waiting = Waiting::new(&self.memory);
        loop {
            // Asked for first: what is freed after the look is told.
            let (own, any) = (self.freed.notified(), self.memory.freed.notified());
            if is_ready() {
                return;
            }
            tokio::select! {
                () = own => {}
                () = any => {}
            }
        }
    }

    /// Holds `bytes`, whether there is room for them or not.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Held {
        let mut held = Held { account: self.clone(), bytes: 0 };
        held.set(bytes);
        held
    }
}

/// Somebody waits for memory.
struct Waiting<'a>(&'a ClientMemory);

impl<'a> Waiting<'a> {
    fn new(memory: &'a ClientMemory) -> Self {
        memory.waiting.fetch_add(1, SeqCst);
        Waiting(memory)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    account: Arc<Account>,
    bytes: usize,
}

impl Held {
    /// As how many bytes this counts.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts as so many bytes from now on, whether there is room or not.
    pub(crate) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        let (account, memory) = (&self.account, &self.account.memory);
        if bytes > before {
            let more = bytes - before;
            memory.held.fetch_add(more, SeqCst);
            let held = account.held.fetch_add(more, SeqCst);
            memory.account_changed(held, held + more);
        } else if bytes < before {
            let less = before - bytes;
            memory.held.fetch_sub(less, SeqCst);
            let held = account.held.fetch_sub(less, SeqCst);
            memory.account_changed(held, held - less);
            if memory.waiting.load(SeqCst) > 0 {
                account.freed.notify_waiters();
                memory.freed.notify_waiters();
            }
        }
    }

    /// Counts as so many bytes from now on, if there is room for what is more.
    pub(crate) fn try_set(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && !self.account.has_room(more) {
            self.account.memory.refusals.fetch_add(1, SeqCst);
            return false;
        }
        self.set(bytes);
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    const MIB: usize = 1 << 20;

    fn is_done(future: std::pin::Pin<&mut impl Future>) -> bool {
        matches!(future.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(_))
    }

    #[test]
    fn plenty_is_for_anybody() {
        let memory = Arc::new(ClientMemory::new(100 * MIB));
        let greedy = Account::new(&memory, usize::MAX);
        let held = greedy.hold(49 * MIB);
        assert!(greedy.has_room(MIB) && !greedy.has_room(MIB + 1));
        drop(held);
        assert_eq!((memory.held(), greedy.held()), (0, 0));
    }

    #[test]
    fn what_is_scarce_is_shared() {
        let memory = Arc::new(ClientMemory::new(100 * MIB));
        let [greedy, modest, new] = [(); 3].map(|()| Account::new(&memory, usize::MAX));
        let _much = greedy.hold(80 * MIB);
        let _little = modest.hold(MIB);
        assert!(!greedy.has_room(1), "it is far above its share");
        assert!(modest.has_room(24 * MIB), "half of what is shared, less what it has");
        assert!(!modest.has_room(24 * MIB + 1));
        assert!(new.has_room(19 * MIB), "all that is left, for one that has nothing");
        assert!(!new.has_room(20 * MIB));
        let _rest = greedy.hold(40 * MIB);
        assert!(new.has_room(16 * MIB) && !new.has_room(17 * MIB), "a third, and no more");
    }

    #[test]
    fn what_is_larger_than_the_memory_is_served_alone() {
        let memory = Arc::new(ClientMemory::new(100 * MIB));
        let [large, small] = [(); 2].map(|()| Account::new(&memory, usize::MAX));
        let held = small.hold(MIB);
        assert!(large.has_room(400 * MIB));
        let more = small.hold(10 * MIB);
        assert!(!large.has_room(400 * MIB));
        drop((held, more));
        let _answer = large.hold(400 * MIB);
        assert!(small.has_room(25 * MIB) && !small.has_room(26 * MIB));
    }

    #[test]
    fn however_many_there_are_each_has_a_little() {
        let memory = Arc::new(ClientMemory::new(MIB));
        let crowd: Vec<_> = (0..100).map(|_| Account::new(&memory, usize::MAX)).collect();
        let _held: Vec<_> = crowd.iter().map(|account| account.hold(20 << 10)).collect();
        let new = Account::new(&memory, usize::MAX);
        assert!(new.has_room(SHARE_BYTES_MIN) && !new.has_room(SHARE_BYTES_MIN + 1));
    }

    #[test]
    fn accounts_that_hold_little_take_no_share_from_others() {
        let memory = Arc::new(ClientMemory::new(100 * MIB));
        let crowd: Vec<_> = (0..1000).map(|_| Account::new(&memory, usize::MAX)).collect();
        let few: Vec<_> = crowd.iter().map(|account| account.hold(1 << 10)).collect();
        let [list, proxy] = [(); 2].map(|()| Account::new(&memory, usize::MAX));
        let _list = list.hold(60 * MIB);
        let mut calls = proxy.hold(0);
        assert!(calls.try_set(24 * MIB), "half of what the little ones leave");
        assert!(!calls.try_set(25 * MIB));
        drop(few);
        assert!(calls.try_set(25 * MIB), "half of all");
        // They hold more, and share.
        let _more: Vec<_> = crowd[..98].iter().map(|account| account.hold(MIB / 4)).collect();
        assert!(!proxy.has_room(1));
    }

    #[test]
    fn whoever_waits_is_told_of_what_is_freed() {
        let memory = Arc::new(ClientMemory::new(100 * MIB));
        let [one, other] = [(); 2].map(|()| Account::new(&memory, usize::MAX));
        let mut much = one.hold(90 * MIB);
        let mut waiting = pin!(other.room(30 * MIB));
        assert!(!is_done(waiting.as_mut()));
        much.set(69 * MIB);
        assert!(is_done(waiting.as_mut()));
        assert_eq!((memory.waits(), memory.waiting.load(SeqCst)), (1, 0));
    }

    #[test]
    fn its_own_bound_holds_too() {
        let memory = Arc::new(ClientMemory::new(usize::MAX));
        let account = Account::new(&memory, MIB);
        let mut held = account.hold(MIB - 1);
        assert!(held.try_set(2 * MIB), "the last one may exceed it");
        assert!(!held.try_set(2 * MIB + 1));
        assert!(held.try_set(MIB), "less is always right");
        assert_eq!(memory.refusals(), 1);
    }

    /// Tasks on several threads: no wake-up is lost, whoever drops what when.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_are_served_in_the_end() {
        let memory = Arc::new(ClientMemory::new(MIB));
        let tasks: Vec<_> = (0..200_usize)
            .map(|number| {
                let account = Account::new(&memory, 100 << 10);
                tokio::spawn(async move {
                    for round in 0..10 {
                        let bytes = 1000 * (number % 7 + round) + 300_000;
                        account.room(bytes).await;
                        let _held = account.hold(bytes);
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let (large, of_small) = (memory.large.load(SeqCst), memory.held_by_small.load(SeqCst));
        assert_eq!((memory.held(), large, of_small), (0, 0, 0));
    }
}
