//! Prepares the next segment and discards old ones, in the background.
//!
//! A segment is filled with zeros before its first use, so that a sync writes
//! only data, and so that a full disk is detected here and not in the middle of
//! a segment.
//!
//! One released segment of the usual size is kept to become the next one.
//! Removing it would cost more than the space it takes: the file system frees
//! thousands of pages and blocks at once, and with `discard` notifies the disk
//! of each, while the log's sync waits (20 to 30 ms for 64 MiB on ext4).

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::dir::{SegmentDir, SegmentFile};
use crate::error::{SYNC, WalError};
use crate::segment::{Segment, sync_dir};

/// The name of the next segment while it has no entries.
pub(crate) const PREPARED_NAME: &str = "next.tmp";

/// The name of the released segment that is kept.
pub(crate) const SPARE_NAME: &str = "spare.tmp";

/// The size of each write of zeros, in bytes.
const ZERO_PIECE: u64 = 256 << 10;

/// The bytes of zeros between two syncs, small so that the disk's queue stays
/// short for the log's own syncs.
const ZERO_SYNC: u64 = 1 << 20;

/// The longest pause between two syncs of zeros.
const REST_MAX: Duration = Duration::from_millis(50);

/// A released segment under [`SPARE_NAME`], which nobody reads any more.
struct Spare {
    file: Arc<dyn SegmentFile>,
    bytes: u64,
}

/// A file of zeros, ready to become a segment.
pub(crate) struct Prepared {
    pub(crate) file: Arc<dyn SegmentFile>,
    /// Its length.
    pub(crate) bytes: u64,
}

/// Creates a file of `bytes` durable zeros under [`PREPARED_NAME`], reusing the
/// spare segment if that has the length. `rest` is called between pieces with
/// the number of bytes done and the time that the last piece took; the work is
/// abandoned when it returns false. An unfinished file is removed, so that its
/// space is free again.
fn prepare(
    dir: &dyn SegmentDir,
    bytes: u64,
    spare: Option<Spare>,
    rest: &mut dyn FnMut(u64, Duration) -> bool,
) -> Result<Prepared, WalError> {
    let failed = |operation, name| move |error| WalError::from_io(operation, name, error);
    let file = match spare {
        Some(spare) if spare.bytes == bytes => {
            dir.rename(SPARE_NAME, PREPARED_NAME).map_err(failed("rename", SPARE_NAME))?;
            spare.file
        }
        _ => {
            remove_if_there(dir, PREPARED_NAME).map_err(failed("remove", PREPARED_NAME))?;
            dir.create(PREPARED_NAME, bytes).map_err(failed("create", PREPARED_NAME))?
        }
    };
    match fill_with_zeros(&*file, bytes, rest) {
        Ok(()) => Ok(Prepared { file, bytes }),
        Err(error) => {
            // The first error is the one to report.
            let _ = dir.remove(PREPARED_NAME);
            Err(error)
        }
    }
}

fn fill_with_zeros(
    file: &dyn SegmentFile,
    bytes: u64,
    rest: &mut dyn FnMut(u64, Duration) -> bool,
) -> Result<(), WalError> {
    let failed = |error| WalError::from_io("write", PREPARED_NAME, error);
    let zeros = vec![0; ZERO_PIECE.min(bytes) as usize];
    let mut offset = 0;
    let mut begin = Instant::now();
    while offset < bytes {
        let piece = (bytes - offset).min(zeros.len() as u64);
        file.write_at(&zeros[..piece as usize], offset).map_err(failed)?;
        offset += piece;
        if offset % ZERO_SYNC == 0 || offset == bytes {
            file.sync().map_err(|error| WalError::fatal(SYNC, PREPARED_NAME, error))?;
            if offset < bytes && !rest(offset, begin.elapsed()) {
                return Err(failed(io::ErrorKind::Interrupted.into()));
            }
            begin = Instant::now();
        }
    }
    Ok(())
}

pub(crate) fn remove_if_there(dir: &dyn SegmentDir, name: &str) -> io::Result<()> {
    match dir.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The requests to the thread, and their results.
#[derive(Default)]
struct Jobs {
    /// The length of the segment to prepare.
    wanted: Option<u64>,
    /// How many bytes of it may be done by now, apart from a first piece.
    /// Writing zeros faster than the log needs them only delays its syncs.
    allowed: u64,
    /// Whether the thread is preparing it.
    preparing: bool,
    prepared: Option<Prepared>,
    failure: Option<WalError>,
    /// A sync has failed: the log must stop, whatever the sync was for.
    failed_sync: Option<WalError>,
    released: Vec<Arc<Segment>>,
    /// Whether the thread is discarding some.
    releasing: bool,
    spare: Option<Spare>,
    /// A caller waits for the segment: no more pauses.
    hurry: bool,
    stop: bool,
}

struct Shared {
    dir: Arc<dyn SegmentDir>,
    /// The length of segments that are worth keeping.
    usual_bytes: u64,
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

/// The thread that prepares and discards; without it, both happen in the call.
pub(crate) struct Housekeeping {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Housekeeping {
    pub(crate) fn start(
        dir: Arc<dyn SegmentDir>,
        usual_bytes: u64,
        background: bool,
    ) -> io::Result<Housekeeping> {
        let (jobs, changed) = (Mutex::new(Jobs::default()), Condvar::new());
        let shared = Arc::new(Shared { dir, usual_bytes, jobs, changed });
        let thread = if background {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("wal-housekeeping".into());
            Some(thread.spawn(move || shared.run())?)
        } else {
            None
        };
        Ok(Housekeeping { shared, thread })
    }

    /// Requests the next segment, unless it is prepared or in progress.
    pub(crate) fn request(&self, bytes: u64) {
        let mut jobs = self.shared.jobs.lock();
        if self.thread.is_some() && !jobs.preparing && jobs.prepared.is_none() {
            jobs.wanted = Some(bytes);
            jobs.allowed = 0;
            self.shared.changed.notify_all();
        }
    }

    /// Allows the preparation to continue up to `bytes`.
    pub(crate) fn allow(&self, bytes: u64) {
        let mut jobs = self.shared.jobs.lock();
        if bytes > jobs.allowed {
            jobs.allowed = bytes;
            if jobs.preparing {
                self.shared.changed.notify_all();
            }
        }
    }

    /// Why the last requested segment could not be prepared; reported once.
    pub(crate) fn take_failure(&self) -> Option<WalError> {
        self.shared.jobs.lock().failure.take()
    }

    /// A failed sync other than the log's own, reported once.
    pub(crate) fn take_failed_sync(&self) -> Option<WalError> {
        self.shared.jobs.lock().failed_sync.take()
    }

    /// Whether the next segment is prepared and has not been taken.
    pub(crate) fn is_prepared(&self) -> bool {
        self.shared.jobs.lock().prepared.is_some()
    }

    /// The next segment, of at least `bytes_min` bytes: the prepared one if it
    /// is large enough, otherwise one created now, of `bytes` bytes.
    pub(crate) fn take(&self, bytes_min: u64, bytes: u64) -> Result<Prepared, WalError> {
        let mut jobs = self.shared.jobs.lock();
        jobs.wanted = None;
        jobs.hurry = true;
        self.shared.changed.notify_all();
        while jobs.preparing {
            self.shared.changed.wait(&mut jobs);
        }
        jobs.hurry = false;
        // The cause of a failed preparation shows up again now, or is gone.
        jobs.failure = None;
        match jobs.prepared.take() {
            Some(prepared) if prepared.bytes >= bytes_min => Ok(prepared),
            // The lock is held, so that no other thread uses the name.
            _ => {
                let spare = jobs.take_spare(bytes);
                prepare(&*self.shared.dir, bytes, spare, &mut |_, _| true)
            }
        }
    }

    /// Waits until no work is in progress.
    #[cfg(test)]
    pub(crate) fn wait_until_idle(&self) {
        let mut jobs = self.shared.jobs.lock();
        jobs.hurry = true;
        self.shared.changed.notify_all();
        while jobs.preparing || jobs.wanted.is_some() || jobs.releasing || !jobs.released.is_empty()
        {
            self.shared.changed.wait(&mut jobs);
        }
        jobs.hurry = false;
    }

    /// Discards released segments. A file left behind by an error or a crash is
    /// removed at the next open.
    pub(crate) fn release(&self, segments: Vec<Arc<Segment>>) {
        let mut jobs = self.shared.jobs.lock();
        jobs.released.extend(segments);
        if self.thread.is_none() {
            self.shared.let_go(&mut jobs);
        } else {
            self.shared.changed.notify_all();
        }
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        self.shared.jobs.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic has already been reported; there is nothing to undo.
            let _ = thread.join();
        }
    }
}

impl Jobs {
    fn take_spare(&mut self, bytes: u64) -> Option<Spare> {
        self.spare.take_if(|spare| spare.bytes == bytes)
    }
}

impl Shared {
    fn run(&self) {
        let mut jobs = self.jobs.lock();
        loop {
            if !jobs.released.is_empty() {
                self.let_go(&mut jobs);
                self.changed.notify_all();
            } else if jobs.stop {
                return;
            } else if let Some(bytes) = jobs.wanted.take() {
                jobs.preparing = true;
                let spare = jobs.take_spare(bytes);
                let result = MutexGuard::unlocked(&mut jobs, || {
                    prepare(&*self.dir, bytes, spare, &mut |done, took| self.rest(done, took))
                });
                jobs.preparing = false;
                match result {
                    Ok(prepared) => jobs.prepared = Some(prepared),
                    Err(error) if error.is_failed_sync() => jobs.failed_sync = Some(error),
                    Err(error) => jobs.failure = Some(error),
                }
                self.changed.notify_all();
            } else {
                self.changed.wait(&mut jobs);
            }
        }
    }

    /// Removes the released segments, except one to keep.
    fn let_go(&self, jobs: &mut MutexGuard<'_, Jobs>) {
        let released = std::mem::take(&mut jobs.released);
        let has_spare = jobs.spare.is_some();
        jobs.releasing = true;
        let spare = MutexGuard::unlocked(jobs, || {
            let mut spare = None;
            for segment in released {
                if let Some(kept) = self.keep_or_remove(segment, !has_spare && spare.is_none()) {
                    spare = Some(kept);
                }
            }
            // The name must durably be gone before the content is overwritten.
            sync_dir(&*self.dir).map(|()| spare)
        });
        jobs.releasing = false;
        match spare {
            Ok(None) => {}
            Ok(spare) => jobs.spare = spare,
            Err(error) => jobs.failed_sync = Some(error),
        }
    }

    /// Keeps the segment if one is wanted, it has the usual length, and no
    /// reader uses it.
    fn keep_or_remove(&self, segment: Arc<Segment>, wanted: bool) -> Option<Spare> {
        let name = segment.name.clone();
        let bytes = segment.header.file_bytes;
        if wanted
            && bytes == self.usual_bytes
            && let Some(Segment { file, .. }) = Arc::into_inner(segment)
            && self.dir.rename(&name, SPARE_NAME).is_ok()
        {
            return Some(Spare { file, bytes });
        }
        let _ = self.dir.remove(&name);
        None
    }

    /// Pauses until the log catches up with what is done, and at least as long
    /// as the last piece took, so that the log has the disk for half of the
    /// time. False: stop.
    fn rest(&self, done: u64, took: Duration) -> bool {
        let until = Instant::now() + took.min(REST_MAX);
        let mut jobs = self.jobs.lock();
        while !jobs.hurry && !jobs.stop {
            if jobs.allowed < done {
                self.changed.wait(&mut jobs);
            } else if self.changed.wait_until(&mut jobs, until).timed_out() {
                break;
            }
        }
        !jobs.stop
    }
}

#[cfg(test)]
mod tests {
    use t4_kv_types::{Epoch, LogIndex};

    use super::*;
    use crate::memory_dir::{Call, MemoryDir};
    use crate::segment::NewSegment;

    const USUAL: u64 = 2 << 20;

    fn start(dir: &MemoryDir) -> Housekeeping {
        Housekeeping::start(Arc::new(dir.clone()), USUAL, true).expect("a thread")
    }

    /// A segment that begins with entry `first`, full of nonzero bytes.
    fn segment(dir: &MemoryDir, first: u64, bytes: u64) -> Arc<Segment> {
        let prepared = prepare(dir, bytes, None, &mut |_, _| true).expect("room");
        prepared.file.write_at(&vec![7; bytes as usize], 0).expect("write");
        let (first, epoch) = (LogIndex(first), Epoch(1));
        let new = NewSegment { prepared, first, epoch, previous_salt: 0, salt: first.0 };
        new.write(dir).and_then(|segment| segment.publish(dir)).expect("publish")
    }

    #[test]
    fn the_prepared_segment_is_handed_out_once() {
        let dir = MemoryDir::new();
        let housekeeping = start(&dir);
        housekeeping.request(3 << 20);
        housekeeping.wait_until_idle();
        assert_eq!(dir.contents(PREPARED_NAME).map(|zeros| zeros.len()), Some(3 << 20));
        let prepared = housekeeping.take(1 << 20, 1 << 20).expect("prepared");
        assert_eq!(prepared.bytes, 3 << 20);
        dir.rename(PREPARED_NAME, "used").expect("rename");
        assert_eq!(housekeeping.take(4096, 8192).expect("made now").bytes, 8192);
    }

    #[test]
    fn one_that_is_too_small_is_replaced() {
        let dir = MemoryDir::new();
        let housekeeping = start(&dir);
        housekeeping.request(8192);
        housekeeping.wait_until_idle();
        assert_eq!(housekeeping.take(8193, 12288).expect("made now").bytes, 12288);
        assert_eq!(dir.contents(PREPARED_NAME).map(|zeros| zeros.len()), Some(12288));
    }

    #[test]
    fn a_full_disk_is_told_once_and_leaves_nothing() {
        let dir = MemoryDir::new();
        let housekeeping = start(&dir);
        // The space is reserved, but writing the zeros fails for lack of it.
        dir.fail(Call::Write, 2, io::ErrorKind::StorageFull);
        housekeeping.request(3 << 20);
        housekeeping.wait_until_idle();
        let failure = housekeeping.take_failure().expect("no room");
        assert!(failure.is_no_space(), "{failure}");
        assert!(housekeeping.take_failure().is_none());
        assert_eq!(dir.list().expect("list"), Vec::<String>::new());
    }

    #[test]
    fn stopping_lets_go_first_and_leaves_no_half_segment() {
        let dir = MemoryDir::new();
        let old = segment(&dir, 1, 8192);
        let housekeeping = start(&dir);
        housekeeping.request(64 << 20);
        let name = old.name.clone();
        housekeeping.release(vec![old]);
        drop(housekeeping);
        let left = dir.list().expect("list");
        let whole = dir.contents(PREPARED_NAME).is_none_or(|zeros| zeros.len() == 64 << 20);
        assert!(whole && !left.contains(&name), "{left:?}");
    }

    #[test]
    fn one_released_segment_of_the_usual_size_becomes_the_next() {
        let dir = MemoryDir::new();
        let old = vec![segment(&dir, 1, 8192), segment(&dir, 2, USUAL), segment(&dir, 3, USUAL)];
        let housekeeping = start(&dir);
        housekeeping.release(old);
        housekeeping.wait_until_idle();
        assert_eq!(dir.list().expect("list"), [SPARE_NAME]);
        // No space for a new file is needed.
        dir.set_capacity(Some(USUAL));
        let prepared = housekeeping.take(USUAL, USUAL).expect("room");
        assert_eq!(prepared.bytes, USUAL);
        assert_eq!(dir.list().expect("list"), [PREPARED_NAME]);
        assert!(dir.contents(PREPARED_NAME).expect("there").iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_segment_that_is_being_read_is_not_used_again() {
        let dir = MemoryDir::new();
        let old = segment(&dir, 1, USUAL);
        let reading = Arc::clone(&old);
        let housekeeping = start(&dir);
        housekeeping.release(vec![old]);
        housekeeping.wait_until_idle();
        assert_eq!(dir.list().expect("list"), Vec::<String>::new());
        let mut byte = [0];
        reading.file.read_at(&mut byte, USUAL - 1).expect("still readable");
        assert_eq!(byte, [7]);
    }

    #[test]
    fn a_spare_whose_name_may_come_back_is_not_used() {
        let dir = MemoryDir::new();
        let old = segment(&dir, 1, USUAL);
        let housekeeping = start(&dir);
        dir.fail(Call::SyncDir, 0, io::ErrorKind::Other);
        housekeeping.release(vec![old]);
        housekeeping.wait_until_idle();
        housekeeping.take(USUAL, USUAL).expect("made now");
        let spare = dir.contents(SPARE_NAME).expect("left alone");
        assert!(spare.contains(&7));
    }
}
