//! The writer's side of the store.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use t4_kv_types::{Event, Revision, Write};

use crate::background::{Background, SealTicket, TicketTables};
use crate::directory::DirLock;
use crate::index::{Index, Newest, Version};
use crate::record::{Change, Record};
use crate::shared::{Core, Shared, Unpublished, WRITE_HOLD};
use crate::tail::Records;
use crate::{Config, LogPosition, Reader, StoreError, Tables};

/// A tail that was not sealed is closed at this many times `seal_bytes` and
/// another one started: offsets have 32 bits, and segments should not get huge
/// if seals were impossible for a while.
const TAIL_SEALS_MAX: usize = 4;
/// No tail is longer than this when a revision starts, whatever the configuration.
const TAIL_BYTES_MAX: usize = 1 << 30;

/// Records up to this size share the memory of those applied with them.
const TOGETHER_MAX: usize = 128;

/// The most capacity that is retained for changes that are not visible yet.
const UNPUBLISHED_KEPT_MAX: usize = 1 << 12;

/// The only writer of a key space.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    /// The newest revision applied.
    revision: i64,
    /// The position in the manifest at the time of the open.
    position: LogPosition,
    tables: Tables,
    seal_bytes: usize,
    /// Tails that were closed because they were too long; the next ticket takes them.
    closed: Vec<(u32, Arc<Records>)>,
    closed_bytes: usize,
    /// The bytes in the tail that is appended to.
    active_bytes: usize,
    _lock: Arc<DirLock>,
}

impl Store {
    /// Opens the store in `config.dir`, or creates an empty one (at revision 1)
    /// if the directory is empty or missing. Removes temporary files and
    /// segments that no manifest names, left by an interrupted seal or
    /// collection; changes nothing else.
    ///
    /// # Errors
    /// A file is missing, damaged, of a newer format or not ours; the directory
    /// is in use. Nothing is overwritten in these cases.
    pub fn open(config: Config) -> Result<(Store, Background), StoreError> {
        crate::open::open(config)
    }

    /// Opens the store in `config.dir` read-only: nothing is written, created
    /// or removed, even if the open fails. A log may be applied to it in
    /// memory, but not sealed. Others may open it read-only at the same time,
    /// but not for writing. A directory without files is an empty store.
    ///
    /// # Errors
    /// The read errors of [`Store::open`]; [`StoreError::Io`] if there is no
    /// such directory.
    pub fn open_read_only(config: Config) -> Result<Store, StoreError> {
        crate::open::open_read_only(config)
    }

    /// Builds a store from what `open` found.
    pub(crate) fn assemble(
        shared: Arc<Shared>,
        position: LogPosition,
        tables: Tables,
        seal_bytes: usize,
        lock: Arc<DirLock>,
    ) -> Store {
        Store {
            revision: shared.visible(),
            shared,
            position,
            tables,
            seal_bytes,
            closed: Vec::new(),
            closed_bytes: 0,
            active_bytes: 0,
            _lock: lock,
        }
    }

    /// A handle for reading.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The newest revision applied, which may not be visible yet.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    /// The position that the manifest covered when the store was opened; the
    /// log must be replayed after it. (0, 0) for a new store.
    /// [`Background::seal`] returns the positions of later seals.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// The side tables at that position.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Applies one revision, which must be above [`Store::revision`]. Readers
    /// do not see it before [`Store::publish`]. Returns the events for watchers.
    ///
    /// # Panics
    /// If the revision is not new, or a key to be deleted does not exist: the
    /// caller that evaluated the request has a bug.
    pub fn apply(&mut self, revision: Revision, writes: &[Write]) -> Arc<[Event]> {
        assert!(revision.0 > self.revision, "{revision} is not after {}", self.revision);
        if self.active_bytes >= self.tail_max() {
            self.close_tail();
        }
        let mut records = Vec::with_capacity(writes.len());
        let all = writes.len();
        for (hold, writes) in writes.chunks(WRITE_HOLD).enumerate() {
            let first_sub = u32::try_from(hold * WRITE_HOLD).expect("fewer than 2^32 changes");
            self.apply_some(revision.0, first_sub, writes, all, &mut records);
        }
        self.revision = revision.0;
        // Collected in one pass into one allocation: there may be a million of them.
        records.into_iter().map(Record::into_event).collect()
    }

    /// Applies the changes of one lock hold; the revision has `all` changes.
    fn apply_some(
        &mut self,
        main: i64,
        first_sub: u32,
        writes: &[Write],
        all: usize,
        records: &mut Vec<Record>,
    ) {
        let changes = self.prepare(main, first_sub, writes);
        self.active_bytes += changes.iter().map(|(record, _)| record.len()).sum::<usize>();
        let mut core = self.shared.core.write();
        if first_sub == 0 && self.shared.visible() >= self.revision {
            if core.unpublished.capacity() > UNPUBLISHED_KEPT_MAX {
                core.unpublished = Vec::new();
            }
            core.unpublished.clear();
            core.unpublished.reserve(all);
        }
        for (record, newest) in &changes {
            insert(&mut core, record.clone(), *newest);
        }
        drop(core);
        records.extend(changes.into_iter().map(|(record, _)| record));
    }

    /// The records of some changes, encoded outside the write lock: nothing
    /// else changes the state they depend on.
    fn prepare(&self, main: i64, first_sub: u32, writes: &[Write]) -> Vec<(Record, Newest)> {
        let mut newest = Vec::with_capacity(writes.len());
        // True for the deletes of a range.
        let distinct = writes.is_sorted_by(|one, next| one.key() < next.key());
        let core = self.shared.core.read();
        for (at, write) in writes.iter().enumerate() {
            let same = |earlier: &Write| earlier.key() == write.key();
            let earlier = if distinct { None } else { writes[..at].iter().rposition(same) };
            let before = match earlier {
                Some(earlier) => Some(newest[earlier]),
                None => before(&core.index, write.key()),
            };
            newest.push(next(main, first_sub + at as u32, before, write));
        }
        drop(core);
        encode_all(writes, newest)
    }

    /// The size at which the tail is closed without a seal.
    fn tail_max(&self) -> usize {
        self.seal_bytes.saturating_mul(TAIL_SEALS_MAX).min(TAIL_BYTES_MAX)
    }

    fn close_tail(&mut self) {
        if let Some((number, records)) = self.shared.core.write().files.close_tail() {
            self.closed_bytes += records.bytes();
            self.closed.push((number, records));
        }
        self.active_bytes = 0;
    }

    /// Makes everything up to `revision` visible to readers, atomically.
    ///
    /// # Panics
    /// If `revision` was not applied, or is older than the visible revision.
    pub fn publish(&mut self, revision: Revision) {
        assert!(revision.0 <= self.revision, "{revision} was not applied");
        assert!(revision.0 >= self.shared.visible(), "{revision} is older than what is visible");
        self.shared.set_visible(revision.0);
    }

    /// Compacts to `at`: reads below it are rejected after this call, and the
    /// background worker has a pass to do. A revision at or below the last
    /// compaction changes nothing; that happens when a log is replayed over
    /// files that were collected later. `at` should be visible first: until
    /// then no revision can be read.
    ///
    /// # Panics
    /// If `at` was not applied.
    pub fn compact(&mut self, at: Revision) {
        assert!(at.0 <= self.revision, "{at} was not applied");
        if at.0 > self.shared.compacted() {
            self.shared.set_compacted(at.0);
        }
    }

    /// The bytes of records that are not covered by a ticket yet.
    #[must_use]
    pub fn tail_bytes(&self) -> usize {
        self.closed_bytes + self.active_bytes
    }

    /// Whether [`Store::tail_bytes`] has reached `seal_bytes`.
    #[must_use]
    pub fn wants_seal(&self) -> bool {
        self.tail_bytes() >= self.seal_bytes
    }

    /// Closes the tail. `position` and `tables` must match the state after all
    /// applied revisions. Constant time; pass the ticket to
    /// [`Background::seal`]. If the tail is empty, only the manifest advances.
    pub fn seal(&mut self, position: LogPosition, tables: Tables) -> SealTicket {
        self.seal_with(position, TicketTables::Made(tables))
    }

    /// The same, but the tables are built when the ticket is sealed, on the
    /// sealing thread: the writer does not wait for them.
    pub fn seal_later(
        &mut self,
        position: LogPosition,
        tables: impl FnOnce() -> Tables + Send + 'static,
    ) -> SealTicket {
        self.seal_with(position, TicketTables::ToBeMade(Box::new(tables)))
    }

    fn seal_with(&mut self, position: LogPosition, tables: TicketTables) -> SealTicket {
        self.close_tail();
        self.closed_bytes = 0;
        SealTicket {
            tails: std::mem::take(&mut self.closed),
            position,
            tables,
            revision: self.revision,
            compacted: self.shared.compacted(),
        }
    }
}

/// The newest version of a key, if the key exists.
fn before(index: &Index, key: &[u8]) -> Option<Newest> {
    index.get(key).map(|entry| *entry.newest)
}

/// The newest version after a write. Its location is set later.
fn next(main: i64, sub: u32, before: Option<Newest>, write: &Write) -> Newest {
    let live = before.filter(|newest| !newest.version.deleted);
    let deleted = matches!(write, Write::Delete { .. });
    assert!(live.is_some() || !deleted, "a key to be deleted exists");
    let version = Version { main, sub, deleted, size: 0, at: Default::default() };
    match write {
        Write::Delete { .. } => Newest { version, create: 0, count: 0, lease: 0 },
        Write::Put { lease, .. } => Newest {
            version,
            create: live.map_or(main, |newest| newest.create),
            count: live.map_or(1, |newest| newest.count + 1),
            lease: lease.0,
        },
    }
}

/// The records of some writes: short ones share one allocation, as they are
/// created and dropped together; each of the others has its own.
fn encode_all(writes: &[Write], newest: Vec<Newest>) -> Vec<(Record, Newest)> {
    let lengths = || writes.iter().map(|write| Record::length(write.key(), value_of(write)));
    let together = writes.len() > 1 && lengths().all(|length| length <= TOGETHER_MAX);
    let mut buffer = Vec::with_capacity(if together { lengths().sum() } else { 0 });
    let each = writes.iter().zip(newest);
    if !together {
        return each.map(|(write, newest)| sized(encode(write, &newest), newest)).collect();
    }
    for (write, newest) in each.clone() {
        Record::encode_into(&mut buffer, &change_of(write, &newest), value_of(write));
    }
    let mut buffer = Bytes::from(buffer);
    each.zip(lengths())
        .map(|((_, newest), length)| sized(Record::split_copy(&mut buffer, length), newest))
        .collect()
}

fn encode(write: &Write, newest: &Newest) -> Record {
    Record::encode(&change_of(write, newest), value_of(write))
}

fn change_of<'a>(write: &'a Write, newest: &Newest) -> Change<'a> {
    Change {
        main: newest.version.main,
        sub: newest.version.sub,
        deleted: newest.version.deleted,
        create: newest.create,
        version: newest.count,
        lease: newest.lease,
        key: write.key(),
    }
}

fn value_of(write: &Write) -> &[u8] {
    match write {
        Write::Put { value, .. } => value,
        Write::Delete { .. } => &[],
    }
}

fn sized(record: Record, mut newest: Newest) -> (Record, Newest) {
    newest.version.size = size_hint(record.len());
    (record, newest)
}

/// A record's length as stored in a version.
pub(crate) fn size_hint(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(Version::SIZE_MAX)
}

fn insert(core: &mut Core, record: Record, mut newest: Newest) {
    newest.version.at = core.files.append(record.clone());
    let key = record.key();
    let before = core.index.insert(key, newest);
    let was_live = before.is_some_and(|newest| !newest.version.deleted);
    let is_live = !newest.version.deleted;
    if was_live != is_live {
        core.liveness.record(newest.version.main, key, is_live);
    }
    core.unpublished.push(Unpublished { record, before });
}
