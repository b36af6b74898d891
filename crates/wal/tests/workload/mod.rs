//! Shared by the tests: entries, a seeded generator, opening a log.
#![allow(dead_code, reason = "each test binary uses a part")]

use t4_kv_types::{Epoch, LogIndex};
use t4_wal::{Config, Entry, MemoryDir, Wal, WalError};

/// For tests in which the epoch does not matter.
pub(crate) const EPOCH: Epoch = Epoch(1);

/// Small segments, and all disk operations in the order of the calls.
pub(crate) fn config() -> Config {
    Config { segment_bytes: 8192, background: false }
}

pub(crate) fn entry(index: u64, epoch: u64, payload: impl Into<bytes::Bytes>) -> Entry {
    Entry { epoch: Epoch(epoch), index: LogIndex(index), payload: payload.into() }
}

/// Opens a log and reads all of it.
pub(crate) fn open(dir: &MemoryDir, after: u64) -> Result<(Wal, Vec<Entry>), WalError> {
    let (wal, replay) = Wal::open(dir.clone(), config(), LogIndex(after))?;
    let entries = replay.collect::<Result<Vec<_>, _>>()?;
    Ok((wal, entries))
}

/// xorshift64*: small, seeded, the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    /// From `T4_SEED`, or from `default`; prints the seed.
    pub(crate) fn seeded(default: u64) -> Random {
        let seed = std::env::var("T4_SEED").map_or(default, |s| s.parse().expect("a number"));
        println!("T4_SEED={seed}");
        Random::new(seed)
    }

    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Payloads that are hard to distinguish from lost sectors: empty, zeros,
    /// zeros with one bit, text, noise.
    pub(crate) fn payload(&mut self, bytes_max: u64) -> Vec<u8> {
        let mut payload = vec![0; self.below(bytes_max + 1) as usize];
        match self.below(4) {
            0 => {}
            1 => {
                if let Some(at) = (payload.len() as u64).checked_sub(1) {
                    let at = self.below(at + 1) as usize;
                    payload[at] = 1 << self.below(8);
                }
            }
            2 => payload.fill(b'x'),
            _ => payload.iter_mut().for_each(|byte| *byte = self.next() as u8),
        }
        payload
    }
}
