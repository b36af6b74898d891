//! Reads every byte of a data directory and says everything that is wrong: what
//! proves that a backup copy can be started from.
//!
//! First each part by itself (identity, log, segments, manifest), so that every
//! fault is named and not only the first; then, if all of that is sound, what
//! they say of one another, on the state that a start would make of them.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

use t4_auth_rbac::Identity as Caller;
use t4_kv_types::{KeyRange, LogIndex, Revision};
use t4_mvcc::{Io, Projection, ReadError, Reader};
use t4_wal::{FileDir, TornTail};

use crate::data_dir::{Identity, read_identity, share_lock};
use crate::error::OpenError;
use crate::fault::Fault;
use crate::offline::Offline;
use crate::open::refuse_lost_log;

/// So many keys are read at once, and so many revisions.
const PAGE: usize = 1_000;
/// And so many bytes of events.
const PAGE_BYTES: usize = 16 << 20;

/// What a data directory holds, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Verification {
    /// Who the replica is, if its identity is sound.
    pub identity: Option<Identity>,
    /// How many files were read, and their bytes.
    pub files: usize,
    /// See `files`.
    pub bytes: u64,
    /// Entries of the log, also those that are sealed already.
    pub log_entries: u64,
    /// The last of them.
    pub log_last: LogIndex,
    /// Records in segment files, also those that a compaction superseded.
    pub records: u64,
    /// What the next start cuts off the log: a write that was never
    /// acknowledged. No fault.
    pub torn: Option<TornTail>,
    /// What the state is that a start would begin with; none if there are
    /// faults that keep it from being made.
    pub state: Option<VerifiedState>,
    /// Everything that is wrong.
    pub faults: Vec<Fault>,
}

/// The state that a start would begin with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedState {
    /// The newest revision.
    pub revision: Revision,
    /// The oldest that can be read.
    pub oldest: Revision,
    /// Keys that exist.
    pub keys: u64,
    /// Kept revisions of which every event was read.
    pub revisions: u64,
    /// Leases.
    pub leases: usize,
    /// Keys attached to them.
    pub attachments: u64,
    /// Users.
    pub users: usize,
}

const ADVICE: &str = "Check the disk, then restore the whole data directory from a backup copy";

/// Reads and checks every byte of `data_dir`. Blocks; changes nothing; keeps
/// nodes from starting on it meanwhile.
///
/// # Errors
/// [`OpenError::Locked`] while a node runs on it; [`OpenError::DataDir`] if there
/// is no such directory. Everything else is a fault.
pub fn verify(data_dir: &Path) -> Result<Verification, OpenError> {
    let lock = share_lock(data_dir)?;
    let mut this = Verification::default();
    match read_identity(data_dir) {
        Ok(identity) => {
            this.files += 1;
            this.bytes += identity.to_string().len() as u64;
            this.identity = Some(identity);
        }
        Err(error) => this.faults.push(Fault::of_open(data_dir, &error)),
    }
    let sealed = this.check_state_files(data_dir);
    this.check_log(data_dir, sealed);
    if this.faults.is_empty() {
        match Offline::open(data_dir) {
            Ok(offline) => this.check_whole(data_dir, &offline),
            Err(error) => this.faults.push(Fault::of_open(data_dir, &error)),
        }
    }
    drop(lock);
    Ok(this)
}

impl Verification {
    /// Returns what the state covers of the log.
    fn check_state_files(&mut self, root: &Path) -> t4_mvcc::LogPosition {
        let found = t4_mvcc::verify(&root.join("state"));
        self.files += found.files;
        self.bytes += found.bytes;
        self.records = found.records;
        self.faults.extend(found.faults.iter().map(|fault| Fault::of_store(root, fault)));
        found.manifest.map(|manifest| manifest.position).unwrap_or_default()
    }

    fn check_log(&mut self, root: &Path, sealed: t4_mvcc::LogPosition) {
        let dir = root.join("log");
        let opened = refuse_lost_log(&dir, sealed).and_then(|()| {
            FileDir::open_read_only(&dir).map_err(|source| OpenError::DataDir {
                path: dir.clone(),
                op: "open",
                source,
            })
        });
        let log = match opened {
            Ok(log) => t4_wal::verify(log, sealed.index),
            Err(error) => return self.faults.push(Fault::of_open(root, &error)),
        };
        self.files += log.segments + usize::from(log.marked.is_some());
        self.bytes += log.bytes;
        self.log_entries = log.entries;
        self.log_last = log.last.1;
        self.torn = log.torn;
        self.faults.extend(log.faults.iter().map(|fault| Fault::of_log(root, fault)));
    }

    fn check_whole(&mut self, data_dir: &Path, offline: &Offline) {
        let reader = offline.reader();
        let newest = reader.revision();
        let oldest = reader.compacted().unwrap_or(Revision(1));
        let mut state = VerifiedState {
            revision: newest,
            oldest,
            keys: reader.stats().keys,
            leases: offline.lease_count(),
            users: offline.auth().user_list(&Caller::Server).map_or(0, |users| users.len()),
            ..VerifiedState::default()
        };
        for at in [newest, oldest] {
            match read_keys(reader, at) {
                Ok(keys) if at == newest && keys != state.keys => self.misfit(
                    data_dir,
                    format_args!("the index counts {} keys, and {keys} can be read", state.keys),
                ),
                Ok(_) => {}
                Err(error) => self.faults.push(Fault::of_read(
                    data_dir,
                    &error,
                    format_args!("state: revision {at}: {error}"),
                )),
            }
        }
        match read_revisions(reader, oldest, newest) {
            Ok(Ok(revisions)) => state.revisions = revisions,
            Ok(Err(missing)) => {
                let told = format_args!("the events of revision {missing} are missing");
                self.misfit(data_dir, told);
            }
            Err(error) => {
                let told = format_args!("state: {error}");
                self.faults.push(Fault::of_read(data_dir, &error, told));
            }
        }
        self.check_leases(data_dir, offline, &mut state);
        self.state = Some(state);
    }

    /// What is read of the key space does not fit together.
    fn misfit(&mut self, root: &Path, what: impl fmt::Display) {
        let dir = root.join("state");
        let told = format_args!("{}: {what}. {ADVICE}", dir.display()).to_string();
        self.faults.push(Fault::inconsistent(root, &dir, told));
    }

    fn check_leases(&mut self, root: &Path, offline: &Offline, state: &mut VerifiedState) {
        let mut lost = None;
        offline.reader().leased_keys(|key, lease| {
            state.attachments += 1;
            if lost.is_none() && !offline.has_lease(lease) {
                lost = Some((String::from_utf8_lossy(key).into_owned(), lease));
            }
        });
        if let Some((key, lease)) = lost {
            let lease = lease.0;
            self.misfit(
                root,
                format_args!("the key {key:?} has the lease {lease:016x}, which does not exist"),
            );
        }
    }
}

/// Reads every key and value at a revision; how many there are. Each is compared
/// with what the index says of it.
fn read_keys(reader: &Reader, at: Revision) -> Result<u64, ReadError> {
    let mut range = KeyRange::all();
    let mut count = 0;
    loop {
        let page = reader.range(&range, at, PAGE, Projection::Full, Io::Blocking)?;
        count += page.kvs.len() as u64;
        match page.kvs.last() {
            Some(last) if page.kvs.len() == PAGE => {
                let next = [&last.key[..], &[0]].concat();
                range.start = next.into();
            }
            _ => return Ok(count),
        }
    }
}

/// Reads the events of every kept revision; how many revisions there are, or the
/// first that has none. At the oldest, a compaction may have left none.
fn read_revisions(
    reader: &Reader,
    oldest: Revision,
    newest: Revision,
) -> Result<Result<u64, Revision>, ReadError> {
    let mut next = oldest.next();
    let mut count = 0;
    while next <= newest {
        let read = reader.events(next, newest, PAGE, PAGE_BYTES, Io::Blocking)?;
        let whole = read.iter().try_for_each(|(revision, events)| {
            if *revision != next || events.is_empty() {
                return ControlFlow::Break(());
            }
            (next, count) = (next.next(), count + 1);
            ControlFlow::Continue(())
        });
        if whole.is_break() || read.is_empty() {
            return Ok(Err(next));
        }
    }
    Ok(Ok(count))
}
