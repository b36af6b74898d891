//! Work off the write path: seals, compaction passes, collection.
//!
//! One object on one thread does all of it and is the only writer of manifests,
//! so no two of these tasks ever overlap.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::collect::{self, Victims};
use crate::directory::DirLock;
use crate::disk::Disk;
use crate::manifest::{Manifest, SegmentMeta};
use crate::segment::{SegmentFile, SegmentKind, SegmentWriter};
use crate::shared::{Core, Shared};
use crate::tail::Records;
use crate::{CollectStats, Config, LogPosition, StoreError, Tables};

/// Leaves of the index (64 keys each) per step of the compaction pass: tens of
/// microseconds under the lock.
const PASS_LEAVES: usize = 8;

/// How long a step waits for readers that started before the compaction.
const PIN_PATIENCE: Duration = Duration::from_millis(10);

/// A closed tail to be written to a segment file. Tickets are sealed in the
/// order in which they were created.
#[derive(Debug)]
pub struct SealTicket {
    pub(crate) tails: Vec<(u32, Arc<Records>)>,
    pub(crate) position: LogPosition,
    pub(crate) tables: TicketTables,
    /// The newest revision in the tails or before them.
    pub(crate) revision: i64,
    /// The compacted revision at that position.
    pub(crate) compacted: i64,
}

/// The side tables of a ticket.
pub(crate) enum TicketTables {
    Made(Tables),
    ToBeMade(Box<dyn FnOnce() -> Tables + Send>),
}

impl TicketTables {
    /// Builds the tables if they are not built yet.
    fn get(&mut self) -> &Tables {
        if let TicketTables::ToBeMade(make) = self {
            let make = std::mem::replace(make, Box::new(Tables::new));
            *self = TicketTables::Made(make());
        }
        match self {
            TicketTables::Made(tables) => tables,
            TicketTables::ToBeMade(_) => unreachable!("they were made above"),
        }
    }
}

impl std::fmt::Debug for TicketTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TicketTables::Made(tables) => tables.fmt(f),
            TicketTables::ToBeMade(_) => f.write_str("ToBeMade"),
        }
    }
}

/// A partially sealed ticket and its progress.
#[derive(Debug)]
struct Unfinished {
    ticket: SealTicket,
    /// The files of the tails written so far.
    files: Vec<Arc<SegmentFile>>,
}

/// A compaction pass in progress.
#[derive(Debug)]
struct Pass {
    /// The revision that it compacts to.
    to: i64,
    /// The key at which the next step starts.
    cursor: Option<Box<[u8]>>,
}

/// Bugs that tests can inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// None.
    #[cfg(test)]
    None,
    /// A collection drops deletes without checking whether they hide older puts.
    DropsDeletes,
    /// A collection drops records whose successors are in no file yet.
    CollectsUncovered,
}

/// The background worker of a store; owned by one thread.
#[derive(Debug)]
pub struct Background {
    pub(crate) shared: Arc<Shared>,
    pub(crate) disk: Disk,
    /// The contents of the manifest file, or its contents before a failed write.
    pub(crate) manifest: Manifest,
    pub(crate) seal_bytes: usize,
    pub(crate) block_bytes: usize,
    unfinished: VecDeque<Unfinished>,
    pass: Option<Pass>,
    /// The compaction whose pass has finished.
    passed: i64,
    /// Files that no current manifest names, but that a manifest whose write
    /// failed may name; removed after the next successful write.
    pub(crate) doubtful: Vec<SegmentMeta>,
    #[cfg(test)]
    pub(crate) mutant: Mutant,
    _lock: Arc<DirLock>,
}

impl Background {
    pub(crate) fn new(
        shared: Arc<Shared>,
        disk: Disk,
        manifest: Manifest,
        config: &Config,
        lock: Arc<DirLock>,
    ) -> Self {
        Background {
            // The index is already compacted when it is built.
            passed: manifest.compacted,
            shared,
            disk,
            manifest,
            seal_bytes: config.seal_bytes.clamp(1 << 10, 1 << 30),
            block_bytes: config.block_bytes.clamp(1 << 10, 48 << 10),
            unfinished: VecDeque::new(),
            pass: None,
            doubtful: Vec::new(),
            #[cfg(test)]
            mutant: Mutant::None,
            _lock: lock,
        }
    }

    /// What the directory durably holds: the immutable files and the state that
    /// goes with them. A checkpoint is a copy of it.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Makes a ticket's records durable as a segment, then the manifest. The
    /// log up to the returned position is no longer needed.
    ///
    /// # Errors
    /// Nothing is lost: the records stay readable and the ticket is kept.
    /// [`Background::retry_seals`] or the next seal retries it, except after a
    /// failed flush ([`Background::failed_flush`]).
    pub fn seal(&mut self, ticket: SealTicket) -> Result<LogPosition, StoreError> {
        self.unfinished.push_back(Unfinished { ticket, files: Vec::new() });
        self.retry_seals()
    }

    /// The flush that failed, even if the failure was not returned to any
    /// caller. The process must stop: no later seal can be trusted, and none is made.
    #[must_use]
    pub fn failed_flush(&self) -> Option<&str> {
        self.disk.failed_flush()
    }

    /// The number of tickets left over from failed seals.
    #[must_use]
    pub fn unfinished_seals(&self) -> usize {
        self.unfinished.len()
    }

    /// Retries the remaining seals and returns the position that is then durable.
    ///
    /// # Errors
    /// As [`Background::seal`].
    pub fn retry_seals(&mut self) -> Result<LogPosition, StoreError> {
        while let Some(mut unfinished) = self.unfinished.pop_front() {
            if let Err(error) = self.seal_one(&mut unfinished) {
                self.unfinished.push_front(unfinished);
                return Err(error);
            }
        }
        Ok(self.manifest.position)
    }

    fn seal_one(&mut self, unfinished: &mut Unfinished) -> Result<(), StoreError> {
        let Unfinished { ticket, files } = unfinished;
        for (number, records) in &ticket.tails[files.len()..] {
            files.push(Arc::new(self.write_tail(*number, records)?));
        }
        let mut segments = self.manifest.segments.clone();
        segments.extend(files.iter().map(|file| *file.meta()));
        self.store_manifest(Manifest {
            position: ticket.position,
            revision: ticket.revision,
            compacted: self.manifest.compacted.max(ticket.compacted),
            segments,
            tables: ticket.tables.get().clone(),
        })?;
        let mut core = self.shared.core.write();
        files.drain(..).for_each(|file| core.files.sealed(file));
        Ok(())
    }

    fn write_tail(&self, number: u32, records: &Records) -> Result<SegmentFile, StoreError> {
        let dir = &self.shared.dir;
        let mut writer =
            SegmentWriter::create(&self.disk, dir, SegmentKind::Log, self.block_bytes)?;
        for record in records.iter() {
            writer.push(record.clone())?;
        }
        let written = writer.finish(dir)?;
        SegmentFile::open(dir, number, written)
    }

    /// Makes `manifest` the current one.
    pub(crate) fn store_manifest(&mut self, manifest: Manifest) -> Result<(), StoreError> {
        let bytes = manifest.store(&self.disk, &self.shared.dir)?;
        self.shared.manifest_bytes.store(bytes, Ordering::Relaxed);
        self.manifest = manifest;
        self.remove_doubtful();
        Ok(())
    }

    /// Called after a manifest write failed: removes the files that only the
    /// new manifest names, provided that it did not get into place.
    pub(crate) fn settle_doubts(&mut self) {
        if matches!(Manifest::load(&self.shared.dir), Ok(Some(found)) if found == self.manifest) {
            self.remove_doubtful();
        }
    }

    fn remove_doubtful(&mut self) {
        for meta in std::mem::take(&mut self.doubtful) {
            self.remove(&meta);
        }
    }

    /// Removes a file unless the manifest names it (a rewrite that dropped
    /// nothing produces the same file again). If removal fails, the next open
    /// retries it.
    pub(crate) fn remove(&self, meta: &SegmentMeta) {
        if !self.is_named(meta) {
            let _ = self.disk.remove(&self.shared.dir.join(meta.id.file_name()));
        }
    }

    /// The same, for a file that was open for reading until now.
    pub(crate) fn remove_file(&self, file: Arc<SegmentFile>) {
        let meta = *file.meta();
        if Arc::into_inner(file).is_none() {
            // A reader still uses it and may finish.
            self.remove(&meta);
        } else if !self.is_named(&meta) {
            let _ = self.disk.remove_slowly(&self.shared.dir.join(meta.id.file_name()));
        }
    }

    fn is_named(&self, meta: &SegmentMeta) -> bool {
        self.manifest.segments.iter().any(|named| named.id == meta.id)
    }

    /// Whether a test injected this bug to check that its model finds it.
    pub(crate) fn has_bug(&self, bug: Mutant) -> bool {
        #[cfg(test)]
        return self.mutant == bug;
        #[cfg(not(test))]
        {
            let _ = bug;
            false
        }
    }

    /// One short step of the compaction pass. Returns true if there is more to do.
    pub fn compaction_step(&mut self) -> bool {
        let target = self.shared.compacted();
        if self.pass.is_none() && self.passed >= target {
            return false;
        }
        let pass = self.pass.get_or_insert(Pass { to: target, cursor: None });
        self.shared.pins.wait_below(pass.to, PIN_PATIENCE);
        let mut core = self.shared.core.write();
        if self.shared.pins.any_below(pass.to) {
            return true;
        }
        let Core { index, files, .. } = &mut *core;
        let cursor = pass.cursor.take();
        pass.cursor = index.compact(pass.to, cursor, PASS_LEAVES, |_, version| {
            files.release(&version);
        });
        drop(core);
        if pass.cursor.is_none() {
            self.passed = pass.to;
            self.pass = None;
        }
        self.pass.is_some() || self.passed < target
    }

    /// The compaction up to which the index has no superfluous versions; `None`
    /// while a pass is pending.
    fn settled(&self) -> Option<i64> {
        let settled = self.pass.is_none() && self.passed == self.shared.compacted();
        settled.then_some(self.passed)
    }

    /// Whether the manifest covers a compaction, that is, whether the records
    /// that supersede the collectable ones are in files too. Otherwise,
    /// replaying the log after a crash would compute different versions.
    fn covers(&self, compacted: i64) -> bool {
        compacted <= self.manifest.revision || self.has_bug(Mutant::CollectsUncovered)
    }

    /// Whether a collection would free enough to be worthwhile: the pass is
    /// done, the manifest covers the compaction, and a large part of the files
    /// that only hold older revisions is no longer needed.
    #[must_use]
    pub fn wants_collect(&self) -> bool {
        self.settled().is_some_and(|c| self.covers(c) && self.victims(c).is_some())
    }

    /// Whether a collection would be worthwhile if a seal came first, so that
    /// the manifest covers the compaction.
    #[must_use]
    pub fn wants_seal_for_collect(&self) -> bool {
        self.unfinished.is_empty()
            && self.settled().is_some_and(|c| !self.covers(c) && self.victims(c).is_some())
    }

    fn victims(&self, compacted: i64) -> Option<Victims> {
        Victims::choose(&self.shared.core.read().files, compacted, self.seal_bytes as u64)
    }

    /// Rewrites the files worth rewriting into key-sorted base segments,
    /// without the records that no reader can reach. Does nothing if
    /// [`Background::wants_collect`] is false. A big store is collected over
    /// several calls, so that seals can run in between.
    ///
    /// # Errors
    /// Nothing is lost; the call can be retried.
    pub fn collect(&mut self) -> Result<CollectStats, StoreError> {
        let settled = self.settled().filter(|&c| self.covers(c));
        let chosen = settled.and_then(|c| Some((c, self.victims(c)?)));
        match chosen {
            Some((compacted, victims)) => collect::run(self, compacted, victims),
            None => Ok(CollectStats::default()),
        }
    }
}
