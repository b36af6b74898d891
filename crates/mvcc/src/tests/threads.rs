//! One writer, one background thread and several readers at the same time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use t4_kv_types::{EventKind, KeyRange, KeyValue};

use super::*;
use crate::{Io, Projection, ReadError, Reader};

const KEYS: i64 = 600;
const REVISIONS: i64 = 1500;

/// Every revision sets a few keys to its number, always including the first
/// key, and alternately deletes and creates the last one.
fn writes(revision: i64) -> Vec<Write> {
    let put = |n: i64| {
        let value = Bytes::from(format!("{revision} {}", "x".repeat((revision % 50) as usize)));
        Write::Put { key: key(n), value, lease: LeaseId(n % 3) }
    };
    let mut writes =
        vec![put(0), put(revision % (KEYS - 2) + 1), put((revision * 7) % (KEYS - 2) + 1)];
    writes.dedup_by(|a, b| a.key() == b.key());
    match revision % 2 {
        0 => writes.push(put(KEYS)),
        _ if revision > 2 => writes.push(Write::Delete { key: key(KEYS) }),
        _ => {}
    }
    writes
}

fn key(n: i64) -> Bytes {
    Bytes::from(format!("/key/{n:06}"))
}

/// The state at a revision, computed from scratch.
fn expected_count(at: i64) -> u64 {
    let mut live = std::collections::BTreeSet::new();
    for revision in 2..=at {
        for write in writes(revision) {
            match write {
                Write::Put { key, .. } => live.insert(key),
                Write::Delete { key } => live.remove(&key),
            };
        }
    }
    live.len() as u64
}

/// Checks a page of the whole range at a revision.
fn check_page(kvs: &[KeyValue], at: i64) {
    assert_eq!(kvs[0].key, key(0));
    assert_eq!(kvs[0].mod_revision, Revision(at), "the first key changes with every revision");
    assert_eq!(kvs[0].version, at - 1);
    for kv in kvs {
        let written: i64 =
            std::str::from_utf8(&kv.value).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(kv.mod_revision, Revision(written));
        assert!(written <= at);
    }
    assert!(kvs.windows(2).all(|pair| pair[0].key < pair[1].key));
    assert_eq!(kvs.last().unwrap().key == key(KEYS), at % 2 == 0, "made and deleted in turn");
}

fn check_events(reader: &Reader, from: i64, at: i64) -> Result<(), ReadError> {
    let found = reader.events(Revision(from), Revision(at), 50, 1 << 20, Io::Blocking)?;
    for (next, (revision, events)) in (from..).zip(found) {
        assert_eq!(revision, Revision(next), "no gap");
        let expected = writes(revision.0);
        let same = events.len() == expected.len()
            && events.iter().zip(&expected).all(|(event, write)| {
                event.kv.key == write.key()
                    && (event.kind == EventKind::Delete) == matches!(write, Write::Delete { .. })
            });
        assert!(same, "the events of {revision}: {events:?}");
    }
    Ok(())
}

/// A read may only be refused if the compaction has really passed it.
fn unless_compacted<T>(reader: &Reader, at: i64, read: Result<T, ReadError>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(ReadError::Compacted) => {
            assert!(reader.compacted().is_some_and(|c| at < c.0), "{at} was not compacted");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The threads' shared progress.
#[derive(Default)]
struct Progress {
    done: AtomicBool,
    failed: AtomicBool,
    pages: AtomicU64,
    /// How often the worker ran out of work.
    turns: AtomicU64,
}

/// Keeps the writer from waiting for a failed reader or worker.
struct Alarm<'a>(&'a Progress);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.failed.store(true, Ordering::Release);
        }
    }
}

impl Progress {
    /// Waits until `counter` reaches `at_least`.
    fn wait_for(&self, counter: &AtomicU64, at_least: u64) {
        while counter.load(Ordering::Acquire) < at_least {
            assert!(!self.failed.load(Ordering::Acquire), "another thread has failed");
            thread::yield_now();
        }
    }
}

fn read_until_done(progress: &Progress, reader: Reader, mut random: Random) {
    let _alarm = Alarm(progress);
    while !progress.done.load(Ordering::Acquire) {
        let visible = reader.revision().0;
        if visible < 2 {
            thread::yield_now();
            continue;
        }
        let oldest = reader.compacted().map_or(2, |c| c.0.max(2));
        let at = oldest + random.below((visible - oldest + 1) as u64) as i64;
        let page = reader.range(&KeyRange::all(), Revision(at), 0, Projection::Full, Io::Blocking);
        if let Some(page) = unless_compacted(&reader, at, page) {
            check_page(&page.kvs, at);
            assert_eq!(page.count, page.kvs.len() as u64);
            progress.pages.fetch_add(1, Ordering::AcqRel);
        }
        let first =
            reader.range(&KeyRange::all(), Revision(at), 1, Projection::KeysOnly, Io::Blocking);
        if let Some(first) = unless_compacted(&reader, at, first)
            && random.chance(5)
        {
            assert_eq!(first.count, expected_count(at));
        }
        let events = check_events(&reader, at, visible);
        unless_compacted(&reader, at, events);
        let newest = reader.newest(&key(0)).unwrap();
        assert!(newest.mod_revision.0 >= visible);
        if random.chance(3) {
            unless_compacted(&reader, at, reader.hash(Revision(at)));
        }
    }
}

/// Seals tickets as they arrive, and compacts and collects in between.
fn work(
    progress: &Progress,
    mut background: Background,
    tickets: mpsc::Receiver<crate::SealTicket>,
) -> u64 {
    let _alarm = Alarm(progress);
    let mut collections = 0;
    loop {
        match tickets.try_recv() {
            Ok(ticket) => drop(background.seal(ticket).unwrap()),
            Err(mpsc::TryRecvError::Disconnected) => return collections,
            Err(mpsc::TryRecvError::Empty) => {}
        }
        if background.compaction_step() {
            continue;
        }
        if background.wants_collect() {
            background.collect().unwrap();
            collections += 1;
        } else {
            progress.turns.fetch_add(1, Ordering::AcqRel);
            thread::yield_now();
        }
    }
}

#[test]
fn readers_see_whole_revisions_whatever_goes_on() {
    let seed = std::env::var("T4_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("T4_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let config = Config { seal_bytes: 16 << 10, cache_bytes: 20_000, ..small(dir.path()) };
    let disk = Disk::default();
    disk.faults.skip_flushes();
    let (mut store, background) = crate::open::open_on(disk, config.clone()).unwrap();
    let progress = Progress::default();
    let mut random = Random(seed);
    let (send, receive) = mpsc::channel();
    let collections = thread::scope(|scope| {
        let worker = scope.spawn(|| work(&progress, background, receive));
        for n in 0..2 {
            let (reader, progress) = (store.reader(), &progress);
            scope.spawn(move || read_until_done(progress, reader, Random(seed + 100 + n)));
        }
        for revision in 2..=REVISIONS {
            store.apply(Revision(revision), &writes(revision));
            store.publish(Revision(revision));
            progress.wait_for(&progress.pages, revision as u64 / 5);
            if revision % 25 == 0 {
                // Lets the worker catch up, so that its work does not depend on luck.
                progress.wait_for(&progress.turns, progress.turns.load(Ordering::Acquire) + 2);
            }
            if store.wants_seal() {
                let index = LogIndex(revision as u64);
                let position = LogPosition { epoch: Epoch(1), index };
                send.send(store.seal(position, Vec::new())).unwrap();
            }
            if random.chance(2) {
                let compacted = store.reader().compacted().map_or(1, |c| c.0);
                let at = compacted + random.below((revision - compacted + 1) as u64) as i64;
                store.compact(Revision(at.max(2)));
            }
        }
        progress.done.store(true, Ordering::Release);
        drop(send);
        worker.join().unwrap()
    });
    println!("{:?} pages, {collections} collections", progress.pages);
    assert!(collections > 2);
    let reader = store.reader();
    let all = |reader: &Reader| {
        let at = reader.revision();
        reader.range(&KeyRange::all(), at, 0, Projection::Full, Io::Blocking).unwrap().kvs
    };
    check_page(&all(&reader), REVISIONS);
    drop(store);
    let (store, _background) = Store::open(config).unwrap();
    let sealed = store.revision().0;
    check_page(&all(&store.reader()), sealed);
}
