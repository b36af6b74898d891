//! The files of a configuration, read together and checked for changes.
//!
//! A change is detected by a file's metadata (its identity, length and times,
//! through symbolic links, so that the swapped links of Kubernetes secrets are
//! noticed); whether it matters is decided by the bytes.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::error::TlsError;
use crate::regular_file::read_regular_file;

/// The worst resolution of file times: a file that changed this recently may
/// change again without a new time.
const COARSENESS: Duration = Duration::from_secs(2);

/// The contents of the files at one time.
#[derive(Clone, Debug)]
pub(crate) struct FileSet {
    files: Vec<(PathBuf, Arc<[u8]>)>,
}

impl FileSet {
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, TlsError> {
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let bytes = read_regular_file(path);
            let bytes = bytes.map_err(|source| TlsError::io("read", path, source))?;
            files.push((path.clone(), bytes.into()));
        }
        Ok(FileSet { files })
    }

    /// The contents of a file; empty if it is not in the set.
    pub(crate) fn bytes(&self, path: &Path) -> &[u8] {
        let found = self.files.iter().find(|(own, _)| own == path);
        found.map_or(&[], |(_, bytes)| bytes)
    }

    /// SHA-256 over all contents.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (_, bytes) in &self.files {
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(bytes);
        }
        hash.finalize().into()
    }
}

/// The metadata of the files when they were last read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamps(Vec<Option<Stamp>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamps {
    pub(crate) fn of(paths: &[PathBuf]) -> Self {
        Stamps(paths.iter().map(|path| std::fs::metadata(path).ok().map(Stamp::of)).collect())
    }

    /// Whether equal stamps mean equal files: not for files that changed just
    /// before `now`, when the stamps were taken.
    pub(crate) fn are_settled(&self, now: SystemTime) -> bool {
        let limit = crate::moment::seconds(now.checked_sub(COARSENESS).unwrap_or(now));
        self.0.iter().flatten().all(|stamp| stamp.modified.0.max(stamp.changed.0) < limit)
    }
}

impl Stamp {
    fn of(metadata: Metadata) -> Self {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swapped_link_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("a"), "same length").unwrap();
        std::fs::write(at("b"), "SAME LENGTH").unwrap();
        std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
        let paths = [at("link")];
        let (stamps, files) = (Stamps::of(&paths), FileSet::read(&paths).unwrap());
        assert_eq!(files.bytes(&at("link")), b"same length");
        assert_eq!(stamps, Stamps::of(&paths));

        std::os::unix::fs::symlink(at("b"), at("new")).unwrap();
        std::fs::rename(at("new"), at("link")).unwrap();
        assert_ne!(stamps, Stamps::of(&paths));
        assert_ne!(files.digest(), FileSet::read(&paths).unwrap().digest());
    }

    #[test]
    fn young_files_are_not_settled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("young");
        std::fs::write(&path, "x").unwrap();
        let stamps = Stamps::of(&[path]);
        let now = SystemTime::now();
        assert!(!stamps.are_settled(now));
        assert!(stamps.are_settled(now + Duration::from_secs(10)));
    }

    #[test]
    fn the_digest_knows_where_a_file_ends() {
        let set = |parts: &[&str]| FileSet {
            files: parts.iter().map(|part| (PathBuf::new(), part.as_bytes().into())).collect(),
        };
        assert_ne!(set(&["ab", "c"]).digest(), set(&["a", "bc"]).digest());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let path = PathBuf::from("/nonexistent/cert.pem");
        let error = FileSet::read(std::slice::from_ref(&path)).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nonexistent/cert.pem: "), "{error}");
        let endless = FileSet::read(&[PathBuf::from("/dev/zero")]).unwrap_err().to_string();
        assert_eq!(endless, "cannot read /dev/zero: it is a device, not a regular file");
    }
}
