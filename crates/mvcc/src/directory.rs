//! The directory of a store: a single owner, and no leftovers.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::StoreError;
use crate::disk::Disk;
use crate::manifest::{self, Manifest};
use crate::segment::{SegmentId, TEMPORARY};

/// Keeps other stores out of a directory while it is held.
#[derive(Debug)]
pub(crate) struct DirLock {
    /// The advisory lock is released when this is closed, even if the process dies.
    _dir: File,
}

impl DirLock {
    /// Locks an existing directory exclusively.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        Self::lock(dir, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes a shared lock: it excludes owners but not other readers.
    pub(crate) fn share(dir: &Path) -> Result<Self, StoreError> {
        Self::lock(dir, FlockOperation::NonBlockingLockShared)
    }

    fn lock(dir: &Path, operation: FlockOperation) -> Result<Self, StoreError> {
        let file = File::open(dir).map_err(|error| StoreError::io(dir, "opening", error))?;
        match rustix::fs::flock(&file, operation) {
            Ok(()) => Ok(DirLock { _dir: file }),
            Err(Errno::WOULDBLOCK) => Err(StoreError::Locked { dir: dir.to_owned() }),
            Err(errno) => Err(StoreError::io(dir, "locking", errno.into())),
        }
    }
}

/// The names in a directory. Names that are not UTF-8 are not ours.
fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let failed = |error| StoreError::io(dir, "listing", error);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Whether a directory is empty.
pub(crate) fn is_empty(dir: &Path) -> Result<bool, StoreError> {
    let failed = |error| StoreError::io(dir, "listing", error);
    Ok(fs::read_dir(dir).map_err(failed)?.next().is_none())
}

/// A segment file in a directory, if there is any.
pub(crate) fn any_segment(dir: &Path) -> Result<Option<PathBuf>, StoreError> {
    let found = names(dir)?.into_iter().find(|name| SegmentId::from_file_name(name).is_some());
    Ok(found.map(|name| dir.join(name)))
}

/// Removes the leftovers of an interrupted seal or collection: temporary files,
/// and segments that the manifest does not name.
pub(crate) fn remove_leftovers(
    disk: &Disk,
    dir: &Path,
    manifest: &Manifest,
) -> Result<(), StoreError> {
    let named: HashSet<SegmentId> = manifest.segments.iter().map(|meta| meta.id).collect();
    for name in names(dir)? {
        let leftover = match SegmentId::from_file_name(&name) {
            Some(id) => !named.contains(&id),
            None => name == TEMPORARY || name == manifest::TEMPORARY,
        };
        if leftover {
            disk.remove(&dir.join(name))?;
        }
    }
    Ok(())
}
