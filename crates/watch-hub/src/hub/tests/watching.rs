//! Creating, matching, cancelling.

use super::*;

#[test]
fn a_live_watcher_gets_one_message_per_revision_that_concerns_it() {
    let mut bed = Bed::new(Limits::default());
    let stream = bed.stream(&[WatchSpec::new(KeyRange::prefix("a"))]);
    bed.publish(&[put("a1"), put("b"), delete("a2")]);
    bed.publish(&[put("b")]);
    bed.publish(&[put("a1"), delete("a1")]);
    assert_eq!(bed.pop_all(stream), [events(0, 2, &[(2, "a1 a2")]), events(0, 4, &[(4, "a1 a1")])]);
}

#[test]
fn every_shape_of_range_matches() {
    let mut bed = Bed::new(Limits::default());
    let ranges = [
        KeyRange::single("b"),
        KeyRange::prefix("b"),
        KeyRange::from_wire("b".into(), "c".into()),
        KeyRange::from_wire("b".into(), "\0".into()),
        KeyRange::all(),
    ];
    let stream = bed.stream(&ranges.map(WatchSpec::new));
    let mut who = |key: &str| {
        bed.publish(&[put(key)]);
        let mut who: Vec<i64> = bed
            .pop_all(stream)
            .into_iter()
            .map(|seen| match seen {
                Seen::Events(id, ..) => id,
                other => panic!("{other:?}"),
            })
            .collect();
        who.sort_unstable();
        who
    };
    assert_eq!(who("a"), [4]);
    assert_eq!(who("b"), [0, 1, 2, 3, 4]);
    assert_eq!(who("b\0"), [1, 2, 3, 4]);
    assert_eq!(who("c"), [3, 4]);
}

#[test]
fn filters_leave_out_and_an_emptied_message_is_not_sent() {
    let mut bed = Bed::new(Limits::default());
    let no_put = WatchSpec { no_put: true, ..everything() };
    let no_delete = WatchSpec { no_delete: true, ..everything() };
    let neither = WatchSpec { no_delete: true, ..no_put.clone() };
    let stream = bed.stream(&[no_put, no_delete, neither]);
    bed.publish(&[put("a"), delete("b"), put("c")]);
    bed.publish(&[put("a")]);
    let mut seen = bed.pop_all(stream);
    seen.sort_by_key(|seen| format!("{seen:?}"));
    assert_eq!(
        seen,
        [events(0, 2, &[(2, "b")]), events(1, 2, &[(2, "a c")]), events(1, 3, &[(3, "a")])]
    );
}

#[test]
fn options_travel_with_the_events() {
    let mut bed = Bed::new(Limits::default());
    let stream = bed.stream(&[WatchSpec { prev_kv: true, ..everything() }]);
    bed.publish(&[put("a")]);
    let Some(Message::Events { prev_kv, fragment, .. }) = bed.hub.pop(stream) else {
        panic!("a put");
    };
    assert!(prev_kv && !fragment);
}

#[test]
fn automatic_ids_skip_used_ones_and_are_not_given_twice() {
    let mut bed = Bed::new(Limits::default());
    let stream = bed.hub.open_stream();
    let mut create = |id| bed.hub.create(stream, id, everything());
    assert_eq!(create(None), Some(0));
    assert_eq!(create(Some(1)), Some(1));
    assert_eq!(create(Some(-7)), Some(-7));
    assert_eq!(create(None), Some(2));
    assert_eq!(create(Some(2)), None);
    assert!(bed.hub.cancel(stream, 2));
    assert_eq!(bed.hub.create(stream, None, everything()), Some(3));
    assert_eq!(bed.hub.create(stream, Some(2), everything()), Some(2));
    let other = bed.hub.open_stream();
    assert_eq!(bed.hub.create(other, None, everything()), Some(0));
    assert!(bed.pop_all(stream).contains(&Seen::Refused(RefusalReason::DuplicateId)));
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let mut bed = Bed::new(Limits::default());
    let stream = bed.stream(&[everything()]);
    let empty = KeyRange::from_wire("b".into(), "a".into());
    bed.hub.create(stream, Some(0), since(-1, WatchSpec::new(empty.clone())));
    bed.hub.create(stream, Some(0), WatchSpec::new(empty));
    bed.hub.create(stream, Some(0), everything());
    assert_eq!(
        bed.pop_all(stream),
        [RefusalReason::NegativeStart, RefusalReason::EmptyRange, RefusalReason::DuplicateId]
            .map(Seen::Refused)
    );
    assert_eq!(bed.hub.stats().watchers, 1);
}

#[test]
fn a_start_in_the_future_waits() {
    let mut bed = Bed::new(Limits::default());
    let stream = bed.stream(&[since(4, everything()), since(2, everything())]);
    bed.publish_until(5, "a");
    let of_first: Vec<_> = bed
        .pop_all(stream)
        .into_iter()
        .filter(|seen| matches!(seen, Seen::Events(0, ..)))
        .collect();
    assert_eq!(of_first, [events(0, 4, &[(4, "a")]), events(0, 5, &[(5, "a")])]);
}

#[test]
fn cancelling_comes_after_what_is_queued_and_frees_the_id() {
    let mut bed = Bed::new(Limits::default());
    let stream = bed.stream(&[everything()]);
    bed.publish(&[put("a")]);
    assert!(bed.hub.cancel(stream, 0));
    assert!(!bed.hub.cancel(stream, 0));
    bed.publish(&[put("a")]);
    bed.hub.create(stream, Some(0), everything());
    assert_eq!(
        bed.pop_all(stream),
        [
            events(0, 2, &[(2, "a")]),
            Seen::Canceled(0, CancelReason::Requested),
            Seen::Created(0, 3)
        ]
    );
}

#[test]
fn a_closed_stream_is_gone_and_its_id_means_nothing() {
    let mut bed = Bed::new(tiny());
    let stream = bed.stream(&[everything(), key("a"), since(5, key("b"))]);
    let other = bed.stream(&[key("a")]);
    bed.publish_until(9, "a");
    bed.hub.create(stream, None, since(2, everything()));
    bed.hub.close_stream(stream);
    bed.hub.close_stream(stream);
    let reused = bed.hub.open_stream();
    assert_ne!(reused, stream);
    assert_eq!(bed.hub.create(stream, None, everything()), None);
    assert!(!bed.hub.cancel(stream, 0) && !bed.hub.accepts_requests(stream));
    bed.hub.request_progress(stream);
    bed.hub.notify_progress(stream);
    assert_eq!((bed.pop(stream), bed.hub.backlog(stream)), (None, Backlog::default()));
    assert_eq!(bed.pop(reused), None);
    assert_eq!(bed.hub.take_ready(), [other]);
    bed.hub.close_stream(other);
    bed.hub.close_stream(reused);
    assert_eq!(bed.hub.stats(), Stats::default());
    assert_eq!(bed.hub.history_wanted(), None);
}

#[test]
fn ready_streams_are_named_once() {
    let mut bed = Bed::new(Limits::default());
    let (a, b) = (bed.stream(&[key("a"), key("b")]), bed.stream(&[key("b")]));
    assert_eq!(bed.hub.take_ready(), [a, b]);
    bed.publish(&[put("b")]);
    bed.publish(&[put("a")]);
    let mut ready = bed.hub.take_ready();
    ready.sort_unstable();
    assert_eq!(ready, [a, b]);
    assert_eq!(bed.hub.take_ready(), []);
    bed.publish(&[put("a")]);
    assert_eq!(bed.hub.take_ready(), [a]);
}

#[test]
fn watchers_of_one_range_share_their_batch() {
    let mut bed = Bed::new(Limits::default());
    let (a, b) = (bed.stream(&[key("a"), key("a")]), bed.stream(&[key("a")]));
    bed.publish(&[put("a"), put("b"), put("a")]);
    let batches: Vec<Batch> = [a, a, b]
        .into_iter()
        .filter_map(|stream| match bed.hub.pop(stream) {
            Some(Message::Events { batch, .. }) => Some(batch),
            _ => None,
        })
        .collect();
    assert_eq!(batches.len(), 3);
    assert!(batches.iter().all(|batch| batch.is_shared_with(&batches[0])));
}

/// This is not a time limit, but a quadratic algorithm would take minutes.
#[test]
fn ten_thousand_events_meet_ten_thousand_watchers() {
    const MANY: usize = 10_000;
    let mut bed = Bed::new(Limits::default());
    let name = |i: usize| format!("key-{i:05}");
    let specs: Vec<_> = (0..MANY)
        .map(|i| match i % 4 {
            0 => key(&name(i)),
            1 => WatchSpec::new(KeyRange::prefix(name(i))),
            2 => WatchSpec::new(KeyRange::from_wire(name(i).into(), name(i + 2).into())),
            _ => WatchSpec::new(KeyRange::prefix("key-")),
        })
        .collect();
    let stream = bed.stream(&specs);
    let names: Vec<String> = (0..MANY).map(name).collect();
    let changes: Vec<_> = names.iter().map(|name| put(name)).collect();
    bed.publish(&changes);
    let per_kind = MANY / 4;
    assert_eq!(bed.hub.backlog(stream).messages, MANY);
    assert_eq!(bed.hub.stats().pending_events, per_kind * (1 + 1 + 2) + per_kind * MANY);
    bed.hub.close_stream(stream);
    assert_eq!(bed.hub.stats(), Stats::default());
}

#[test]
fn a_watcher_from_now_begins_after_what_readers_see() {
    let mut bed = Bed::new(Limits::default());
    // Published up to 2; readers see 4.
    bed.publish(&[put("a")]);
    bed.hub.visible(Revision(4));
    bed.hub.visible(Revision(3));
    let stream = bed.hub.open_stream();
    bed.hub.create(stream, None, key("a"));
    bed.hub.create(stream, None, since(4, key("a")));
    let refused = since(-1, key("a"));
    bed.hub.create(stream, None, refused);
    assert_eq!(bed.pop(stream), Some(Seen::Created(0, 4)));
    assert_eq!(bed.pop(stream), Some(Seen::Created(1, 4)));
    let Some(Message::CreateRefused { revision, .. }) = bed.hub.pop(stream) else {
        panic!("it is refused");
    };
    assert_eq!(revision, Revision(4));
    let of = |id: i64, at: i64| events(id, at, &[(at, "a")]);
    bed.publish_until(4, "a");
    assert_eq!(bed.pop_all(stream), [of(1, 4)]);
    bed.publish(&[put("a")]);
    let both = bed.pop_all(stream);
    assert!(both.len() == 2 && both.contains(&of(0, 5)) && both.contains(&of(1, 5)), "{both:?}");
    assert!(bed.hub.cancel(stream, 0));
    bed.hub.visible(Revision(9));
    assert!(bed.hub.cancel(stream, 1));
    let at = |message| match message {
        Some(Message::Canceled { revision, .. }) => revision.0,
        other => panic!("{other:?}"),
    };
    assert_eq!((at(bed.hub.pop(stream)), at(bed.hub.pop(stream))), (5, 9));
}
