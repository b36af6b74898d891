//! The checker finds what it is for, and passes what is right.

use super::*;

fn id(number: u32) -> AttemptId {
    AttemptId { writer: 1, number }
}

fn put(number: u32, key: &str) -> Change {
    Change::Put(key.to_owned().into(), id(number).value(0))
}

fn delete(key: &str) -> Change {
    Change::Delete(key.to_owned().into())
}

// Attempts follow each other: number n begins at 10n and ends at 10n + 5.
fn attempt(number: u32, changes: Vec<Change>, outcome: Outcome) -> Attempt {
    let began = u64::from(number) * 10;
    let ended = if outcome == Outcome::Unknown { u64::MAX } else { began + 5 };
    Attempt { id: id(number), changes, began, ended, outcome }
}

fn put_event(number: u32, key: &str, at: i64, create_revision: i64, version: i64) -> Event {
    Event {
        r#type: EventType::Put as i32,
        kv: Some(KeyValue {
            key: key.to_owned().into(),
            value: id(number).value(0),
            mod_revision: at,
            create_revision,
            version,
            lease: 0,
        }),
        prev_kv: None,
    }
}

fn delete_event(key: &str, at: i64) -> Event {
    let kv = KeyValue { key: key.to_owned().into(), mod_revision: at, ..KeyValue::default() };
    Event { r#type: EventType::Delete as i32, kv: Some(kv), prev_kv: None }
}

// Three writes, all acknowledged: a put, a put of the same key, a transaction.
fn attempts() -> Vec<Attempt> {
    vec![
        attempt(1, vec![put(1, "a")], Outcome::Acknowledged(2)),
        attempt(2, vec![put(2, "a")], Outcome::Acknowledged(3)),
        attempt(3, vec![put(3, "b"), put(3, "c"), delete("a")], Outcome::Acknowledged(4)),
    ]
}

fn events() -> Vec<Event> {
    vec![
        put_event(1, "a", 2, 2, 1),
        put_event(2, "a", 3, 2, 2),
        put_event(3, "b", 4, 4, 1),
        put_event(3, "c", 4, 4, 1),
        delete_event("a", 4),
    ]
}

fn judge(attempts: Vec<Attempt>, events: &[Event]) -> Vec<Violation> {
    Checker::default().round(attempts, 2, events)
}

#[test]
fn a_right_history_passes_and_its_state_too() {
    let mut checker = Checker::default();
    assert_eq!(checker.round(attempts(), 2, &events()), []);
    let state: Vec<KeyValue> = events()[2..4].iter().filter_map(|e| e.kv.clone()).collect();
    assert_eq!(checker.state(4, &state), []);
    assert_eq!(checker.watched(&events()), None);
    assert_eq!(checker.watched(&events()[..3]), None);
}

#[test]
fn an_unknown_write_may_be_there_or_not() {
    let with = || {
        let mut attempts = attempts();
        attempts.push(attempt(4, vec![put(4, "d"), delete("none")], Outcome::Unknown));
        attempts
    };
    assert_eq!(judge(with(), &events()), []);
    let mut happened = events();
    happened.push(put_event(4, "d", 5, 5, 1));
    assert_eq!(judge(with(), &happened), []);
}

#[test]
fn an_unknown_write_may_still_happen_in_a_later_round() {
    let mut checker = Checker::default();
    let unknown = attempt(1, vec![put(1, "a")], Outcome::Unknown);
    assert_eq!(checker.round(vec![unknown], 2, &[]), []);
    assert_eq!(checker.round(Vec::new(), 2, &[put_event(1, "a", 2, 2, 1)]), []);
}

#[test]
fn a_lost_acknowledged_write_is_found() {
    // The last, so that no hole gives it away.
    assert_eq!(judge(attempts(), &events()[..2]), [Violation::Lost(id(3), 4)]);
}

#[test]
fn a_hole_is_found() {
    let mut events = events();
    events.remove(1);
    let found = judge(attempts(), &events);
    assert!(found.contains(&Violation::Hole { expected: 3, found: 4 }), "{found:?}");
    assert!(found.contains(&Violation::Lost(id(2), 3)), "{found:?}");
}

#[test]
fn a_repeated_event_is_found() {
    let mut repeated = events();
    repeated.insert(1, repeated[0].clone());
    let found = judge(attempts(), &repeated);
    assert!(found.contains(&Violation::Half(id(1), 2)), "{found:?}");
    let mut twice = events()[..2].to_vec();
    twice.push(put_event(1, "a", 4, 2, 3));
    let found = judge(attempts()[..2].to_vec(), &twice);
    // Where it stands now, it also follows a write that began after it ended.
    let overtook = Violation::Overtook(id(2), 3);
    assert_eq!(found, [Violation::Twice(id(1), 2, 4), Violation::Moved(id(1), 2, 4), overtook]);
}

#[test]
fn half_a_transaction_is_found() {
    let half: Vec<Event> = events()[..4].to_vec();
    assert_eq!(judge(attempts(), &half), [Violation::Half(id(3), 4)]);
}

#[test]
fn a_write_at_another_revision_is_found() {
    let mut moved = attempts();
    moved[2].outcome = Outcome::Acknowledged(9);
    assert_eq!(judge(moved, &events()), [Violation::Moved(id(3), 9, 4)]);
}

#[test]
fn a_foreign_revision_is_found() {
    let mut foreign = events();
    foreign.push(put_event(77, "x", 5, 5, 1));
    assert_eq!(judge(attempts(), &foreign), [Violation::Foreign(5)]);
}

#[test]
fn a_write_that_overtakes_is_found() {
    // Number 2 began after number 1 was acknowledged, and yet stands before it.
    let attempts = vec![
        attempt(1, vec![put(1, "a")], Outcome::Acknowledged(3)),
        attempt(2, vec![put(2, "b")], Outcome::Acknowledged(2)),
    ];
    let events = [put_event(2, "b", 2, 2, 1), put_event(1, "a", 3, 3, 1)];
    assert_eq!(judge(attempts, &events), [Violation::Overtook(id(2), 2)]);
}

#[test]
fn a_wrong_version_is_found() {
    let mut wrong = events();
    wrong[1] = put_event(2, "a", 3, 3, 1);
    assert_eq!(judge(attempts(), &wrong), [Violation::Record(3, "a".into())]);
}

#[test]
fn a_history_that_changes_after_a_restart_is_found() {
    let mut checker = Checker::default();
    assert_eq!(checker.round(attempts(), 2, &events()), []);
    assert_eq!(checker.round(Vec::new(), 2, &events()[..4]), [Violation::Rewritten(4)]);
    let mut other = events();
    other[1] = put_event(1, "a", 3, 2, 2);
    assert_eq!(checker.round(Vec::new(), 3, &other[1..]), [Violation::Rewritten(3)]);
}

#[test]
fn a_wrong_state_is_found() {
    let mut checker = Checker::default();
    assert_eq!(checker.round(attempts(), 2, &events()), []);
    let mut state: Vec<KeyValue> = events()[2..4].iter().filter_map(|e| e.kv.clone()).collect();
    let told = checker.state(3, &state);
    assert_eq!(told, [Violation::Current { history: 4, told: 3 }]);
    let lost = state.pop().expect("c");
    assert_eq!(checker.state(4, &state), [Violation::State("c".into())]);
    state.push(lost);
    // A deleted key that is back.
    state.push(events()[1].kv.clone().expect("a"));
    assert_eq!(checker.state(4, &state), [Violation::State("a".into())]);
}

#[test]
fn a_watcher_that_saw_otherwise_is_found() {
    let mut checker = Checker::default();
    assert_eq!(checker.round(attempts(), 2, &events()), []);
    let mut seen = events();
    seen.remove(2);
    assert_eq!(checker.watched(&seen), Some(2));
    let mut seen = events();
    seen.insert(1, seen[0].clone());
    assert_eq!(checker.watched(&seen[..3]), Some(1));
    // Something that was never committed.
    let mut seen = events();
    seen.push(put_event(9, "z", 5, 5, 1));
    assert_eq!(checker.watched(&seen), Some(5));
}
