//! Random operations, crashes and failing disks against the oracle.
//!
//! `T4_SEED=n` replays one seed, `T4_SEEDS=n` runs that many. A failure names
//! its seed and lists the last operations.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use t4_kv_types::{Epoch, Event, LeaseId, LogIndex, Revision, Write};

use super::check::{Check, Checked, same};
use super::oracle::Oracle;
use super::{Random, small};
use crate::background::Mutant;
use crate::disk::Disk;
use crate::open::open_on;
use crate::{
    Background, Config, LogPosition, Manifest, Reader, SealTicket, Store, StoreError, Tables, fork,
};

/// Operations per seed.
const STEPS: usize = 250;

/// An entry of the log, as the state machine would keep it.
#[derive(Clone, Debug)]
enum Entry {
    Write(Revision, Vec<Write>, Vec<Event>),
    Compact(Revision),
}

/// A store, its oracle, and the log for recovery after a crash.
struct Model {
    random: Random,
    home: tempfile::TempDir,
    config: Config,
    disk: Disk,
    mutant: Mutant,
    running: Option<(Store, Background)>,
    oracle: Oracle,
    /// The entries after `log_start`; the first one has index `log_start + 1`.
    log: Vec<Entry>,
    log_start: u64,
    tickets: VecDeque<(SealTicket, LogPosition)>,
    /// The newest position that a seal reported, and the tables given with it.
    sealed: (LogPosition, Tables),
    /// Positions whose seal failed but may have become durable.
    maybe_sealed: Vec<(LogPosition, Tables)>,
    forks: u32,
    story: VecDeque<String>,
}

impl Model {
    fn new(seed: u64, mutant: Mutant) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut random = Random(seed);
        let config = Config {
            cache_bytes: [0, 2000, 1 << 20][random.below(3) as usize],
            ..small(&home.path().join("0"))
        };
        let mut model = Model {
            random,
            home,
            config,
            disk: Disk::default(),
            mutant,
            running: None,
            oracle: Oracle::new(),
            log: Vec::new(),
            log_start: 0,
            tickets: VecDeque::new(),
            sealed: Default::default(),
            maybe_sealed: Vec::new(),
            forks: 0,
            story: VecDeque::new(),
        };
        model.start().unwrap();
        model
    }

    fn start(&mut self) -> Checked {
        self.disk = Disk::default();
        self.disk.faults.skip_flushes();
        let opened = open_on(self.disk.clone(), self.config.clone());
        let (store, mut background) = opened.map_err(|error| format!("open: {error}"))?;
        background.mutant = self.mutant;
        self.running = Some((store, background));
        Ok(())
    }

    fn store(&mut self) -> &mut Store {
        &mut self.running.as_mut().unwrap().0
    }

    fn background(&mut self) -> &mut Background {
        &mut self.running.as_mut().unwrap().1
    }

    fn reader(&mut self) -> Reader {
        self.store().reader()
    }

    fn end_of_log(&self) -> u64 {
        self.log_start + self.log.len() as u64
    }

    fn tell(&mut self, what: String) {
        self.story.push_back(what);
        if self.story.len() > 40 {
            self.story.pop_front();
        }
    }

    fn step(&mut self) -> Checked {
        match self.random.below(100) {
            0..50 => self.write(),
            50..56 => self.seal(),
            56..63 => self.work_off_a_ticket(),
            63..69 => self.compact(),
            69..79 => self.pass(),
            79..85 => self.collect(),
            85..88 => self.full_disk(),
            88..91 => self.crash(),
            91..92 => self.fork(),
            _ => self.check_some(),
        }
    }

    fn key(&mut self) -> Bytes {
        let n = self.random.below(30);
        let key = match n % 5 {
            0 => format!("/a/{n}"),
            1 => format!("/a/{n}/x"),
            2 => format!("/b/{}", "k".repeat(n as usize)),
            3 => format!("{n}"),
            _ => format!("/a/{n}\0"),
        };
        Bytes::from(key)
    }

    fn value(&mut self) -> Bytes {
        let length = match self.random.below(100) {
            0 => 70_000,
            1..4 => 1000 + self.random.below(2000),
            4..10 => 0,
            _ => self.random.below(150),
        };
        let repeat = self.random.chance(50);
        let first = self.random.next() as u8;
        let bytes = (0..length).map(|_| if repeat { first } else { self.random.next() as u8 });
        bytes.collect::<Vec<u8>>().into()
    }

    /// Some writes of one revision, which occasionally changes a key twice.
    fn writes(&mut self) -> Vec<Write> {
        let count = match self.random.below(20) {
            0 => 150,
            1..5 => 2 + self.random.below(6),
            _ => 1,
        };
        let mut writes: Vec<Write> = Vec::new();
        let next = self.oracle.revision + 1;
        let mut state = self.oracle.clone();
        for _ in 0..count {
            let key = self.key();
            let twice = self.random.chance(5);
            let used = writes.iter().any(|write| write.key() == &key);
            if used && !twice {
                continue;
            }
            let exists = state.get(&key, next).is_some();
            let write = if exists && self.random.chance(35) {
                Write::Delete { key }
            } else {
                let lease = LeaseId(self.random.below(4) as i64 - 1);
                Write::Put { key, value: self.value(), lease }
            };
            writes.push(write);
            state = self.oracle.clone();
            state.apply(Revision(next), &writes);
        }
        writes
    }

    fn write(&mut self) -> Checked {
        let writes = self.writes();
        let revision = Revision(self.oracle.revision + 1);
        self.tell(format!("write {revision}: {}", brief(&writes)));
        let expected = self.oracle.apply(revision, &writes);
        let found = self.store().apply(revision, &writes).to_vec();
        same(&found, &expected, || format!("events of {revision}"))?;
        self.log.push(Entry::Write(revision, writes, expected));
        if self.random.chance(80) {
            self.publish();
        }
        Ok(())
    }

    fn publish(&mut self) {
        let revision = Revision(self.oracle.revision);
        self.store().publish(revision);
    }

    fn compact(&mut self) -> Checked {
        let (low, high) = (self.oracle.compacted.max(0) + 1, self.oracle.revision);
        if low > high {
            return Ok(());
        }
        let at = if self.random.chance(30) {
            high
        } else {
            low + self.random.below((high - low + 1) as u64) as i64
        };
        self.publish();
        self.tell(format!("compact {at}"));
        self.oracle.compacted = at;
        self.store().compact(Revision(at));
        self.log.push(Entry::Compact(Revision(at)));
        Ok(())
    }

    fn pass(&mut self) -> Checked {
        let mut more = true;
        for _ in 0..1 + self.random.below(3) {
            more = self.background().compaction_step();
        }
        if !more {
            self.check_bytes_in_use()?;
        }
        Ok(())
    }

    fn check_bytes_in_use(&mut self) -> Checked {
        let found = self.reader().stats().bytes_in_use;
        same(found, self.oracle.bytes_in_use(), || "bytes in use after the pass".into())
    }

    fn seal(&mut self) -> Checked {
        let position = LogPosition { epoch: Epoch(3), index: LogIndex(self.end_of_log()) };
        let tables = vec![("t".into(), Bytes::from(position.index.0.to_string()))];
        self.tell(format!("seal at {}", position.index));
        let ticket = self.store().seal(position, tables);
        self.tickets.push_back((ticket, position));
        if self.random.chance(70) { self.work_off_a_ticket() } else { Ok(()) }
    }

    fn work_off_a_ticket(&mut self) -> Checked {
        let Some((ticket, position)) = self.tickets.pop_front() else { return Ok(()) };
        self.tell(format!("background seal of {}", position.index));
        let sealed = self.background().seal(ticket);
        self.sealed(sealed, position)
    }

    fn sealed(&mut self, sealed: Result<LogPosition, StoreError>, at: LogPosition) -> Checked {
        let tables = vec![("t".into(), Bytes::from(at.index.0.to_string()))];
        match sealed {
            Ok(found) => {
                same(found, at, || "the position that a seal reports".into())?;
                self.sealed = (at, tables);
                self.maybe_sealed.clear();
                Ok(())
            }
            Err(StoreError::NoSpace { .. }) => {
                self.tell("  no space".into());
                self.maybe_sealed.push((at, tables));
                Ok(())
            }
            Err(error) => Err(format!("seal: {error}")),
        }
    }

    fn collect(&mut self) -> Checked {
        if self.background().wants_seal_for_collect() {
            self.seal()?;
        }
        let wants = self.background().wants_collect();
        let result = self.background().collect();
        self.tell(format!("collect: wanted {wants}, did {result:?}"));
        match result {
            Ok(_) | Err(StoreError::NoSpace { .. }) => self.check_files(),
            Err(error) => Err(format!("collect: {error}")),
        }
    }

    /// Checks that the files in the manifest exist.
    fn check_files(&mut self) -> Checked {
        let dir = self.config.dir.clone();
        for meta in &self.background().manifest().segments {
            let file = dir.join(meta.id.file_name());
            if !file.exists() {
                return Err(format!("{} is gone", file.display()));
            }
        }
        Ok(())
    }

    /// The disk is full for a while: seals and collections fail, then work again.
    fn full_disk(&mut self) -> Checked {
        let (left, failing) = (self.random.below(12), 1 + self.random.below(6));
        self.tell(format!("the disk fails {failing} times after {left} steps"));
        self.disk.faults.plan(left, failing);
        if self.random.chance(50) {
            self.seal()?
        } else {
            self.collect()?
        }
        self.check_some()?;
        self.disk.faults.heal();
        // Otherwise the next seal retries.
        if self.random.chance(60) { self.retry() } else { Ok(()) }
    }

    fn retry(&mut self) -> Checked {
        if self.background().unfinished_seals() == 0 {
            return Ok(());
        }
        let at = self.maybe_sealed.last().unwrap().0;
        self.tell(format!("retry seals up to {}", at.index));
        let sealed = self.background().retry_seals();
        self.sealed(sealed, at)
    }

    /// Loses everything in memory, sometimes in the middle of background work.
    fn crash(&mut self) -> Checked {
        if self.random.chance(60) {
            let left = self.random.below(25);
            self.tell(format!("crash after {left} steps"));
            self.disk.faults.plan(left, u64::MAX);
            while self.background().compaction_step() {}
            if self.random.chance(60) {
                self.seal()?
            }
            self.collect()?;
        } else {
            self.tell("crash".into());
        }
        self.tickets.clear();
        self.running = None;
        self.start()?;
        self.recover()
    }

    /// Replays the log after the position that the store recovered to.
    fn recover(&mut self) -> Checked {
        let found = (self.store().position(), self.store().tables().clone());
        if found != self.sealed && !self.maybe_sealed.contains(&found) {
            return Err(format!(
                "came back at {found:?}, sealed {:?} or {:?}",
                self.sealed, self.maybe_sealed
            ));
        }
        self.maybe_sealed.clear();
        self.sealed = found.clone();
        self.tell(format!("recover from {}", found.0.index));
        // A collection may have compacted beyond that position.
        let passed = (found.0.index.0 - self.log_start) as usize;
        for entry in self.log.split_off(passed) {
            self.log.push(entry.clone());
            match entry {
                Entry::Write(revision, writes, expected) => {
                    let events = self.store().apply(revision, &writes).to_vec();
                    same(events, expected, || format!("events of the replay of {revision}"))?;
                    self.store().publish(revision);
                }
                Entry::Compact(at) => self.store().compact(at),
            }
        }
        self.publish();
        self.check_all()
    }

    /// Forks, checks the fork, and continues with the fork or the original.
    fn fork(&mut self) -> Checked {
        // Not the background worker's manifest: after a failure there may be a
        // newer one on disk.
        let manifest = Manifest::load(&self.config.dir).unwrap().unwrap();
        let (low, high) = (manifest.compacted.max(1), manifest.revision);
        let at = low + self.random.below((high - low + 1) as u64) as i64;
        self.forks += 1;
        let to = self.home.path().join(self.forks.to_string());
        let go_on = self.random.chance(50);
        self.tell(format!("fork at {at}, go on with it: {go_on}"));
        fork(&self.config.dir, &to, Revision(at)).map_err(|error| format!("fork: {error}"))?;
        let mut oracle = self.oracle.forked(at);
        oracle.compacted = manifest.compacted;
        if go_on {
            self.running = None;
            self.config.dir = to;
            self.oracle = oracle;
            self.tickets.clear();
            self.start()?;
            self.log.clear();
            self.log_start = manifest.position.index.0;
            self.sealed = (manifest.position, manifest.tables);
            self.maybe_sealed.clear();
            return self.check_all();
        }
        let config = Config { dir: to, ..self.config.clone() };
        let (store, _background) =
            Store::open(config).map_err(|error| format!("open the fork: {error}"))?;
        Check { oracle: &oracle, random: &mut self.random, visible: at }.all(&store.reader())
    }

    fn check_some(&mut self) -> Checked {
        let reader = self.reader();
        let visible = reader.revision().0;
        Check { oracle: &self.oracle, random: &mut self.random, visible }.some(&reader)
    }

    fn check_all(&mut self) -> Checked {
        let reader = self.reader();
        let visible = reader.revision().0;
        Check { oracle: &self.oracle, random: &mut self.random, visible }.all(&reader)
    }

    /// At the end: drops everything that can be dropped.
    fn finish(&mut self) -> Checked {
        self.publish();
        self.check_all()?;
        while !self.tickets.is_empty() {
            self.work_off_a_ticket()?;
        }
        self.compact()?;
        while self.background().compaction_step() {}
        self.check_bytes_in_use()?;
        self.seal()?;
        while !self.tickets.is_empty() {
            self.work_off_a_ticket()?;
        }
        for _ in 0..100 {
            if !self.background().wants_collect() {
                break;
            }
            self.collect()?;
        }
        if self.background().wants_collect() {
            return Err("collection does not come to an end".into());
        }
        self.check_bytes_in_use()?;
        self.check_all()?;
        self.crash()
    }
}

fn brief(writes: &[Write]) -> String {
    let one = |write: &Write| match write {
        Write::Put { key, value, .. } => format!("put {key:?} ({})", value.len()),
        Write::Delete { key } => format!("delete {key:?}"),
    };
    writes.iter().take(4).map(one).collect::<Vec<_>>().join(", ")
}

/// Runs a seed; returns what went wrong.
fn run(seed: u64, mutant: Mutant) -> Result<(), String> {
    let mut model = Model::new(seed, mutant);
    let all = |model: &mut Model| {
        (0..STEPS).try_for_each(|_| model.step())?;
        model.finish()
    };
    // An assertion in the store may fire before a check of the model.
    let outcome = catch_unwind(AssertUnwindSafe(|| all(&mut model)));
    outcome.unwrap_or_else(|_| Err("panicked".into())).map_err(|what| {
        let story: Vec<String> = model.story.iter().cloned().collect();
        format!("T4_SEED={seed}\n{what}\nthe last operations:\n  {}", story.join("\n  "))
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn the_store_behaves_as_the_oracle() {
    let seeds = match number("T4_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("T4_SEEDS").unwrap_or(25),
    };
    println!("seeds {seeds:?}; T4_SEED=n replays one, T4_SEEDS=n runs more");
    for seed in seeds {
        if let Err(report) = run(seed, Mutant::None) {
            panic!("{report}");
        }
    }
}

/// The model finds the classic bugs of this design when they are injected, with
/// a seed that finds nothing without them.
fn finds(mutant: Mutant) {
    let found = (0..200).find_map(|seed| run(seed, mutant).err().map(|report| (seed, report)));
    let (seed, report) = found.expect("the model misses a planted bug");
    println!("found: {report}");
    assert_eq!(run(seed, Mutant::None), Ok(()));
}

#[test]
fn a_carelessly_dropped_delete_is_found() {
    finds(Mutant::DropsDeletes);
}

#[test]
fn a_collection_beyond_the_manifest_is_found() {
    finds(Mutant::CollectsUncovered);
}
