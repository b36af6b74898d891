//! The disk abstraction: a directory of segment files.
//!
//! [`FileDir`](crate::FileDir) is the real implementation;
//! [`MemoryDir`](crate::MemoryDir) can lose power at any byte. The log relies
//! on these properties of both:
//!
//! * bytes written are durable once `sync` has returned, names once `sync_dir`
//!   has; before that, any part of either may be lost;
//! * a lost sector (512 bytes, aligned) reads as it did before the lost writes:
//!   sectors are never half old and half new, except the one in which the very
//!   last write ended;
//! * `rename` replaces its target, and is either lost or done.

use std::io;
use std::sync::Arc;

/// A directory of segment files. Names are plain file names, without a path.
pub trait SegmentDir: Send + Sync + 'static {
    /// The names of all files, in any order.
    ///
    /// # Errors
    /// The system's error.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file of `bytes` zero bytes and reserves the space for it.
    ///
    /// # Errors
    /// `StorageFull` or `QuotaExceeded` if there is no space, in which case no
    /// file is left behind; `AlreadyExists`; or the system's error.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn SegmentFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or the system's error.
    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>>;

    /// Renames a file, replacing the file that had the new name.
    ///
    /// # Errors
    /// `NotFound`, or the system's error.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Open handles stay usable.
    ///
    /// # Errors
    /// `NotFound`, or the system's error.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every creation, rename and removal so far durable.
    ///
    /// # Errors
    /// The system's error; the state of the directory is then unknown.
    fn sync_dir(&self) -> io::Result<()>;

    /// A nonzero number that no other segment was given. The directory is the
    /// source of randomness, so that a simulated one is repeatable.
    ///
    /// # Errors
    /// If the system cannot provide randomness.
    fn fresh_salt(&self) -> io::Result<u64>;
}

/// One segment file. Offsets and lengths are in bytes.
pub trait SegmentFile: Send + Sync + 'static {
    /// The length of the file.
    ///
    /// # Errors
    /// The system's error.
    fn file_bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` starting at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends first; or the system's error.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. If it fails, any part may have been
    /// written.
    ///
    /// # Errors
    /// `StorageFull` or `QuotaExceeded` if there is no space; or the system's
    /// error.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the bytes written so far durable (`fdatasync`).
    ///
    /// # Errors
    /// The system's error; it is then unknown what reached the disk, and a
    /// retry would not tell.
    fn sync(&self) -> io::Result<()>;
}
