//! A log directory whose syncs wait at a gate: a disk that is as slow as a test
//! wants, hangs, or has no room.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use t4_node::{Config, Node};
use t4_wal::{FileDir, SegmentDir, SegmentFile};

/// The gate. Clones are handles to the same one; it is open at first.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    closed: bool,
    /// Syncs that may pass although it is closed.
    passes: usize,
    waiting: usize,
    /// The disk has no room for the next write to the log.
    full: bool,
}

impl Gate {
    /// From now on syncs wait.
    pub(crate) fn close(&self) {
        self.0.0.lock().closed = true;
    }

    /// Syncs no longer wait.
    pub(crate) fn open(&self) {
        self.0.0.lock().closed = false;
        self.0.1.notify_all();
    }

    /// The disk has no room for the next write to the log, and has it again after that.
    pub(crate) fn refuse_next_write(&self) {
        self.0.0.lock().full = true;
    }

    /// Whether a write is still to be refused.
    pub(crate) fn will_refuse(&self) -> bool {
        self.0.0.lock().full
    }

    fn room(&self) -> io::Result<()> {
        let is_log = std::thread::current().name() == Some("wal-commit");
        match is_log && std::mem::take(&mut self.0.0.lock().full) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    /// Lets the sync through that waits, and waits for the next one.
    pub(crate) async fn next_sync(&self) {
        self.sync_waits().await;
        {
            let mut state = self.0.0.lock();
            state.passes += 1;
            self.0.1.notify_all();
        }
        let gate = self.clone();
        let passed = move || {
            let mut state = gate.0.0.lock();
            while state.passes > 0 {
                gate.0.1.wait(&mut state);
            }
        };
        tokio::task::spawn_blocking(passed).await.unwrap();
        self.sync_waits().await;
    }

    /// Waits until a sync waits.
    pub(crate) async fn sync_waits(&self) {
        let gate = self.clone();
        let waits = move || {
            let mut state = gate.0.0.lock();
            while state.waiting == 0 {
                gate.0.1.wait(&mut state);
            }
        };
        tokio::task::spawn_blocking(waits).await.unwrap();
    }

    fn pass(&self) {
        // The next segment is prepared beside the log; nobody waits for that.
        if std::thread::current().name() != Some("wal-commit") {
            return;
        }
        let mut state = self.0.0.lock();
        state.waiting += 1;
        self.0.1.notify_all();
        while state.closed && state.passes == 0 {
            self.0.1.wait(&mut state);
        }
        state.passes = state.passes.saturating_sub(1);
        state.waiting -= 1;
        self.0.1.notify_all();
    }
}

/// A replica whose log has a gate.
pub(crate) async fn open(config: Config) -> (Node, Gate) {
    let gate = Gate::default();
    let of_log = gate.clone();
    let open_log = move |path: PathBuf| Ok(GatedDir { inner: FileDir::open(path)?, gate: of_log });
    (Node::open_with_log(config, open_log).await.expect("the node opens"), gate)
}

struct GatedDir {
    inner: FileDir,
    gate: Gate,
}

struct GatedFile {
    inner: Arc<dyn SegmentFile>,
    gate: Gate,
}

impl GatedDir {
    fn gated(&self, inner: Arc<dyn SegmentFile>) -> Arc<dyn SegmentFile> {
        Arc::new(GatedFile { inner, gate: self.gate.clone() })
    }
}

impl SegmentDir for GatedDir {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(self.gated(self.inner.create(name, bytes)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(self.gated(self.inner.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }

    fn fresh_salt(&self) -> io::Result<u64> {
        self.inner.fresh_salt()
    }
}

impl SegmentFile for GatedFile {
    fn file_bytes(&self) -> io::Result<u64> {
        self.inner.file_bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.gate.room()?;
        self.inner.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        self.inner.sync()
    }
}
