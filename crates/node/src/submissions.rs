//! Submissions that wait to be evaluated, in the order in which they will be.

use std::collections::VecDeque;
use std::time::Instant;

use t4_auth_rbac::Identity;
use t4_kv_types::OpError;
use t4_state_machine::{Request, Response};
use tokio::sync::oneshot;

/// A request, its caller, and where its response goes.
pub(crate) struct Submission {
    pub(crate) who: Identity,
    pub(crate) request: Request,
    pub(crate) reply: ReplyTo,
    /// When the client is told that the outcome is not known; `None`: nobody
    /// waits.
    pub(crate) deadline: Option<Instant>,
}

/// Where a response goes: which lane, and to whom on it.
pub(crate) struct ReplyTo {
    pub(crate) lane: usize,
    pub(crate) to: oneshot::Sender<Result<Response, OpError>>,
}

/// Whether a request goes ahead of those that make the replica fuller: it gives
/// back room, and under overload that must not wait for room.
pub(crate) fn goes_ahead(request: &Request) -> bool {
    matches!(request, Request::LeaseRevoke(_) | Request::Compact(_))
}

/// Two lines, each in the order of arrival.
#[derive(Default)]
pub(crate) struct Submissions {
    ahead: VecDeque<Submission>,
    others: VecDeque<Submission>,
}

impl Submissions {
    pub(crate) fn push(&mut self, submission: Submission) {
        let line = match goes_ahead(&submission.request) {
            true => &mut self.ahead,
            false => &mut self.others,
        };
        line.push_back(submission);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ahead.is_empty() && self.others.is_empty()
    }

    pub(crate) fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    /// The next of those that go ahead.
    pub(crate) fn pop_ahead(&mut self) -> Option<Submission> {
        self.ahead.pop_front()
    }

    /// The next of the others.
    pub(crate) fn pop_other(&mut self) -> Option<Submission> {
        self.others.pop_front()
    }

    /// Moves up to `max` of those that go ahead behind those of `into`.
    pub(crate) fn move_ahead(&mut self, max: usize, into: &mut Submissions) {
        move_front(&mut self.ahead, max, &mut into.ahead);
    }

    /// Moves up to `max` of the others behind those of `into`.
    pub(crate) fn move_others(&mut self, max: usize, into: &mut Submissions) {
        move_front(&mut self.others, max, &mut into.others);
    }

    /// When the next of them is overdue.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        // All wait equally long, so the first of a line for which somebody
        // waits is the first that is overdue.
        let first = |line: &VecDeque<Submission>| line.iter().find_map(|one| one.deadline);
        first(&self.ahead).into_iter().chain(first(&self.others)).min()
    }

    /// Takes out those that are overdue.
    pub(crate) fn take_overdue(&mut self, now: Instant) -> Vec<Submission> {
        let mut overdue = Vec::new();
        if self.next_deadline().is_some_and(|deadline| deadline <= now) {
            for line in [&mut self.ahead, &mut self.others] {
                let due = |one: &Submission| one.deadline.is_some_and(|at| at <= now);
                let (due, waiting): (VecDeque<_>, _) =
                    std::mem::take(line).into_iter().partition(due);
                *line = waiting;
                overdue.extend(due);
            }
        }
        overdue
    }

    pub(crate) fn into_all(self) -> impl Iterator<Item = Submission> {
        self.ahead.into_iter().chain(self.others)
    }
}

fn move_front(from: &mut VecDeque<Submission>, max: usize, into: &mut VecDeque<Submission>) {
    if from.len() <= max && into.is_empty() {
        std::mem::swap(from, into);
    } else {
        let count = from.len().min(max);
        into.extend(from.drain(..count));
    }
}
