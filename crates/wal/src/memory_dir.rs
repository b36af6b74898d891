//! A directory in memory that can lose power, fill up and fail.
//!
//! For tests and simulations: unsynced data is kept separately from synced
//! data, so that [`MemoryDir::power_cut`] can lose any part of it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::dir::{SegmentDir, SegmentFile};
use crate::format::SECTOR;

/// A call that changed something, for repeating a run up to any byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A file was created. Files are numbered from 0 in the order of creation.
    Create {
        /// Its name.
        name: String,
        /// Its length in bytes.
        bytes: u64,
    },
    /// Bytes were written.
    Write {
        /// The number of the file.
        file: usize,
        /// The offset.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A file was synced.
    Sync {
        /// The number of the file.
        file: usize,
    },
    /// A file was renamed.
    Rename {
        /// Its name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// A file was removed.
    Remove {
        /// Its name.
        name: String,
    },
    /// The names were synced.
    SyncDir,
}

/// The calls that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`SegmentDir::create`].
    Create,
    /// [`SegmentFile::write_at`]; the first half of the bytes is written.
    Write,
    /// [`SegmentFile::sync`]; what it should have synced can be read but is
    /// not durable, and a later sync does not make it so.
    Sync,
    /// [`SegmentDir::sync_dir`].
    SyncDir,
}

/// A planned failure.
#[derive(Clone, Copy, Debug)]
struct Planned {
    call: Call,
    /// This many calls of the kind succeed first.
    after: usize,
    kind: io::ErrorKind,
}

/// A change of names that has not been synced.
#[derive(Clone, Debug)]
enum NameChange {
    Link { name: String, file: usize },
    Move { from: String, to: String, file: usize },
    Unlink { name: String },
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Link { name, file } => {
                names.insert(name.clone(), *file);
            }
            NameChange::Move { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            NameChange::Unlink { name } => {
                names.remove(name);
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Content {
    /// The bytes that survive a power cut.
    durable: Vec<u8>,
    current: Vec<u8>,
    /// The writes between the two, oldest first.
    pending: Vec<(u64, Vec<u8>)>,
}

#[derive(Clone, Debug, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    planned: Vec<Planned>,
    capacity: Option<u64>,
    record: Option<Vec<Operation>>,
    salts: u64,
}

/// A directory in memory. Clones are handles to the same directory.
#[derive(Clone, Debug, Default)]
pub struct MemoryDir {
    state: Arc<Mutex<State>>,
}

impl MemoryDir {
    /// An empty directory.
    #[must_use]
    pub fn new() -> MemoryDir {
        MemoryDir::default()
    }

    /// An empty directory that records the operations on it.
    #[must_use]
    pub fn recording() -> MemoryDir {
        let dir = MemoryDir::new();
        dir.state.lock().record = Some(Vec::new());
        dir
    }

    /// The operations so far, if it records.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.state.lock().record.clone().unwrap_or_default()
    }

    /// Applies an operation recorded from another directory. Of a write, only
    /// the first `bytes_max` bytes.
    ///
    /// # Panics
    /// If the operation does not apply here: the recording is of another
    /// directory.
    pub fn repeat(&self, operation: &Operation, bytes_max: usize) {
        let mut state = self.state.lock();
        match operation {
            Operation::Create { name, bytes } => drop(state.create(name, *bytes).expect("create")),
            Operation::Write { file, offset, bytes } => {
                let part = &bytes[..bytes.len().min(bytes_max)];
                state.write(*file, *offset, part).expect("write");
            }
            Operation::Sync { file } => state.sync(*file),
            Operation::Rename { from, to } => state.rename(from, to).expect("rename"),
            Operation::Remove { name } => state.remove(name).expect("remove"),
            Operation::SyncDir => state.sync_dir(),
        }
    }

    /// The directory as it is after the power failed now. For each sector with
    /// unsynced writes, `surviving(n)` says how many of the `n` writes to it
    /// reached the disk (0 to `n`); for each unsynced change of a name,
    /// `surviving(1)` says whether it did.
    #[must_use]
    pub fn power_cut(&self, surviving: &mut dyn FnMut(usize) -> usize) -> MemoryDir {
        let state = self.state.lock();
        let mut after = State { capacity: state.capacity, salts: state.salts, ..State::default() };
        for file in &state.files {
            let content = file.after_power_cut(surviving);
            let pending = Vec::new();
            after.files.push(Content { durable: content.clone(), current: content, pending });
        }
        after.names = state.durable_names.clone();
        for change in &state.pending_names {
            if surviving(1) == 1 {
                change.apply(&mut after.names);
            }
        }
        after.durable_names = after.names.clone();
        MemoryDir { state: Arc::new(Mutex::new(after)) }
    }

    /// An independent copy, including unsynced data.
    #[must_use]
    pub fn duplicate(&self) -> MemoryDir {
        MemoryDir { state: Arc::new(Mutex::new(self.state.lock().clone())) }
    }

    /// Limits the directory to `bytes`, summed over the lengths of its files;
    /// `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Makes one call fail, after `after` more of its kind have succeeded.
    pub fn fail(&self, call: Call, after: usize, kind: io::ErrorKind) {
        self.state.lock().planned.push(Planned { call, after, kind });
    }

    /// Cancels every planned failure that has not happened.
    pub fn forget_failures(&self) {
        self.state.lock().planned.clear();
    }

    /// The bytes of a file as they are now.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let file = *state.names.get(name)?;
        Some(state.files[file].current.clone())
    }

    /// Creates or replaces a file, durably.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state.lock();
        let file = state.files.len();
        let pending = Vec::new();
        state.files.push(Content { durable: bytes.clone(), current: bytes, pending });
        state.names.insert(name.to_owned(), file);
        state.durable_names.insert(name.to_owned(), file);
    }

    /// Flips one bit of a file, durably. Bits count from the lowest of byte 0.
    ///
    /// # Panics
    /// If there is no such file or bit.
    pub fn flip(&self, name: &str, bit: usize) {
        let mut state = self.state.lock();
        let file = state.names[name];
        let content = &mut state.files[file];
        content.durable[bit / 8] ^= 1 << (bit % 8);
        content.current[bit / 8] ^= 1 << (bit % 8);
    }
}

impl Content {
    fn after_power_cut(&self, surviving: &mut dyn FnMut(usize) -> usize) -> Vec<u8> {
        let mut content = self.durable.clone();
        let mut touched = BTreeMap::<u64, Vec<usize>>::new();
        for (number, (offset, bytes)) in self.pending.iter().enumerate() {
            let end = offset + bytes.len() as u64;
            for sector in offset / SECTOR..end.div_ceil(SECTOR) {
                touched.entry(sector).or_default().push(number);
            }
        }
        for (sector, writes) in touched {
            let kept = surviving(writes.len()).min(writes.len());
            for &number in &writes[..kept] {
                let (offset, bytes) = &self.pending[number];
                let from = (*offset).max(sector * SECTOR);
                let to = (offset + bytes.len() as u64).min((sector + 1) * SECTOR);
                let part = &bytes[(from - offset) as usize..(to - offset) as usize];
                content[from as usize..to as usize].copy_from_slice(part);
            }
        }
        content
    }
}

impl State {
    fn take_failure(&mut self, call: Call) -> io::Result<()> {
        let Some(at) = self.planned.iter().position(|planned| planned.call == call) else {
            return Ok(());
        };
        if self.planned[at].after > 0 {
            self.planned[at].after -= 1;
            return Ok(());
        }
        Err(self.planned.remove(at).kind.into())
    }

    fn note(&mut self, operation: impl FnOnce() -> Operation) {
        if let Some(record) = &mut self.record {
            record.push(operation());
        }
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&mut self, name: &str, bytes: u64) -> io::Result<usize> {
        self.take_failure(Call::Create)?;
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let used: usize = self.names.values().map(|&file| self.files[file].current.len()).sum();
        if self.capacity.is_some_and(|capacity| used as u64 + bytes > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = self.files.len();
        let zeros = vec![0; bytes as usize];
        self.files.push(Content { durable: zeros.clone(), current: zeros, pending: Vec::new() });
        self.change(NameChange::Link { name: name.to_owned(), file });
        self.note(|| Operation::Create { name: name.to_owned(), bytes });
        Ok(file)
    }

    fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let failed = self.take_failure(Call::Write);
        let bytes = if failed.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let content = &mut self.files[file];
        let room = content.current.get_mut(offset as usize..offset as usize + bytes.len());
        room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(bytes);
        content.pending.push((offset, bytes.to_vec()));
        self.note(|| Operation::Write { file, offset, bytes: bytes.to_vec() });
        failed
    }

    fn sync(&mut self, file: usize) {
        let content = &mut self.files[file];
        for (offset, bytes) in content.pending.drain(..) {
            content.durable[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        self.note(|| Operation::Sync { file });
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = self.find(from)?;
        self.change(NameChange::Move { from: from.to_owned(), to: to.to_owned(), file });
        self.note(|| Operation::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.find(name)?;
        self.change(NameChange::Unlink { name: name.to_owned() });
        self.note(|| Operation::Remove { name: name.to_owned() });
        Ok(())
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }

    fn sync_dir(&mut self) {
        self.durable_names = self.names.clone();
        self.pending_names.clear();
        self.note(|| Operation::SyncDir);
    }
}

impl SegmentDir for MemoryDir {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn SegmentFile>> {
        let file = self.state.lock().create(name, bytes)?;
        Ok(Arc::new(MemoryFile { state: Arc::clone(&self.state), file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let file = self.state.lock().find(name)?;
        Ok(Arc::new(MemoryFile { state: Arc::clone(&self.state), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.state.lock().rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state.lock().remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.take_failure(Call::SyncDir)?;
        state.sync_dir();
        Ok(())
    }

    fn fresh_salt(&self) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.salts += 1;
        // Odd times odd is odd: never 0, and the first 2^63 are all different.
        Ok((2 * state.salts + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// A file of a [`MemoryDir`].
struct MemoryFile {
    state: Arc<Mutex<State>>,
    file: usize,
}

impl SegmentFile for MemoryFile {
    fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.state.lock().files[self.file].current.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state.lock();
        let content = &state.files[self.file].current;
        let from = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let part = content.get(from..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.state.lock().write(self.file, offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if let Err(error) = state.take_failure(Call::Sync) {
            // As on Linux: after a failed sync the pages are marked clean, can
            // still be read, and no later sync writes them to the disk.
            state.files[self.file].pending.clear();
            return Err(error);
        }
        state.sync(self.file);
        Ok(())
    }
}
