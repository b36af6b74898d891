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

/// A tail that was not sealed for so many times `seal_bytes` is closed and
/// another one started: offsets have 32 bits, and segments should not get huge
/// when seals were impossible for a while.
const TAIL_SEALS_MAX: usize = 4;
/// No tail is longer than this when a revision begins, whatever the
/// configuration says.
const TAIL_BYTES_MAX: usize = 1 << 30;

/// Records up to this size share the memory of those that were applied with them.
const TOGETHER_MAX: usize = 128;

/// Room for changes that are not visible yet is kept up to so many of them.
const UNPUBLISHED_KEPT_MAX: usize = 1 << 12;

/// The one writer of a key space.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    /// The newest revision applied.
    revision: i64,
    /// Of the manifest, as of the open.
    position: LogPosition,
    tables: Tables,
    seal_bytes: usize,
    /// Tails that were closed because they were too long; the next ticket
    /// takes them.
    closed: Vec<(u32, Arc<Records>)>,
    closed_bytes: usize,
    /// The bytes in the tail that is appended to.
    active_bytes: usize,
    _lock: Arc<DirLock>,
}

impl Store {
    /// Opens the store in `config.dir`, or creates an empty one (at revision 1)
    /// when the directory is empty or missing. Temporary files and segments
    /// that no manifest names, left by an interrupted seal or collection, are
    /// removed; nothing else is changed.
    ///
    /// # Errors
    /// A file that is missing, damaged, of a newer format or not ours; the
    /// directory being in use. Nothing is overwritten then.
    pub fn open(config: Config) -> Result<(Store, Background), StoreError> {
        crate::open::open(config)
    }

    /// Opens the store in `config.dir` for looking at it: nothing is written,
    /// made or removed, also when it fails. A log may be applied to it, in
    /// memory; there is nobody to seal it. Others may look at the same time,
    /// but nobody can open it to write. A directory without files is an empty
    /// store.
    ///
    /// # Errors
    /// Those of [`Store::open`] that come from reading; [`StoreError::Io`] when
    /// there is no such directory.
    pub fn open_read_only(config: Config) -> Result<Store, StoreError> {
        crate::open::open_read_only(config)
    }

    /// What `open` found.
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

    /// A handle for readers.
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

    /// What the manifest covered when the store was opened: the log is to be
    /// replayed after it. (0, 0) when new. Later seals report theirs through
    /// [`Background::seal`].
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// The side tables as of that position.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Applies one revision, which is above [`Store::revision`]. Readers do not
    /// see it before [`Store::publish`]. Returns what watchers shall see.
    ///
    /// # Panics
    /// When the revision is not new, or a key to be deleted does not exist:
    /// whoever evaluated the request has a bug.
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
        // In one piece, at once: there may be a million of them.
        records.into_iter().map(Record::into_event).collect()
    }

    /// Applies the changes of one hold of the lock; the revision has `all`.
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

    /// The records of some changes, encoded outside of the lock for writing:
    /// nobody else changes what they depend on.
    fn prepare(&self, main: i64, first_sub: u32, writes: &[Write]) -> Vec<(Record, Newest)> {
        let mut newest = Vec::with_capacity(writes.len());
        // As those of a range are.
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

    /// From how many bytes on the tail is closed without a seal.
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

    /// Makes everything up to `revision` visible to readers, at once.
    ///
    /// # Panics
    /// When `revision` was not applied, or is older than what is visible.
    pub fn publish(&mut self, revision: Revision) {
        assert!(revision.0 <= self.revision, "{revision} was not applied");
        assert!(revision.0 >= self.shared.visible(), "{revision} is older than what is visible");
        self.shared.set_visible(revision.0);
    }

    /// Compacts to `at`: reads below it are refused from now on, and the
    /// background worker has a pass to do. A revision at or below the last
    /// compaction changes nothing; that happens when a log is replayed over
    /// files that were collected later. What is compacted to should be visible
    /// first: until then there is no revision that can be read.
    ///
    /// # Panics
    /// When `at` was not applied.
    pub fn compact(&mut self, at: Revision) {
        assert!(at.0 <= self.revision, "{at} was not applied");
        if at.0 > self.shared.compacted() {
            self.shared.set_compacted(at.0);
        }
    }

    /// The bytes of records that no ticket covers yet.
    #[must_use]
    pub fn tail_bytes(&self) -> usize {
        self.closed_bytes + self.active_bytes
    }

    /// Whether [`Store::tail_bytes`] has reached `seal_bytes`.
    #[must_use]
    pub fn wants_seal(&self) -> bool {
        self.tail_bytes() >= self.seal_bytes
    }

    /// Closes the tail. `position` and `tables` belong to the state that all
    /// applied revisions make. Constant time; the ticket is for
    /// [`Background::seal`]. With an empty tail only the manifest advances.
    pub fn seal(&mut self, position: LogPosition, tables: Tables) -> SealTicket {
        self.seal_with(position, TicketTables::Made(tables))
    }

    /// The same with tables that are made when the ticket is sealed, where that
    /// is done: the writer does not wait for them.
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

/// What is newest of a key, if it exists.
fn before(index: &Index, key: &[u8]) -> Option<Newest> {
    index.get(key).map(|entry| *entry.newest)
}

/// What is newest after a write. Its location comes later.
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

/// The records of some writes: short ones in one piece of memory, as they live
/// and go together. The others each in its own.
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

/// A record's length as a version holds it.
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
