//! The pitfalls of this design, one test each. The model covers them too; these
//! tests state the reasons.

use t4_kv_types::{EventKind, KeyRange};

use super::*;
use crate::{Io, Projection, ReadError, SegmentKind, fork};

/// Bytes that do not compress.
fn noise(random: &mut Random, length: usize) -> Bytes {
    (0..length).map(|_| random.next() as u8).collect::<Vec<u8>>().into()
}

fn put_noise(random: &mut Random, key: &str) -> Write {
    Write::Put { key: owned(key), value: noise(random, 200), lease: LeaseId::NONE }
}

/// A segment full of live keys, one of which will be deleted; then a segment
/// full of waste with that delete. Only the second one is collected.
fn deleted_across_segments() -> Fixture {
    let mut random = Random(1);
    let mut fixture = Fixture::new();
    let keep: Vec<Write> =
        (0..50).map(|n| put_noise(&mut random, &format!("keep/{n:03}"))).collect();
    fixture.write(&keep);
    fixture.write(&[put("gone", "old")]);
    fixture.seal();
    for _ in 0..50 {
        fixture.write(&[put_noise(&mut random, "busy")]);
    }
    fixture.write(&[delete("gone")]);
    let last = fixture.write(&[put("busy", "last")]);
    fixture.seal();
    fixture.compact(last);
    fixture
}

#[test]
fn a_delete_stays_while_an_older_file_has_a_put_of_its_key() {
    let mut fixture = deleted_across_segments();
    assert!(fixture.background.wants_collect());
    let stats = fixture.background.collect().unwrap();
    assert_eq!((stats.segments_removed, stats.segments_written), (1, 1));
    assert!(!fixture.background.wants_collect(), "what must stay is no reason to collect again");
    assert_eq!(fixture.value("gone"), None);
    fixture.reopen();
    assert_eq!(fixture.value("gone"), None, "the delete had to stay in its file");
    assert_eq!(fixture.keys().len(), 51);
}

#[test]
fn a_delete_goes_with_the_last_put_that_it_hides() {
    let mut fixture = deleted_across_segments();
    fixture.background.collect().unwrap();
    for n in 0..50 {
        fixture.write(&[delete(&format!("keep/{n:03}"))]);
    }
    let last = fixture.write(&[put("busy", "last")]);
    fixture.seal();
    fixture.compact(last);
    while fixture.background.wants_collect() {
        fixture.background.collect().unwrap();
    }
    let records: u64 = fixture.background.manifest().segments.iter().map(|meta| meta.records).sum();
    assert_eq!(records, 1, "only the put of busy is left");
    fixture.reopen();
    assert_eq!(fixture.keys(), ["busy"]);
}

#[test]
fn nothing_is_collected_whose_successor_is_in_the_log_alone() {
    let mut random = Random(2);
    let mut fixture = Fixture::new();
    for _ in 0..20 {
        fixture.write(&[put_noise(&mut random, "a")]);
    }
    fixture.seal();
    let second = [put_noise(&mut random, "a")];
    let last = fixture.write(&second);
    fixture.compact(last);
    assert!(!fixture.background.wants_collect());
    assert!(fixture.background.wants_seal_for_collect());
    assert_eq!(fixture.background.collect().unwrap(), Default::default());
    // After a crash the log is replayed: the put must find its predecessor.
    fixture.reopen();
    let events = fixture.store.apply(last, &second);
    assert_eq!(events[0].kv.version, 21);
    fixture.store.publish(last);
    fixture.compact(last);
    fixture.seal();
    assert!(fixture.background.wants_collect());
    fixture.background.collect().unwrap();
    fixture.reopen();
    let meta = fixture.store.reader().newest(b"a").unwrap();
    assert_eq!((meta.version, meta.create_revision), (21, Revision(2)));
}

#[test]
fn events_at_the_compacted_revision_come_from_base_segments_too() {
    let mut random = Random(3);
    let mut fixture = Fixture::new();
    fixture.write(&[put("a", "1"), put("b", "1"), put("c", "1")]);
    for _ in 0..30 {
        fixture.write(&[put_noise(&mut random, "busy")]);
    }
    let at = fixture.write(&[put("z", "2"), delete("b"), put("a", "2")]);
    fixture.seal();
    let after = fixture.write(&[put("a", "3"), put("busy", "3")]);
    fixture.seal();
    fixture.compact(at);
    fixture.background.collect().unwrap();
    let kinds: Vec<_> = fixture
        .background
        .manifest()
        .segments
        .iter()
        .map(|meta| (meta.kind, meta.newest))
        .collect();
    assert_eq!(kinds, [(SegmentKind::Base, at.0), (SegmentKind::Log, after.0)]);
    for reopened in [false, true] {
        if reopened {
            fixture.reopen();
        }
        let reader = fixture.store.reader();
        let events = reader.events(at, after, 10, 1 << 20, Io::Blocking).unwrap();
        let shape: Vec<_> = events
            .iter()
            .flat_map(|(revision, events)| events.iter().map(|e| (*revision, e.kind, e.kv.key[0])))
            .collect();
        let (put, delete) = (EventKind::Put, EventKind::Delete);
        let expected = [
            (at, put, b'z'),
            (at, delete, b'b'),
            (at, put, b'a'),
            (after, put, b'a'),
            (after, put, b'b'),
        ];
        assert_eq!(shape, expected, "reopened: {reopened}");
        let below = reader.events(Revision(at.0 - 1), after, 10, 1 << 20, Io::Blocking);
        assert!(matches!(below, Err(ReadError::Compacted)));
    }
}

#[test]
fn a_key_may_change_twice_in_one_revision() {
    let mut fixture = Fixture::new();
    fixture.write(&[put("b", "0")]);
    let at =
        fixture.write(&[put("a", "1"), put("b", "1"), delete("a"), delete("b"), put("c", "1")]);
    assert_eq!(fixture.keys(), ["c"]);
    let reader = fixture.store.reader();
    let count = reader.range(&KeyRange::all(), at, 1, Projection::CountOnly, Io::NoWait).unwrap();
    assert_eq!(count.count, 1);
    let events = reader.events(at, at, 1, 1, Io::NoWait).unwrap();
    assert_eq!(events[0].1.len(), 5);
    drop(reader);
    fixture.seal();
    fixture.reopen();
    assert_eq!(fixture.keys(), ["c"]);
    fixture.compact(at);
    fixture.background.collect().unwrap();
    fixture.reopen();
    assert_eq!(fixture.keys(), ["c"]);
    let again = fixture.write(&[put("a", "2")]);
    let meta = fixture.store.reader().newest(b"a").unwrap();
    assert_eq!((meta.version, meta.create_revision), (1, again));
}

#[test]
fn a_fork_sees_nothing_above_its_revision_and_goes_its_own_way() {
    let mut random = Random(4);
    let mut fixture = Fixture::new();
    for n in 0..40 {
        fixture.write(&[put_noise(&mut random, &format!("k{}", n % 4)), put("n", &n.to_string())]);
    }
    fixture.seal();
    let home = tempfile::tempdir().unwrap();
    let (first, second) = (home.path().join("first"), home.path().join("second"));
    fork(fixture.dir.path(), &first, Revision(21)).unwrap();
    let open = |dir: &std::path::Path| Store::open(small(dir)).unwrap();
    let (mut store, mut background) = open(&first);
    assert_eq!(store.revision(), Revision(21));
    let reader = store.reader();
    let get = |reader: &crate::Reader, at| reader.get(b"n", at, Io::Blocking);
    assert_eq!(get(&reader, Revision(21)).unwrap().unwrap().value, "19");
    assert!(matches!(get(&reader, Revision(22)), Err(ReadError::Future)));
    // Different writes at revisions that the shared file has too.
    for _ in 0..3 {
        let next = store.revision().next();
        store.apply(next, &[put("n", "fork")]);
        store.publish(next);
    }
    let ticket = store.seal(LogPosition::default(), Vec::new());
    background.seal(ticket).unwrap();
    let events = reader.events(Revision(20), Revision(99), 99, 1 << 20, Io::Blocking).unwrap();
    let shape: Vec<_> =
        events.iter().map(|(revision, events)| (revision.0, events.len())).collect();
    assert_eq!(shape, [(20, 2), (21, 2), (22, 1), (23, 1), (24, 1)]);
    // A fork of the fork, below its cap.
    fork(&first, &second, Revision(5)).unwrap();
    let (third, _background) = open(&second);
    assert_eq!(get(&third.reader(), Revision(5)).unwrap().unwrap().value, "3");
    // The fork collects the shared file; the original keeps it.
    store.compact(Revision(24));
    while background.compaction_step() {}
    while background.wants_collect() {
        background.collect().unwrap();
    }
    drop((store, background));
    let (store, background) = open(&first);
    assert_eq!(get(&store.reader(), Revision(24)).unwrap().unwrap().value, "fork");
    assert!(background.manifest().segments.iter().all(|meta| meta.cap.is_none()));
    assert_eq!(fixture.value("n").as_deref(), Some("39"));
    assert_eq!(fixture.value_at("n", Revision(22)).as_deref(), Some("20"));
}

#[test]
fn a_fork_is_refused_where_it_cannot_be() {
    let mut fixture = Fixture::new();
    for n in 0..10 {
        fixture.write(&[put("n", &n.to_string())]);
    }
    fixture.seal();
    fixture.compact(Revision(5));
    fixture.write(&[put("n", "not sealed")]);
    fixture.seal();
    fixture.write(&[put("n", "not sealed")]);
    let home = tempfile::tempdir().unwrap();
    for at in [4, 13] {
        let error = fork(fixture.dir.path(), &home.path().join("x"), Revision(at)).unwrap_err();
        assert!(matches!(error, crate::StoreError::ForkRevision { .. }), "{error}");
    }
    let error = fork(fixture.dir.path(), fixture.dir.path(), Revision(6)).unwrap_err();
    assert!(matches!(error, crate::StoreError::Locked { .. }), "{error}");
    std::fs::write(home.path().join("file"), b"x").unwrap();
    let error = fork(fixture.dir.path(), home.path(), Revision(6)).unwrap_err();
    assert!(matches!(error, crate::StoreError::ForkTarget { .. }), "{error}");
    let error = fork(home.path(), &home.path().join("y"), Revision(6)).unwrap_err();
    assert!(matches!(error, crate::StoreError::Missing { .. }), "{error}");
}

#[test]
fn bytes_in_use_fall_with_the_pass_and_bytes_on_disk_with_the_collection() {
    let mut random = Random(5);
    let dir = tempfile::tempdir().unwrap();
    let config = Config { seal_bytes: 64 << 10, ..Config::new(dir.path()) };
    let (mut store, mut background) = Store::open(config).unwrap();
    let reader = store.reader();
    for round in 0..40 {
        for _ in 0..60 {
            let next = store.revision().next();
            let mut random_put = || {
                let key = format!("/registry/{:06}", random.below(400));
                put_noise(&mut random, &key)
            };
            let keys: Vec<Write> = (0..4).map(|_| random_put()).collect();
            store.apply(next, &keys);
            store.publish(next);
        }
        let position = LogPosition { epoch: Epoch(1), index: LogIndex(round) };
        let ticket = store.seal(position, Vec::new());
        background.seal(ticket).unwrap();
        let before = reader.stats().bytes_in_use;
        store.compact(store.revision());
        while background.compaction_step() {}
        let after = reader.stats();
        assert!(round < 4 || after.bytes_in_use < before, "round {round}");
        let live: usize = reader
            .range(&KeyRange::all(), store.revision(), 0, Projection::Full, Io::Blocking)
            .unwrap()
            .kvs
            .iter()
            .map(|kv| crate::record::HEADER + kv.key.len() + kv.value.len())
            .sum();
        assert_eq!(after.bytes_in_use, live as u64, "nothing but the newest is in use");
        while background.wants_collect() {
            background.collect().unwrap();
        }
        let on_disk = reader.stats().bytes_on_disk;
        assert!(2 * on_disk <= 3 * live as u64, "round {round}: {on_disk} bytes for {live}");
    }
}

#[test]
fn many_small_segments_are_joined() {
    let mut random = Random(6);
    let mut fixture = Fixture::new();
    for n in 0..60 {
        let at = fixture.write(&[put_noise(&mut random, &format!("k{n:02}"))]);
        fixture.seal();
        fixture.compact(at);
        while fixture.background.wants_collect() {
            fixture.background.collect().unwrap();
        }
        assert!(fixture.background.manifest().segments.len() < 20);
    }
    fixture.reopen();
    assert_eq!(fixture.keys().len(), 60);
}

#[test]
fn a_pass_waits_for_readers_that_began_before() {
    let mut fixture = Fixture::new();
    fixture.write(&[put("a", "1")]);
    let last = fixture.write(&[put("a", "2")]);
    let shared = std::sync::Arc::clone(&fixture.background.shared);
    let before = fixture.store.reader().stats().bytes_in_use;
    let pin = shared.pins.pin(&shared, last.0 - 1);
    fixture.store.compact(last);
    assert!(fixture.background.compaction_step(), "there is more to do");
    assert_eq!(fixture.store.reader().stats().bytes_in_use, before);
    drop(pin);
    assert!(!fixture.background.compaction_step());
    assert!(fixture.store.reader().stats().bytes_in_use < before);
}

#[test]
fn a_replayed_compaction_never_goes_back() {
    let mut fixture = Fixture::new();
    for _ in 0..9 {
        fixture.write(&[put("a", "1")]);
    }
    fixture.compact(Revision(8));
    fixture.seal();
    fixture.reopen();
    fixture.store.compact(Revision(3));
    assert_eq!(fixture.store.reader().compacted(), Some(Revision(8)));
}

#[test]
fn a_tail_that_cannot_be_sealed_is_divided() {
    let mut random = Random(7);
    let mut fixture = Fixture::new();
    for n in 0..400 {
        fixture.write(&[put_noise(&mut random, &format!("k{n:03}"))]);
    }
    assert!(fixture.store.wants_seal());
    assert!(fixture.store.tail_bytes() > 400 * 200);
    assert_eq!(fixture.store.reader().stats().tail_bytes, fixture.store.tail_bytes() as u64);
    fixture.seal();
    assert_eq!(fixture.store.tail_bytes(), 0);
    assert!(fixture.segments().len() > 4, "each tail has become a segment");
    fixture.reopen();
    assert_eq!(fixture.keys().len(), 400);
}
