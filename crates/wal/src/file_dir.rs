//! The real directory of segment files.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

use crate::dir::{SegmentDir, SegmentFile};

/// The modes of the directory and of log files, which hold client data and
/// password hashes.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A directory of a file system. It belongs to one log; keeping a second
/// process out is the caller's responsibility.
#[derive(Debug)]
pub struct FileDir {
    path: PathBuf,
    /// Kept open for syncing names.
    handle: File,
    /// Whether files may be opened for writing.
    writable: bool,
}

impl FileDir {
    /// Opens the directory, and creates it (durably) if it is missing.
    ///
    /// # Errors
    /// The system's error.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<FileDir> {
        let path = path.into();
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(DIR_MODE).create(&path)?;
            // The umask may have removed the owner's rights too.
            let _ = fs::set_permissions(&path, Permissions::from_mode(DIR_MODE));
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let handle = File::open(&path)?;
        Ok(FileDir { path, handle, writable: true })
    }

    /// Opens an existing directory read-only: it may be on a file system that
    /// cannot be written to. For [`inspect`](crate::inspect); the system
    /// refuses any other operation.
    ///
    /// # Errors
    /// `NotFound`, or the system's error.
    pub fn open_read_only(path: impl Into<PathBuf>) -> io::Result<FileDir> {
        let path = path.into();
        let handle = File::open(&path)?;
        Ok(FileDir { path, handle, writable: false })
    }

    fn refuse_if_read_only(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::ReadOnlyFilesystem.into()) }
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl SegmentDir for FileDir {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is not one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn SegmentFile>> {
        self.refuse_if_read_only()?;
        let path = self.at(name);
        let mut new = OpenOptions::new();
        let file = new.read(true).write(true).create_new(true).mode(FILE_MODE).open(&path)?;
        let _ = file.set_permissions(Permissions::from_mode(FILE_MODE));
        if let Err(error) = reserve(&file, bytes) {
            drop(file);
            // The first error is the one that matters; a file left behind is
            // removed at the next open.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let path = self.at(name);
        // A FIFO would wait for a writer for ever.
        if !fs::metadata(&path)?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let file = OpenOptions::new().read(true).write(self.writable).open(path)?;
        if self.writable {
            // A file of an earlier version may be reused under a new name.
            let _ = file.set_permissions(Permissions::from_mode(FILE_MODE));
        }
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.refuse_if_read_only()?;
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.refuse_if_read_only()?;
        fs::remove_file(self.at(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn fresh_salt(&self) -> io::Result<u64> {
        let salt = getrandom::u64().map_err(io::Error::other)?;
        Ok(salt.max(1))
    }
}

/// Reserves the space, which fails at once if there is none. File systems that
/// cannot reserve find out when the zeros are written.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let reserved = retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, bytes));
    match reserved {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => file.set_len(bytes),
        Err(errno) => Err(errno.into()),
    }
}

impl SegmentFile for File {
    fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
