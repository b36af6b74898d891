//! Random operations on a log, compared with a list.

mod workload;

use std::io::ErrorKind;

use t4_kv_types::LogIndex;
use t4_wal::{Call, Config, Entry, MemoryDir, Wal, WalError};
use workload::{Random, entry};

/// The naive log, and the real one.
struct Model {
    dir: MemoryDir,
    wal: Wal,
    random: Random,
    background: bool,
    /// All entries; the first has the index `base + 1`.
    entries: Vec<Entry>,
    base: u64,
    /// The last synced and the last released entry.
    synced: u64,
    released: u64,
    epoch: u64,
}

impl Model {
    fn new(seed: u64, background: bool) -> Model {
        let dir = MemoryDir::new();
        let config = Config { segment_bytes: 12288, background };
        let mut random = Random::new(seed);
        // Some logs begin after entries that their owner has from elsewhere.
        let base = if random.chance(30) { random.below(100) } else { 0 };
        let (wal, _) = Wal::open(dir.clone(), config, LogIndex(base)).expect("open");
        Model {
            dir,
            wal,
            random,
            background,
            entries: Vec::new(),
            base,
            synced: base,
            released: base,
            epoch: 1,
        }
    }

    fn last(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// The entries after `index`.
    fn after(&self, index: u64) -> &[Entry] {
        &self.entries[(index - self.base) as usize..]
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..45 => self.append(),
            45..60 => {
                self.wal.sync().expect("sync");
                self.synced = self.last();
            }
            60..70 => self.read(),
            70..76 => self.release(),
            76..84 => self.truncate(),
            84..92 => self.append_without_room(),
            92..96 => self.reopen(self.dir.duplicate()),
            _ => self.power_cut(),
        }
        self.check();
    }

    fn batch(&mut self) -> Vec<Entry> {
        let count = 1 + self.random.below(5);
        let bytes_max = if self.random.chance(3) { 20_000 } else { 1500 };
        self.epoch += self.random.below(2);
        let from = self.last() + 1;
        (from..from + count)
            .map(|index| entry(index, self.epoch, self.random.payload(bytes_max)))
            .collect()
    }

    fn append(&mut self) {
        let batch = self.batch();
        self.wal.append(&batch).expect("append");
        self.entries.extend(batch);
    }

    fn append_without_room(&mut self) {
        let batch = self.batch();
        if self.random.chance(50) {
            self.dir.set_capacity(Some(0));
        } else if !self.background {
            // With a background thread writing too, this may hit the wrong
            // write.
            let after = self.random.below(2) as usize;
            self.dir.fail(Call::Write, after, ErrorKind::StorageFull);
        }
        match self.wal.append(&batch) {
            Ok(()) => self.entries.extend(batch),
            Err(error) => assert!(error.is_no_space(), "{error}"),
        }
        self.dir.set_capacity(None);
        self.dir.forget_failures();
    }

    fn read(&mut self) {
        let from = self.base + self.random.below(self.entries.len() as u64 + 2);
        let bytes_max = self.random.below(4000) as usize;
        let first = self.wal.first_index();
        match self.wal.read(LogIndex(from), bytes_max) {
            Err(WalError::Released { .. }) => assert!(LogIndex(from) < first),
            Err(error) => panic!("{error}"),
            Ok(entries) => {
                let expected = self.after((from - 1).min(self.last()));
                assert_eq!(entries, expected[..entries.len()]);
                assert_eq!(entries.is_empty(), expected.is_empty());
                let bytes =
                    |entries: &[Entry]| entries.iter().map(|e| e.payload.len()).sum::<usize>();
                assert!(entries.len() <= 1 || bytes(&entries) <= bytes_max);
                let stopped = entries.len() < expected.len();
                assert!(!stopped || bytes(&expected[..=entries.len()]) >= bytes_max);
            }
        }
    }

    fn release(&mut self) {
        // Only entries that a durable state covers are released.
        let index = self.released.max(self.base + self.random.below(self.synced - self.base + 1));
        self.wal.release(LogIndex(index)).expect("release");
        self.released = index;
    }

    fn truncate(&mut self) {
        let index = self.released + self.random.below(self.last() + 1 - self.released);
        self.wal.truncate_after(LogIndex(index)).expect("truncate");
        if index < self.last() {
            self.synced = index;
        }
        self.entries.truncate((index - self.base) as usize);
    }

    fn power_cut(&mut self) {
        let random = &mut self.random;
        let left = self.dir.power_cut(&mut |n| random.below(n as u64 + 1) as usize);
        self.reopen(left);
    }

    /// Opens what is left: a prefix that includes everything synced.
    fn reopen(&mut self, left: MemoryDir) {
        let config = Config { segment_bytes: 12288, background: self.background };
        let after = self.released + self.random.below(self.synced + 1 - self.released);
        let opened = Wal::open(left.clone(), config, LogIndex(after));
        let (wal, replay) = opened.expect("open");
        let entries: Vec<_> = replay.collect::<Result<_, _>>().expect("entries");
        let last = wal.last().1.0;
        assert!(last >= self.synced, "{last} < {}", self.synced);
        assert_eq!(entries, self.after(after)[..entries.len()]);
        assert_eq!(after + entries.len() as u64, last);
        self.entries.truncate((last - self.base) as usize);
        self.synced = last;
        self.wal = wal;
        self.dir = left;
    }

    fn check(&self) {
        assert_eq!(self.wal.last().1.0, self.last());
        let epoch = self.entries.last().map(|entry| entry.epoch);
        assert!(epoch.is_none_or(|epoch| self.wal.last().0 == epoch));
        assert!(self.wal.synced().0 >= self.synced);
        assert!(self.wal.first_index().0 <= self.released + 1);
    }
}

#[test]
fn a_log_is_a_list() {
    let seed = Random::seeded(31).next();
    for round in 0..400 {
        let mut model = Model::new(seed.wrapping_add(round), false);
        (0..250).for_each(|_| model.step());
    }
}

/// The same with the housekeeping thread; its timing is not a function of the
/// seed, so this can only add to the test above.
#[test]
fn a_log_with_a_thread_beside_it_is_a_list_too() {
    let seed = Random::seeded(32).next();
    for round in 0..100 {
        let mut model = Model::new(seed.wrapping_add(round), true);
        (0..250).for_each(|_| model.step());
    }
}
