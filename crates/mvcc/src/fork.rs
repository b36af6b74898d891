//! Forking a store without copying its data.

use std::io;
use std::path::Path;

use t4_kv_types::Revision;

use crate::disk::Disk;
use crate::manifest::{Manifest, NAME, SegmentMeta};
use crate::{StoreError, directory};

/// How often a fork starts over because a collection of the source store
/// replaced files under it.
const ATTEMPTS: usize = 8;

/// Creates in `to` a store that is `from` at revision `at`. The files are
/// shared by hard links; nothing is copied. `from` may be in use; only what its
/// manifest covers can be forked. The fork has the side tables and the log
/// position of that manifest.
///
/// # Errors
/// `to` exists and is not empty; `at` is not covered; the directories are on
/// different file systems (an [`StoreError::Io`] of the operating system).
pub fn fork(from: &Path, to: &Path, at: Revision) -> Result<(), StoreError> {
    let disk = Disk::default();
    disk.create_dir(to)?;
    let _lock = directory::DirLock::take(to)?;
    if !directory::is_empty(to)? {
        return Err(StoreError::ForkTarget { dir: to.to_owned() });
    }
    let mut attempt = 1;
    loop {
        let manifest = source_manifest(from)?;
        let fork = manifest_at(&manifest, at)?;
        match link_all(&disk, from, to, &fork.segments) {
            Ok(()) => return fork.store(&disk, to).map(drop),
            Err(StoreError::Io { source, file, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                if attempt == ATTEMPTS {
                    let remedy =
                        "the manifest needs it; restore the whole directory from a backup copy";
                    return Err(StoreError::Missing { file, remedy });
                }
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn source_manifest(from: &Path) -> Result<Manifest, StoreError> {
    Manifest::load(from)?.ok_or_else(|| StoreError::Missing {
        file: from.join(NAME),
        remedy: "there is no store in this directory; name the directory of a store",
    })
}

/// The manifest of the fork.
fn manifest_at(manifest: &Manifest, at: Revision) -> Result<Manifest, StoreError> {
    let (oldest, newest) = (manifest.compacted.max(1), manifest.revision);
    if at.0 < oldest || at.0 > newest {
        let (oldest, newest) = (Revision(oldest), Revision(newest));
        return Err(StoreError::ForkRevision { at, oldest, newest });
    }
    let shared = manifest.segments.iter().filter(|meta| meta.oldest <= at.0);
    let capped = shared.map(|meta| SegmentMeta {
        cap: if meta.newest_kept() > at.0 { Some(at.0) } else { meta.cap },
        ..*meta
    });
    Ok(Manifest { revision: at.0, segments: capped.collect(), ..manifest.clone() })
}

fn link_all(
    disk: &Disk,
    from: &Path,
    to: &Path,
    segments: &[SegmentMeta],
) -> Result<(), StoreError> {
    for meta in segments {
        let name = meta.id.file_name();
        let target = to.join(&name);
        if !target.exists() {
            disk.link(&from.join(&name), &target)?;
        }
    }
    Ok(())
}
