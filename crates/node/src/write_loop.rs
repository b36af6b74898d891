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

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use t4_auth_rbac::{Command, Identity};
use t4_kv_types::{Epoch, LeaseId, LogIndex, OpError, Write};
use t4_mvcc::LogPosition;
use t4_state_machine::{MemberAttributes, Request, Sequencer, StateMachine};
use t4_wal::{Entry, GroupCommit, Wal};

use crate::apply_times::ApplyOp;
use crate::commit_queue::{CommitQueue, LogNews, Woken};
use crate::lane::{Completion, News};
use crate::lanes::Lanes;
use crate::maintenance::Task;
use crate::pipeline::{Flight, Pipeline, Reply};
use crate::shared::Shared;
use crate::slow_applies::{SlowApplies, write_bytes};
use crate::submissions::{ReplyTo, Submission, Submissions};
use crate::token_expiry::TokenExpiry;

/// Submissions evaluated in one go before the log and the clock are looked at.
const EVALUATE_MAX: usize = 1024;
/// Of those that go ahead of the others, so many at once, so that they cannot
/// keep the others from their turn.
const AHEAD_MAX: usize = 256;
/// An open batch is full from so many bytes of keys and values on.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// The same for submissions that go ahead.
const AHEAD_BATCH_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;
/// Leases and keys of them that go in one entry when many leases expire
/// together: what clients write meanwhile shares the entry, and waits no longer
/// than it takes to delete so many keys.
const EXPIRED_MAX: usize = 256;
/// Leases taken from the agenda in one go.
const EXPIRED_STEP: usize = 16;
/// How long an expired lease waits when its revocation was refused.
const REVOKE_RETRY: Duration = Duration::from_secs(1);
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
    pipeline: Pipeline,
    /// Submissions taken and not evaluated yet.
    backlog: Submissions,
    /// Responses that need not wait were handed to the lanes and not sent.
    staged: bool,
    /// Expired leases whose revocation is in flight, and how many keys each had.
    revoking: Vec<(LeaseId, usize)>,
    /// Leases in the open batch that expired, and keys of them.
    expired_open: usize,
    /// A revocation was refused, and this was told.
    revoke_refused: bool,
    token_expiry: TokenExpiry,
    /// How many have been told of a time-out since the log last answered.
    timed_out: usize,
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
            pipeline: Pipeline::default(),
            backlog: Submissions::default(),
            staged: false,
            revoking: Vec::new(),
            expired_open: 0,
            revoke_refused: false,
            token_expiry: TokenExpiry::default(),
            timed_out: 0,
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
            let idle = self.pipeline.log_is_free();
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
        match &woken.news {
            Some(LogNews::Durable) => self.pipeline.made_durable(),
            // Why, the log has told those who wait for the start.
            Some(LogNews::Refused) if self.state.position().epoch < self.epoch => {
                return Err("the first entry was refused".to_owned());
            }
            Some(LogNews::Refused) => self.refused(),
            Some(LogNews::Fatal(why)) => return Err(why.clone()),
            None => {}
        }
        if woken.news.is_some() {
            self.log_answered();
        }
        self.expire_leases();
        self.expire_tokens();
        self.evaluate();
        self.hand_over();
        while let Some(durable) = self.pipeline.take_durable() {
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
        if self.pipeline.log_is_free() && !self.backlog.is_empty() {
            return Some(Instant::now());
        }
        // Those that have no room in the open batch wait until the log is free.
        let room = self.expired_open < EXPIRED_MAX;
        let expiry = room.then(|| self.state.leases().lock().next_deadline()).flatten();
        let expiry = expiry.map(|at| self.shared.instant(at));
        let timeouts = [self.pipeline.next_deadline(), self.backlog.next_deadline()];
        let tokens = self.token_expiry.deadline(&self.shared, &self.state);
        let tokens = tokens.map(|at| self.shared.instant(at));
        expiry.into_iter().chain(timeouts.into_iter().flatten()).chain(tokens).min()
    }

    /// Evaluates what was submitted, and answers what need not wait.
    fn evaluate(&mut self) {
        self.evaluate_queue();
        if std::mem::take(&mut self.staged) {
            self.lanes.flush(&News::default());
        }
    }

    /// Evaluates what was submitted, until the open batch is full.
    fn evaluate_queue(&mut self) {
        // Where one evaluation ends, the next begins: one look at the clock each.
        let mut begun = Instant::now();
        self.queue.take_ahead(AHEAD_MAX, &mut self.backlog);
        while self.sequencer.batch_bytes() < AHEAD_BATCH_BYTES_MAX
            && let Some(submission) = self.backlog.pop_ahead()
        {
            begun = self.evaluate_one(submission, begun);
        }
        if !self.backlog.has_others() {
            self.queue.take_others(EVALUATE_MAX, &mut self.backlog);
        }
        while self.sequencer.batch_bytes() < BATCH_BYTES_MAX
            && let Some(submission) = self.backlog.pop_other()
        {
            begun = self.evaluate_one(submission, begun);
        }
    }

    /// Evaluates a submission; `begun` is now, and so is what is returned.
    fn evaluate_one(&mut self, submission: Submission, begun: Instant) -> Instant {
        let Submission { who, request, reply, deadline } = submission;
        let op = ApplyOp::of(&request);
        let writes_before = self.sequencer.batch().writes.len();
        let result = self.sequencer.evaluate(&self.state, &who, request);
        let ended = Instant::now();
        self.evaluated(op, ended - begun, result.as_ref().err(), writes_before);
        self.answer_when_applied(Reply { to: reply, result, deadline });
        ended
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

    /// A response has seen what is in flight, also what is on the disk and not
    /// applied yet: it leaves when that can be read.
    fn answer_when_applied(&mut self, reply: Reply) {
        let open_has_effects = !self.sequencer.batch().is_empty();
        if let Some(Reply { to, result, .. }) = self.pipeline.join(reply, open_has_effects) {
            // Nothing is in flight: it leaves with the others of this turn.
            self.lanes.stage(to.lane, Completion { to: to.to, result });
            self.queue.answered(1);
            self.staged = true;
        }
    }

    /// Evaluates a request of the node's own; nobody waits for it.
    fn evaluate_own(&mut self, request: Request) -> bool {
        self.sequencer.evaluate(&self.state, &Identity::Server, request).is_ok()
    }

    /// Revokes leases whose time is over, as many as the open batch has room for.
    fn expire_leases(&mut self) {
        let now = self.shared.now();
        while self.expired_open < EXPIRED_MAX {
            let expired = self.state.leases().lock().take_expired(now, EXPIRED_STEP);
            if expired.is_empty() {
                return;
            }
            expired.into_iter().for_each(|id| self.expire_lease(id, now));
        }
    }

    fn expire_lease(&mut self, id: LeaseId, now: Duration) {
        let keys = self.state.leases().lock().key_count(id);
        match self.sequencer.evaluate(&self.state, &Identity::Server, Request::LeaseRevoke(id)) {
            Ok(_) => {
                self.expired_open += 1 + keys;
                self.revoke_refused = false;
                self.revoking.push((id, keys));
            }
            // A revocation of it is in flight, or applied by now. If the log has no
            // room for the one in flight, this one is due again.
            Err(OpError::LeaseNotFound) => self.revoke_later(id, now),
            Err(why) => {
                if !std::mem::replace(&mut self.revoke_refused, true) {
                    tracing::error!(%id, %why, "an expired lease cannot be revoked; it is tried again each second");
                }
                self.revoke_later(id, now);
            }
        }
    }

    /// Has an expired lease reported again, unless it is gone by then.
    fn revoke_later(&mut self, id: LeaseId, now: Duration) {
        self.state.leases().lock().unreport(id, now + REVOKE_RETRY);
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
        if !self.pipeline.log_is_free() || self.sequencer.batch().is_empty() {
            return;
        }
        self.expired_open = 0;
        let batch = self.sequencer.take_batch();
        let at = LogPosition { epoch: self.epoch, index: self.next_index };
        self.next_index = self.next_index.next();
        self.log.append(vec![Entry { epoch: at.epoch, index: at.index, payload: batch.encode() }]);
        self.pipeline.handed_over(at, batch, Instant::now());
    }

    /// An entry is where its durability mode promises it to be: on this
    /// replica's disk, fsynced. Only from here on is it applied, seen by
    /// readers and watchers, and acknowledged.
    fn committed(&mut self, durable: Flight) {
        let begun = Instant::now();
        let applied = self.state.apply(durable.at, &durable.batch, self.shared.now());
        self.sequencer.applied(&self.state, &durable.batch);
        self.token_expiry.applied(&self.shared, &self.state, &applied.tokens);
        self.shared.applied(&self.state, applied.members_changed);
        self.count_commit(&durable, begun);
        if applied.rights_changed {
            self.shared.rights_changed.send_modify(|changes| *changes += 1);
        }

        let news = News::new(applied.revisions, applied.compacted);
        self.shared.counters.events.fetch_add(news.events() as u64, Ordering::Relaxed);
        if news.compacted.is_some() {
            self.task(Task::Compact);
        }
        let count = durable.replies.len();
        for reply in durable.replies {
            self.lanes.stage(reply.to.lane, Completion { to: reply.to.to, result: reply.result });
        }
        self.queue.answered(count);
        self.lanes.flush(&news);
        if applied.leases_changed {
            let leases = self.state.leases().lock();
            let counters = &self.shared.counters;
            self.revoking.retain(|(id, keys)| {
                let waits = leases.exists(*id);
                if !waits {
                    counters.leases_expired.fetch_add(1, Ordering::Relaxed);
                    counters.keys_expired.fetch_add(*keys as u64, Ordering::Relaxed);
                }
                waits
            });
            drop(leases);
            self.shared.leases_changed.notify_waiters();
        }
        self.seal_if_wanted();
    }

    /// Counts what a commit took and brought. Its apply began at `begun`.
    fn count_commit(&self, durable: &Flight, begun: Instant) {
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

    /// The log has no room, or no file: nothing of what is in flight was or
    /// will be written. Everyone is told, and the next write tries again.
    fn refused(&mut self) {
        let replies = self.pipeline.refused();
        self.next_index = self.state.position().index.next();
        self.sequencer.discard(&self.state);
        self.expired_open = 0;
        let error = self.shared.shortages.count_refused(replies.len());
        self.answer_all(replies.into_iter().map(|reply| reply.to), &error);
        let retry_at = self.shared.now() + REVOKE_RETRY;
        self.token_expiry.refused(&self.shared, retry_at);
        self.shared.damage.refused();
        let mut leases = self.state.leases().lock();
        for (id, _) in self.revoking.drain(..) {
            if leases.exists(id) {
                leases.unreport(id, retry_at);
            }
        }
    }

    fn answer_all(&mut self, all: impl Iterator<Item = ReplyTo>, error: &OpError) -> usize {
        let mut count = 0;
        for ReplyTo { lane, to } in all {
            self.lanes.stage(lane, Completion { to, result: Err(error.clone()) });
            count += 1;
        }
        self.queue.answered(count);
        self.lanes.flush(&News::default());
        count
    }

    /// A disk that hangs must not hang the clients: wherever their requests
    /// are, they are told that the outcome is not known.
    fn time_out(&mut self) {
        let now = Instant::now();
        let replies = self.pipeline.take_overdue(now);
        let mut submissions = self.backlog.take_overdue(now);
        submissions.append(&mut self.queue.take_overdue(now));
        if replies.is_empty() && submissions.is_empty() {
            return;
        }
        if self.timed_out == 0 {
            let waited = self.queue.request_timeout();
            tracing::warn!("the log has not answered for {waited:?}: requests time out");
        }
        let replies = replies.into_iter().map(|reply| reply.to);
        let all = replies.chain(submissions.into_iter().map(|submission| submission.reply));
        self.timed_out += self.answer_all(all, &OpError::Timeout);
    }

    fn log_answered(&mut self) {
        let timed_out = std::mem::take(&mut self.timed_out);
        if timed_out > 0 {
            tracing::warn!(timed_out, "the log answers again");
        }
    }

    fn is_drained(&self) -> bool {
        self.pipeline.log_is_free() && self.sequencer.batch().is_empty() && self.backlog.is_empty()
    }

    /// The loop's last act: after a clean stop, write down what each lease has
    /// left; then let go of everyone who waits.
    fn finish(mut self, ended: &Ended) {
        if matches!(ended, Ended::Stopped) {
            self.write_leases_left();
        }
        let error = match ended {
            Ended::Stopped => OpError::Stopped,
            // Whether the last batch is on the disk is not known.
            Ended::Fatal(_) => OpError::Timeout,
        };
        let replies = self.pipeline.take_all();
        self.answer_all(replies.into_iter().map(|reply| reply.to), &error);
        let taken = std::mem::take(&mut self.backlog).into_all();
        let submissions = taken.chain(self.queue.close().into_all());
        self.answer_all(submissions.map(|submission| submission.reply), &OpError::Stopped);
        self.lanes.close();
        // Nothing is lost without the mark: the next start only knows less.
        if let Some(Err(error)) = self.log.stop().map(Wal::close) {
            tracing::warn!(%error, "the log was closed without the mark of where it ends");
        }
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
        loop {
            let woken = self.queue.wait(false, Some(deadline));
            if let Some(LogNews::Durable) = woken.news {
                self.pipeline.made_durable();
                while let Some(durable) = self.pipeline.take_durable() {
                    self.committed(durable);
                }
            }
            if woken.news.is_some() || Instant::now() >= deadline {
                return;
            }
        }
    }
}

fn is_put(write: &Write) -> bool {
    matches!(write, Write::Put { .. })
}
