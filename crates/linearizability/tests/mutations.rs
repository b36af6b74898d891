//! Valid histories pass; each history with one thing changed fails.

mod support;

use bytes::Bytes;
use support::Simulation;
use t4_kv_types::{KeyValue, LeaseId, Revision};
use t4_linearizability::{
    AuthRequest, Checker, Failure, History, Outcome, Request, Response, WatchNews,
};
use t4_testkit::{Rng, Seed};

const COMMAND: &str = "cargo test -p t4-linearizability --test mutations";

#[test]
fn good_histories_pass() {
    let seed = Seed::announce("good histories", COMMAND);
    for round in 0..40 {
        let mut rng = seed.round(round).rng();
        let mut simulation = Simulation::new(2 + (round % 12) as u32, &mut rng);
        let mut checker = Checker::new();
        for part in 0..3 {
            let history = simulation.history(2000);
            let verdict = checker.check(&history);
            let report = verdict.report(&history, 3);
            assert!(verdict.is_clean(), "seed {seed}, round {round}, part {part}:\n{report}");
            assert_eq!(verdict.inconclusive, 0, "seed {seed}, round {round}, part {part}");
        }
        assert_eq!(checker.revision(), simulation.server.revision());
    }
}

/// Corrupts a history; returns `None` if this one has nothing to corrupt.
type Spoil = fn(&mut History, &mut Rng) -> Option<()>;

const WAYS: &[(&str, Spoil)] = &[
    ("a put that is acknowledged a revision later", acknowledged_elsewhere),
    ("an answer that shows an earlier revision", earlier_header),
    ("a key-value with another value", other_value),
    ("a key-value with another version", other_version),
    ("a key that a range leaves out", left_out),
    ("a count that is one too many", other_count),
    ("an event that the log leaves out", event_too_few),
    ("an event that stands in the log twice", event_too_many),
    ("two events of the log in the other order", events_swapped),
    ("a previous key-value that is another", other_prev_kv),
    ("an acknowledged write that was refused", refused_after_all),
    ("an acknowledged write that is not in the log", lost_write),
    ("an event that a watch leaves out", watch_too_few),
    ("an event that a watch delivers twice", watch_too_many),
    ("two events of a watch in the other order", watch_swapped),
    ("a watch whose event has another value", watch_other_value),
    ("a watch whose previous key-value is another", watch_other_prev_kv),
    ("a watch from now on that delivers the past", watch_from_before),
    ("a lease that is shown with one key fewer", lease_key_too_few),
    ("a lease that is shown with one key more", lease_key_too_many),
    ("a long lease that is missing", long_lease_missing),
    ("a transaction that took the other branch", other_branch),
    ("a user that is missing in a list", user_missing),
];

#[test]
fn each_single_corruption_is_found() {
    let seed = Seed::announce("corruptions", COMMAND);
    for (number, (what, spoil)) in WAYS.iter().enumerate() {
        let mut spoiled = 0;
        for round in 0..200 {
            let mut rng = seed.round(number as u64 * 1000 + round).rng();
            let mut history = Simulation::new(5, &mut rng).history(1500);
            if spoil(&mut history, &mut rng).is_none() {
                continue;
            }
            let verdict = Checker::new().check(&history);
            assert!(!verdict.is_clean(), "seed {seed}, round {round}: {what} was not found");
            spoiled += 1;
            if spoiled == 8 {
                break;
            }
        }
        assert_eq!(spoiled, 8, "seed {seed}: too few histories had what {what:?} needs");
    }
}

/// Applies `find` to the answers of calls, starting at a random one, until it succeeds.
fn pick<T>(
    history: &mut History,
    rng: &mut Rng,
    find: impl Fn(&mut Request, &mut Revision, &mut Response) -> Option<T>,
) -> Option<T> {
    let calls = &mut history.calls;
    let from = rng.below(calls.len() as u64) as usize;
    calls.rotate_left(from);
    calls.iter_mut().find_map(|call| match &mut call.outcome {
        Outcome::Done { revision, response } => find(&mut call.request, revision, response),
        _ => None,
    })
}

fn acknowledged_elsewhere(history: &mut History, rng: &mut Rng) -> Option<()> {
    pick(history, rng, |_, revision, response| {
        matches!(response, Response::Put(_)).then(|| revision.0 += 1)
    })
}

fn earlier_header(history: &mut History, rng: &mut Rng) -> Option<()> {
    // Of a client that has seen a later revision before.
    let mut seen = std::collections::HashMap::new();
    history.calls.sort_by_key(|call| call.invoked);
    let mut found = Vec::new();
    for (index, call) in history.calls.iter().enumerate() {
        let Outcome::Done { revision, .. } = call.outcome else { continue };
        if seen.insert(call.client, revision).is_some_and(|before| before == revision) {
            found.push(index);
        }
    }
    let index = *found.get(rng.below(found.len().max(1) as u64) as usize)?;
    let Outcome::Done { revision, .. } = &mut history.calls[index].outcome else { return None };
    revision.0 -= 1;
    Some(())
}

fn in_a_range(
    history: &mut History,
    rng: &mut Rng,
    spoil: impl Fn(&mut Vec<KeyValue>),
) -> Option<()> {
    pick(history, rng, |request, _, response| match (request, response) {
        (Request::Range(range), Response::Range(result))
            if !result.kvs.is_empty() && !range.keys_only =>
        {
            spoil(&mut result.kvs);
            Some(())
        }
        _ => None,
    })
}

fn other_value(history: &mut History, rng: &mut Rng) -> Option<()> {
    in_a_range(history, rng, |kvs| kvs[0].value = Bytes::from_static(b"another"))
}

fn other_version(history: &mut History, rng: &mut Rng) -> Option<()> {
    in_a_range(history, rng, |kvs| kvs[0].version += 1)
}

fn left_out(history: &mut History, rng: &mut Rng) -> Option<()> {
    in_a_range(history, rng, |kvs| drop(kvs.pop()))
}

fn other_count(history: &mut History, rng: &mut Rng) -> Option<()> {
    pick(history, rng, |_, _, response| match response {
        Response::Range(result) => {
            result.count += 1;
            Some(())
        }
        _ => None,
    })
}

/// A place in the log, except the end, about which nothing more may be known.
fn place(history: &History, rng: &mut Rng) -> Option<usize> {
    let known = history.log.len().checked_sub(20)? as u64;
    (known > 0).then(|| rng.below(known) as usize)
}

fn event_too_few(history: &mut History, rng: &mut Rng) -> Option<()> {
    let place = place(history, rng)?;
    history.log.remove(place);
    Some(())
}

fn event_too_many(history: &mut History, rng: &mut Rng) -> Option<()> {
    let place = place(history, rng)?;
    history.log.insert(place, history.log[place].clone());
    Some(())
}

fn events_swapped(history: &mut History, rng: &mut Rng) -> Option<()> {
    let place = place(history, rng)?;
    history.log.swap(place, place + 1);
    Some(())
}

fn other_prev_kv(history: &mut History, rng: &mut Rng) -> Option<()> {
    // Below a compaction it may be missing; a different one is always wrong.
    let place = place(history, rng)?;
    let kv =
        KeyValue { key: history.log[place].kv.key.clone(), version: 99, ..KeyValue::default() };
    history.log[place].prev_kv = Some(kv);
    Some(())
}

fn refused_after_all(history: &mut History, rng: &mut Rng) -> Option<()> {
    let from = rng.below(history.calls.len() as u64) as usize;
    history.calls.rotate_left(from);
    let call = history
        .calls
        .iter_mut()
        .find(|call| matches!(call.outcome, Outcome::Done { response: Response::Put(_), .. }))?;
    call.outcome = Outcome::Failed(Failure::Rejected("for no reason".to_owned()));
    Some(())
}

fn lost_write(history: &mut History, rng: &mut Rng) -> Option<()> {
    // The last one, so that no revision is missing: all later reads show it too.
    let at = history.log.last()?.revision();
    let writer = history.calls.iter().any(|call| {
        matches!(call.outcome, Outcome::Done { revision, response: Response::Put(_) } if revision == at)
    });
    let _ = rng;
    history.log.retain(|event| event.revision() != at);
    writer.then_some(())
}

/// Applies `spoil` to the events of a watch response that is followed by
/// another response.
fn watched(
    history: &mut History,
    rng: &mut Rng,
    spoil: impl Fn(&mut Vec<t4_linearizability::WatchEvent>) -> Option<()>,
) -> Option<()> {
    if history.watches.is_empty() {
        return None;
    }
    let from = rng.below(history.watches.len() as u64) as usize;
    history.watches.rotate_left(from);
    history.watches.iter_mut().find_map(|watch| {
        // After a compaction, previous key-values may be missing.
        let last = watch.responses.len().checked_sub(1)?;
        watch.responses[..last].iter_mut().find_map(|response| match &mut response.news {
            WatchNews::Events { events, .. } => spoil(events),
            _ => None,
        })
    })
}

fn watch_too_few(history: &mut History, rng: &mut Rng) -> Option<()> {
    watched(history, rng, |events| {
        (events.len() > 1).then(|| {
            events.remove(0);
        })
    })
}

fn watch_too_many(history: &mut History, rng: &mut Rng) -> Option<()> {
    watched(history, rng, |events| {
        let event = events.first()?.clone();
        events.insert(0, event);
        Some(())
    })
}

fn watch_swapped(history: &mut History, rng: &mut Rng) -> Option<()> {
    watched(history, rng, |events| (events.len() > 1).then(|| events.swap(0, 1)))
}

fn watch_other_value(history: &mut History, rng: &mut Rng) -> Option<()> {
    watched(history, rng, |events| {
        events.first_mut()?.kv.value = Bytes::from_static(b"another");
        Some(())
    })
}

fn watch_other_prev_kv(history: &mut History, rng: &mut Rng) -> Option<()> {
    watched(history, rng, |events| {
        let prev_kv = events.iter_mut().find_map(|event| event.prev_kv.as_mut())?;
        prev_kv.mod_revision.0 -= 1;
        Some(())
    })
}

fn watch_from_before(history: &mut History, rng: &mut Rng) -> Option<()> {
    let _ = rng;
    let (log, calls) = (&history.log, &history.calls);
    // A revision that an answer had shown before the watch was requested.
    let shown_before = |at: u64| {
        let before = calls.iter().filter(|call| call.returned < at);
        let shown = before.filter_map(|call| match call.outcome {
            Outcome::Done { revision, .. } => Some(revision),
            _ => None,
        });
        shown.max().unwrap_or(Revision(0))
    };
    history.watches.iter_mut().find_map(|watch| {
        watch.created.filter(|_| watch.start.is_none() && !watch.no_put)?;
        let floor = shown_before(watch.invoked);
        let past = log.iter().filter(|event| event.revision() <= floor);
        let mut past = past.filter(|event| watch.range.contains(&event.kv.key));
        let event = past.next_back().filter(|event| !event.kv.value.is_empty())?.clone();
        let first = watch.responses.first_mut()?;
        let WatchNews::Events { events, .. } = &mut first.news else { return None };
        events.insert(0, event);
        Some(())
    })
}

fn lease_key_too_few(history: &mut History, rng: &mut Rng) -> Option<()> {
    pick(history, rng, |_, _, response| match response {
        // The only key becomes another one, which the lease never had.
        Response::LeaseTimeToLive { keys, .. } if keys.len() == 1 => {
            keys[0] = Bytes::from_static(b"k/000");
            Some(())
        }
        _ => None,
    })
}

fn lease_key_too_many(history: &mut History, rng: &mut Rng) -> Option<()> {
    pick(history, rng, |_, _, response| match response {
        Response::LeaseTimeToLive { keys, .. } if !keys.is_empty() => {
            keys.push(Bytes::from_static(b"k/000"));
            Some(())
        }
        _ => None,
    })
}

fn long_lease_missing(history: &mut History, rng: &mut Rng) -> Option<()> {
    // A lease that is not revoked after its grant, made to look missing.
    let id = LeaseId(1);
    let end = |call: &t4_linearizability::Call| matches!(call.request, Request::LeaseRevoke(revoked) if revoked == id);
    let last = history.calls.iter().filter(|call| end(call)).map(|call| call.returned).max();
    let granted = history.calls.iter().find(|call| {
        matches!(call.request, Request::LeaseGrant { id: granted, .. } if granted == id)
            && matches!(call.outcome, Outcome::Done { .. })
            && last.is_none_or(|last| call.invoked > last)
    });
    let since = granted?.returned;
    let from = rng.below(history.calls.len() as u64) as usize;
    history.calls.rotate_left(from);
    let look = history.calls.iter_mut().find(|call| {
        let this =
            matches!(call.request, Request::LeaseTimeToLive { id: asked, .. } if asked == id);
        this && call.invoked > since && matches!(call.outcome, Outcome::Done { .. })
    })?;
    let Outcome::Done { response, .. } = &mut look.outcome else { return None };
    *response = Response::LeaseTimeToLive { ttl_s: -1, granted_ttl_s: 0, keys: Vec::new() };
    Some(())
}

fn other_branch(history: &mut History, rng: &mut Rng) -> Option<()> {
    pick(history, rng, |_, _, response| match response {
        Response::Txn(result) => {
            result.succeeded = !result.succeeded;
            Some(())
        }
        _ => None,
    })
}

fn user_missing(history: &mut History, rng: &mut Rng) -> Option<()> {
    // No user has this name.
    pick(history, rng, |request, _, response| match (request, response) {
        (Request::Auth(AuthRequest::UserList), Response::Names(names)) => {
            names.push(Bytes::from_static(b"user9"));
            Some(())
        }
        _ => None,
    })
}
