//! Opening a store read-only.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{Fixture, put, small};
use crate::{Config, Io, Store, StoreError};

fn every_file(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn close(fixture: Fixture) -> tempfile::TempDir {
    let Fixture { dir, store, background, .. } = fixture;
    drop((store, background));
    dir
}

#[test]
fn finds_what_is_sealed_takes_a_log_and_writes_nothing() {
    let mut fixture = Fixture::new();
    for at in 0..200 {
        fixture.write(&[put(&format!("k{at:03}"), "sealed")]);
    }
    fixture.seal();
    let sealed = fixture.store.revision();
    let dir = close(fixture);
    // The leftovers of an interrupted seal stay in place.
    fs::write(dir.path().join(crate::manifest::TEMPORARY), b"half").unwrap();
    let before = every_file(dir.path());

    let mut store = Store::open_read_only(small(dir.path())).unwrap();
    assert_eq!(store.revision(), sealed);
    // Several times the size at which a seal would be due.
    let value = "v".repeat(1 << 10);
    for _ in 0..40 {
        let next = store.revision().next();
        store.apply(next, &[put("k007", &value)]);
        store.publish(next);
    }
    store.compact(store.revision());
    let reader = store.reader();
    let found = reader.get(b"k007", reader.revision(), Io::Blocking).unwrap().unwrap();
    assert_eq!((found.value.as_ref(), found.version), (value.as_bytes(), 41));
    drop((store, reader));
    assert!(every_file(dir.path()) == before, "a file was changed");
}

#[test]
fn keeps_owners_out_but_not_other_readers() {
    let fixture = Fixture::new();
    let config = || small(fixture.dir.path());
    assert!(matches!(Store::open_read_only(config()), Err(StoreError::Locked { .. })));
    let dir = close(fixture);
    let config = || small(dir.path());
    let one = Store::open_read_only(config()).unwrap();
    let two = Store::open_read_only(config()).unwrap();
    assert!(matches!(Store::open(config()), Err(StoreError::Locked { .. })));
    drop((one, two));
    Store::open(config()).unwrap();
}

#[test]
fn makes_neither_directory_nor_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let error = Store::open_read_only(Config::new(&missing)).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }) && !missing.exists());

    let empty = Store::open_read_only(Config::new(dir.path())).unwrap();
    assert_eq!(empty.revision(), t4_kv_types::Revision::EMPTY_STORE);
    assert!(every_file(dir.path()).is_empty());
}

#[test]
fn segments_without_a_manifest_are_not_an_empty_store() {
    let mut fixture = Fixture::new();
    fixture.write(&[put("k", "v")]);
    fixture.seal();
    let dir = close(fixture);
    fs::remove_file(dir.path().join(crate::manifest::NAME)).unwrap();
    let error = Store::open_read_only(small(dir.path())).unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
}
