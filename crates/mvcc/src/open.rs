//! Opening a store: from the manifest and the key sections to an index.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::background::Background;
use crate::directory::{DirLock, any_segment, remove_leftovers};
use crate::disk::Disk;
use crate::files::FileTable;
use crate::index::{Index, Location, Newest, Version};
use crate::liveness::Liveness;
use crate::manifest::{self, Manifest};
use crate::merge::{KeyMerge, Sourced};
use crate::segment::SegmentFile;
use crate::shared::{Core, Shared};
use crate::store::size_hint;
use crate::{Config, Store, StoreError};

/// See [`Store::open`].
pub(crate) fn open(config: Config) -> Result<(Store, Background), StoreError> {
    open_on(Disk::default(), config)
}

/// Opens a store on the given disk.
pub(crate) fn open_on(disk: Disk, config: Config) -> Result<(Store, Background), StoreError> {
    let dir = &config.dir;
    if !dir.exists() {
        disk.create_dir(dir)?;
        if let Some(parent) = dir.parent().filter(|parent| parent.is_dir()) {
            disk.sync_dir(parent)?;
        }
    }
    let lock = Arc::new(DirLock::take(dir)?);
    let manifest = match Manifest::load(dir)? {
        Some(manifest) => manifest,
        None => {
            let manifest = new_manifest(&config)?;
            manifest.store(&disk, dir)?;
            manifest
        }
    };
    let core = load(&config, &manifest)?;
    // Only now: a store that cannot be opened is not touched.
    remove_leftovers(&disk, dir, &manifest)?;
    let (store, shared) = assemble(&config, core, &manifest, Arc::clone(&lock));
    let background = Background::new(shared, disk, manifest, &config, lock);
    Ok((store, background))
}

/// See [`Store::open_read_only`].
pub(crate) fn open_read_only(config: Config) -> Result<Store, StoreError> {
    let lock = Arc::new(DirLock::share(&config.dir)?);
    let manifest = match Manifest::load(&config.dir)? {
        Some(manifest) => manifest,
        None => new_manifest(&config)?,
    };
    let core = load(&config, &manifest)?;
    Ok(assemble(&config, core, &manifest, lock).0)
}

fn assemble(
    config: &Config,
    core: Core,
    manifest: &Manifest,
    lock: Arc<DirLock>,
) -> (Store, Arc<Shared>) {
    let (revision, compacted) = (manifest.revision, manifest.compacted);
    let shared = Shared::new(core, revision, compacted, config.cache_bytes, config.dir.clone());
    let shared = Arc::new(shared);
    shared.manifest_bytes.store(manifest.encode().len() as u64, Ordering::Relaxed);
    let store = Store::assemble(
        Arc::clone(&shared),
        manifest.position,
        manifest.tables.clone(),
        config.seal_bytes,
        lock,
    );
    (store, shared)
}

/// The manifest of a new store, unless the directory held a store.
fn new_manifest(config: &Config) -> Result<Manifest, StoreError> {
    if any_segment(&config.dir)?.is_some() {
        return Err(StoreError::Missing {
            file: config.dir.join(manifest::NAME),
            remedy: "there are segment files, so this was a store; restore the whole data \
                     directory from a backup copy",
        });
    }
    Ok(Manifest::empty())
}

fn load(config: &Config, manifest: &Manifest) -> Result<Core, StoreError> {
    let mut files = FileTable::new();
    let mut opened = Vec::with_capacity(manifest.segments.len());
    for meta in &manifest.segments {
        let number = files.reserve();
        let file = Arc::new(SegmentFile::open(&config.dir, number, *meta)?);
        files.add_segment(Arc::clone(&file));
        files.list(number);
        opened.push(file);
    }
    let mut merge = Merged::new(KeyMerge::new(opened.into_iter())?, manifest.compacted, files);
    let index = Index::bulk(&mut merge);
    merge.failed.map_or(Ok(()), Err)?;
    Ok(Core {
        index,
        liveness: Liveness::new(manifest.revision),
        files: merge.files,
        unpublished: Vec::new(),
    })
}

/// A key with its newest version and its older ones.
type IndexEntry = (Box<[u8]>, Newest, Vec<Version>);

/// The entries of the index, merged from key sections and compacted on the fly.
struct Merged {
    merge: KeyMerge,
    compacted: i64,
    files: FileTable,
    key: Vec<u8>,
    entries: Vec<Sourced>,
    /// Why it ended early.
    failed: Option<StoreError>,
}

impl Merged {
    fn new(merge: KeyMerge, compacted: i64, files: FileTable) -> Self {
        let (key, entries) = (Vec::new(), Vec::new());
        Merged { merge, compacted, files, key, entries, failed: None }
    }

    /// The number of entries that a compaction drops: those superseded at or
    /// below it, and then the first one if it is a delete below it.
    fn obsolete(&self) -> usize {
        let known = self.entries.partition_point(|s| s.entry.main <= self.compacted);
        match known.checked_sub(1) {
            Some(last) => {
                let entry = self.entries[last].entry;
                last + usize::from(entry.deleted && entry.main < self.compacted)
            }
            None => 0,
        }
    }

    fn next_entry(&mut self) -> Result<Option<IndexEntry>, StoreError> {
        while self.merge.next_key(&mut self.key, &mut self.entries)? {
            let kept = &self.entries[self.obsolete()..];
            let Some((newest, older)) = kept.split_last() else { continue };
            let older = older.iter().map(|sourced| name(&mut self.files, sourced)).collect();
            let entry = newest.entry;
            let newest = Newest {
                version: name(&mut self.files, newest),
                create: entry.create,
                count: entry.version,
                lease: entry.lease,
            };
            return Ok(Some((self.key.as_slice().into(), newest, older)));
        }
        Ok(None)
    }
}

/// The version for the index, counted as live.
fn name(files: &mut FileTable, sourced: &Sourced) -> Version {
    let Sourced { entry, file } = *sourced;
    if let Some(slot) = files.get_mut(file) {
        slot.live += u64::from(entry.length);
    }
    Version {
        main: entry.main,
        sub: entry.sub,
        deleted: entry.deleted,
        size: size_hint(entry.length as usize),
        at: Location { file, offset: entry.offset },
    }
}

impl Iterator for Merged {
    type Item = IndexEntry;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_entry() {
            Ok(entry) => entry,
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
}
