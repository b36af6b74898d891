//! The thread that does what no client waits for: seals, compaction passes,
//! collection, auto-compaction, and clearing the space alarm.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use t4_kv_types::AlarmKind;
use t4_mvcc::{Background, CollectStats, SealTicket, StoreError};
use t4_state_machine::Request;

use crate::auto_compaction::AutoCompactor;
use crate::commit_queue::{CommitQueue, LogNews};
use crate::shared::Shared;
use crate::shortage::{Part, Shortage};

/// How often the timers are looked at, and how long a failed seal waits.
const TICK: Duration = Duration::from_secs(1);
/// How long a failed collection waits: it may have written much before it failed.
const COLLECT_RETRY: Duration = Duration::from_secs(10);
/// The rest between two steps of a compaction pass. A step holds the lock that
/// readers need for some tens of microseconds; a thread that never rests is
/// what the scheduler stops in the middle of it when the cores are busy.
const STEP_REST: Duration = Duration::from_micros(100);

/// From this use on the space alarm can go on, and below it, it goes off again.
/// Both with one bound: a single large write that does not fit must not switch on
/// what goes off at once.
pub(crate) fn alarm_threshold(quota: u64) -> u64 {
    quota / 100 * 90
}

/// What the write loop asks for.
pub(crate) enum Task {
    /// Make a closed tail durable.
    Seal(Box<SealTicket>),
    /// A compaction was applied: drop what it superseded.
    Compact,
    /// The write loop has ended.
    Stop,
}

pub(crate) struct Maintenance {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Arc<CommitQueue>,
    pub(crate) background: Background,
    pub(crate) tasks: Receiver<Task>,
    pub(crate) auto_compactor: AutoCompactor,
    pub(crate) quota_bytes: Option<u64>,
    /// The last try to seal or collect has failed, and was told of.
    pub(crate) failing: bool,
    /// When a collection that has failed is tried again.
    pub(crate) collect_again: Option<Instant>,
    /// When the compaction pass that is under way began.
    pub(crate) compacting_since: Option<Instant>,
}

impl Maintenance {
    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) {
        // A compaction that a stop or a crash cut short is taken up again.
        let mut compacting = true;
        let mut next_tick = Instant::now() + TICK;
        loop {
            // Whatever there is to do, the timers are looked at in time.
            if Instant::now() >= next_tick {
                self.tick();
                next_tick = Instant::now() + TICK;
            }
            let until_tick = next_tick.saturating_duration_since(Instant::now());
            let wait = if compacting { STEP_REST.min(until_tick) } else { until_tick };
            match self.tasks.recv_timeout(wait) {
                Ok(Task::Seal(ticket)) => self.seal(*ticket),
                Ok(Task::Compact) => {
                    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
                    let at = &self.shared.counters.compacted_at_s;
                    at.store(since_epoch.as_secs(), Ordering::Relaxed);
                    compacting = true;
                }
                Ok(Task::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if compacting => compacting = self.compact(),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// One short step of the compaction pass; false when it is done.
    fn compact(&mut self) -> bool {
        // What is compacted now may be more than what this pass began with.
        let target = self.shared.reader.compacted();
        let times = &self.shared.counters.times;
        let step = Instant::now();
        let since = *self.compacting_since.get_or_insert(step);
        let goes_on = self.background.compaction_step();
        times.compaction_step.observe(step.elapsed());
        if goes_on {
            return true;
        }
        self.compacting_since = None;
        if target.is_some() {
            times.compaction.observe(since.elapsed());
        }
        self.shared.refresh_bytes_in_use();
        if let Some(target) = target {
            self.shared.compacted.send_replace(target);
        }
        self.clear_space_alarm();
        self.collect();
        false
    }

    fn seal(&mut self, ticket: SealTicket) {
        let begun = Instant::now();
        let outcome = self.background.seal(ticket);
        self.shared.counters.times.seal.observe(begun.elapsed());
        self.sealed(outcome);
    }

    fn sealed(&mut self, outcome: Result<t4_mvcc::LogPosition, StoreError>) {
        match outcome {
            Ok(position) => {
                self.works();
                self.shared.sealing.store(false, Ordering::Release);
                self.shared.release_log(position.index);
                self.queue.nudge();
                self.collect();
            }
            // The tail stays readable and the log keeps its entries; the next
            // tick tries again.
            Err(error) if self.is_damage(&error) => {}
            Err(error) => self.failed("sealing failed; it will be tried again", &error),
        }
        self.stop_after_a_failed_flush();
    }

    /// A failure that is over by itself one day is told when it begins, and not
    /// at every try.
    fn failed(&mut self, what: &'static str, error: &StoreError) {
        if self.background.failed_flush().is_some() {
            // The node stops, and says why.
            return;
        }
        match Shortage::of_store(error) {
            Some(lacking) => {
                self.shared.shortages.lacks(lacking, Part::State, error, self.shared.now());
            }
            None if self.failing => {}
            None => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                tracing::error!(%error, cause, "{what}");
                self.failing = true;
            }
        }
    }

    fn works(&mut self) {
        self.shared.shortages.works(Part::State, self.shared.now());
        if std::mem::take(&mut self.failing) {
            tracing::info!("sealing and collecting work again");
        }
    }

    /// After a flush that has failed nothing that the disk says can be believed:
    /// the node stops before the log lets go of what that flush should have
    /// made durable.
    fn stop_after_a_failed_flush(&self) {
        if let Some(why) = self.background.failed_flush() {
            self.queue.log_news(LogNews::Fatal(why.to_owned()));
        }
    }

    fn collect(&mut self) {
        if self.background.wants_seal_for_collect() {
            self.shared.seal_asked.store(true, Ordering::Release);
            self.queue.nudge();
        }
        if !self.background.wants_collect() {
            if self.collect_again.take().is_some() {
                self.works();
            }
            return;
        }
        let begun = Instant::now();
        let outcome = self.background.collect();
        self.shared.counters.times.collect.observe(begun.elapsed());
        self.collected(outcome);
        self.stop_after_a_failed_flush();
    }

    fn collected(&mut self, outcome: Result<CollectStats, StoreError>) {
        match outcome {
            Ok(stats) => {
                self.collect_again = None;
                self.works();
                self.shared
                    .counters
                    .records_collected
                    .fetch_add(stats.records_dropped, Ordering::Relaxed);
                tracing::info!(
                    segments = stats.segments_removed,
                    bytes_freed = stats.bytes_removed.saturating_sub(stats.bytes_written),
                    "segments collected"
                );
            }
            Err(error) if self.is_damage(&error) => {
                // No shortage any more, and nothing that trying again would mend.
                if self.collect_again.take().is_some() {
                    self.works();
                }
            }
            Err(error) => {
                self.collect_again = Some(Instant::now() + COLLECT_RETRY);
                self.failed("collecting failed; nothing was lost", &error);
            }
        }
    }

    /// Whether a file is not what was written; if so it is reported.
    fn is_damage(&self, error: &StoreError) -> bool {
        let damaged = matches!(error, StoreError::Corrupt { .. } | StoreError::Missing { .. });
        if damaged {
            self.shared.damage.met(&error.to_string());
        }
        damaged
    }

    fn tick(&mut self) {
        self.shared.shortages.tick(self.shared.now());
        if self.background.unfinished_seals() > 0 {
            let outcome = self.background.retry_seals();
            self.sealed(outcome);
        }
        self.shared.damage.retry();
        if self.collect_again.is_some_and(|at| at <= Instant::now()) {
            self.collect();
        }
        let current = self.shared.reader.revision();
        if let Some(target) = self.auto_compactor.tick(self.shared.now(), current) {
            tracing::info!(revision = target.0, "compacting by the retention that is set");
            self.queue.submit_own(Request::Compact(target));
        }
        self.clear_space_alarm();
    }

    /// Space that a compaction frees counts at once, so the alarm that the
    /// quota raised need not wait for a person.
    fn clear_space_alarm(&self) {
        let Some(quota) = self.quota_bytes else { return };
        let alarm = (self.shared.identity.member_id, AlarmKind::NoSpace);
        let in_use = self.shared.bytes_in_use.load(Ordering::Relaxed);
        let below = in_use < alarm_threshold(quota);
        let cleared = below
            && self.shared.quota_alarm.load(Ordering::Relaxed)
            && self.shared.alarms.read().contains(&alarm);
        if cleared {
            tracing::info!(in_use, quota, "space is free again: the NOSPACE alarm goes off");
            self.shared.quota_alarm.store(false, Ordering::Relaxed);
            self.queue.submit_own(Request::SetAlarm(alarm.0, alarm.1, false));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::mpsc;

    use t4_kv_types::{ClusterId, Epoch, NodeId};
    use t4_mvcc::Store;
    use t4_state_machine::StateMachine;

    use super::*;
    use crate::config::AutoCompaction;
    use crate::data_dir::Identity;

    /// The thread's work on an empty store, without the thread.
    fn maintenance(dir: &Path) -> Maintenance {
        let (store, background) = Store::open(t4_mvcc::Config::new(dir)).unwrap();
        let state = StateMachine::restore(store, Duration::ZERO).unwrap();
        let queue = Arc::new(CommitQueue::new(10, Duration::from_secs(1)));
        let identity =
            Identity { cluster_id: ClusterId(1), member_id: NodeId(1), replica_id: 1 << 64 };
        let ttl = Duration::from_secs(300);
        let shared = Shared::new(identity, Instant::now(), Epoch(1), ttl, &state, &queue);
        Maintenance {
            shared: Arc::new(shared),
            queue,
            background,
            tasks: mpsc::channel().1,
            auto_compactor: AutoCompactor::new(AutoCompaction::Off, Duration::ZERO),
            quota_bytes: None,
            failing: false,
            collect_again: None,
            compacting_since: None,
        }
    }

    fn no_space() -> StoreError {
        let source = io::ErrorKind::StorageFull.into();
        StoreError::NoSpace { file: PathBuf::from("segment.tmp"), op: "writing", source }
    }

    fn corrupt() -> StoreError {
        StoreError::Corrupt { file: PathBuf::from("a.seg"), what: "a block".to_owned() }
    }

    /// The disk was full, then has room, and what is collected turns out to be
    /// damaged: that is the alarm's business, and the shortage is over.
    #[test]
    fn a_collection_that_meets_damage_after_a_shortage_ends_the_shortage() {
        let scratch = tempfile::tempdir().unwrap();
        let mut maintenance = maintenance(scratch.path());
        maintenance.collected(Err(no_space()));
        assert!(maintenance.shared.shortages.has(Shortage::DiskFull));
        assert!(maintenance.collect_again.is_some(), "it is tried again");
        maintenance.collected(Err(corrupt()));
        assert!(!maintenance.shared.shortages.has(Shortage::DiskFull), "it lasts for ever");
        assert!(maintenance.collect_again.is_none(), "trying again mends nothing");
        assert_eq!(maintenance.queue.admitted(), 1, "the alarm is asked for");
    }

    /// Damage says nothing of a shortage that a seal has.
    #[test]
    fn damage_in_a_collection_does_not_end_the_shortage_of_a_seal() {
        let scratch = tempfile::tempdir().unwrap();
        let mut maintenance = maintenance(scratch.path());
        maintenance.sealed(Err(no_space()));
        maintenance.collected(Err(corrupt()));
        assert!(maintenance.shared.shortages.has(Shortage::DiskFull));
    }
}
