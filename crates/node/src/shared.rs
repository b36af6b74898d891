//! What all parts of a node look at: who it is, its clock, what is applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use t4_auth_rbac::TokenClock;
use t4_kv_types::{Epoch, LogIndex, Revision};
use t4_mvcc::Reader;
use t4_state_machine::{Alarms, Members, PublishedAuth, SharedLeases, StateMachine};
use tokio::sync::{Notify, watch};

use crate::counters::Counters;
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
    pub(crate) alarms: RwLock<Alarms>,
    pub(crate) members: RwLock<Members>,
    applied_index: AtomicU64,
    /// Bytes that count towards the quota, as of the newest applied batch.
    pub(crate) bytes_in_use: AtomicU64,
    pub(crate) counters: Counters,
    /// What keeps the node from writing now.
    pub(crate) shortages: Shortages,
    /// This epoch's first entry is committed; the atomic spares the lock.
    is_started: AtomicBool,
    started: Mutex<bool>,
    start: Condvar,
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
    ) -> Self {
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
            alarms: RwLock::new(state.alarms().clone()),
            members: RwLock::new(state.members().clone()),
            applied_index: AtomicU64::new(state.position().index.0),
            bytes_in_use: AtomicU64::new(state.reader().stats().bytes_in_use),
            counters: Counters::default(),
            shortages: Shortages::default(),
            is_started: AtomicBool::new(false),
            started: Mutex::new(false),
            start: Condvar::new(),
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
    pub(crate) fn applied(&self, state: &StateMachine, tables_changed: bool) {
        if tables_changed {
            self.alarms.write().clone_from(state.alarms());
            self.members.write().clone_from(state.members());
        }
        self.refresh_bytes_in_use();
        self.applied_index.store(state.position().index.0, Ordering::Release);
        if !self.is_started.swap(true, Ordering::Relaxed) {
            *self.started.lock() = true;
            self.start.notify_all();
        }
    }

    pub(crate) fn refresh_bytes_in_use(&self) {
        self.bytes_in_use.store(self.reader.stats().bytes_in_use, Ordering::Relaxed);
    }

    pub(crate) fn applied_index(&self) -> LogIndex {
        LogIndex(self.applied_index.load(Ordering::Acquire))
    }

    /// Waits until this epoch's first entry is committed.
    pub(crate) fn wait_for_first_entry(&self) -> Result<(), OpenError> {
        let mut guard = self.started.lock();
        while !*guard {
            if let Some(closed) = self.closed.borrow().as_ref() {
                return Err(OpenError::FirstEntry(closed.to_string()));
            }
            self.start.wait_for(&mut guard, Duration::from_millis(50));
        }
        Ok(())
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
