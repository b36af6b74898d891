//! What the writer, the readers and the background worker share.

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

/// How many entries a reader visits, and how many changes a writer makes,
/// while holding the lock.
pub(crate) const READ_HOLD: usize = 256;
pub(crate) const WRITE_HOLD: usize = 64;

/// Everything under the one lock. It is held for microseconds, and never while
/// a file is read or written.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) index: Index,
    pub(crate) liveness: Liveness,
    pub(crate) files: FileTable,
    /// The changes that were not visible when the newest revision was begun,
    /// in order. It has every change above the visible revision.
    pub(crate) unpublished: Vec<Unpublished>,
}

/// A change that readers do not see yet.
#[derive(Debug)]
pub(crate) struct Unpublished {
    pub(crate) record: Record,
    /// What was newest before it.
    pub(crate) before: Option<Newest>,
}

/// The shared state of a store.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) core: RwLock<Core>,
    /// Readers ignore what is newer. Never falls.
    visible: AtomicI64,
    /// The last compaction, -1 when there was none. Never falls.
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

    /// Readers below `revision` are refused from now on.
    pub(crate) fn set_compacted(&self, revision: i64) {
        self.compacted.store(revision, Ordering::Release);
    }

    /// Whether `at` can be read. Asked under the lock, the answer holds until
    /// the lock is given back, or longer with a pin: only the compaction pass
    /// takes versions away, and it takes the lock for writing.
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
/// a later revision waits for them, which is short: pins are held while
/// the index is walked, not while files are read.
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

    /// Whether a revision below `revision` is pinned. Under the lock for
    /// writing, no such pin can come any more once readers below it are
    /// refused.
    pub(crate) fn any_below(&self, revision: i64) -> bool {
        self.held.lock().iter().any(|&held| held < revision)
    }

    /// Waits a little for the pins below `revision` to go.
    pub(crate) fn wait_below(&self, revision: i64, patience: Duration) {
        let mut held = self.held.lock();
        if held.iter().any(|&held| held < revision) {
            self.released.wait_for(&mut held, patience);
        }
    }
}

/// A pinned revision, until it is dropped.
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
