//! The cost of the index: memory with an asserted limit, and times for human readers.
//!
//! `cargo test --release -p t4-mvcc -- --ignored --nocapture index::measure`

use std::ops::ControlFlow;
use std::time::Instant;

use t4_kv_types::KeyRange;

use super::random::Random;
use super::{Index, Location, Newest, Version};

/// A key of 64 bytes in the layout of an API server.
fn path_key(n: u64) -> Vec<u8> {
    let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let kind = ["pods", "leases", "events", "configmaps"][(spread % 4) as usize];
    let key = format!("/registry/{kind}/namespace-{:04}/app-{:04}-", spread >> 54, spread % 9973);
    format!("{key}{:x<width$}", format!("{spread:016x}"), width = 64 - key.len()).into()
}

/// A key of 64 random bytes, with no common prefix.
fn random_key(n: u64) -> Vec<u8> {
    let mut random = Random::new(n);
    (0..8).flat_map(|_| random.next().to_be_bytes()).collect()
}

fn put(main: i64) -> Newest {
    let at = Location { file: 1, offset: main as u32 };
    let version = Version { main, sub: 0, deleted: false, size: 300, at };
    Newest { version, create: main, count: 1, lease: 0 }
}

fn inserted(keys: &[Vec<u8>]) -> Index {
    let mut index = Index::default();
    for (n, key) in keys.iter().enumerate() {
        index.insert(key, put(n as i64 + 2));
    }
    index
}

fn in_bulk(keys: &[Vec<u8>]) -> Index {
    let entries: Vec<_> =
        keys.iter().map(|key| (key.clone().into_boxed_slice(), put(2), Vec::new())).collect();
    Index::bulk(entries.into_iter())
}

fn keys(count: u64, key: fn(u64) -> Vec<u8>) -> Vec<Vec<u8>> {
    (0..count).map(key).collect()
}

/// The bytes per key in excess of the key itself.
fn overhead(index: &Index) -> i64 {
    (index.memory() as u64 / index.live_keys()) as i64 - 64
}

#[test]
fn memory_per_key_is_at_most_100_bytes_and_the_key() {
    let mut unordered = keys(100_000, random_key);
    let grown = overhead(&inserted(&unordered));
    unordered.sort();
    let built = overhead(&in_bulk(&unordered));
    println!("64 random bytes: key + {grown} B grown, key + {built} B built");
    assert!(grown <= 100 && built <= 80);
    let mut unordered = keys(100_000, path_key);
    let grown = overhead(&inserted(&unordered));
    unordered.sort();
    let built = overhead(&in_bulk(&unordered));
    println!("paths of 64 bytes: key + {grown} B grown, key + {built} B built");
    assert!(grown <= 80 && built <= 50, "shared prefixes are stored once");
}

/// Measures the CPU time of this thread, so that other load on the machine
/// disturbs little.
struct Stopwatch(u64);

impl Stopwatch {
    fn start() -> Self {
        Stopwatch(Self::now_ns())
    }

    fn now_ns() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("runs on Linux");
        let ran = stat.split(' ').next().and_then(|ran| ran.parse().ok());
        ran.expect("schedstat begins with the time that the thread ran")
    }

    fn report(self, what: &str, times: usize) {
        let took = (Self::now_ns() - self.0) as f64;
        println!("  {what}: {:.1} ms, {:.0} ns each", took / 1e6, took / times as f64);
    }
}

fn measure(name: &str, mut keys: Vec<Vec<u8>>) {
    println!("{name}, {} keys", keys.len());
    let count = keys.len();
    let mut random = Random::new(7);
    let watch = Stopwatch::start();
    let grown = inserted(&keys);
    watch.report("insert in random order", count);
    println!("  memory grown: {} B per key", grown.memory() / count);
    drop(grown);
    keys.sort();
    let watch = Stopwatch::start();
    let ascending = inserted(&keys);
    watch.report("insert in ascending order", count);
    println!("  memory ascending: {} B per key", ascending.memory() / count);
    drop(ascending);
    let entries: Vec<_> =
        keys.iter().map(|key| (key.clone().into_boxed_slice(), put(2), Vec::new())).collect();
    let watch = Stopwatch::start();
    let mut index = Index::bulk(entries.into_iter());
    watch.report("bulk", count);
    println!("  memory built: {} B per key", index.memory() / count);
    reads(&index, &keys, &mut random);
    writes(&mut index, &keys, &mut random);
}

/// Contiguous copies, so that fetching the next key to look up costs nothing.
fn choose(keys: &[Vec<u8>], count: usize, random: &mut Random) -> Vec<[u8; 64]> {
    let choice = |_| keys[random.below(keys.len())][..].try_into().expect("keys have 64 bytes");
    (0..count).map(choice).collect()
}

fn reads(index: &Index, keys: &[Vec<u8>], random: &mut Random) {
    let chosen = choose(keys, 1_000_000, random);
    let watch = Stopwatch::start();
    let found = chosen.iter().filter_map(|key| index.get(key));
    watch.report("get", found.filter(|entry| entry.newest.lease == 0).count());
    let watch = Stopwatch::start();
    let sum = chosen.iter().fold(0_u64, |sum, key| sum.wrapping_add(index.rank(key)));
    watch.report("rank", chosen.len() + usize::from(sum == 1));
    let mut seen = 0;
    let watch = Stopwatch::start();
    index.scan(&KeyRange::all(), |entry| {
        seen += usize::from(!entry.key.is_empty());
        ControlFlow::Continue(())
    });
    watch.report("scan", seen);
    let watch = Stopwatch::start();
    for key in chosen.iter().take(1_000) {
        let mut left = 256;
        index.scan(&KeyRange { start: key.to_vec().into(), ..KeyRange::all() }, |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    watch.report("scan of 256", 1_000);
}

fn writes(index: &mut Index, keys: &[Vec<u8>], random: &mut Random) {
    let chosen = choose(keys, keys.len() / 5, random);
    let watch = Stopwatch::start();
    for (n, key) in chosen.iter().enumerate() {
        index.insert(key, put(n as i64 + 10_000_000));
    }
    watch.report("update of a fifth", chosen.len());
    let clean = "pass with nothing to drop, per step of 8 leaves";
    compact(index, 5, clean);
    compact(index, i64::MAX, "pass after updates, per step of 8 leaves");
    for (n, key) in keys.iter().enumerate().take(keys.len() * 9 / 10) {
        let mut newest = put(20_000_000 + n as i64);
        newest.version.deleted = true;
        index.insert(key, newest);
    }
    compact(index, i64::MAX, "pass after deletes of nine tenths, per step of 8 leaves");
    println!("  memory of the last tenth: {} B per key", index.memory() * 10 / keys.len());
}

fn compact(index: &mut Index, c: i64, what: &str) {
    let (mut cursor, mut steps, mut dropped, mut longest) = (None, 0, 0, 0);
    let watch = Stopwatch::start();
    loop {
        let step = Instant::now();
        cursor = index.compact(c, cursor, 8, |_, _| dropped += 1);
        longest = longest.max(step.elapsed().as_micros());
        steps += 1;
        if cursor.is_none() {
            break;
        }
    }
    watch.report(what, steps);
    println!("    dropped {dropped}, longest step {longest} us");
}

#[test]
#[ignore = "times for a person to read; run it in release"]
fn times() {
    measure("64 random bytes", keys(1_000_000, random_key));
    measure("paths of 64 bytes", keys(1_000_000, path_key));
}
