//! The basic paths, one by one.

use t4_kv_types::{EventKind, KeyRange};

use super::*;
use crate::{Io, KeyMeta, Projection, ReadError};

#[test]
fn a_new_store_is_empty_at_revision_one() {
    let fixture = Fixture::new();
    let reader = fixture.store.reader();
    assert_eq!(fixture.store.revision(), Revision(1));
    assert_eq!(fixture.store.position(), LogPosition::default());
    assert_eq!((reader.revision(), reader.compacted()), (Revision(1), None));
    assert_eq!(fixture.keys(), Vec::<String>::new());
    assert!(fixture.store.tables().is_empty());
}

#[test]
fn what_is_applied_shows_when_it_is_published() {
    let mut fixture = Fixture::new();
    let reader = fixture.store.reader();
    let events = fixture.store.apply(Revision(2), &[put("a", "1"), put("b", "2")]);
    assert_eq!(events.len(), 2);
    assert_eq!(reader.revision(), Revision(1));
    assert_eq!(reader.newest(b"a"), None);
    assert!(matches!(reader.get(b"a", Revision(2), Io::NoWait), Err(ReadError::Future)));
    fixture.store.publish(Revision(2));
    let meta = KeyMeta {
        create_revision: Revision(2),
        mod_revision: Revision(2),
        version: 1,
        lease: LeaseId::NONE,
    };
    assert_eq!(reader.newest(b"a"), Some(meta));
    assert_eq!(reader.get(b"a", Revision(2), Io::NoWait).unwrap().unwrap(), events[0].kv);
    fixture.store.apply(Revision(3), &[put("a", "3")]);
    fixture.store.apply(Revision(4), &[delete("a")]);
    assert_eq!(reader.newest(b"a"), Some(meta), "neither is visible");
    fixture.store.publish(Revision(3));
    assert_eq!(reader.newest(b"a").map(|meta| meta.version), Some(2));
    fixture.store.publish(Revision(4));
    assert_eq!(reader.newest(b"a"), None);
}

#[test]
fn everything_is_there_after_seal_and_reopen() {
    let mut fixture = Fixture::new();
    fixture.write(&[put("a", "1")]);
    fixture.write(&[put("a", "2"), put("b", "x")]);
    let big = "large".repeat(40_000);
    fixture.write(&[put("big", &big)]);
    fixture.seal();
    fixture.write(&[put("lost", "the log would replay it")]);
    fixture.reopen();
    assert_eq!(fixture.store.position().index, LogIndex(3));
    assert_eq!(fixture.keys(), ["a", "b", "big"]);
    assert_eq!(fixture.value_at("a", Revision(2)).as_deref(), Some("1"));
    assert_eq!(fixture.value("a").as_deref(), Some("2"));
    assert_eq!(fixture.value("big"), Some(big));
    let meta = fixture.store.reader().newest(b"a").unwrap();
    assert_eq!((meta.version, meta.create_revision), (2, Revision(2)));
}

#[test]
fn a_page_has_the_count_of_the_whole_range() {
    let mut fixture = Fixture::new();
    for n in 0..1000 {
        fixture.write(&[put(&format!("k{n:04}"), "v")]);
    }
    let reader = fixture.store.reader();
    for at in [1001, 1000, 600, 2] {
        let page = reader
            .range(&KeyRange::prefix("k"), Revision(at), 10, Projection::Full, Io::NoWait)
            .unwrap();
        assert_eq!(page.count, at as u64 - 1);
        assert_eq!(page.kvs.len() as u64, page.count.min(10));
        let counted = reader
            .range(&KeyRange::prefix("k"), Revision(at), 3, Projection::CountOnly, Io::NoWait)
            .unwrap();
        assert_eq!((counted.count, counted.kvs.len()), (page.count, 0));
    }
}

#[test]
fn events_come_in_whole_revisions() {
    let mut fixture = Fixture::new();
    fixture.write(&[put("a", "1"), put("b", "1")]);
    fixture.seal();
    fixture.write(&[delete("a")]);
    fixture.write(&[put("c", "3"), put("d", "3"), put("e", "3")]);
    let reader = fixture.store.reader();
    let events = reader.events(Revision(1), Revision(99), 100, 1 << 20, Io::Blocking).unwrap();
    let shape: Vec<(i64, usize)> = events.iter().map(|(r, events)| (r.0, events.len())).collect();
    assert_eq!(shape, [(2, 2), (3, 1), (4, 3)]);
    assert_eq!(events[1].1[0].kind, EventKind::Delete);
    let one = reader.events(Revision(2), Revision(4), 1, 1 << 20, Io::Blocking).unwrap();
    assert_eq!(one, events[..1]);
    let few_bytes = reader.events(Revision(2), Revision(4), 100, 1, Io::Blocking).unwrap();
    assert_eq!(few_bytes, events[..1]);
    let none = reader.events(Revision(5), Revision(9), 100, 1, Io::Blocking).unwrap();
    assert!(none.is_empty());
}
