//! What all parts of a node look at: who it is, its clock, what is applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use t4_auth_rbac::TokenClock;
use t4_kv_types::{AlarmKind, Epoch, LogIndex, Revision};
use t4_mvcc::Reader;
use t4_state_machine::{Alarms, Members, PublishedAuth, SharedAlarms, SharedLeases, StateMachine};
use t4_wal::WalError;
use tokio::sync::{Notify, watch};

use crate::commit_queue::CommitQueue;
use crate::counters::Counters;
use crate::damage::Damage;
use crate::data_dir::Identity;
use crate::error::{Closed, OpenError};
use crate::shortage::Shortages;

pub(crate) struct Shared {
    pub(crate) identity: Identity,
    /// Of this run of the process: deadlines count from here.
    origin: Instant,
    pub(crate) epoch: Epoch,
    pub(crate) reader: Reader,
    pub(crate) leases: SharedLeases,
    pub(crate) auth: Arc<PublishedAuth>,
    /// Until when the tokens of `auth` live. Uses share it; only the write
    /// loop, and who makes room in a full table, has it alone.
    pub(crate) tokens: RwLock<TokenClock>,
    /// How often users, roles or permissions have changed since the start, or
    /// authentication went on or off.
    pub(crate) rights_changed: watch::Sender<u64>,
    pub(crate) alarms: SharedAlarms,
    pub(crate) members: RwLock<Members>,
    /// Where damage is reported that a read meets.
    pub(crate) damage: Arc<Damage>,
    applied_index: AtomicU64,
    /// Bytes that count towards the quota, as of the newest applied batch.
    pub(crate) bytes_in_use: AtomicU64,
    pub(crate) counters: Counters,
    /// What keeps the node from writing now.
    pub(crate) shortages: Shortages,
    /// This epoch's first entry is committed; the atomic spares the lock.
    is_started: AtomicBool,
    /// The same, or the node is no more.
    start_is_decided: Mutex<bool>,
    start: Condvar,
    /// Why the log has refused this epoch's first entry.
    start_refused: Mutex<Option<Arc<WalError>>>,
    /// Told after every batch that granted or revoked leases.
    pub(crate) leases_changed: Notify,
    /// Somebody wants the tail sealed, whatever its size.
    pub(crate) seal_asked: AtomicBool,
    /// A sealed tail is on its way to the disk.
    pub(crate) sealing: AtomicBool,
    /// The log may forget entries up to here; 0: nothing new.
    releasable: AtomicU64,
    /// The newest compaction whose superseded versions are gone.
    pub(crate) compacted: watch::Sender<Revision>,
    /// The NOSPACE alarm that is on was raised by the quota, not by a person.
    pub(crate) quota_alarm: AtomicBool,
    /// Keep-alives are no longer answered: what leases have left is being
    /// written down.
    pub(crate) stopping: AtomicBool,
    /// Set once the node is no more.
    pub(crate) closed: watch::Sender<Option<Closed>>,
}

impl Shared {
    pub(crate) fn new(
        identity: Identity,
        origin: Instant,
        epoch: Epoch,
        token_ttl: Duration,
        state: &StateMachine,
        queue: &Arc<CommitQueue>,
    ) -> Self {
        let corrupt = is_corrupt(&state.alarms().read());
        let damage = Damage::new(identity.member_id, queue.clone(), corrupt);
        let alive = state.auth().tokens().map(|(id, _)| id);
        let tokens = TokenClock::start(token_ttl, alive, origin.elapsed());
        Shared {
            identity,
            origin,
            epoch,
            reader: state.reader().clone(),
            leases: state.leases().clone(),
            auth: state.published_auth().clone(),
            tokens: RwLock::new(tokens),
            rights_changed: watch::Sender::new(0),
            alarms: state.alarms().clone(),
            members: RwLock::new(state.members().clone()),
            damage: Arc::new(damage),
            applied_index: AtomicU64::new(state.position().index.0),
            bytes_in_use: AtomicU64::new(
                state.reader().stats().bytes_in_use + state.auth().bytes(),
            ),
            counters: Counters::default(),
            shortages: Shortages::default(),
            is_started: AtomicBool::new(false),
            start_is_decided: Mutex::new(false),
            start: Condvar::new(),
            start_refused: Mutex::default(),
            leases_changed: Notify::new(),
            seal_asked: AtomicBool::new(false),
            sealing: AtomicBool::new(false),
            releasable: AtomicU64::new(0),
            compacted: watch::Sender::new(Revision(-1)),
            // Who raised an alarm that outlived a restart is not known; one
            // that is still justified is raised again by the next write.
            quota_alarm: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            closed: watch::Sender::new(None),
        }
    }

    /// The clock of the deadlines of leases and tokens.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The moment of a deadline, or a far one if it is beyond the clock.
    pub(crate) fn instant(&self, deadline: Duration) -> Instant {
        const FAR: Duration = Duration::from_secs(86_400);
        self.origin.checked_add(deadline).unwrap_or_else(|| Instant::now() + FAR)
    }

    /// A batch was applied.
    pub(crate) fn applied(&self, state: &StateMachine, members_changed: bool) {
        self.damage.alarm_is(is_corrupt(&state.alarms().read()));
        if members_changed {
            self.members.write().clone_from(state.members());
        }
        self.refresh_bytes_in_use();
        self.applied_index.store(state.position().index.0, Ordering::Release);
        if !self.is_started.swap(true, Ordering::Relaxed) {
            self.decide_start();
        }
    }

    /// The log has refused an entry.
    pub(crate) fn refused(&self, why: &Arc<WalError>) {
        if !self.is_started.load(Ordering::Relaxed) {
            *self.start_refused.lock() = Some(why.clone());
        }
    }

    /// The node is no more.
    pub(crate) fn close(&self, why: Closed) {
        self.closed.send_replace(Some(why));
        self.decide_start();
    }

    fn decide_start(&self) {
        *self.start_is_decided.lock() = true;
        self.start.notify_all();
    }

    /// Why the node is no more, if it is.
    pub(crate) fn why_closed(&self) -> Option<Closed> {
        self.closed.borrow().clone()
    }

    pub(crate) fn refresh_bytes_in_use(&self) {
        let bytes = self.reader.stats().bytes_in_use + self.auth_bytes();
        self.bytes_in_use.store(bytes, Ordering::Relaxed);
    }

    /// What users and roles take; they count as keys do, as in etcd.
    pub(crate) fn auth_bytes(&self) -> u64 {
        self.auth.state().1.bytes()
    }

    pub(crate) fn applied_index(&self) -> LogIndex {
        LogIndex(self.applied_index.load(Ordering::Acquire))
    }

    /// Waits until this epoch's first entry is committed.
    pub(crate) fn wait_for_first_entry(&self) -> Result<(), OpenError> {
        let mut is_decided = self.start_is_decided.lock();
        while !*is_decided {
            self.start.wait(&mut is_decided);
        }
        match self.why_closed() {
            Some(closed) if !self.is_started.load(Ordering::Relaxed) => {
                Err(match self.start_refused.lock().take() {
                    Some(why) => OpenError::FirstEntryRefused(why),
                    None => OpenError::FirstEntry(closed.to_string()),
                })
            }
            _ => Ok(()),
        }
    }

    /// Entries up to here are in sealed segments.
    pub(crate) fn release_log(&self, through: LogIndex) {
        self.releasable.store(through.0, Ordering::Release);
    }

    pub(crate) fn take_releasable(&self) -> Option<LogIndex> {
        let through = self.releasable.swap(0, Ordering::AcqRel);
        (through > 0).then_some(LogIndex(through))
    }
}

fn is_corrupt(alarms: &Alarms) -> bool {
    alarms.iter().any(|(_, kind)| *kind == AlarmKind::Corrupt)
}
