//! The seam to the disk: a directory of segment files.
//!
//! Two implementations: [`FileDir`](crate::FileDir) is the real one,
//! [`MemoryDir`](crate::MemoryDir) can lose power at any byte. What they have
//! to keep, the log relies on:
//!
//! * bytes written are durable once `sync` has returned, names once
//!   `sync_dir` has; before that, any part of either may be lost;
//! * a lost sector (512 bytes, aligned) reads as it was before the writes
//!   that were lost: sectors are never half old and half new, except the one
//!   in which the very last write ended;
//! * `rename` replaces its target, and is either lost or done.

use std::io;
use std::sync::Arc;

/// A directory of segment files. Names are plain file names, without path.
pub trait SegmentDir: Send + Sync + 'static {
    /// The names of all files, in any order.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a new file of `bytes` zero bytes and reserves the room for it.
    ///
    /// # Errors
    /// `StorageFull` or `QuotaExceeded` if there is no room, and then there is
    /// no file either; `AlreadyExists`; or what the system says.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn SegmentFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>>;

    /// Gives a file another name, replacing the file that had it.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Handles that are open stay usable.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable: everything created, renamed and removed so far.
    ///
    /// # Errors
    /// What the system says; the state of the directory is then unknown.
    fn sync_dir(&self) -> io::Result<()>;

    /// A number that no other segment was given, not 0. The source of
    /// randomness is the directory's, so that a simulated one is repeatable.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    fn fresh_salt(&self) -> io::Result<u64>;
}

/// One segment file. Offsets and lengths are in bytes.
pub trait SegmentFile: Send + Sync + 'static {
    /// The length of the file.
    ///
    /// # Errors
    /// What the system says.
    fn file_bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; or what the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. If it fails, any part may have been
    /// written.
    ///
    /// # Errors
    /// `StorageFull` or `QuotaExceeded` if there is no room; or what the
    /// system says.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the bytes written so far durable (`fdatasync`).
    ///
    /// # Errors
    /// What the system says; what reached the disk is then unknown, and a
    /// second try would say nothing about it.
    fn sync(&self) -> io::Result<()>;
}
