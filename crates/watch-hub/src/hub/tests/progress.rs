//! Progress messages.

use super::*;

#[test]
fn a_request_is_answered_at_once_behind_the_events() {
    let mut bed = Bed::new(Limits::default());
    let stream = bed.hub.open_stream();
    bed.hub.request_progress(stream);
    assert_eq!(bed.pop_all(stream), [], "nothing without watchers");
    let stream = bed.stream(&[key("a")]);
    bed.publish(&[put("a")]);
    bed.publish(&[put("b")]);
    bed.hub.request_progress(stream);
    bed.hub.request_progress(stream);
    assert_eq!(
        bed.pop_all(stream),
        [events(0, 2, &[(2, "a")]), Seen::Progress(-1, 3), Seen::Progress(-1, 3)]
    );
}

#[test]
fn a_request_is_not_answered_while_a_watcher_starts_in_the_future() {
    let mut bed = Bed::new(Limits::default());
    bed.publish_until(5, "a");
    let stream = bed.stream(&[key("b")]);
    let future = bed.hub.create(stream, None, since(7, key("b"))).expect("a watcher");
    bed.pop_all(stream);
    bed.hub.request_progress(stream);
    assert_eq!(bed.pop_all(stream), [], "7 is above 5");
    bed.publish(&[put("a")]);
    bed.hub.request_progress(stream);
    assert_eq!(bed.pop_all(stream), [], "7 is above 6, as etcd has it");
    bed.publish(&[put("a")]);
    bed.hub.request_progress(stream);
    assert_eq!(bed.pop_all(stream), [Seen::Progress(-1, 7)]);
    let later = bed.hub.create(stream, None, since(50, key("b"))).expect("a watcher");
    bed.hub.cancel(stream, later);
    bed.pop_all(stream);
    bed.hub.request_progress(stream);
    assert_eq!(bed.pop_all(stream), [Seen::Progress(-1, 7)], "the one in the future is gone");
    assert_eq!(future, 1);
}

#[test]
fn progress_is_not_ahead_of_those_who_catch_up() {
    let mut bed = Bed::new(tiny());
    bed.publish_until(20, "a");
    let stream = bed.stream(&[since(8, key("a")), since(5, key("a")), key("a")]);
    bed.hub.request_progress(stream);
    assert_eq!(bed.pop_all(stream), [Seen::Progress(-1, 4)]);
    let request = bed.hub.history_wanted().expect("5 is not in memory");
    bed.answer(request);
    bed.hub.request_progress(stream);
    assert_eq!(bed.pop_all(stream).last(), Some(&Seen::Progress(-1, 8)));
    bed.catch_up(stream);
    bed.hub.request_progress(stream);
    assert_eq!(bed.pop_all(stream), [Seen::Progress(-1, 20)]);
}

#[test]
fn progress_is_not_ahead_of_those_who_wait() {
    let mut bed = Bed::new(tiny());
    let stream = bed.stream(&[key("a"), key("b")]);
    bed.publish_until(20, "a");
    bed.hub.request_progress(stream);
    bed.hub.request_progress(stream);
    let seen = bed.pop_all(stream);
    assert_eq!(seen.len(), 6, "a full queue takes the newest answer only");
    assert_eq!(seen[4..], [events(0, 6, &[(6, "a")]), Seen::Progress(-1, 6)]);
}

#[test]
fn nothing_happened_at_the_revision_of_an_empty_store() {
    let mut bed = Bed::new(tiny());
    bed.publish_until(9, "a");
    let stream = bed.stream(&[since(1, key("a"))]);
    bed.hub.request_progress(stream);
    assert_eq!(bed.pop_all(stream), [Seen::Progress(-1, 1)]);
}

#[test]
fn the_tick_tells_quiet_live_watchers_that_asked() {
    let mut bed = Bed::new(tiny());
    let notify = |spec| WatchSpec { progress_notify: true, ..spec };
    let stream = bed.hub.open_stream();
    let specs = [
        notify(key("a")),
        key("a"),
        notify(key("b")),
        notify(since(99, key("b"))),
        notify(since(1, key("b"))),
    ];
    for spec in specs {
        bed.hub.create(stream, None, spec);
    }
    bed.pop_all(stream);
    bed.publish_until(5, "a");
    bed.pop_all(stream);
    bed.hub.notify_progress(stream);
    assert_eq!(bed.pop_all(stream), [Seen::Progress(2, 5)], "0 had events, 1 did not ask");
    bed.catch_up(stream);
    let caught_up = bed.hub.create(stream, None, notify(since(5, key("a"))));
    assert_eq!(caught_up, Some(5));
    bed.catch_up(stream);
    bed.hub.notify_progress(stream);
    assert_eq!(bed.pop_all(stream), [0, 2, 4].map(|id| Seen::Progress(id, 5)));
}

#[test]
fn ticks_do_not_fill_a_stuck_stream() {
    let mut bed = Bed::new(tiny());
    let stream = bed.stream(&[WatchSpec { progress_notify: true, ..key("a") }]);
    for _ in 0..100 {
        bed.hub.notify_progress(stream);
    }
    assert_eq!(bed.hub.backlog(stream).messages, 4);
}
