//! Compares the matcher with checking every watcher against every event.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use t4_kv_types::{Event, EventKind, KeyValue, Revision};

use super::*;

fn revision(at: i64, keys: &[Vec<u8>]) -> RevisionEvents {
    let event = |key: &Vec<u8>| Event {
        kind: EventKind::Put,
        kv: KeyValue { key: key.clone().into(), ..KeyValue::default() },
    };
    RevisionEvents::new(Revision(at), keys.iter().map(event).collect::<Arc<[Event]>>())
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![b'a', b'b', 0xff]), 0..3)
}

fn range() -> impl Strategy<Value = KeyRange> {
    (key(), key(), 0..4u8)
        .prop_map(|(start, end, shape)| match shape {
            0 => KeyRange::single(start),
            1 => KeyRange::prefix(start),
            2 => KeyRange { start: start.into(), end: RangeEnd::Open },
            _ => KeyRange { start: start.into(), end: RangeEnd::Before(end.into()) },
        })
        .prop_filter("the hub refuses empty ranges", |range| !range.is_empty())
}

type Found = BTreeMap<u32, Vec<(u32, u32)>>;

fn found(matcher: &mut Matcher, revisions: &[RevisionEvents]) -> Found {
    let mut found = Found::new();
    for hit in matcher.hits(revisions) {
        for watcher in matcher.members(hit.group) {
            assert!(found.insert(watcher, hit.at.clone()).is_none(), "a watcher is hit once");
        }
    }
    found
}

fn naive(watchers: &BTreeMap<u32, KeyRange>, revisions: &[RevisionEvents]) -> Found {
    let mut found = Found::new();
    for (&watcher, range) in watchers {
        for (r, revision) in (0..).zip(revisions) {
            for (e, event) in (0..).zip(revision.events.iter()) {
                if range.contains(&event.kv.key) {
                    found.entry(watcher).or_default().push((r, e));
                }
            }
        }
    }
    found
}

proptest! {
    #[test]
    fn agrees_with_asking_everyone(
        ranges in prop::collection::vec(range(), 1..40),
        gone in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        keys in prop::collection::vec(prop::collection::vec(key(), 1..8), 1..5),
    ) {
        let revisions: Vec<_> = (2..).zip(&keys).map(|(at, keys)| revision(at, keys)).collect();
        let mut matcher = Matcher::new();
        let mut watchers: BTreeMap<u32, KeyRange> = (0..).zip(ranges).collect();
        for (&watcher, range) in &watchers {
            matcher.insert(watcher, range);
        }
        prop_assert_eq!(found(&mut matcher, &revisions), naive(&watchers, &revisions));
        for index in gone {
            let watcher = u32::try_from(index.index(watchers.len().max(1))).unwrap();
            if let Some(range) = watchers.remove(&watcher) {
                matcher.remove(watcher, &range);
            }
        }
        prop_assert_eq!(found(&mut matcher, &revisions), naive(&watchers, &revisions));
        for (&watcher, range) in &watchers {
            matcher.remove(watcher, range);
        }
        prop_assert!(matcher.hits(&revisions).is_empty());
        prop_assert!(matcher.singles.is_empty() && matcher.ranges.len() == 0);
    }
}

#[test]
fn a_range_is_matched_once_however_many_watch_it() {
    let mut matcher = Matcher::new();
    for watcher in 0..10_000 {
        matcher.insert(watcher, &KeyRange::prefix("k"));
    }
    let keys: Vec<Vec<u8>> = (0..10_000).map(|i| format!("k{i}").into_bytes()).collect();
    let hits = matcher.hits(&[revision(2, &keys)]);
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].at.len(), 10_000);
    assert_eq!(matcher.members(hits[0].group).count(), 10_000);
}
