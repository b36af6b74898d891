//! A log in memory for the unit tests, with its housekeeping thread.

use t4_kv_types::{Epoch, LogIndex};

use crate::config::Config;
use crate::entry::Entry;
use crate::error::WalError;
use crate::memory_dir::MemoryDir;
use crate::wal::Wal;

/// Opens the log, with segments of 1 MiB.
pub(crate) fn open(dir: &MemoryDir) -> Wal {
    let config = Config { segment_bytes: 1 << 20, background: true };
    Wal::open(dir.clone(), config, LogIndex(0)).expect("open").0
}

/// Appends an entry of `bytes` bytes.
pub(crate) fn append(wal: &mut Wal, bytes: usize) -> Result<(), WalError> {
    let index = wal.last().1.next();
    let entry = Entry { epoch: Epoch(1), index, payload: vec![7; bytes].into() };
    wal.append(&[entry])
}
