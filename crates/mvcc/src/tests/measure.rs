//! Times for human readers; run it in release: `cargo test --release -p t4-mvcc
//! -- --ignored --nocapture measure`.

use std::hint::black_box;

use bytes::Bytes;
use t4_kv_types::{KeyRange, LeaseId, Revision, Write};

use super::Random;
use crate::{Config, Io, LogPosition, Projection, Store};

/// The CPU time of this thread, so that other load on the machine disturbs little.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("runs on Linux");
    let ran = stat.split(' ').next().and_then(|ran| ran.parse().ok());
    ran.expect("schedstat begins with the time that the thread ran")
}

fn time<T>(what: &str, times: usize, act: impl FnOnce() -> T) -> T {
    let start = cpu_ns();
    let result = act();
    let took = (cpu_ns() - start) as f64;
    println!("  {what}: {:.1} ms, {:.0} ns each", took / 1e6, took / times as f64);
    result
}

const KEYS: u64 = 200_000;

fn key(n: u64) -> Bytes {
    Bytes::from(format!("/registry/pods/namespace-{:03}/deployment-pod-name-{n:020}", n % 100))
}

fn value(random: &mut Random) -> Bytes {
    (0..32).flat_map(|_| random.next().to_le_bytes()).collect::<Vec<u8>>().into()
}

fn batches(random: &mut Random, count: u64) -> Vec<Vec<Write>> {
    let mut write =
        || Write::Put { key: key(random.next() % KEYS), value: value(random), lease: LeaseId(0) };
    (0..count).map(|_| (0..16).map(|_| write()).collect()).collect()
}

fn apply_all(store: &mut Store, batches: &[Vec<Write>]) {
    for batch in batches {
        let revision = store.revision().next();
        drop(store.apply(revision, batch));
        store.publish(revision);
    }
}

fn seal_all(store: &mut Store, background: &mut crate::Background) {
    let ticket = store.seal(LogPosition::default(), Vec::new());
    background.seal(ticket).unwrap();
}

fn reads(store: &Store, random: &mut Random, what: &str, at: Revision) {
    let reader = store.reader();
    let keys: Vec<Bytes> = (0..20_000).map(|_| key(random.next() % KEYS)).collect();
    for pass in ["first", "hot"] {
        time(&format!("get {what}, {pass}"), keys.len(), || {
            for key in &keys {
                black_box(reader.get(key, at, Io::Blocking).unwrap());
            }
        });
    }
    time(&format!("newest {what}"), keys.len(), || {
        for key in &keys {
            black_box(reader.newest(key));
        }
    });
    let ranges: Vec<KeyRange> = keys
        .iter()
        .take(100)
        .map(|key| KeyRange { start: key.clone(), end: t4_kv_types::RangeEnd::Open })
        .collect();
    for pass in ["first", "hot"] {
        time(&format!("range of 500 {what}, {pass}"), ranges.len(), || {
            for range in &ranges {
                black_box(reader.range(range, at, 500, Projection::Full, Io::Blocking).unwrap());
            }
        });
    }
    time(&format!("keys only, 500, {what}"), ranges.len(), || {
        for range in &ranges {
            black_box(reader.range(range, at, 500, Projection::KeysOnly, Io::Blocking).unwrap());
        }
    });
    time(&format!("count of all {what}"), 100, || {
        for range in &ranges {
            black_box(reader.range(range, at, 1, Projection::CountOnly, Io::Blocking).unwrap());
        }
    });
}

#[test]
#[ignore = "times for a person to read; run it in release"]
fn measure() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path());
    let (mut store, mut background) = Store::open(config.clone()).unwrap();
    let mut random = Random(1);
    let load: Vec<Write> = (0..KEYS)
        .map(|n| Write::Put { key: key(n), value: value(&mut random), lease: LeaseId(0) })
        .collect();
    time("load, 16 per revision", KEYS as usize, || {
        for batch in load.chunks(16) {
            let revision = store.revision().next();
            drop(store.apply(revision, batch));
            store.publish(revision);
        }
    });
    reads(&store, &mut random, "from the tail", store.revision());
    time("seal", KEYS as usize, || seal_all(&mut store, &mut background));
    reads(&store, &mut random, "from segments", store.revision());
    let old = store.revision();
    for _ in 0..5 {
        let updates = batches(&mut random, 12_500);
        time("update, 16 per revision", updates.len() * 16, || apply_all(&mut store, &updates));
        time("seal", updates.len() * 16, || seal_all(&mut store, &mut background));
    }
    reads(&store, &mut random, "at an old revision", old);
    let updates = batches(&mut random, 1000);
    time("update, 1 per revision", updates.len() * 16, || {
        for batch in &updates {
            apply_all(&mut store, &batch.iter().map(|w| vec![w.clone()]).collect::<Vec<_>>());
        }
    });
    seal_all(&mut store, &mut background);
    let reader = store.reader();
    let events = time("events", 1_200_000, || {
        let mut from = Revision(2);
        let mut count = 0;
        while from <= reader.revision() {
            let found =
                reader.events(from, reader.revision(), 1000, 4 << 20, Io::Blocking).unwrap();
            from = found.last().unwrap().0.next();
            count += found.iter().map(|(_, events)| events.len()).sum::<usize>();
        }
        count
    });
    println!("  {events} events");
    let hash = time("hash", events, || reader.hash(reader.revision()).unwrap());
    drop((store, background, reader));
    let (store, background) =
        time("open, records", events, || Store::open(config.clone()).unwrap());
    println!("  {:?}", store.reader().stats());
    drop((store, background));
    let (mut store, mut background) = Store::open(config.clone()).unwrap();
    store.compact(store.revision());
    time("pass, keys", KEYS as usize, || while background.compaction_step() {});
    while background.wants_collect() {
        let stats = time("collect, keys", KEYS as usize, || background.collect().unwrap());
        println!("  {stats:?}");
    }
    println!("  {:?}", store.reader().stats());
    let _ = hash;
    reads(&store, &mut random, "from base segments", store.revision());
    drop((store, background));
    time("open after collection, keys", KEYS as usize, || Store::open(config).unwrap());
}

#[test]
#[ignore = "times for a person to read; run it in release"]
fn tail_gets() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _background) = Store::open(Config::new(dir.path())).unwrap();
    let mut random = Random(1);
    let load: Vec<Write> = (0..KEYS)
        .map(|n| Write::Put { key: key(n), value: value(&mut random), lease: LeaseId(0) })
        .collect();
    for batch in load.chunks(16) {
        let revision = store.revision().next();
        drop(store.apply(revision, batch));
        store.publish(revision);
    }
    let reader = store.reader();
    let keys: Vec<Bytes> = (0..20_000).map(|_| key(random.next() % KEYS)).collect();
    for _ in 0..10 {
        time("get", keys.len(), || {
            for key in &keys {
                black_box(reader.get(key, store.revision(), Io::Blocking).unwrap());
            }
        });
        time("get of few", keys.len(), || {
            for key in keys.iter().take(1000).cycle().take(keys.len()) {
                black_box(reader.get(key, store.revision(), Io::Blocking).unwrap());
            }
        });
    }
    for _ in 0..50 {
        time("range of 500", 100, || {
            for key in &keys[..100] {
                let range = KeyRange { start: key.clone(), end: t4_kv_types::RangeEnd::Open };
                let page =
                    reader.range(&range, store.revision(), 500, Projection::Full, Io::Blocking);
                black_box(page.unwrap());
            }
        });
    }
}
