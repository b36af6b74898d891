//! Streams that do not take their messages.

use std::collections::HashMap;

use super::*;

#[test]
fn a_full_queue_takes_no_more_events_and_all_come_later() {
    let mut bed = Bed::new(tiny());
    let (slow, prompt) = (bed.stream(&[everything()]), bed.stream(&[everything()]));
    for _ in 0..20 {
        bed.publish(&[put("a")]);
        assert_eq!(bed.pop_all(prompt).len(), 1);
    }
    // Three messages and one per watcher.
    assert_eq!(bed.hub.backlog(slow).messages, 4);
    assert_eq!(bed.hub.stats().slow_watchers, 1);
    assert_eq!(bed.hub.history_wanted(), None, "nothing is read for who has no room");
    assert_eq!(bed.pop(slow), Some(events(0, 2, &[(2, "a")])));
    assert_eq!(bed.hub.history_wanted(), None, "more than half is used");
    assert_eq!(bed.pop(slow), Some(events(0, 3, &[(3, "a")])));
    let mut revisions = Vec::new();
    loop {
        bed.answer_all();
        match bed.pop(slow) {
            Some(Seen::Events(0, _, pieces)) => revisions.extend(pieces.iter().map(|p| p.0)),
            Some(other) => panic!("{other:?}"),
            None => break,
        }
    }
    assert_eq!(revisions, (4..=21).collect::<Vec<_>>());
    assert_eq!(bed.hub.stats(), Stats { streams: 2, watchers: 2, ..Stats::default() });
    bed.publish(&[put("a")]);
    assert_eq!(bed.pop_all(slow), [events(0, 22, &[(22, "a")])]);
}

#[test]
fn only_watchers_that_match_fall_behind() {
    let mut bed = Bed::new(tiny());
    let stream = bed.stream(&[key("a"), key("b")]);
    bed.publish_until(20, "a");
    assert_eq!(bed.hub.stats().slow_watchers, 1);
    assert!(bed.hub.cancel(stream, 0));
    assert_eq!(bed.hub.stats().slow_watchers, 0);
    assert_eq!(bed.hub.streams.stream(0).behind, 0);
    bed.pop_all(stream);
    bed.publish(&[put("b")]);
    assert_eq!(bed.pop_all(stream), [events(1, 21, &[(21, "b")])]);
}

#[test]
fn cancelling_who_waits_gives_the_place_to_the_others() {
    let mut bed = Bed::new(tiny());
    let stream = bed.stream(&[key("a"), key("b")]);
    bed.publish_until(20, "a");
    assert_eq!(bed.hub.backlog(stream).messages, 5);
    bed.pop(stream);
    bed.hub.cancel(stream, 0);
    bed.pop(stream);
    bed.pop(stream);
    assert_eq!(bed.hub.backlog(stream).messages, 3, "more than half of 4");
    bed.publish(&[put("b")]);
    assert_eq!(bed.pop_all(stream).last(), Some(&events(1, 21, &[(21, "b")])));
}

#[test]
fn compaction_ends_who_waits_too_long() {
    let mut bed = Bed::new(tiny());
    let stream = bed.stream(&[key("a"), key("b")]);
    bed.publish_until(20, "a");
    bed.hub.compacted(Revision(7));
    assert_eq!(bed.hub.stats().watchers, 2, "7 itself can still be read");
    bed.hub.compacted(Revision(8));
    let seen = bed.pop_all(stream);
    assert_eq!(seen.len(), 6);
    assert_eq!(seen[4], events(0, 6, &[(6, "a")]));
    assert_eq!(seen[5], Seen::Canceled(0, CancelReason::Compacted(Revision(8))));
    bed.publish(&[put("b")]);
    assert_eq!(bed.pop_all(stream), [events(1, 21, &[(21, "b")])]);
}

#[test]
fn requests_wait_for_a_queue_with_room() {
    let mut bed = Bed::new(tiny());
    let stream = bed.hub.open_stream();
    let mut created = 0;
    while bed.hub.accepts_requests(stream) {
        bed.hub.create(stream, None, everything());
        created += 1;
    }
    assert_eq!(created, 3);
    bed.pop(stream);
    assert!(bed.hub.accepts_requests(stream));
}

/// A client that takes one message for each new one never drains its queue; a
/// watcher that found it full must not wait for as long as that lasts.
#[test]
fn a_live_watcher_does_not_take_the_places_of_a_waiting_one() {
    let mut bed = Bed::new(tiny());
    let stream = bed.stream(&[key("hot"), key("cold")]);
    bed.publish_until(6, "hot");
    bed.publish(&[put("cold")]);
    let mut took = (0..20).map(|_| {
        let seen = bed.pop(stream);
        bed.publish(&[put("hot")]);
        bed.answer_all();
        seen
    });
    assert!(took.any(|seen| matches!(seen, Some(Seen::Events(1, ..)))));
}

/// Either of two waiting watchers could fill the queue alone.
#[test]
fn the_one_furthest_behind_is_served_first() {
    let limits = Limits { stream_queue_bytes: 4_000, ..tiny() };
    let mut bed = Bed::new(limits);
    let stream = bed.stream(&[key("hot"), key("cold")]);
    let mut cold = 0;
    for _ in 0..200 {
        bed.publish_large(&[put("hot")], 1_500);
        bed.publish_large(&[put("hot"), put("cold")], 1_500);
        bed.answer_all();
        if let Some(Seen::Events(1, _, pieces)) = bed.pop(stream) {
            cold += pieces.len();
        }
    }
    assert!(cold > 20, "{cold}");
}

/// The bytes that a queue keeps in memory, each revision counted once.
fn pinned(messages: &[Message]) -> usize {
    let mut revisions: HashMap<*const Event, usize> = HashMap::new();
    for message in messages {
        let Message::Events { batch, .. } = message else { continue };
        for piece in batch.pieces() {
            let bytes = piece.events.iter().map(|e| e.kv.key.len() + e.kv.value.len()).sum();
            revisions.insert(piece.events.as_ptr(), bytes);
        }
    }
    revisions.values().sum()
}

/// Whichever messages share data, a stuck stream keeps a bounded amount in
/// memory.
#[test]
fn a_stuck_stream_keeps_a_bounded_amount_in_memory() {
    const REVISION: usize = 10_000;
    let limits = Limits {
        stream_queue_bytes: 100_000,
        history_bytes: 50_000,
        history_revisions: 5,
        recent_revisions: 1,
        ..Limits::default()
    };
    let mut bed = Bed::new(limits.clone());
    let mut specs = vec![everything(); 30];
    specs.extend((0..30).map(|i| key(&i.to_string())));
    let stream = bed.stream(&specs);
    let (mut most, mut at_most_messages) = (0, 0);
    for i in 0..400 {
        // One small event pins a large revision.
        let narrow = (i % 30).to_string();
        bed.publish_large(&[put("x"), put("y"), put(&narrow)], REVISION / 3);
        bed.hub.create(stream, None, since(2, everything()));
        bed.answer_all();
        if i % 7 == 0 {
            bed.pop(stream);
        }
        most = most.max(bed.hub.backlog(stream).bytes);
        at_most_messages = at_most_messages.max(bed.hub.backlog(stream).messages);
    }
    let room = limits.history_bytes + REVISION * 2;
    assert!(most <= limits.stream_queue_bytes + room + at_most_messages * 200, "{most}");
    let left: Vec<Message> = std::iter::from_fn(|| bed.hub.streams.pop(0)).collect();
    let pinned = pinned(&left);
    assert!(pinned >= REVISION, "the test has to measure something");
    assert!(pinned <= limits.stream_queue_bytes + 2 * room, "{pinned}");
}
