//! What waits for the write loop: submissions from any thread and news from
//! the log, in one place to sleep on.
//!
//! While the log is busy the loop does not wake for each submission: they
//! gather, and become one entry when the log is free again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use t4_auth_rbac::Identity;
use t4_kv_types::OpError;
use t4_state_machine::{Request, Response};
use tokio::sync::oneshot;

/// The lane of responses that nobody waits for.
const NO_LANE: usize = usize::MAX;

/// A request, who asks for it, and where its response goes.
pub(crate) struct Submission {
    pub(crate) who: Identity,
    pub(crate) request: Request,
    pub(crate) reply: ReplyTo,
}

/// Where a response goes: which lane, and to whom on it.
pub(crate) struct ReplyTo {
    pub(crate) lane: usize,
    pub(crate) to: oneshot::Sender<Result<Response, OpError>>,
}

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
    /// A lane was added, or something else wants the loop to look around.
    pub(crate) stop: bool,
}

#[derive(Default)]
struct Inner {
    submissions: VecDeque<Submission>,
    news: Option<LogNews>,
    stop: bool,
    /// The loop is gone: nobody will answer any more.
    closed: bool,
    nudged: bool,
    /// The loop sleeps and a submission shall wake it.
    wake_for_submissions: bool,
}

pub(crate) struct CommitQueue {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Submissions admitted and not answered.
    admitted: AtomicUsize,
    /// Bound of `admitted`.
    requests_max: usize,
}

impl CommitQueue {
    pub(crate) fn new(requests_max: usize) -> Self {
        CommitQueue {
            inner: Mutex::default(),
            changed: Condvar::new(),
            admitted: AtomicUsize::new(0),
            requests_max,
        }
    }

    /// Admits a client's submission, or says why not.
    pub(crate) fn submit(&self, submission: Submission) -> Result<(), OpError> {
        if self.admitted.fetch_add(1, Ordering::Relaxed) >= self.requests_max {
            self.admitted.fetch_sub(1, Ordering::Relaxed);
            return Err(OpError::TooManyRequests);
        }
        let mut inner = self.inner.lock();
        if inner.stop || inner.closed {
            drop(inner);
            self.answered(1);
            return Err(OpError::Stopped);
        }
        inner.submissions.push_back(submission);
        if std::mem::take(&mut inner.wake_for_submissions) {
            self.changed.notify_one();
        }
        Ok(())
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
        inner.submissions.push_back(Submission { who, request, reply });
        if std::mem::take(&mut inner.wake_for_submissions) {
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

    /// Takes up to `max` submissions.
    pub(crate) fn take(&self, max: usize, into: &mut VecDeque<Submission>) {
        let mut inner = self.inner.lock();
        if inner.submissions.len() <= max && into.is_empty() {
            std::mem::swap(&mut inner.submissions, into);
        } else {
            let count = inner.submissions.len().min(max);
            into.extend(inner.submissions.drain(..count));
        }
    }

    /// Sleeps until there is news of the log, a stop, a nudge, the deadline,
    /// or (if `submissions`) something was submitted.
    pub(crate) fn wait(&self, submissions: bool, deadline: Option<Instant>) -> Woken {
        let mut inner = self.inner.lock();
        loop {
            let due = deadline.is_some_and(|deadline| deadline <= Instant::now());
            let submitted = submissions && !inner.submissions.is_empty();
            if inner.news.is_some()
                || inner.nudged
                || submitted
                || due
                || (inner.stop && submissions)
            {
                inner.nudged = false;
                inner.wake_for_submissions = false;
                return Woken { news: inner.news.take(), stop: inner.stop };
            }
            inner.wake_for_submissions = submissions;
            match deadline {
                Some(deadline) => {
                    self.changed.wait_until(&mut inner, deadline);
                }
                None => self.changed.wait(&mut inner),
            }
        }
    }

    /// The loop ends: whoever submits from now on is refused. Returns what
    /// was not taken.
    pub(crate) fn close(&self) -> VecDeque<Submission> {
        let mut inner = self.inner.lock();
        inner.closed = true;
        std::mem::take(&mut inner.submissions)
    }
}
