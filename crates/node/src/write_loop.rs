//! The one thread that orders writes. Batch after batch:
//!
//! 1. evaluate what was submitted, on the newest state, committed plus in
//!    flight; its effects join the open batch;
//! 2. when the log is free, close the batch and hand it over: one entry, one
//!    fsync for everything that arrived while the last one ran;
//! 3. while the log writes it, apply the batch before it, hand its responses
//!    and events to the lanes, and evaluate what has arrived since.
//!
//! [`WriteLoop::committed`] is the one place that decides that an entry counts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use t4_auth_rbac::{Command, Identity};
use t4_kv_types::{Epoch, LeaseId, LogIndex, OpError, Write};
use t4_mvcc::LogPosition;
use t4_state_machine::{Batch, MemberAttributes, Request, Response, Sequencer, StateMachine};
use t4_wal::{Entry, GroupCommit};

use crate::apply_times::ApplyOp;
use crate::commit_queue::{CommitQueue, LogNews, ReplyTo, Submission, Woken};
use crate::lane::{Completion, Published};
use crate::lanes::Lanes;
use crate::maintenance::Task;
use crate::shared::Shared;
use crate::slow_applies::{SlowApplies, write_bytes};
use crate::token_expiry::TokenExpiry;

/// Submissions evaluated in one go before the log and the clock are looked at.
const EVALUATE_MAX: usize = 1024;
/// An open batch is full from so many bytes of keys and values on.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Leases revoked in one go when many expire together.
const EXPIRED_MAX: usize = 500;
/// How long an expired lease waits when its revocation was refused.
const REVOKE_RETRY: Duration = Duration::from_secs(1);
/// How long a response waits for its commit before the client is told that
/// the outcome is not known: what etcd's default timers give.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(7);

/// A response that waits for its batch to be committed.
struct Reply {
    to: ReplyTo,
    result: Result<Response, OpError>,
}

/// A batch that the log is writing.
struct Syncing {
    at: LogPosition,
    batch: Batch,
    replies: Vec<Reply>,
    since: Instant,
}

pub(crate) struct WriteLoop {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Arc<CommitQueue>,
    pub(crate) lanes: Lanes,
    pub(crate) state: StateMachine,
    pub(crate) sequencer: Sequencer,
    pub(crate) log: GroupCommit,
    pub(crate) tasks: std::sync::mpsc::Sender<Task>,
    slow: SlowApplies,
    epoch: Epoch,
    next_index: LogIndex,
    syncing: Option<Syncing>,
    open_replies: Vec<Reply>,
    /// Submissions taken and not evaluated yet.
    backlog: VecDeque<Submission>,
    published: Vec<Published>,
    /// Responses that need not wait were handed to the lanes and not sent.
    staged: bool,
    /// Expired leases whose revocation is in flight.
    revoking: Vec<LeaseId>,
    token_expiry: TokenExpiry,
}

/// Why the loop ended.
pub(crate) enum Ended {
    Stopped,
    Fatal(String),
}

/// What the write loop is made of.
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Arc<CommitQueue>,
    pub(crate) lanes: Lanes,
    pub(crate) state: StateMachine,
    pub(crate) sequencer: Sequencer,
    pub(crate) log: GroupCommit,
    pub(crate) tasks: std::sync::mpsc::Sender<Task>,
    pub(crate) slow: SlowApplies,
    pub(crate) epoch: Epoch,
    pub(crate) boot_nonce: u64,
    pub(crate) attributes: MemberAttributes,
}

impl WriteLoop {
    /// A loop whose first entry is the barrier of its epoch.
    pub(crate) fn new(parts: Parts) -> Self {
        let next_index = parts.state.position().index.next();
        let member = parts.shared.identity.member_id;
        let mut this = WriteLoop {
            shared: parts.shared,
            queue: parts.queue,
            lanes: parts.lanes,
            state: parts.state,
            sequencer: parts.sequencer,
            log: parts.log,
            tasks: parts.tasks,
            slow: parts.slow,
            epoch: parts.epoch,
            next_index,
            syncing: None,
            open_replies: Vec::new(),
            backlog: VecDeque::new(),
            published: Vec::new(),
            staged: false,
            revoking: Vec::new(),
            token_expiry: TokenExpiry::default(),
        };
        this.evaluate_own(Request::Barrier(parts.boot_nonce));
        if this.state.members().get(&member) != Some(&parts.attributes) {
            this.evaluate_own(Request::Member(member, parts.attributes));
        }
        this
    }

    /// Runs until it is told to stop or must.
    pub(crate) fn run(mut self) -> Ended {
        self.hand_over();
        let ended = loop {
            let idle = self.syncing.is_none();
            let deadline = self.deadline();
            let woken = self.queue.wait(idle && self.backlog.is_empty(), deadline);
            if let Err(fatal) = self.turn(&woken) {
                break Ended::Fatal(fatal);
            }
            if woken.stop && self.is_drained() {
                break Ended::Stopped;
            }
        };
        self.finish(&ended);
        ended
    }

    /// One turn: first feed the log, then apply what it has made durable, then
    /// look ahead.
    fn turn(&mut self, woken: &Woken) -> Result<(), String> {
        let mut durable = None;
        match &woken.news {
            Some(LogNews::Durable) => durable = self.syncing.take(),
            Some(LogNews::Refused) if self.state.position().epoch < self.epoch => {
                return Err("the disk is full: the first entry was not written".to_owned());
            }
            Some(LogNews::Refused) => self.refused(),
            Some(LogNews::Fatal(why)) => return Err(why.clone()),
            None => {}
        }
        self.expire_leases();
        self.expire_tokens();
        self.evaluate();
        self.hand_over();
        if let Some(durable) = durable {
            self.committed(durable);
            self.evaluate();
            self.hand_over();
        }
        if let Some(through) = self.shared.take_releasable() {
            self.log.release(through);
        }
        self.time_out();
        Ok(())
    }

    /// Until when the loop may sleep.
    fn deadline(&mut self) -> Option<Instant> {
        if self.syncing.is_none() && !self.backlog.is_empty() {
            return Some(Instant::now());
        }
        let expiry = self.state.leases().lock().next_deadline().map(|at| self.shared.instant(at));
        let timeout = self
            .syncing
            .as_ref()
            .filter(|syncing| !syncing.replies.is_empty())
            .map(|syncing| syncing.since + REQUEST_TIMEOUT);
        let tokens = self.token_expiry.deadline(&self.shared, &self.state);
        let tokens = tokens.map(|at| self.shared.instant(at));
        expiry.into_iter().chain(timeout).chain(tokens).min()
    }

    /// Evaluates what was submitted, and answers what need not wait.
    fn evaluate(&mut self) {
        self.evaluate_queue();
        if std::mem::take(&mut self.staged) {
            self.lanes.flush(&[]);
        }
    }

    /// Evaluates what was submitted, until the open batch is full.
    fn evaluate_queue(&mut self) {
        let mut taken = false;
        // Where one evaluation ends, the next begins: one look at the clock each.
        let mut begun = Instant::now();
        loop {
            if self.batch_is_full() {
                return;
            }
            let Some(submission) = self.backlog.pop_front() else {
                if taken {
                    return;
                }
                taken = true;
                self.queue.take(EVALUATE_MAX, &mut self.backlog);
                continue;
            };
            let Submission { who, request, .. } = submission;
            let op = ApplyOp::of(&request);
            let writes_before = self.sequencer.batch().writes.len();
            let result = self.sequencer.evaluate(&self.state, &who, request);
            let ended = Instant::now();
            self.evaluated(op, ended - begun, result.as_ref().err(), writes_before);
            begun = ended;
            self.answer_when_committed(submission.reply, result);
        }
    }

    /// Counts how long an evaluation took, and tells if it was long.
    fn evaluated(
        &self,
        op: ApplyOp,
        took: Duration,
        error: Option<&OpError>,
        writes_before: usize,
    ) {
        let counters = &self.shared.counters;
        // etcd, too, does not count this one as a failure.
        let success = matches!(error, None | Some(OpError::Compacted));
        counters.times.apply.observe(op, success, took);
        let writes = self.sequencer.batch().writes.get(writes_before..).unwrap_or_default();
        self.slow.evaluated(counters, took, op, error, writes);
    }

    fn batch_is_full(&self) -> bool {
        self.sequencer.batch_bytes() >= BATCH_BYTES_MAX
    }

    /// A response has seen what is in flight: it leaves when that is committed.
    fn answer_when_committed(&mut self, to: ReplyTo, result: Result<Response, OpError>) {
        let reply = Reply { to, result };
        if !self.sequencer.batch().is_empty() {
            self.open_replies.push(reply);
        } else if let Some(syncing) = &mut self.syncing {
            syncing.replies.push(reply);
        } else {
            // Nothing is in flight: it leaves with the others of this turn.
            self.lanes.stage(reply.to.lane, Completion { to: reply.to.to, result: reply.result });
            self.queue.answered(1);
            self.staged = true;
        }
    }

    /// Evaluates a request of the node's own; nobody waits for it.
    fn evaluate_own(&mut self, request: Request) -> bool {
        self.sequencer.evaluate(&self.state, &Identity::Server, request).is_ok()
    }

    /// Revokes leases whose time is over.
    fn expire_leases(&mut self) {
        let now = self.shared.now();
        let expired = self.state.leases().lock().take_expired(now, EXPIRED_MAX);
        for id in expired {
            let writes_before = self.sequencer.batch().writes.len();
            if self.evaluate_own(Request::LeaseRevoke(id)) {
                let keys = self.sequencer.batch().writes.len().saturating_sub(writes_before);
                self.shared.counters.keys_expired.fetch_add(keys as u64, Ordering::Relaxed);
                self.revoking.push(id);
                self.shared.counters.leases_expired.fetch_add(1, Ordering::Relaxed);
            } else if self.state.leases().lock().exists(id) {
                self.state.leases().lock().unreport(id, now + REVOKE_RETRY);
            }
        }
    }

    /// Ends tokens whose time is over.
    fn expire_tokens(&mut self) {
        let ids = self.token_expiry.take(&self.shared, &self.state);
        if !ids.is_empty() {
            self.evaluate_own(Request::Auth(Command::ExpireTokens { ids }));
        }
    }

    /// Gives the open batch to the log, if that is free.
    fn hand_over(&mut self) {
        if self.syncing.is_some() || self.sequencer.batch().is_empty() {
            return;
        }
        let batch = self.sequencer.take_batch();
        let at = LogPosition { epoch: self.epoch, index: self.next_index };
        self.next_index = self.next_index.next();
        self.log.append(vec![Entry { epoch: at.epoch, index: at.index, payload: batch.encode() }]);
        let replies = std::mem::take(&mut self.open_replies);
        self.syncing = Some(Syncing { at, batch, replies, since: Instant::now() });
    }

    /// An entry is where its durability mode promises it to be: on this
    /// replica's disk, fsynced. Only from here on is it applied, seen by
    /// readers and watchers, and acknowledged.
    fn committed(&mut self, durable: Syncing) {
        let begun = Instant::now();
        let applied = self.state.apply(durable.at, &durable.batch, self.shared.now());
        self.sequencer.applied(&self.state, &durable.batch);
        self.token_expiry.applied(&self.shared, &self.state, &applied.tokens);
        self.shared.applied(&self.state, applied.tables_changed);
        self.count_commit(&durable, begun);
        if applied.rights_changed {
            self.shared.rights_changed.send_modify(|changes| *changes += 1);
        }

        self.published.clear();
        let events = applied.revisions.iter().map(|(_, events)| events.len() as u64).sum();
        self.shared.counters.events.fetch_add(events, Ordering::Relaxed);
        let revisions = applied.revisions.into_iter();
        self.published.extend(revisions.map(|(at, events)| Published::Revision(at, events)));
        if let Some(at) = applied.compacted {
            self.published.push(Published::Compacted(at));
            self.task(Task::Compact);
        }
        let count = durable.replies.len();
        for reply in durable.replies {
            self.lanes.stage(reply.to.lane, Completion { to: reply.to.to, result: reply.result });
        }
        self.queue.answered(count);
        self.lanes.flush(&self.published);
        if applied.leases_changed {
            let leases = self.state.leases().lock();
            self.revoking.retain(|id| leases.exists(*id));
            drop(leases);
            self.shared.leases_changed.notify_waiters();
        }
        self.seal_if_wanted();
    }

    /// Counts what a commit took and brought. Its apply began at `begun`.
    fn count_commit(&self, durable: &Syncing, begun: Instant) {
        let (counters, ended) = (&self.shared.counters, Instant::now());
        counters.times.commit.observe(ended - durable.since);
        let writes = &durable.batch.writes;
        let put_bytes: usize = writes.iter().filter(|write| is_put(write)).map(write_bytes).sum();
        counters.put_bytes.fetch_add(put_bytes as u64, Ordering::Relaxed);
        self.slow.applied(counters, ended - begun, durable.replies.len(), writes);
    }

    fn seal_if_wanted(&mut self) {
        let asked = self.shared.seal_asked.swap(false, Ordering::AcqRel);
        let sealing = self.shared.sealing.load(Ordering::Acquire);
        if (asked || self.state.wants_seal()) && !sealing {
            self.shared.sealing.store(true, Ordering::Release);
            let ticket = self.state.seal();
            self.task(Task::Seal(Box::new(ticket)));
        }
    }

    fn task(&self, task: Task) {
        // The maintenance thread outlives the loop; if it has failed, the node
        // was closed and will end this loop too.
        let _ = self.tasks.send(task);
    }

    /// The log has no room: nothing of what is in flight was or will be
    /// written. Everyone is told, and the next write tries again.
    fn refused(&mut self) {
        let syncing = self.syncing.take();
        self.next_index = self.state.position().index.next();
        self.sequencer.discard(&self.state);
        let replies: Vec<Reply> = syncing
            .into_iter()
            .flat_map(|syncing| syncing.replies)
            .chain(std::mem::take(&mut self.open_replies))
            .collect();
        tracing::error!(
            refused = replies.len(),
            "the disk is full: writes are refused until there is room"
        );
        self.answer_all(replies, &OpError::NoSpace);
        let retry_at = self.shared.now() + REVOKE_RETRY;
        self.token_expiry.refused(&self.shared, retry_at);
        let mut leases = self.state.leases().lock();
        for id in self.revoking.drain(..).filter(|id| leases.exists(*id)).collect::<Vec<_>>() {
            leases.unreport(id, retry_at);
        }
    }

    fn answer_all(&mut self, replies: Vec<Reply>, error: &OpError) {
        let count = replies.len();
        for reply in replies {
            let completion = Completion { to: reply.to.to, result: Err(error.clone()) };
            self.lanes.stage(reply.to.lane, completion);
        }
        self.queue.answered(count);
        self.lanes.flush(&[]);
    }

    /// A disk that hangs must not hang the clients: they are told that the
    /// outcome is not known.
    fn time_out(&mut self) {
        let Some(syncing) = &mut self.syncing else { return };
        if syncing.replies.is_empty() || syncing.since.elapsed() < REQUEST_TIMEOUT {
            return;
        }
        let mut replies = std::mem::take(&mut syncing.replies);
        replies.append(&mut self.open_replies);
        tracing::warn!(waiting = replies.len(), "the log has not answered for {REQUEST_TIMEOUT:?}");
        self.answer_all(replies, &OpError::Timeout);
    }

    fn is_drained(&self) -> bool {
        self.syncing.is_none() && self.sequencer.batch().is_empty() && self.backlog.is_empty()
    }

    /// The loop's last act: after a clean stop, write down what each lease has
    /// left; then let go of everyone who waits.
    fn finish(mut self, ended: &Ended) {
        if matches!(ended, Ended::Stopped) {
            self.write_leases_left();
        }
        let mut replies: Vec<Reply> =
            self.syncing.take().into_iter().flat_map(|syncing| syncing.replies).collect();
        replies.append(&mut self.open_replies);
        let error = match ended {
            Ended::Stopped => OpError::Stopped,
            // Whether the last batch is on the disk is not known.
            Ended::Fatal(_) => OpError::Timeout,
        };
        self.answer_all(replies, &error);
        let mut submissions = std::mem::take(&mut self.backlog);
        submissions.extend(self.queue.close());
        for submission in submissions {
            let to = submission.reply.to;
            self.lanes
                .stage(submission.reply.lane, Completion { to, result: Err(OpError::Stopped) });
            self.queue.answered(1);
        }
        self.lanes.flush(&[]);
        self.lanes.close();
        self.log.stop();
    }

    fn write_leases_left(&mut self) {
        // From here on no keep-alive is answered, so what is written down is
        // the last that any client was told.
        self.shared.stopping.store(true, Ordering::SeqCst);
        let now = self.shared.now();
        let left: Vec<(LeaseId, u64)> = self
            .state
            .leases()
            .lock()
            .records(Some(now))
            .filter_map(|record| Some((record.id, record.remaining?.as_millis() as u64 + 1)))
            .collect();
        if left.is_empty() || !self.evaluate_own(Request::LeasesLeft(left)) {
            return;
        }
        self.hand_over();
        let deadline = Instant::now() + Duration::from_secs(1);
        let woken = self.queue.wait(false, Some(deadline));
        if let (Some(LogNews::Durable), Some(durable)) = (woken.news, self.syncing.take()) {
            self.committed(durable);
        }
    }
}

fn is_put(write: &Write) -> bool {
    matches!(write, Write::Put { .. })
}
