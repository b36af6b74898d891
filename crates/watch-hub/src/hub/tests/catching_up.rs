//! From history to live.

use super::*;

#[test]
fn a_start_in_the_past_is_read_then_live() {
    let mut bed = Bed::new(tiny());
    bed.publish_until(9, "a");
    let stream = bed.stream(&[since(3, everything())]);
    assert_eq!(bed.hub.stats().slow_watchers, 1);
    assert_eq!(bed.answer_all(), [3, 7], "8 and 9 are in memory, but 7 is not");
    assert_eq!(bed.hub.stats().slow_watchers, 0);
    bed.publish(&[put("b")]);
    assert_eq!(
        bed.pop_all(stream),
        [
            events(0, 9, &[(3, "a"), (4, "a"), (5, "a"), (6, "a")]),
            events(0, 9, &[(7, "a"), (8, "a"), (9, "a")]),
            events(0, 10, &[(10, "b")]),
        ]
    );
}

#[test]
fn the_newest_revisions_need_no_reading() {
    let mut bed = Bed::new(Limits::default());
    bed.publish_until(9, "a");
    let stream = bed.stream(&[since(7, everything())]);
    assert_eq!(bed.hub.history_wanted(), None);
    assert_eq!(bed.pop_all(stream), [events(0, 9, &[(7, "a"), (8, "a"), (9, "a")])]);
}

#[test]
fn revisions_published_during_the_last_read_come_from_memory() {
    let mut bed = Bed::new(tiny());
    bed.publish_until(5, "a");
    let stream = bed.stream(&[since(2, everything())]);
    let request = bed.hub.history_wanted().expect("2 is not in memory");
    assert_eq!((request.from, request.to), (Revision(2), Revision(5)));
    assert_eq!(bed.hub.history_wanted(), None, "one read at a time");
    bed.publish_until(7, "b");
    bed.answer(request);
    assert_eq!(bed.hub.history_wanted(), None);
    bed.publish(&[put("c")]);
    assert_eq!(
        bed.pop_all(stream),
        [
            events(0, 7, &[(2, "a"), (3, "a"), (4, "a"), (5, "a")]),
            events(0, 7, &[(6, "b"), (7, "b")]),
            events(0, 8, &[(8, "c")]),
        ]
    );
}

#[test]
fn a_store_that_is_ahead_repeats_nothing() {
    let mut bed = Bed::new(tiny());
    bed.publish_until(5, "a");
    let stream = bed.stream(&[since(2, everything())]);
    let request = bed.hub.history_wanted().expect("2 is not in memory");
    let revisions = (2..=7).map(|at| (Revision(at), events_at(at, &[put("a")], 1))).collect();
    bed.hub.history(HistoryChunk { from: request.from, through: Revision(7), revisions });
    bed.publish_until(7, "a");
    let revisions: Vec<i64> = bed
        .pop_all(stream)
        .into_iter()
        .flat_map(|seen| match seen {
            Seen::Events(_, _, pieces) => pieces,
            other => panic!("{other:?}"),
        })
        .map(|(revision, _)| revision)
        .collect();
    assert_eq!(revisions, [2, 3, 4, 5, 6, 7]);
}

#[test]
fn one_read_serves_all_and_far_positions_take_turns() {
    let mut bed = Bed::new(tiny());
    bed.publish_until(40, "a");
    let many: Vec<_> = [2, 3, 4, 20, 35].map(|start| since(start, everything())).into();
    let streams: Vec<_> = many.iter().map(|spec| bed.stream(std::slice::from_ref(spec))).collect();
    let mut asked = Vec::new();
    while let Some(request) = bed.hub.history_wanted() {
        asked.push(request.from.0);
        bed.answer(request);
        for &stream in &streams {
            bed.pop_all(stream);
        }
    }
    assert_eq!(asked[..7], [2, 20, 35, 6, 24, 10, 28], "35 to 38 is followed by memory");
    assert_eq!(bed.hub.stats().slow_watchers, 0);
}

#[test]
fn each_watcher_of_a_shared_read_gets_its_own_part() {
    let mut bed = Bed::new(tiny());
    bed.publish(&[put("a"), put("b")]);
    bed.publish(&[put("b"), delete("a")]);
    bed.publish_until(9, "z");
    let no_delete = WatchSpec { no_delete: true, ..key("a") };
    let stream = bed.stream(&[since(2, key("a")), since(3, key("a")), since(2, no_delete)]);
    bed.answer_all();
    assert_eq!(
        bed.pop_all(stream),
        [events(2, 9, &[(2, "a")]), events(0, 9, &[(2, "a"), (3, "a")]), events(1, 9, &[(3, "a")]),]
    );
}

#[test]
fn compaction_ends_those_who_are_not_beyond_it() {
    let mut bed = Bed::new(tiny());
    bed.publish_until(9, "a");
    bed.hub.compacted(Revision(5));
    let stream = bed.hub.open_stream();
    bed.hub.create(stream, None, since(4, everything()));
    bed.hub.create(stream, None, since(5, key("b")));
    bed.hub.create(stream, None, since(9, key("b")));
    bed.hub.create(stream, None, key("b"));
    assert_eq!(
        bed.pop_all(stream),
        [
            Seen::Created(0, 9),
            Seen::Canceled(0, CancelReason::Compacted(Revision(5))),
            Seen::Created(1, 9),
            Seen::Created(2, 9),
            Seen::Created(3, 9),
        ]
    );
    assert_eq!(bed.hub.stats().watchers, 3);
    bed.hub.compacted(Revision(9));
    assert_eq!(bed.pop_all(stream), [Seen::Canceled(1, CancelReason::Compacted(Revision(9)))]);
    assert_eq!((bed.hub.stats().watchers, bed.hub.stats().slow_watchers), (2, 0));
}

#[test]
fn a_read_that_meets_a_compaction_or_fails_is_not_the_end() {
    let mut bed = Bed::new(tiny());
    bed.publish_until(9, "a");
    let stream = bed.stream(&[since(2, key("a")), since(6, key("a"))]);
    assert_eq!(bed.hub.history_wanted().map(|request| request.from), Some(Revision(2)));
    bed.hub.history_failed();
    assert_eq!(bed.hub.history_wanted().map(|request| request.from), Some(Revision(6)));
    bed.hub.history_failed();
    assert_eq!(bed.hub.history_wanted().map(|request| request.from), Some(Revision(2)));
    bed.hub.history_compacted(Revision(6));
    assert_eq!(bed.answer_all(), [6]);
    assert_eq!(
        bed.pop_all(stream),
        [
            Seen::Canceled(0, CancelReason::Compacted(Revision(6))),
            events(1, 9, &[(6, "a"), (7, "a"), (8, "a"), (9, "a")]),
        ]
    );
}

#[test]
fn damaged_history_ends_those_who_need_it_and_nobody_else() {
    let mut bed = Bed::new(tiny());
    bed.publish_until(9, "a");
    let stream = bed.stream(&[since(2, key("a")), since(6, key("a")), everything()]);
    let other = bed.stream(&[since(2, key("b"))]);
    assert_eq!(bed.hub.history_wanted().map(|request| request.from), Some(Revision(2)));
    bed.hub.history_damaged("f.seg: corrupt");
    assert_eq!(bed.answer_all(), [6]);
    bed.publish(&[put("a")]);
    let damaged = || CancelReason::Damaged("f.seg: corrupt".into());
    let mut seen = bed.pop_all(stream);
    seen.sort_by_key(|seen| format!("{seen:?}"));
    assert_eq!(
        seen,
        [
            Seen::Canceled(0, damaged()),
            events(1, 10, &[(10, "a")]),
            events(1, 9, &[(6, "a"), (7, "a"), (8, "a"), (9, "a")]),
            events(2, 10, &[(10, "a")]),
        ]
    );
    assert_eq!(bed.pop_all(other), [Seen::Canceled(0, damaged())]);
    assert_eq!((bed.hub.stats().watchers, bed.hub.stats().slow_watchers), (2, 0));
}

#[test]
fn revisions_may_skip_numbers() {
    let mut bed = Bed::new(tiny());
    let stream = bed.stream(&[everything()]);
    for revision in [3, 10, 1_000_010, 1_000_011] {
        let events = events_at(revision, &[put("a")], 1);
        bed.store.push((Revision(revision), Arc::clone(&events)));
        bed.hub.publish(Revision(revision), &events);
    }
    let late = bed.stream(&[since(2, everything()), since(11, everything())]);
    bed.answer_all();
    let all: Vec<(i64, &str)> = [3, 10, 1_000_010, 1_000_011].map(|at| (at, "a")).into();
    let mut seen = bed.pop_all(late);
    seen.sort_by_key(|seen| format!("{seen:?}"));
    assert_eq!(seen, [events(0, 1_000_011, &all), events(1, 1_000_011, &all[2..])]);
    assert_eq!(bed.pop_all(stream).len(), 4);
}
