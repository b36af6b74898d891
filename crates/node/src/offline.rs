//! A data directory that is looked at while no node runs on it: nothing in it
//! is changed, repaired or made.

use std::path::Path;
use std::time::Duration;

use t4_kv_types::{Epoch, LogIndex};
use t4_mvcc::{LogPosition, Reader, Store};
use t4_state_machine::{Alarms, Members, StateMachine};
use t4_wal::FileDir;

use crate::data_dir::{DataDir, Identity};
use crate::error::OpenError;
use crate::open::{refuse_lost_log, refuse_lost_state};

/// What the log directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSummary {
    /// The first entry, or the one that would be the first if it is empty.
    pub first: LogIndex,
    /// The last entry; in an empty log, the one before the first.
    pub last: LogIndex,
    /// The epoch of the last entry.
    pub epoch: Epoch,
    /// How many segment files there are.
    pub segments: usize,
    /// The sizes of all its files, which are made larger than what is in them.
    pub bytes: u64,
    /// What the next start would mend; each is worth telling.
    pub recovery: t4_wal::Recovery,
}

/// The state that a node would start with, read and held in memory. While it
/// lives, no node can start on the directory.
pub struct Offline {
    dir: DataDir,
    state: StateMachine,
    sealed: LogPosition,
    log: LogSummary,
}

impl Offline {
    /// Reads the sealed key space in `data_dir`, and applies the log behind it
    /// in memory. Blocks.
    ///
    /// # Errors
    /// Those that a node would not start with, with the same words;
    /// [`OpenError::Locked`] while a node runs on it.
    pub fn open(data_dir: &Path) -> Result<Offline, OpenError> {
        let dir = DataDir::open_read_only(data_dir)?;
        refuse_lost_state(&dir.state(), &dir.log())?;
        let store = Store::open_read_only(t4_mvcc::Config::new(dir.state()))?;
        let sealed = store.position();
        let mut state = StateMachine::restore(store, Duration::ZERO)?;
        refuse_lost_log(&dir.log(), sealed)?;
        let log_dir = FileDir::open_read_only(dir.log()).map_err(|source| OpenError::DataDir {
            path: dir.log(),
            op: "open",
            source,
        })?;
        let (found, replay) = t4_wal::inspect(log_dir, sealed.index)?;
        for entry in replay {
            let entry = entry?;
            let at = LogPosition { epoch: entry.epoch, index: entry.index };
            state.replay(at, &entry.payload, Duration::ZERO)?;
        }
        state.replayed(Duration::ZERO);
        let log = LogSummary {
            first: found.first,
            last: found.last.1,
            epoch: found.last.0,
            segments: found.segments,
            bytes: bytes_of(&dir.log()),
            recovery: found.recovery,
        };
        Ok(Offline { dir, state, sealed, log })
    }

    /// Who the replica is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.dir.identity()
    }

    /// The key space, as clients of the node saw it last.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        self.state.reader()
    }

    /// The last log entry that is applied.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.state.position()
    }

    /// The last log entry that is in sealed segments.
    #[must_use]
    pub fn sealed(&self) -> LogPosition {
        self.sealed
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &LogSummary {
        &self.log
    }

    /// The alarms that are on.
    #[must_use]
    pub fn alarms(&self) -> Alarms {
        self.state.alarms().read().clone()
    }

    /// The members and what they told of themselves.
    #[must_use]
    pub fn members(&self) -> &Members {
        self.state.members()
    }

    /// Users, roles and tokens.
    #[must_use]
    pub fn auth(&self) -> &t4_auth_rbac::AuthState {
        self.state.auth()
    }

    /// Whether there is such a lease.
    #[must_use]
    pub fn has_lease(&self, id: t4_kv_types::LeaseId) -> bool {
        self.state.leases().lock().exists(id)
    }

    /// How many leases there are.
    #[must_use]
    pub fn lease_count(&self) -> usize {
        self.state.leases().lock().len()
    }
}

/// For people to look at: a file that cannot be asked counts nothing.
fn bytes_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
