//! The power fails at every byte that a log writes, with every kind of loss.
//!
//! After each cut the log must open, contain a prefix of the appended entries,
//! and contain all synced ones.

mod workload;

use t4_kv_types::LogIndex;
use t4_wal::{Damage, Entry, MemoryDir, Operation, SegmentDir, Wal, WalError, verify};
use workload::{Random, entry, open};

/// A run of a log: every disk operation, and what was promised at which point.
struct Run {
    operations: Vec<Operation>,
    entries: Vec<Entry>,
    /// After this many operations, this many entries were synced.
    synced: Vec<(usize, usize)>,
}

/// Appends random batches, with occasional syncs, and now and then a clean
/// close and a start.
fn run(random: &mut Random, batches: usize, payload_max: u64) -> Run {
    let dir = MemoryDir::recording();
    let (mut wal, _) = open(&dir, 0).expect("open");
    let mut entries = Vec::new();
    let mut synced = vec![(0, 0)];
    let mut epoch = 1;
    for _ in 0..batches {
        epoch += random.below(2);
        let from = entries.len();
        for _ in 0..=random.below(4) {
            let index = entries.len() as u64 + 1;
            entries.push(entry(index, epoch, random.payload(payload_max)));
        }
        wal.append(&entries[from..]).expect("append");
        if random.chance(40) {
            wal.sync().expect("sync");
        }
        synced.push((dir.operations().len(), wal.synced().0 as usize));
        if random.chance(15) {
            wal.close().expect("close");
            synced.push((dir.operations().len(), entries.len()));
            wal = open(&dir, 0).expect("open").0;
        }
    }
    Run { operations: dir.operations(), entries, synced }
}

impl Run {
    fn promised(&self, operations: usize) -> usize {
        let kept = self.synced.iter().take_while(|(at, _)| *at <= operations);
        kept.map(|&(_, entries)| entries).max().unwrap_or(0)
    }

    /// Calls `check` with the directory as it is when the power is about to
    /// fail, for every byte of every write of frames and headers.
    fn at_every_byte(&self, mut check: impl FnMut(&MemoryDir, usize)) {
        let dir = MemoryDir::new();
        for (done, operation) in self.operations.iter().enumerate() {
            check(&dir, self.promised(done));
            if let Operation::Write { bytes, .. } = operation
                && bytes.iter().any(|&byte| byte != 0)
            {
                for cut in 1..bytes.len() {
                    let partly = dir.duplicate();
                    partly.repeat(operation, cut);
                    check(&partly, self.promised(done));
                }
            }
            dir.repeat(operation, usize::MAX);
        }
        check(&dir, self.promised(self.operations.len()));
    }

    /// Opens what is left and compares.
    fn check_recovery(&self, left: &MemoryDir, promised: usize) {
        let faults = verify(left.duplicate(), LogIndex(0)).faults;
        // All that is left of a write may be one bit in the sector in which it
        // was cut. That is reported as a stray bit, and costs nothing.
        match &faults[..] {
            [] => {}
            [WalError::Corrupt { file, what: Damage::StrayBit, .. }] => {
                let newest = left.list().expect("list").into_iter().rfind(|n| n.ends_with(".wal"));
                assert_eq!(Some(file), newest.as_ref(), "only the newest segment is written to");
            }
            _ => panic!("a power cut is not corruption: {faults:?}"),
        }
        let (wal, recovered) = open(left, 0).expect("a power cut is not corruption");
        assert!(recovered.len() >= promised, "{} of {promised} entries", recovered.len());
        assert!(recovered == self.entries[..recovered.len()], "other entries than were appended");
        assert_eq!(wal.last().1.0 as usize, recovered.len());
    }
}

#[test]
fn writes_are_cut_at_every_byte() {
    let run = run(&mut Random::seeded(11), 14, 900);
    let mut cuts = 0;
    run.at_every_byte(|dir, promised| {
        run.check_recovery(&dir.power_cut(&mut |writes| writes), promised);
        cuts += 1;
    });
    assert!(cuts > 10_000, "{cuts}");
}

#[test]
fn unsynced_sectors_are_lost_in_any_subset() {
    let mut random = Random::seeded(12);
    for _ in 0..12 {
        let run = run(&mut random, 12, 2500);
        let dir = MemoryDir::new();
        for (done, operation) in run.operations.iter().enumerate() {
            let promised = run.promised(done);
            run.check_recovery(&dir.power_cut(&mut |_| 0), promised);
            for _ in 0..25 {
                // The last write may have got only this far.
                let partly = dir.duplicate();
                if let Operation::Write { bytes, .. } = operation {
                    partly.repeat(operation, random.below(bytes.len() as u64 + 1) as usize);
                }
                let left = partly.power_cut(&mut |n| random.below(n as u64 + 1) as usize);
                run.check_recovery(&left, promised);
            }
            dir.repeat(operation, usize::MAX);
        }
    }
}

/// At any power cut: if the newest segments, or all but the first few, are lost
/// from what is left, then the promised entries are still there or the log does
/// not open.
#[test]
fn segments_that_are_lost_from_the_end_are_missed() {
    let mut random = Random::seeded(15);
    let (mut refused, mut spared) = (0, 0);
    for _ in 0..30 {
        let run = run(&mut random, 14, 2500);
        let dir = MemoryDir::new();
        for (done, operation) in run.operations.iter().enumerate() {
            let promised = run.promised(done);
            for kind in 0..3 {
                let partly = dir.duplicate();
                if let Operation::Write { bytes, .. } = operation {
                    partly.repeat(operation, random.below(bytes.len() as u64 + 1) as usize);
                }
                let left = partly.power_cut(&mut |n| match kind {
                    0 => 0,
                    1 => n,
                    _ => random.below(n as u64 + 1) as usize,
                });
                let mut names = left.list().expect("list");
                names.retain(|name| name.ends_with(".wal"));
                names.sort();
                for _ in 1..names.len().min(4) {
                    left.remove(&names.pop().expect("some")).expect("there");
                    let faults = verify(left.duplicate(), LogIndex(0)).faults;
                    match open(&left.duplicate(), 0) {
                        Ok((_, recovered)) => {
                            assert!(recovered.len() >= promised, "lost without a word");
                            assert!(faults.is_empty(), "{faults:?}");
                            spared += 1;
                        }
                        Err(error) => {
                            assert!(error.to_string().contains(".wal: missing"), "{error}");
                            assert_eq!(faults.len(), 1, "{faults:?}");
                            refused += 1;
                        }
                    }
                }
            }
            dir.repeat(operation, usize::MAX);
        }
    }
    assert!(refused > 1000 && spared > 10, "{refused} refused, {spared} spared");
}

/// A log that was closed, and one that was appended to afterwards: no entry
/// that existed at the close can be removed from the end undetected. For later
/// entries, what looks torn still counts as torn.
#[test]
fn what_is_lost_from_the_end_of_a_closed_log_is_missed() {
    let mut random = Random::seeded(16);
    let (mut refused, mut torn) = (0, 0);
    for round in 0..60 {
        let dir = MemoryDir::new();
        let (mut wal, _) = open(&dir, 0).expect("open");
        let mut entries = Vec::new();
        let mut append = |wal: &mut Wal, batches: u64| {
            for _ in 0..batches {
                entries.push(entry(entries.len() as u64 + 1, 1, random.payload(2500)));
                wal.append(&entries[entries.len() - 1..]).expect("append");
                wal.sync().expect("sync");
            }
        };
        append(&mut wal, 1 + round % 8);
        wal.close().expect("close");
        let closed = open(&dir, 0).expect("open").1.len();
        if round % 2 == 1 {
            append(&mut open(&dir, 0).expect("open").0, 1 + round % 3);
        }
        let newest = dir.list().expect("list").into_iter().rfind(|name| name.ends_with(".wal"));
        let newest = newest.expect("a segment");
        let whole = dir.contents(&newest).expect("there");
        let used = whole.iter().rposition(|&byte| byte != 0).expect("something");
        for _ in 0..40 {
            let mut bytes = whole.clone();
            // The header page itself shows that it is lost.
            let from = 4096 + random.below((used + 1 - 4096).max(1) as u64) as usize;
            let end = if random.chance(70) { bytes.len() } else { (from + 700).min(bytes.len()) };
            bytes[from..end].fill(0);
            if random.chance(20) {
                bytes.truncate(from);
            }
            if bytes == whole {
                continue;
            }
            let damaged = dir.duplicate();
            damaged.put(&newest, bytes);
            let faults = verify(damaged.duplicate(), LogIndex(0)).faults;
            let before = damaged.contents(&newest);
            match open(&damaged, 0) {
                Ok((_, recovered)) => {
                    assert!(recovered.len() >= closed, "lost without a word");
                    assert!(recovered == entries[..recovered.len()]);
                    assert!(faults.is_empty(), "{faults:?}");
                    torn += 1;
                }
                Err(error) => {
                    assert!(error.to_string().starts_with(&newest), "{error}");
                    assert_eq!(faults.len(), 1, "{faults:?}");
                    assert_eq!(faults[0].to_string(), error.to_string());
                    assert!(damaged.contents(&newest) == before, "it was changed");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 1000 && torn > 50, "{refused} refused, {torn} torn");
}

#[test]
fn the_power_fails_again_during_recovery_and_the_log_goes_on() {
    let mut random = Random::seeded(13);
    for _ in 0..400 {
        let run = run(&mut random, 10, 1500);
        let stop = random.below(run.operations.len() as u64) as usize;
        let dir = MemoryDir::new();
        run.operations[..stop].iter().for_each(|operation| dir.repeat(operation, usize::MAX));
        let mut left = dir.power_cut(&mut |n| random.below(n as u64 + 1) as usize);
        let promised = run.promised(stop);

        let mut durable = 0;
        for _ in 0..3 {
            // Recovery itself is cut: some of its writes are lost.
            let before = left.duplicate();
            drop(open(&before, 0).expect("open"));
            left = before.power_cut(&mut |n| random.below(n as u64 + 1) as usize);
            let (wal, recovered) = open(&left.duplicate(), 0).expect("open");
            assert!(recovered.len() >= promised.max(durable));
            assert!(recovered == run.entries[..recovered.len()]);
            durable = wal.synced().0 as usize;
        }
        check_that_it_goes_on(&left, &run, &mut random);
    }
}

/// Entries that recovery returned stay, and so do entries appended after them.
fn check_that_it_goes_on(dir: &MemoryDir, run: &Run, random: &mut Random) {
    let (mut wal, mut expected) = open(dir, 0).expect("open");
    for _ in 0..3 {
        let next = entry(wal.last().1.0 + 1, 99, random.payload(1500));
        wal.append(std::slice::from_ref(&next)).expect("append");
        expected.push(next);
    }
    wal.sync().expect("sync");
    drop(wal);
    let left = dir.power_cut(&mut |_| 0);
    let (wal, recovered) = open(&left, 0).expect("open");
    assert!(recovered == expected);
    assert!(recovered.len() >= run.promised(0));
    assert_eq!(wal.recovery().torn, None, "it ended cleanly");
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let first = run(&mut Random::new(7), 10, 1000);
    let second = run(&mut Random::new(7), 10, 1000);
    assert!(first.operations == second.operations && first.entries == second.entries);
}

/// Replays the operations of a truncation, a restart and releases, cut between
/// any two and inside any write.
#[test]
fn truncating_and_releasing_are_cut_anywhere() {
    let mut random = Random::seeded(14);
    for _ in 0..60 {
        let dir = MemoryDir::recording();
        let (mut wal, _) = open(&dir, 0).expect("open");
        let entries: Vec<_> = (1..=30).map(|i| entry(i, 1, random.payload(1500))).collect();
        for batch in entries.chunks(3) {
            wal.append(batch).expect("append");
        }
        if random.chance(50) {
            wal.close().expect("close");
            wal = open(&dir, 0).expect("open").0;
        }
        wal.sync().expect("sync");
        let before = dir.operations().len();
        // The entry to open the log after, and the lowest last entry that may
        // be left.
        let (after, lowest) = match random.below(2) {
            0 => {
                let index = random.below(30);
                wal.truncate_after(LogIndex(index)).expect("truncate");
                (0, index)
            }
            _ => {
                let index = 1 + random.below(30);
                wal.release(LogIndex(index)).expect("release");
                (index, 30)
            }
        };
        let operations = dir.operations();
        let replayed = MemoryDir::new();
        operations[..before].iter().for_each(|op| replayed.repeat(op, usize::MAX));
        for operation in &operations[before..] {
            for _ in 0..8 {
                let partly = replayed.duplicate();
                if let Operation::Write { bytes, .. } = operation {
                    partly.repeat(operation, random.below(bytes.len() as u64 + 1) as usize);
                } else if random.chance(50) {
                    partly.repeat(operation, usize::MAX);
                }
                let left = partly.power_cut(&mut |n| random.below(n as u64 + 1) as usize);
                let (wal, recovered) = open(&left, after).expect("open");
                assert!(verify(left.duplicate(), LogIndex(after)).faults.is_empty());
                let last = wal.last().1.0;
                assert!(last >= lowest, "{last} < {lowest}");
                assert!(recovered == entries[after as usize..last as usize]);
            }
            replayed.repeat(operation, usize::MAX);
        }
        let left = replayed.power_cut(&mut |_| 0);
        let (wal, _) = open(&left, after).expect("open");
        assert_eq!(wal.last().1.0, lowest.max(after), "it was durable");
    }
}
