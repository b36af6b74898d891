//! The batches between the sequencer and the applied state, and the responses
//! that wait for them.
//!
//! A response has seen all that was evaluated before it, whether it has an
//! effect of its own or not. So it leaves when the newest batch that there is
//! has been applied: what it shows, every later answer must show.

use std::collections::VecDeque;
use std::time::Instant;

use t4_kv_types::OpError;
use t4_mvcc::LogPosition;
use t4_state_machine::{Batch, Response};

use crate::submissions::ReplyTo;

/// A response that waits for a batch to be applied.
pub(crate) struct Reply {
    pub(crate) to: ReplyTo,
    pub(crate) result: Result<Response, OpError>,
    /// As of its submission.
    pub(crate) deadline: Option<Instant>,
}

/// A batch that was given to the log.
pub(crate) struct Flight {
    pub(crate) at: LogPosition,
    pub(crate) batch: Batch,
    pub(crate) replies: Vec<Reply>,
    /// When it was given to the log.
    pub(crate) since: Instant,
}

#[derive(Default)]
pub(crate) struct Pipeline {
    /// Given to the log and not applied, oldest first.
    flights: VecDeque<Flight>,
    /// So many of the oldest are durable.
    durable: usize,
    /// The responses that wait for the open batch, which has effects if there
    /// are any.
    open: Vec<Reply>,
    /// No deadline of a reply is before this.
    next_deadline: Option<Instant>,
}

impl Pipeline {
    /// Whether the log has nothing to write.
    pub(crate) fn log_is_free(&self) -> bool {
        self.flights.len() == self.durable
    }

    /// Has a response wait for what it has seen. Gives it back if all of that
    /// is applied. `open_has_effects`: the open batch does.
    pub(crate) fn join(&mut self, reply: Reply, open_has_effects: bool) -> Option<Reply> {
        let waiting = match self.flights.back_mut() {
            _ if open_has_effects => &mut self.open,
            Some(newest) => &mut newest.replies,
            None => return Some(reply),
        };
        self.next_deadline = self.next_deadline.into_iter().chain(reply.deadline).min();
        waiting.push(reply);
        None
    }

    /// The open batch was given to the log, at `since`.
    pub(crate) fn handed_over(&mut self, at: LogPosition, batch: Batch, since: Instant) {
        let replies = std::mem::take(&mut self.open);
        self.flights.push_back(Flight { at, batch, replies, since });
    }

    /// What was given to the log is on the disk. It stays here, for responses
    /// to join, until it is taken to be applied.
    pub(crate) fn made_durable(&mut self) {
        self.durable = self.flights.len();
    }

    /// The oldest batch that is durable, to be applied at once.
    pub(crate) fn take_durable(&mut self) -> Option<Flight> {
        self.durable = self.durable.checked_sub(1)?;
        self.flights.pop_front()
    }

    /// The log has refused what it was given, and the open batch rests on that.
    /// Returns those who wait for them.
    pub(crate) fn refused(&mut self) -> Vec<Reply> {
        let refused = self.flights.drain(self.durable..).flat_map(|flight| flight.replies);
        refused.chain(self.open.drain(..)).collect()
    }

    /// When a reply may be overdue.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline
    }

    /// Takes out the replies that are overdue. What they wait for goes on.
    pub(crate) fn take_overdue(&mut self, now: Instant) -> Vec<Reply> {
        if self.next_deadline.is_none_or(|deadline| deadline > now) {
            return Vec::new();
        }
        let mut overdue = Vec::new();
        for replies in self.replies_mut() {
            overdue.extend(replies.extract_if(.., |one| one.deadline.is_some_and(|at| at <= now)));
        }
        self.next_deadline =
            self.replies_mut().flat_map(|replies| &*replies).filter_map(|one| one.deadline).min();
        overdue
    }

    /// All waiters.
    pub(crate) fn take_all(&mut self) -> Vec<Reply> {
        self.replies_mut().flat_map(std::mem::take).collect()
    }

    fn replies_mut(&mut self) -> impl Iterator<Item = &mut Vec<Reply>> {
        let flying = self.flights.iter_mut().map(|flight| &mut flight.replies);
        flying.chain([&mut self.open])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use t4_kv_types::{Epoch, LogIndex, Revision};
    use tokio::sync::oneshot;

    /// Replies are told apart by their lanes.
    fn reply(number: usize, deadline: Option<Instant>) -> Reply {
        let (to, _) = oneshot::channel();
        let result = Ok(Response::Done(Revision(1)));
        Reply { to: ReplyTo { lane: number, to }, result, deadline }
    }

    fn numbers(replies: impl IntoIterator<Item = Reply>) -> Vec<usize> {
        replies.into_iter().map(|reply| reply.to.lane).collect()
    }

    fn hand_over(pipeline: &mut Pipeline, index: u64) {
        let at = LogPosition { epoch: Epoch(1), index: LogIndex(index) };
        pipeline.handed_over(at, Batch::default(), Instant::now());
    }

    #[test]
    fn a_reply_joins_the_newest_batch_until_that_is_taken_to_be_applied() {
        let mut pipeline = Pipeline::default();
        assert!(pipeline.join(reply(0, None), false).is_some(), "nothing is in flight");
        assert!(pipeline.join(reply(1, None), true).is_none());
        assert!(pipeline.log_is_free());
        hand_over(&mut pipeline, 1);
        assert!(!pipeline.log_is_free());
        assert!(pipeline.join(reply(2, None), false).is_none());
        assert!(pipeline.take_durable().is_none());
        pipeline.made_durable();
        assert!(pipeline.log_is_free());
        assert!(pipeline.join(reply(3, None), false).is_none(), "it is not applied yet");
        assert!(pipeline.join(reply(4, None), true).is_none());
        hand_over(&mut pipeline, 2);
        assert!(pipeline.join(reply(5, None), false).is_none());
        let applied = pipeline.take_durable().unwrap();
        assert_eq!((applied.at.index, numbers(applied.replies)), (LogIndex(1), vec![1, 2, 3]));
        assert!(pipeline.take_durable().is_none());
        assert!(pipeline.join(reply(6, None), true).is_none());
        assert_eq!(numbers(pipeline.refused()), [4, 5, 6]);
        assert!(pipeline.join(reply(7, None), false).is_some());
    }

    #[test]
    fn what_is_durable_is_not_refused() {
        let mut pipeline = Pipeline::default();
        pipeline.join(reply(1, None), true);
        hand_over(&mut pipeline, 1);
        pipeline.made_durable();
        pipeline.join(reply(2, None), true);
        hand_over(&mut pipeline, 2);
        assert_eq!(numbers(pipeline.refused()), [2]);
        assert_eq!(numbers(pipeline.take_durable().unwrap().replies), [1]);
    }

    #[test]
    fn each_reply_has_its_deadline_wherever_it_waits() {
        let mut pipeline = Pipeline::default();
        let now = Instant::now();
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        pipeline.join(reply(1, at(3)), true);
        pipeline.join(reply(2, None), true);
        hand_over(&mut pipeline, 1);
        pipeline.join(reply(3, at(5)), false);
        pipeline.join(reply(4, at(4)), true);
        assert_eq!(pipeline.next_deadline(), at(3));
        assert!(pipeline.take_overdue(now).is_empty());
        assert_eq!(numbers(pipeline.take_overdue(now + Duration::from_secs(4))), [1, 4]);
        assert_eq!(pipeline.next_deadline(), at(5));
        assert_eq!(numbers(pipeline.take_overdue(now + Duration::from_secs(9))), [3]);
        assert_eq!(pipeline.next_deadline(), None);
        assert_eq!(numbers(pipeline.take_all()), [2]);
    }
}
