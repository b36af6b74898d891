//! Collection: rewrites files that are mostly waste, without the records that
//! no reader can reach.
//!
//! What may be dropped, and what must stay:
//!
//! * Only whole files at or below the compaction are rewritten, so that log
//!   segments above it stay complete for watchers.
//! * Of each key, only the newest record at or below the compaction can be
//!   needed. The records that it supersedes are dropped: it is itself in a file
//!   (the manifest covers the compaction). It stays if the index, which has been
//!   compacted, names it.
//! * A delete that the index does not name still stays as long as a file outside
//!   the rewritten set has an older put of its key: without the delete, the next
//!   open would bring that put back. Such bytes are *pinned* and do not count as waste.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::background::{Background, Mutant};
use crate::fetch::Fetch;
use crate::files::{Data, FileTable, Place};
use crate::index::{Location, Version};
use crate::manifest::{Manifest, SegmentMeta};
use crate::merge::{KeyMerge, Sourced};
use crate::record::Record;
use crate::segment::{SegmentFile, SegmentKind, SegmentWriter};
use crate::shared::{Core, READ_HOLD, WRITE_HOLD};
use crate::store::size_hint;
use crate::{Budget, CollectStats, Io, ReadError, StoreError};

/// A collection is worthwhile if it frees more than one part in this many of
/// the live bytes. With the overhead of keys and blocks, this keeps the files
/// within 1.5 times the live data.
const WASTE_WORTH: u64 = 5;
/// It continues until at most one part in this many is waste, and skips files
/// that are already better than that.
const WASTE_LEFT: u64 = 12;
/// The number of small files that makes joining them worthwhile.
const SMALL_FILES: usize = 8;
/// A file is small if it is below this fraction of a seal.
const SMALL_PART: u64 = 4;
/// The most live data that a collection rewrites, in seals.
const LIVE_SEALS: u64 = 8;
/// The bytes of records read at once.
const BATCH_BYTES: u64 = 16 << 20;

/// The files that a collection rewrites.
pub(crate) struct Victims {
    files: Vec<Arc<SegmentFile>>,
    /// Other files that may hold older records of the same keys.
    older: Vec<Arc<SegmentFile>>,
}

/// A file that might be rewritten.
struct Candidate {
    file: Arc<SegmentFile>,
    total: u64,
    live: u64,
    waste: u64,
}

impl Victims {
    /// The files worth rewriting for a compaction, if any.
    pub(crate) fn choose(files: &FileTable, compacted: i64, seal_bytes: u64) -> Option<Victims> {
        let mut candidates = candidates(files, compacted);
        let live: u64 = candidates.iter().map(|c| c.live).sum();
        let mut waste: u64 = candidates.iter().map(|c| c.waste).sum();
        let is_small = |c: &Candidate| c.total < seal_bytes / SMALL_PART;
        let small = candidates.iter().filter(|c| is_small(c)).count();
        let join = small >= SMALL_FILES;
        if waste <= live / WASTE_WORTH && !join {
            return None;
        }
        candidates.sort_by_key(|c| Reverse(c.waste * 1024 / c.total.max(1)));
        let mut chosen = Vec::new();
        let mut budget = seal_bytes * LIVE_SEALS;
        for candidate in candidates {
            let wasteful =
                waste > live / WASTE_LEFT && candidate.waste > candidate.total / WASTE_LEFT;
            let wanted = wasteful || join && is_small(&candidate);
            if wanted && (chosen.is_empty() || candidate.live <= budget) {
                budget = budget.saturating_sub(candidate.live);
                waste -= candidate.waste;
                chosen.push(candidate.file);
            }
        }
        (!chosen.is_empty()).then(|| Victims { older: older(files, &chosen), files: chosen })
    }

    fn numbers(&self) -> Vec<u32> {
        self.files.iter().map(|file| file.number()).collect()
    }

    fn has(&self, number: u32) -> bool {
        self.files.iter().any(|file| file.number() == number)
    }
}

/// The files that hold nothing above the compaction.
fn candidates(files: &FileTable, compacted: i64) -> Vec<Candidate> {
    let all = files.listed().filter_map(|(_, slot)| match &slot.data {
        Data::Segment(file) if file.meta().newest_kept() <= compacted => Some(Candidate {
            file: Arc::clone(file),
            total: slot.total,
            live: slot.live,
            waste: slot.total.saturating_sub(slot.live).saturating_sub(slot.pinned),
        }),
        _ => None,
    });
    all.collect()
}

/// The files that were not chosen and hold a record older than one in a chosen file.
fn older(files: &FileTable, chosen: &[Arc<SegmentFile>]) -> Vec<Arc<SegmentFile>> {
    let newest = chosen.iter().map(|file| file.meta().newest_kept()).max().unwrap_or_default();
    let others = files.listed().filter_map(|(number, slot)| match &slot.data {
        Data::Segment(file)
            if file.meta().oldest < newest && chosen.iter().all(|c| c.number() != number) =>
        {
            Some(Arc::clone(file))
        }
        _ => None,
    });
    others.collect()
}

/// Rewrites the victims for a compaction.
pub(crate) fn run(
    background: &mut Background,
    compacted: i64,
    victims: Victims,
) -> Result<CollectStats, StoreError> {
    let mut rewrite = Rewrite::new(background, compacted, &victims);
    let written = match rewrite.all() {
        Ok(()) => rewrite.written,
        Err(error) => {
            rewrite.written.iter().for_each(|meta| background.remove(meta));
            return Err(error);
        }
    };
    let dropped = rewrite.records_dropped;
    let stats = CollectStats {
        segments_removed: victims.files.len() as u64,
        segments_written: written.len() as u64,
        bytes_removed: victims.files.iter().map(|file| file.meta().file_bytes).sum(),
        bytes_written: written.iter().map(|meta| meta.file_bytes).sum(),
        records_dropped: dropped,
    };
    let files = open_written(background, &written)?;
    switch(background, compacted, &victims, written)?;
    relocate(background, victims, &files, dropped > 0)?;
    Ok(stats)
}

/// The pass over all keys in the victims.
struct Rewrite<'a> {
    background: &'a Background,
    compacted: i64,
    victims: &'a Victims,
    /// Records to keep that are not copied yet, in key order.
    kept: Vec<Version>,
    kept_bytes: u64,
    writer: Option<SegmentWriter>,
    written: Vec<SegmentMeta>,
    records_dropped: u64,
}

/// A key in the victims.
struct OfKey {
    key: Vec<u8>,
    /// Its newest record at or below the compaction.
    newest: Sourced,
    /// Whether that record is a delete and another file has an older record of the key.
    hides: bool,
}

impl<'a> Rewrite<'a> {
    fn new(background: &'a Background, compacted: i64, victims: &'a Victims) -> Self {
        Rewrite {
            background,
            compacted,
            victims,
            kept: Vec::new(),
            kept_bytes: 0,
            writer: None,
            written: Vec::new(),
            records_dropped: 0,
        }
    }

    fn all(&mut self) -> Result<(), StoreError> {
        let files = self.victims.files.iter().chain(&self.victims.older).cloned();
        let mut merge = KeyMerge::new(files)?;
        let mut keys: Vec<OfKey> = Vec::with_capacity(READ_HOLD);
        loop {
            let (mut key, mut entries) = (Vec::new(), Vec::new());
            let more = merge.next_key(&mut key, &mut entries)?;
            keys.extend(self.newest_known(key, entries));
            if keys.len() == READ_HOLD || !more {
                self.decide(&keys);
                keys.clear();
            }
            if self.kept_bytes >= BATCH_BYTES || !more {
                self.copy()?;
            }
            if !more {
                return self.close_file();
            }
        }
    }

    /// The record of a key that may have to be kept: the newest one at or below
    /// the compaction, if it is in a victim. It supersedes the earlier ones;
    /// the later ones are in no victim.
    fn newest_known(&mut self, key: Vec<u8>, entries: Vec<Sourced>) -> Option<OfKey> {
        let at = entries.iter().rposition(|sourced| sourced.entry.main <= self.compacted)?;
        let of_victims = entries.iter().filter(|sourced| self.victims.has(sourced.file)).count();
        self.records_dropped += of_victims as u64;
        let newest = entries[at];
        let hides =
            newest.entry.deleted && entries[..at].iter().any(|older| !self.victims.has(older.file));
        self.victims.has(newest.file).then_some(OfKey { key, newest, hides })
    }

    /// Decides which records of some keys are kept.
    fn decide(&mut self, keys: &[OfKey]) {
        let core = self.background.shared.core.read();
        for OfKey { key, newest, hides } in keys {
            let version = version(newest);
            let named =
                core.index.get(key).is_some_and(|entry| entry.find(version.order()).is_some());
            if named || *hides && !self.background.has_bug(Mutant::DropsDeletes) {
                self.kept_bytes += u64::from(newest.entry.length);
                self.kept.push(version);
                self.records_dropped -= 1;
            }
        }
    }

    /// Copies the kept records.
    fn copy(&mut self) -> Result<(), StoreError> {
        let kept = std::mem::take(&mut self.kept);
        self.kept_bytes = 0;
        let mut fetch = Fetch::default();
        {
            let core = self.background.shared.core.read();
            for (slot, version) in kept.iter().enumerate() {
                match core.files.place(version.at) {
                    Some(Place::Disk(file)) => fetch.want(version, slot, file),
                    _ => unreachable!("victims are segment files"),
                }
            }
        }
        let mut records: Vec<Option<Record>> = vec![None; kept.len()];
        fetch
            .read(None, Io::Blocking, &Budget::unlimited(), |slot, record| {
                let right = record.order() == kept[slot].order();
                records[slot] = Some(record);
                right
            })
            .map_err(stop_reading)?;
        for record in records.into_iter().flatten() {
            self.push(record)?;
        }
        Ok(())
    }

    fn push(&mut self, record: Record) -> Result<(), StoreError> {
        let Background { shared, disk, block_bytes, seal_bytes, .. } = self.background;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(SegmentWriter::create(
                disk,
                &shared.dir,
                SegmentKind::Base,
                *block_bytes,
            )?),
        };
        writer.push(record)?;
        if writer.bytes() >= *seal_bytes {
            self.close_file()?;
        }
        Ok(())
    }

    fn close_file(&mut self) -> Result<(), StoreError> {
        if let Some(writer) = self.writer.take() {
            self.written.push(writer.finish(&self.background.shared.dir)?);
        }
        Ok(())
    }
}

fn version(sourced: &Sourced) -> Version {
    let Sourced { entry, file } = *sourced;
    Version {
        main: entry.main,
        sub: entry.sub,
        deleted: entry.deleted,
        size: size_hint(entry.length as usize),
        at: Location { file, offset: entry.offset },
    }
}

/// Converts a read error to the error of a collection.
fn stop_reading(error: ReadError) -> StoreError {
    match error {
        ReadError::Corrupt { file, what } => StoreError::Corrupt { file, what },
        ReadError::Io { file, source } => StoreError::io(file, "reading", source),
        ReadError::Compacted
        | ReadError::Future
        | ReadError::WouldBlock
        | ReadError::OverBudget
        | ReadError::Cancelled => unreachable!("a blocking read of a known record: {error}"),
    }
}

fn open_written(
    background: &Background,
    written: &[SegmentMeta],
) -> Result<Vec<Arc<SegmentFile>>, StoreError> {
    let open = |meta: &SegmentMeta| {
        let number = background.shared.core.write().files.reserve();
        SegmentFile::open(&background.shared.dir, number, *meta).map(Arc::new)
    };
    let opened: Result<Vec<_>, _> = written.iter().map(open).collect();
    if opened.is_err() {
        written.iter().for_each(|meta| background.remove(meta));
    }
    opened
}

/// Makes the manifest name the written files instead of the victims.
fn switch(
    background: &mut Background,
    compacted: i64,
    victims: &Victims,
    written: Vec<SegmentMeta>,
) -> Result<(), StoreError> {
    let old = &background.manifest;
    let is_victim = |meta: &SegmentMeta| victims.files.iter().any(|file| file.meta() == meta);
    let kept = old.segments.iter().copied().filter(|meta| !is_victim(meta));
    let manifest = Manifest {
        compacted: old.compacted.max(compacted).min(old.revision),
        segments: written.iter().copied().chain(kept).collect(),
        ..old.clone()
    };
    let failed = background.store_manifest(manifest);
    if failed.is_err() {
        // The new manifest may be in place, with only the durability of its
        // name unknown; then the files that it names must stay.
        background.doubtful.extend(written);
        background.settle_doubts();
    }
    failed
}

/// Points the index at the written files, then forgets and removes the victims.
fn relocate(
    background: &Background,
    victims: Victims,
    files: &[Arc<SegmentFile>],
    dropped: bool,
) -> Result<(), StoreError> {
    let numbers = victims.numbers();
    let fresh: Vec<u32> = files.iter().map(|file| file.number()).collect();
    let shared = &background.shared;
    {
        let mut core = shared.core.write();
        files.iter().for_each(|file| core.files.add_segment(Arc::clone(file)));
        core.files.relist(&numbers, &fresh);
        if dropped {
            core.files.unpin();
        }
    }
    for file in files {
        relocate_into(background, file)?;
    }
    let mut core = shared.core.write();
    let gone: Vec<_> = numbers.iter().map(|&number| core.files.remove(number)).collect();
    drop(core);
    drop(gone);
    victims.files.into_iter().for_each(|file| background.remove_file(file));
    Ok(())
}

fn relocate_into(background: &Background, file: &Arc<SegmentFile>) -> Result<(), StoreError> {
    let mut cursor = file.keys();
    let mut moves: Vec<(Vec<u8>, Version, u32)> = Vec::with_capacity(WRITE_HOLD);
    loop {
        let more = cursor.advance()?;
        if more {
            let entry = *cursor.entry();
            let to = version(&Sourced { entry, file: file.number() });
            moves.push((cursor.key().to_vec(), to, entry.length));
        }
        if moves.len() == WRITE_HOLD || !more {
            let mut core = background.shared.core.write();
            let Core { index, files, .. } = &mut *core;
            for (key, to, length) in moves.drain(..) {
                files.moved(index, &key, &to, length);
            }
        }
        if !more {
            return Ok(());
        }
    }
}
