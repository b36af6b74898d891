//! Missing, damaged, foreign and leftover files; full disks; and crashes after
//! every single step.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use t4_kv_types::KeyRange;

use super::*;
use crate::open::open_on;
use crate::{Io, Projection, ReadError, StoreError, decode_segment, manifest, preamble};

/// A directory with a log segment, a base segment and a manifest.
fn filled() -> tempfile::TempDir {
    let mut fixture = Fixture::new();
    fixture.write(&[put("a", "1"), put("gone", "1"), put("b", &"compressible ".repeat(30))]);
    for n in 0..6 {
        fixture.write(&[put("busy", &format!("{n}").repeat(150))]);
    }
    let at = fixture.write(&[delete("gone")]);
    fixture.seal();
    fixture.compact(at);
    fixture.background.collect().unwrap();
    fixture.write(&[put("a", "2")]);
    fixture.write(&[delete("b")]);
    fixture.seal();
    assert_eq!(fixture.segments().len(), 2);
    let Fixture { dir, store, background, .. } = fixture;
    drop((store, background));
    dir
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn open(dir: &Path) -> Result<(Store, Background), StoreError> {
    Store::open(small(dir))
}

/// Everything that a reader can see, or the first error.
fn everything(store: &Store) -> Result<String, ReadError> {
    let reader = store.reader();
    let from = reader.compacted().unwrap_or(Revision(1));
    let mut seen = String::new();
    for at in from.0..=reader.revision().0 {
        let page =
            reader.range(&KeyRange::all(), Revision(at), 0, Projection::Full, Io::Blocking)?;
        seen += &format!("{at}: {page:?}\n");
    }
    let events = reader.events(from, reader.revision(), usize::MAX, usize::MAX, Io::Blocking)?;
    seen += &format!("{events:?}\n{:?}", reader.hash(reader.revision())?);
    Ok(seen)
}

#[test]
fn a_flipped_bit_anywhere_is_an_error_and_never_other_data() {
    let dir = filled();
    let intact = everything(&open(dir.path()).unwrap().0).unwrap();
    for (name, bytes) in files(dir.path()) {
        let path = dir.path().join(&name);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, &damaged).unwrap();
            match open(dir.path()) {
                Err(StoreError::Corrupt { file, .. }) => assert_eq!(file, path),
                Err(error) => panic!("byte {at} of {name}: {error}"),
                Ok((store, _)) => match everything(&store) {
                    Err(ReadError::Corrupt { file, .. }) => assert_eq!(file, path),
                    Err(error) => panic!("byte {at} of {name}: {error}"),
                    // Damage to a record that no reader can reach may go unnoticed.
                    Ok(seen) => assert_eq!(seen, intact, "byte {at} of {name}"),
                },
            }
            let faults = crate::verify(dir.path()).faults;
            assert!(!faults.is_empty(), "byte {at} of {name} is not found by verifying");
            assert!(
                faults.iter().all(|fault| fault.error.to_string().contains(&name)),
                "{faults:?}"
            );
            if name.ends_with(".seg") {
                assert!(decode_segment(&damaged).is_err(), "byte {at} of {name}");
            }
            assert_eq!(fs::read(&path).unwrap(), damaged, "nothing was overwritten");
        }
        fs::write(&path, &bytes).unwrap();
    }
    let sound = crate::verify(dir.path());
    assert!(sound.faults.is_empty() && sound.files == 3, "{sound:?}");
    assert_eq!(everything(&open(dir.path()).unwrap().0).unwrap(), intact);
}

/// Two records of the same length that swap places in an uncompressed block: each
/// checksum holds. A read of either one must fail.
#[test]
fn records_that_changed_places_are_noticed_by_every_read() {
    let mut fixture = Fixture::new();
    let large =
        |dir: &Path, cache_bytes| Config { cache_bytes, block_bytes: 16 << 10, ..small(dir) };
    let config = large(fixture.dir.path(), 0);
    fixture.reopen_with(config);
    let noise = |n: u64| -> String {
        let mut random = Random(n);
        (0..1000).map(|_| char::from(33 + random.below(90) as u8)).collect()
    };
    // Each has its own revision, except that the last two share one.
    for n in 0..6 {
        fixture.write(&[put(&format!("key{n}"), &noise(n))]);
    }
    fixture.write(&[put("key6", &noise(6)), put("key7", &noise(7))]);
    fixture.seal();
    let Fixture { dir, store, background, .. } = fixture;
    drop((store, background));
    let (name, bytes) =
        files(dir.path()).into_iter().find(|(name, _)| name.ends_with(".seg")).unwrap();
    let length = 52 + 4 + 1000;
    let place = |n: usize| 16 + n * length;
    for (one, other) in [(0, 1), (2, 5), (6, 7)] {
        let mut swapped = bytes.clone();
        swapped[place(one)..place(one) + length]
            .copy_from_slice(&bytes[place(other)..place(other) + length]);
        swapped[place(other)..place(other) + length]
            .copy_from_slice(&bytes[place(one)..place(one) + length]);
        fs::write(dir.path().join(&name), &swapped).unwrap();
        let is_corrupt = |error: ReadError| {
            assert!(matches!(&error, ReadError::Corrupt { file, .. } if file.ends_with(&name)));
        };
        for cache_bytes in [0, 1 << 20] {
            let (store, _background) = Store::open(large(dir.path(), cache_bytes)).unwrap();
            let (reader, at) = (store.reader(), store.revision());
            for n in 0..8 {
                let key = format!("key{n}");
                for _ in 0..2 {
                    match reader.get(key.as_bytes(), at, Io::Blocking) {
                        Ok(found) => {
                            assert!(n != one && n != other, "{n} of {one} and {other}");
                            assert_eq!(found.unwrap().value, noise(n as u64));
                        }
                        Err(error) => {
                            assert!(n == one || n == other, "{n} of {one} and {other}");
                            is_corrupt(error);
                        }
                    }
                }
            }
            // Ranges above and below the bulk threshold.
            for (start, end) in [(0, 8), (one, one + 1), (other, other + 1)] {
                let range =
                    KeyRange::from_wire(format!("key{start}").into(), format!("key{end}").into());
                for projection in [Projection::Full, Projection::KeysOnly] {
                    let page = reader.range(&range, Revision(at.0), 0, projection, Io::Blocking);
                    match page {
                        Err(error) => is_corrupt(error),
                        Ok(_) => assert_eq!(projection, Projection::KeysOnly),
                    }
                }
            }
            is_corrupt(reader.hash(at).unwrap_err());
            let events = reader.events(Revision(2), at, 100, 1 << 20, Io::Blocking);
            is_corrupt(events.unwrap_err());
        }
        let faults = crate::verify(dir.path()).faults;
        assert_eq!(faults.len(), 1, "{faults:?}");
        let told = faults[0].error.to_string();
        assert!(told.contains(&name) && told.contains("byte 16"), "{told}");
        assert_eq!(faults[0].offset, Some(16));
    }
}

#[test]
fn a_file_that_is_cut_short_is_refused() {
    let dir = filled();
    for (name, bytes) in files(dir.path()) {
        let path = dir.path().join(&name);
        for length in [0, 1, 15, 16, 17, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            let before = files(dir.path());
            let error = open(dir.path()).unwrap_err();
            assert!(matches!(&error, StoreError::Corrupt { file, .. } if *file == path), "{error}");
            assert!(!error.is_retryable());
            assert_eq!(files(dir.path()), before, "nothing was changed");
        }
        fs::write(&path, &bytes).unwrap();
    }
    open(dir.path()).unwrap();
}

#[test]
fn a_missing_file_is_named() {
    let dir = filled();
    for (name, bytes) in files(dir.path()) {
        let path = dir.path().join(&name);
        fs::remove_file(&path).unwrap();
        let before = files(dir.path());
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(&error, StoreError::Missing { file, .. } if *file == path), "{error}");
        assert!(error.to_string().contains(&name) && error.to_string().contains("restore"));
        assert_eq!(files(dir.path()), before, "nothing was changed");
        fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn newer_and_foreign_files_are_refused() {
    let dir = filled();
    for (name, bytes) in files(dir.path()) {
        let path = dir.path().join(&name);
        let magic: [u8; 8] = bytes[..8].try_into().unwrap();
        let newer = [&preamble::encode(&magic, 9)[..], b"whatever is in there then"].concat();
        for (content, newer) in [(newer, true), (b"#!/bin/sh\necho not ours\n".to_vec(), false)] {
            fs::write(&path, &content).unwrap();
            let error = open(dir.path()).unwrap_err();
            match &error {
                StoreError::NewerFormat { file, found: 9, known: 1 } if newer => {
                    assert_eq!(*file, path);
                }
                StoreError::Foreign { file } if !newer => assert_eq!(*file, path),
                _ => panic!("{name}: {error}"),
            }
            assert_eq!(fs::read(&path).unwrap(), content, "nothing was overwritten");
        }
        fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn a_segment_under_the_name_of_another_is_refused() {
    let dir = filled();
    let segments: Vec<_> =
        files(dir.path()).into_iter().filter(|(name, _)| name.ends_with(".seg")).collect();
    fs::write(dir.path().join(&segments[0].0), &segments[1].1).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn leftovers_go_and_what_is_not_ours_stays() {
    let dir = filled();
    let before = files(dir.path());
    let unnamed = format!("{}.seg", "0123456789abcdef".repeat(4));
    for name in [crate::segment::TEMPORARY, manifest::TEMPORARY, &unnamed] {
        fs::write(dir.path().join(name), b"half").unwrap();
    }
    for name in ["notes.txt", "short.seg", "other.tmp"] {
        fs::write(dir.path().join(name), b"mine").unwrap();
    }
    open(dir.path()).unwrap();
    let mut expected = before;
    for name in ["notes.txt", "short.seg", "other.tmp"] {
        expected.insert(name.into(), b"mine".into());
    }
    assert_eq!(files(dir.path()), expected);
}

#[test]
fn a_directory_has_one_owner() {
    let fixture = Fixture::new();
    let error = open(fixture.dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    let reader = fixture.store.reader();
    let Fixture { dir, store, background, .. } = fixture;
    drop((store, background));
    open(dir.path()).unwrap();
    drop(reader);
}

/// A store with something to seal and something to collect.
fn laden(dir: &Path, disk: &Disk) -> (Store, Background) {
    let (mut store, mut background) = open_on(disk.clone(), small(dir)).unwrap();
    let write = |store: &mut Store, value: &str| {
        let next = store.revision().next();
        store.apply(next, &[put("busy", &value.repeat(300)), put(value, "1")]);
        store.publish(next);
    };
    for value in ["a", "b", "c", "d", "e"] {
        write(&mut store, value);
    }
    let ticket = store.seal(at(1), Vec::new());
    background.seal(ticket).unwrap();
    store.compact(store.revision());
    while background.compaction_step() {}
    write(&mut store, "f");
    (store, background)
}

fn at(index: u64) -> LogPosition {
    LogPosition { epoch: Epoch(1), index: LogIndex(index) }
}

#[test]
fn a_full_disk_loses_nothing_and_the_same_is_done_again() {
    for left in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        disk.faults.skip_flushes();
        let (mut store, mut background) = laden(dir.path(), &disk);
        let before = everything(&store).unwrap();
        disk.faults.plan(left, u64::MAX);
        let ticket = store.seal(at(2), Vec::new());
        let sealed = background.seal(ticket);
        let collected = background.collect();
        assert!(everything(&store).unwrap() == before, "after {left} steps");
        for error in [sealed.as_ref().err(), collected.as_ref().err()].into_iter().flatten() {
            assert!(matches!(error, StoreError::NoSpace { .. }) && error.is_retryable(), "{error}");
        }
        disk.faults.heal();
        assert_eq!(background.unfinished_seals(), usize::from(sealed.is_err()));
        assert_eq!(background.retry_seals().unwrap(), at(2));
        background.collect().unwrap();
        assert!(!background.wants_collect());
        assert!(everything(&store).unwrap() == before, "after {left} steps");
        let named = background.manifest().segments.len();
        drop((store, background));
        let (store, _) = open(dir.path()).unwrap();
        assert!(everything(&store).unwrap() == before, "after {left} steps");
        assert_eq!(files(dir.path()).len(), named + 1, "no leftovers");
        if sealed.is_ok() && collected.is_ok() {
            return assert!(left > 10, "the faults were somewhere");
        }
    }
}

#[test]
fn a_failed_flush_is_final_and_loses_nothing() {
    for left in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        disk.faults.skip_flushes();
        let (mut store, mut background) = laden(dir.path(), &disk);
        let before = everything(&store).unwrap();
        disk.faults.take_steps();
        disk.faults.fail_flush(left);
        let ticket = store.seal(at(2), Vec::new());
        let sealed = background.seal(ticket);
        let collected = background.collect();
        assert!(everything(&store).unwrap() == before, "after {left} flushes");
        let Some(told) = background.failed_flush().map(str::to_owned) else {
            sealed.and(collected.map(|_| at(2))).unwrap();
            return assert!(left > 5, "the faults were somewhere");
        };
        assert!(told.contains("flushing") && told.contains("failed"), "{told}");
        // Even if the disk has recovered, it is not used again.
        disk.faults.take_steps();
        let ticket = store.seal(at(3), Vec::new());
        let error = background.seal(ticket).unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }) && !error.is_retryable(), "{error}");
        assert_eq!(disk.faults.take_steps(), Vec::<String>::new());
        drop((store, background));
        let (store, _) = open(dir.path()).unwrap();
        // The last seal may be there; if so, it is complete.
        let reached = store.position();
        assert!([at(1), at(2)].contains(&reached), "{reached:?}");
        assert!(sealed.is_err() || reached == at(2), "a seal that was reported is durable");
        assert!(reached == at(1) || everything(&store).unwrap() == before);
    }
}

#[test]
fn without_files_to_open_a_seal_is_tried_again() {
    let mfile = || io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
    let error = StoreError::io("segment.tmp", "creating", mfile());
    assert!(matches!(error, StoreError::Exhausted { .. }) && error.is_retryable());
    let told = error.to_string();
    assert!(told.contains("no open files") && told.contains("Too many open files"), "{told}");
}

#[test]
fn a_crash_after_any_step_leaves_the_state_before_or_after() {
    for left in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        disk.faults.skip_flushes();
        let (mut store, mut background) = laden(dir.path(), &disk);
        let after = everything(&store).unwrap();
        disk.faults.plan(left, u64::MAX);
        let ticket = store.seal(at(2), Vec::new());
        let sealed = background.seal(ticket);
        let collected = background.collect();
        drop((store, background));
        let (mut store, background) = open(dir.path()).unwrap();
        if store.position() == at(1) {
            assert!(sealed.is_err(), "a seal that was reported is durable");
            store.compact(store.revision());
            let next = store.revision().next();
            store.apply(next, &[put("busy", &"f".repeat(300)), put("f", "1")]);
            store.publish(next);
        }
        assert!(everything(&store).unwrap() == after, "after {left} steps");
        assert_eq!(files(dir.path()).len(), background.manifest().segments.len() + 1);
        if sealed.is_ok() && collected.is_ok() {
            return;
        }
    }
}

#[test]
fn a_name_becomes_durable_after_what_it_stands_for() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let (mut store, mut background) = laden(dir.path(), &disk);
    disk.faults.take_steps();
    let ticket = store.seal(at(2), Vec::new());
    background.seal(ticket).unwrap();
    let name = dir.path().file_name().unwrap().to_string_lossy();
    let expected = [
        "creating segment.tmp",
        "writing segment.tmp",
        "flushing segment.tmp",
        "renaming segment.tmp",
        "creating MANIFEST.tmp",
        &format!("flushing the directory {name}"),
        "writing MANIFEST.tmp",
        "flushing MANIFEST.tmp",
        "renaming MANIFEST.tmp",
        &format!("flushing the directory {name}"),
    ];
    assert_eq!(disk.faults.take_steps(), expected);
    background.collect().unwrap();
    let steps = disk.faults.take_steps();
    let place = |wanted: &str| steps.iter().rposition(|step| step.starts_with(wanted)).unwrap();
    assert_eq!(steps[..10], expected);
    assert!(
        place("flushing the directory")
            < steps.iter().position(|s| s.starts_with("removing")).unwrap()
    );
}
