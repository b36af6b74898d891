//! State shared by the writer, the readers and the background worker.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use crate::ReadError;
use crate::cache::RecordCache;
use crate::files::FileTable;
use crate::index::{Index, Newest};
use crate::liveness::Liveness;
use crate::record::Record;

/// The number of entries that a reader visits, or changes that a writer makes,
/// per lock hold.
pub(crate) const READ_HOLD: usize = 256;
pub(crate) const WRITE_HOLD: usize = 64;

/// Everything under the one lock. It is held for microseconds, and never while
/// a file is read or written.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) index: Index,
    pub(crate) liveness: Liveness,
    pub(crate) files: FileTable,
    /// The changes that were not visible when the newest revision was started,
    /// in order. It has every change above the visible revision.
    pub(crate) unpublished: Vec<Unpublished>,
}

/// A change that is not visible to readers yet.
#[derive(Debug)]
pub(crate) struct Unpublished {
    pub(crate) record: Record,
    /// The previous newest version.
    pub(crate) before: Option<Newest>,
}

/// The shared state of a store.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) core: RwLock<Core>,
    /// Readers ignore newer revisions. Never decreases.
    visible: AtomicI64,
    /// The last compaction; -1 if there was none. Never decreases.
    compacted: AtomicI64,
    pub(crate) pins: Pins,
    pub(crate) cache: Option<RecordCache>,
    pub(crate) dir: PathBuf,
    /// The size of the manifest file.
    pub(crate) manifest_bytes: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        core: Core,
        revision: i64,
        compacted: i64,
        cache_bytes: u64,
        dir: PathBuf,
    ) -> Self {
        Shared {
            core: RwLock::new(core),
            visible: AtomicI64::new(revision),
            compacted: AtomicI64::new(compacted),
            pins: Pins::default(),
            cache: (cache_bytes > 0).then(|| RecordCache::new(cache_bytes)),
            dir,
            manifest_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn visible(&self) -> i64 {
        self.visible.load(Ordering::Acquire)
    }

    pub(crate) fn set_visible(&self, revision: i64) {
        self.visible.store(revision, Ordering::Release);
    }

    pub(crate) fn compacted(&self) -> i64 {
        self.compacted.load(Ordering::Acquire)
    }

    /// Rejects readers below `revision` after this call.
    pub(crate) fn set_compacted(&self, revision: i64) {
        self.compacted.store(revision, Ordering::Release);
    }

    /// Whether `at` can be read. If called under the lock, the answer holds
    /// until the lock is released, or longer with a pin: only the compaction
    /// pass drops versions, and it takes the lock for writing.
    pub(crate) fn check_readable(&self, at: i64) -> Result<(), ReadError> {
        if at < self.compacted() {
            Err(ReadError::Compacted)
        } else if at > self.visible() {
            Err(ReadError::Future)
        } else {
            Ok(())
        }
    }
}

/// Revisions that are being read over several lock holds. A compaction pass to
/// a later revision waits for them. The wait is short: pins are held while the
/// index is walked, not while files are read.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    held: Mutex<Vec<i64>>,
    released: Condvar,
}

impl Pins {
    /// Pins `revision`. Call it under the lock, after `check_readable`.
    pub(crate) fn pin(self: &Pins, shared: &Arc<Shared>, revision: i64) -> Pin {
        self.held.lock().push(revision);
        Pin { shared: Arc::clone(shared), revision }
    }

    /// Whether a revision below `revision` is pinned. Under the write lock, no
    /// new such pin can appear once readers below it are rejected.
    pub(crate) fn any_below(&self, revision: i64) -> bool {
        self.held.lock().iter().any(|&held| held < revision)
    }

    /// Waits briefly for the pins below `revision` to be dropped.
    pub(crate) fn wait_below(&self, revision: i64, patience: Duration) {
        let mut held = self.held.lock();
        if held.iter().any(|&held| held < revision) {
            self.released.wait_for(&mut held, patience);
        }
    }
}

/// A pinned revision; unpinned on drop.
#[derive(Debug)]
pub(crate) struct Pin {
    shared: Arc<Shared>,
    revision: i64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let pins = &self.shared.pins;
        let mut held = pins.held.lock();
        if let Some(at) = held.iter().position(|&held| held == self.revision) {
            held.swap_remove(at);
        }
        pins.released.notify_all();
    }
}
