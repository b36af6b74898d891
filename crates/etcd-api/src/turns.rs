//! Turns at something scarce, shared fairly: a source that asks for many delays only
//! itself.
//!
//! There is a queue for each source, and the queues are served in rotation. The
//! length of one queue does not delay the others; and when too many wait in all, the
//! last one of the longest queue is evicted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Shared turns.
#[derive(Debug)]
pub(crate) struct Turns<K: Ord + Copy>(Arc<Mutex<Lines<K>>>);

/// Too many wait, and most of them come from where this one comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

#[derive(Debug)]
struct Lines<K: Ord + Copy> {
    /// Turns that are free. None while callers wait.
    free: usize,
    waiting_max: usize,
    /// The waiters, including those that have given up.
    waiting: usize,
    /// None is empty.
    lines: BTreeMap<K, VecDeque<oneshot::Sender<Turn<K>>>>,
    /// The queues, in the order in which they are served.
    rotation: VecDeque<K>,
}

/// A turn. It goes to the next when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<K: Ord + Copy> {
    /// `None`: it is handed on already.
    of: Option<Arc<Mutex<Lines<K>>>>,
}

impl<K: Ord + Copy> Turns<K> {
    /// `at_a_time` turns, and at most `waiting_max` waiters.
    pub(crate) fn new(at_a_time: usize, waiting_max: usize) -> Self {
        Turns(Arc::new(Mutex::new(Lines {
            free: at_a_time,
            waiting_max,
            waiting: 0,
            lines: BTreeMap::new(),
            rotation: VecDeque::new(),
        })))
    }

    /// Waits for a turn, in the queue of `from`. Dropping the future leaves it.
    ///
    /// # Errors
    /// [`Crowded`], at once or while it waits.
    pub(crate) async fn take(&self, from: K) -> Result<Turn<K>, Crowded> {
        let given = {
            let mut lines = self.0.lock();
            if lines.free > 0 {
                lines.free -= 1;
                return Ok(Turn { of: Some(self.0.clone()) });
            }
            lines.make_room(&from)?;
            lines.join(from)
        };
        given.await.map_err(|_| Crowded)
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().waiting
    }
}

impl<K: Ord + Copy> Lines<K> {
    fn join(&mut self, from: K) -> oneshot::Receiver<Turn<K>> {
        let (give, given) = oneshot::channel();
        let line = self.lines.entry(from).or_default();
        if line.is_empty() {
            self.rotation.push_back(from);
        }
        line.push_back(give);
        self.waiting += 1;
        given
    }

    /// Makes room for one more in the queue of `from`, if need be by evicting the
    /// last one of a longer queue.
    fn make_room(&mut self, from: &K) -> Result<(), Crowded> {
        if self.waiting < self.waiting_max {
            return Ok(());
        }
        self.forget_the_gone();
        if self.waiting < self.waiting_max {
            return Ok(());
        }
        let own = self.lines.get(from).map_or(0, VecDeque::len);
        let longest = self.lines.values_mut().max_by_key(|line| line.len());
        // A queue is kept only while it has waiters, so none is empty.
        let longest = longest.filter(|line| line.len() > own + 1).ok_or(Crowded)?;
        longest.pop_back();
        self.waiting -= 1;
        Ok(())
    }

    fn forget_the_gone(&mut self) {
        self.lines.retain(|_, line| {
            line.retain(|give| !give.is_closed());
            !line.is_empty()
        });
        self.waiting = self.lines.values().map(VecDeque::len).sum();
        self.rotation.retain(|from| self.lines.contains_key(from));
    }

    /// The next waiter.
    fn next(&mut self) -> Option<oneshot::Sender<Turn<K>>> {
        let from = self.rotation.pop_front()?;
        let line = self.lines.get_mut(&from)?;
        let next = line.pop_front();
        self.waiting -= 1;
        if line.is_empty() {
            self.lines.remove(&from);
        } else {
            self.rotation.push_back(from);
        }
        next
    }
}

impl<K: Ord + Copy> Drop for Turn<K> {
    fn drop(&mut self) {
        let Some(of) = self.of.take() else { return };
        let mut lines = of.lock();
        let mut turn = Turn { of: Some(of.clone()) };
        while let Some(next) = lines.next() {
            match next.send(turn) {
                Ok(()) => return,
                // It is gone.
                Err(back) => turn = back,
            }
        }
        turn.of = None;
        lines.free += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    fn now<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    fn at_once(turns: &Turns<u8>, from: u8) -> Turn<u8> {
        now(pin!(turns.take(from))).expect("at once").expect("a turn")
    }

    /// Serves all waiters, one after the other; gives their places.
    fn serve(
        mut waiting: Vec<(u8, Pin<Box<impl Future<Output = Result<Turn<u8>, Crowded>>>>)>,
    ) -> Vec<u8> {
        let mut served = Vec::new();
        while !waiting.is_empty() {
            let ready = waiting.iter_mut().position(|(_, take)| {
                // Dropped at once: the next one has it.
                now(take.as_mut()).is_some_and(|turn| turn.is_ok())
            });
            served.push(waiting.remove(ready.expect("somebody has the turn")).0);
        }
        served
    }

    #[test]
    fn the_lines_are_served_in_rotation() {
        let turns = Turns::new(1, 100);
        let held = at_once(&turns, 9);
        let from = [1, 1, 1, 1, 2, 2, 3];
        let mut waiting: Vec<_> =
            from.iter().map(|&from| (from, Box::pin(turns.take(from)))).collect();
        for (_, take) in &mut waiting {
            assert!(now(take.as_mut()).is_none());
        }
        drop(held);
        assert_eq!(serve(waiting), [1, 2, 3, 1, 2, 1, 1]);
        assert_eq!(turns.waiting(), 0);
        drop(at_once(&turns, 1));
    }

    #[test]
    fn who_is_gone_is_passed_over() {
        let turns = Turns::new(1, 100);
        let held = at_once(&turns, 0);
        let mut stays = Box::pin(turns.take(2));
        {
            let mut goes = pin!(turns.take(1));
            assert!(now(goes.as_mut()).is_none() && now(stays.as_mut()).is_none());
        }
        drop(held);
        // Given and not taken, it goes on too.
        drop(stays);
        let _held = at_once(&turns, 3);
        assert_eq!(turns.waiting(), 0);
    }

    #[test]
    fn a_crowd_gives_way_to_others() {
        let turns = Turns::new(1, 4);
        let held = at_once(&turns, 0);
        let mut crowd: Vec<_> = (0..4).map(|_| Box::pin(turns.take(1))).collect();
        assert!(crowd.iter_mut().all(|take| now(take.as_mut()).is_none()));
        assert!(now(pin!(turns.take(1))).is_some_and(|refused| refused.is_err()));
        // One of the crowd has to go for each, until it is no longer a crowd.
        let mut others: Vec<_> = [2, 3].map(|from| Box::pin(turns.take(from))).into();
        assert!(others.iter_mut().all(|take| now(take.as_mut()).is_none()));
        let refused = crowd.iter_mut().filter_map(|take| now(take.as_mut())).count();
        assert_eq!((refused, turns.waiting()), (2, 4));
        assert!(now(pin!(turns.take(2))).is_some_and(|refused| refused.is_err()));
        drop((crowd, others));
        // The gone make room.
        let mut late = Box::pin(turns.take(1));
        assert!(now(late.as_mut()).is_none());
        drop(held);
        assert!(now(late.as_mut()).is_some_and(|turn| turn.is_ok()));
    }
}
