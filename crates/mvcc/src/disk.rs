//! All changes that this crate makes to a file system.
//!
//! New content is written to a temporary name in small pieces, flushed, and
//! renamed into place, so that no name ever refers to a partial file. Tests can
//! make each of these steps fail.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::StoreError;

/// The mode of new directories: only the owner may read them, whatever the umask.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The size of one write to the operating system.
const PIECE: usize = 256 << 10;

/// The bytes after which data is flushed, so that the log's flushes on the same
/// disk never stall behind a big one of ours.
const FLUSH_EVERY: usize = 1 << 20;

/// The piece of a big file that one step of its removal frees.
const SHRINK_STEP: u64 = 4 << 20;

/// The entry point to the file system. A failed flush closes it: the state of
/// the disk is then unknown and a second flush would not reveal it, so nothing
/// more is written or removed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    /// A description of the flush that failed.
    failed: Arc<OnceLock<String>>,
    #[cfg(test)]
    pub(crate) faults: Arc<faults::Faults>,
}

impl Disk {
    /// The flush that failed, if any.
    pub(crate) fn failed_flush(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    fn run<T>(
        &self,
        file: &Path,
        op: &'static str,
        act: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, StoreError> {
        if let Some(earlier) = self.failed.get() {
            return Err(StoreError::Failed { earlier: earlier.clone() });
        }
        #[cfg(test)]
        let act = || self.faults.step(op, file).and_then(|()| act());
        act().map_err(|source| StoreError::io(file, op, source))
    }

    /// Makes a file's content, or the names in a directory, durable. Every
    /// failure is final.
    fn flush(
        &self,
        file: &Path,
        op: &'static str,
        act: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), StoreError> {
        if let Some(earlier) = self.failed.get() {
            return Err(StoreError::Failed { earlier: earlier.clone() });
        }
        #[cfg(test)]
        let act = || match self.faults.flush(op, file)? {
            true => Ok(()),
            false => act(),
        };
        act().map_err(|source| {
            let error = StoreError::Flush { file: file.to_owned(), op, source };
            // Only the first is reported: the others follow from it.
            let _ = self.failed.set(error.to_string());
            error
        })
    }

    /// Creates a file under a temporary name, replacing a leftover of that name.
    pub(crate) fn create(&self, path: PathBuf) -> Result<NewFile, StoreError> {
        let file = self.run(&path, "creating", || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(FILE_MODE).open(&path)
        })?;
        // Restores permissions that the umask took from the owner, and removes
        // any that a leftover gave to others.
        let _ = file.set_permissions(Permissions::from_mode(FILE_MODE));
        Ok(NewFile {
            disk: self.clone(),
            file,
            path,
            pending: Vec::new(),
            unsynced: 0,
            kept: false,
        })
    }

    /// Makes the names in a directory durable.
    pub(crate) fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        let opened =
            File::open(dir).map_err(|error| StoreError::io(dir, "opening the directory", error))?;
        self.flush(dir, "flushing the directory", || opened.sync_all())
    }

    /// Removes a file; it is no error if it is already gone.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.run(path, "removing", || match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
    }

    /// Removes a file that has no readers, a piece at a time. Otherwise the
    /// file system frees the blocks of a big file in one go (and with
    /// `discard`, notifies the disk), and the log's flushes wait for that:
    /// 16 ms for 32 MiB on ext4. A file with a second name only loses this one.
    pub(crate) fn remove_slowly(&self, path: &Path) -> Result<(), StoreError> {
        let (file, mut left) = self.run(path, "shrinking", || {
            let file = OpenOptions::new().write(true).open(path)?;
            let known = file.metadata()?;
            Ok((file, if known.nlink() == 1 { known.len() } else { 0 }))
        })?;
        while left > SHRINK_STEP {
            left -= SHRINK_STEP;
            file.set_len(left).map_err(|error| StoreError::io(path, "shrinking", error))?;
            self.flush(path, "flushing", || file.sync_all())?;
        }
        self.remove(path)
    }

    /// Gives a file a second name in another directory.
    pub(crate) fn link(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.run(from, "linking", || fs::hard_link(from, to))
    }

    /// Creates a directory and its parents.
    pub(crate) fn create_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.run(dir, "creating the directory", || {
            if !dir.is_dir() {
                DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)?;
                let _ = fs::set_permissions(dir, Permissions::from_mode(DIR_MODE));
            }
            Ok(())
        })
    }
}

/// A file that is being written; removed unless it is renamed into place.
#[derive(Debug)]
pub(crate) struct NewFile {
    disk: Disk,
    file: File,
    path: PathBuf,
    pending: Vec<u8>,
    unsynced: usize,
    kept: bool,
}

impl NewFile {
    /// Appends.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        for piece in bytes.chunks(PIECE) {
            self.pending.extend_from_slice(piece);
            if self.pending.len() >= PIECE {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let (file, pending) = (&mut self.file, &self.pending);
        self.disk.run(&self.path, "writing", || file.write_all(pending))?;
        self.unsynced += self.pending.len();
        self.pending.clear();
        if self.unsynced >= FLUSH_EVERY {
            self.unsynced = 0;
            self.disk.flush(&self.path, "flushing", || self.file.sync_data())?;
        }
        Ok(())
    }

    /// Makes the content durable and renames the file. The name itself is
    /// durable after [`Disk::sync_dir`].
    pub(crate) fn finish(mut self, name: &Path) -> Result<(), StoreError> {
        self.flush()?;
        self.disk.flush(&self.path, "flushing", || self.file.sync_all())?;
        self.disk.run(&self.path, "renaming", || fs::rename(&self.path, name))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            // If this fails too, the next open removes it.
            let _ = self.disk.remove(&self.path);
        }
    }
}

#[cfg(test)]
pub(crate) mod faults {
    //! Injected failures, and a record of the steps taken.

    use std::io;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use parking_lot::Mutex;

    /// Which of the next steps fail. Nothing fails by default.
    #[derive(Debug)]
    pub(crate) struct Faults {
        plan: Mutex<Plan>,
        skip_flushes: AtomicBool,
        /// The number of flushes that succeed before one fails.
        flushes_left: Mutex<Option<u64>>,
        /// The steps taken and their files.
        steps: Mutex<Vec<String>>,
    }

    #[derive(Debug)]
    struct Plan {
        /// Steps that still succeed.
        left: u64,
        /// Steps that then fail.
        failing: u64,
    }

    impl Default for Faults {
        fn default() -> Self {
            Faults {
                plan: Mutex::new(Plan { left: u64::MAX, failing: 0 }),
                skip_flushes: AtomicBool::new(false),
                flushes_left: Mutex::new(None),
                steps: Mutex::default(),
            }
        }
    }

    impl Faults {
        /// After `left` more steps, `failing` steps fail with "no space".
        pub(crate) fn plan(&self, left: u64, failing: u64) {
            *self.plan.lock() = Plan { left, failing };
        }

        /// Stops all failures.
        pub(crate) fn heal(&self) {
            self.plan(u64::MAX, 0);
        }

        /// Makes flushes succeed without doing anything: the tests do not cut
        /// the power.
        pub(crate) fn skip_flushes(&self) {
            self.skip_flushes.store(true, Ordering::SeqCst);
        }

        /// After `left` more flushes, one fails.
        pub(crate) fn fail_flush(&self, left: u64) {
            *self.flushes_left.lock() = Some(left);
        }

        /// Records a flush; returns whether it must do nothing.
        pub(super) fn flush(&self, op: &str, file: &Path) -> io::Result<bool> {
            let mut left = self.flushes_left.lock();
            if *left == Some(0) {
                *left = None;
                return Err(io::ErrorKind::StorageFull.into());
            }
            *left = left.map(|left| left - 1);
            self.note(op, file);
            Ok(self.skip_flushes.load(Ordering::SeqCst))
        }

        fn note(&self, op: &str, file: &Path) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            self.steps.lock().push(format!("{op} {name}"));
        }

        /// The steps taken since the last call.
        pub(crate) fn take_steps(&self) -> Vec<String> {
            std::mem::take(&mut self.steps.lock())
        }

        pub(super) fn step(&self, op: &str, file: &Path) -> io::Result<()> {
            let mut plan = self.plan.lock();
            if plan.left > 0 {
                plan.left -= 1;
                self.note(op, file);
                return Ok(());
            }
            if plan.failing > 0 {
                plan.failing -= 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }
    }
}
