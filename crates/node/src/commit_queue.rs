//! What waits for the write loop: submissions from any thread and news from
//! the log, in one place to sleep on.
//!
//! While the log is busy the loop does not wake for each submission: they
//! gather, and become one entry when the log is free again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use t4_auth_rbac::Identity;
use t4_kv_types::OpError;
use t4_state_machine::Request;
use tokio::sync::oneshot;

use crate::submissions::{ReplyTo, Submission, Submissions, goes_ahead};

/// The lane of responses that nobody waits for.
const NO_LANE: usize = usize::MAX;

/// Of so many places for all submissions, one more is kept for those that go
/// ahead of the others.
const PLACES_PER_RESERVED: usize = 10;

/// What the log has to say about the entry that it was given.
pub(crate) enum LogNews {
    /// It is durable.
    Durable,
    /// It was not written and never will be: no space, or no open files.
    Refused,
    /// The log is lost; the process must not go on.
    Fatal(String),
}

/// What woke the write loop.
#[derive(Default)]
pub(crate) struct Woken {
    pub(crate) news: Option<LogNews>,
    /// The loop shall end once nothing is in flight.
    pub(crate) stop: bool,
}

#[derive(Default)]
struct Inner {
    submissions: Submissions,
    news: Option<LogNews>,
    stop: bool,
    /// The loop is gone: nobody will answer any more.
    closed: bool,
    nudged: bool,
    /// How the loop sleeps, if it does.
    sleep: Option<Sleep>,
}

#[derive(Clone, Copy)]
struct Sleep {
    /// Every submission shall wake the loop.
    submissions: bool,
    /// When it wakes by itself.
    until: Option<Instant>,
}

impl Sleep {
    /// Whether a submission with this deadline must wake the loop, be it to
    /// sleep shorter.
    fn is_ended_by(self, deadline: Option<Instant>) -> bool {
        let before = |deadline| self.until.is_none_or(|until| deadline < until);
        self.submissions || deadline.is_some_and(before)
    }
}

pub(crate) struct CommitQueue {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Submissions admitted and not answered.
    admitted: AtomicUsize,
    /// Bound of `admitted`, but for a reserve.
    requests_max: usize,
    /// How long a client waits for its answer.
    request_timeout: Duration,
}

impl CommitQueue {
    pub(crate) fn new(requests_max: usize, request_timeout: Duration) -> Self {
        CommitQueue {
            inner: Mutex::default(),
            changed: Condvar::new(),
            admitted: AtomicUsize::new(0),
            requests_max,
            request_timeout,
        }
    }

    /// How long a client waits for its answer.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Admits a client's request, or says why not.
    pub(crate) fn submit(
        &self,
        who: Identity,
        request: Request,
        reply: ReplyTo,
    ) -> Result<(), OpError> {
        let reserve = if goes_ahead(&request) { self.reserve() } else { 0 };
        if self.admitted.fetch_add(1, Ordering::Relaxed) >= self.requests_max + reserve {
            self.admitted.fetch_sub(1, Ordering::Relaxed);
            return Err(OpError::TooManyRequests);
        }
        let deadline = Instant::now().checked_add(self.request_timeout);
        let mut inner = self.inner.lock();
        if inner.stop || inner.closed {
            drop(inner);
            self.answered(1);
            return Err(OpError::Stopped);
        }
        self.push(&mut inner, Submission { who, request, reply, deadline });
        Ok(())
    }

    fn reserve(&self) -> usize {
        self.requests_max.div_ceil(PLACES_PER_RESERVED)
    }

    /// Submits a request of the node's own: nobody waits for its response, and
    /// it is not held back by a full queue.
    pub(crate) fn submit_own(&self, request: Request) {
        let (to, _) = oneshot::channel();
        let mut inner = self.inner.lock();
        if inner.closed {
            return;
        }
        self.admitted.fetch_add(1, Ordering::Relaxed);
        let (who, reply) = (Identity::Server, ReplyTo { lane: NO_LANE, to });
        self.push(&mut inner, Submission { who, request, reply, deadline: None });
    }

    fn push(&self, inner: &mut Inner, submission: Submission) {
        let deadline = submission.deadline;
        inner.submissions.push(submission);
        if inner.sleep.is_some_and(|sleep| sleep.is_ended_by(deadline)) {
            inner.sleep = None;
            self.changed.notify_one();
        }
    }

    /// So many submissions have been answered.
    pub(crate) fn answered(&self, count: usize) {
        self.admitted.fetch_sub(count, Ordering::Relaxed);
    }

    /// Submissions admitted and not answered.
    pub(crate) fn admitted(&self) -> usize {
        self.admitted.load(Ordering::Relaxed)
    }

    pub(crate) fn log_news(&self, news: LogNews) {
        let mut inner = self.inner.lock();
        // A fatal error must not be hidden by what comes after it.
        if !matches!(inner.news, Some(LogNews::Fatal(_))) {
            inner.news = Some(news);
        }
        self.changed.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.inner.lock().stop = true;
        self.changed.notify_one();
    }

    /// Makes the loop look at its timers and tasks.
    pub(crate) fn nudge(&self) {
        self.inner.lock().nudged = true;
        self.changed.notify_one();
    }

    /// Takes up to `max` of the submissions that go ahead.
    pub(crate) fn take_ahead(&self, max: usize, into: &mut Submissions) {
        self.inner.lock().submissions.move_ahead(max, into);
    }

    /// Takes up to `max` of the other submissions.
    pub(crate) fn take_others(&self, max: usize, into: &mut Submissions) {
        self.inner.lock().submissions.move_others(max, into);
    }

    /// Takes the submissions that have waited too long.
    pub(crate) fn take_overdue(&self, now: Instant) -> Vec<Submission> {
        self.inner.lock().submissions.take_overdue(now)
    }

    /// Sleeps until there is news of the log, a stop, a nudge, the deadline or
    /// that of a submission, or (if `submissions`) something was submitted.
    pub(crate) fn wait(&self, submissions: bool, deadline: Option<Instant>) -> Woken {
        let mut inner = self.inner.lock();
        loop {
            let until = deadline.into_iter().chain(inner.submissions.next_deadline()).min();
            let due = until.is_some_and(|until| until <= Instant::now());
            let submitted = submissions && !inner.submissions.is_empty();
            if inner.news.is_some()
                || inner.nudged
                || submitted
                || due
                || (inner.stop && submissions)
            {
                inner.nudged = false;
                inner.sleep = None;
                return Woken { news: inner.news.take(), stop: inner.stop };
            }
            inner.sleep = Some(Sleep { submissions, until });
            match until {
                Some(until) => {
                    self.changed.wait_until(&mut inner, until);
                }
                None => self.changed.wait(&mut inner),
            }
        }
    }

    /// The loop ends: whoever submits from now on is refused. Returns what
    /// was not taken.
    pub(crate) fn close(&self) -> Submissions {
        let mut inner = self.inner.lock();
        inner.closed = true;
        std::mem::take(&mut inner.submissions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use t4_kv_types::{LeaseId, PutRequest, Revision};

    const FAR: Duration = Duration::from_secs(3600);

    fn submit(queue: &CommitQueue, request: Request) -> Result<(), OpError> {
        let (to, _) = oneshot::channel();
        queue.submit(Identity::Server, request, ReplyTo { lane: 0, to })
    }

    fn put() -> Request {
        Request::Put(PutRequest::default())
    }

    #[test]
    fn what_gives_room_back_has_a_reserve_and_goes_ahead() {
        let queue = CommitQueue::new(20, FAR);
        for _ in 0..20 {
            submit(&queue, put()).unwrap();
        }
        assert_eq!(submit(&queue, put()), Err(OpError::TooManyRequests));
        submit(&queue, Request::Compact(Revision(1))).unwrap();
        submit(&queue, Request::LeaseRevoke(LeaseId(7))).unwrap();
        let more = Request::LeaseRevoke(LeaseId(8));
        assert_eq!(submit(&queue, more), Err(OpError::TooManyRequests), "the reserve has an end");
        assert_eq!(queue.admitted(), 22);

        let mut taken = Submissions::default();
        queue.take_ahead(1, &mut taken);
        assert!(matches!(taken.pop_ahead().unwrap().request, Request::Compact(_)));
        queue.take_others(8, &mut taken);
        queue.take_ahead(8, &mut taken);
        assert!(matches!(taken.pop_ahead().unwrap().request, Request::LeaseRevoke(_)));
        assert!(taken.pop_ahead().is_none());
        assert_eq!(std::iter::from_fn(|| taken.pop_other()).count(), 8);
    }

    /// The first submission behind an entry for which nobody waits: the loop
    /// sleeps without a deadline, and must not go on doing so.
    #[test]
    fn a_submission_shortens_the_sleep_of_a_busy_loop() {
        let queue = std::sync::Arc::new(CommitQueue::new(20, Duration::from_millis(30)));
        let sleeper = {
            let queue = queue.clone();
            std::thread::spawn(move || queue.wait(false, None))
        };
        while queue.inner.lock().sleep.is_none() {
            std::thread::yield_now();
        }
        submit(&queue, put()).unwrap();
        let woken = sleeper.join().unwrap();
        assert!(woken.news.is_none() && !woken.stop);
        assert_eq!(queue.take_overdue(Instant::now()).len(), 1);
        assert!(queue.take_overdue(Instant::now() + FAR).is_empty());
    }
}
