//! Finds the author of each revision.
//!
//! An acknowledged write reports its revision. Every other revision belongs to
//! a write whose answer was lost, or to the end of a lease.

use std::collections::HashMap;

use t4_kv_types::{EventKind, LeaseId};

use crate::evaluate::{changed, evaluate, values};
use crate::order::Order;
use crate::store::Store;
use crate::verdict::{Fault, Verdict};
use crate::{Call, Outcome, Request, WatchEvent};

/// The author of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// The call with this index: a write, or the revocation of a lease with keys.
    Call(usize),
    /// A lease that expired with its keys, or was revoked by a call without an
    /// answer.
    Lease(LeaseId),
}

/// The events of each revision, in order.
pub(crate) fn revisions(log: &[WatchEvent]) -> impl Iterator<Item = &[WatchEvent]> {
    log.chunk_by(|a, b| a.revision() == b.revision())
}

/// The calls that were acknowledged with a change of keys, by revision.
pub(crate) fn acknowledged(calls: &[Call], verdict: &mut Verdict) -> HashMap<i64, usize> {
    let mut claims = HashMap::new();
    for (index, call) in calls.iter().enumerate() {
        let Outcome::Done { revision, response } = &call.outcome else { continue };
        if !changed(response) {
            continue;
        }
        if let Some(other) = claims.insert(revision.0, index) {
            let detail = format!("revision {revision} is acknowledged twice");
            verdict.add(Fault::RevisionReused, detail, &[other, index]);
        }
    }
    claims
}

/// Finds the author of each revision of the log.
pub(crate) fn find(
    calls: &[Call],
    log: &[WatchEvent],
    store: &Store,
    order: &Order,
    claims: &HashMap<i64, usize>,
    verdict: &mut Verdict,
) -> HashMap<i64, Author> {
    let mut authors: HashMap<i64, Author> =
        claims.iter().map(|(revision, index)| (*revision, Author::Call(*index))).collect();
    let open: Vec<usize> =
        (0..calls.len()).filter(|&index| calls[index].outcome == Outcome::Unknown).collect();
    let orphans: Vec<&[WatchEvent]> =
        revisions(log).filter(|events| !claims.contains_key(&events[0].revision().0)).collect();
    let feasible: Vec<Vec<usize>> = orphans
        .iter()
        .map(|events| {
            let fits = |index: &&usize| fits(&calls[**index], events, store, order);
            open.iter().filter(fits).copied().collect()
        })
        .collect();
    let matched = match_up(&feasible);
    let revokes = revocations(calls);
    for (place, events) in orphans.iter().enumerate() {
        let at = events[0].revision().0;
        let lease = lease_that_ended(events, store);
        let revoked = lease.and_then(|id| revokes.get(&(at, id)).copied());
        let author = revoked
            .map(Author::Call)
            .or(matched[place].map(Author::Call))
            .or(lease.map(Author::Lease));
        match author {
            Some(author) => drop(authors.insert(at, author)),
            None => foreign(calls, events, &matched, verdict),
        }
    }
    authors
}

/// Whether a call without an answer can have produced these events.
fn fits(call: &Call, events: &[WatchEvent], store: &Store, order: &Order) -> bool {
    let at = events[0].revision().0;
    let in_time = order.floor(call.invoked).0 < at && order.birth(at).0 <= call.returned;
    in_time && makes(call, events, store)
}

/// Whether a call on the previous state produces exactly these events.
pub(crate) fn makes(call: &Call, events: &[WatchEvent], store: &Store) -> bool {
    let at = events[0].revision().0;
    let Some(Ok(evaluated)) = evaluate(store, &call.request, at - 1) else { return false };
    let same =
        |(made, event): (&(EventKind, _), &WatchEvent)| made.0 == event.kind && made.1 == event.kv;
    evaluated.events.len() == events.len() && evaluated.events.iter().zip(events).all(same)
}

/// Maximum matching by augmenting paths: assigns distinct calls to as many
/// revisions as possible.
fn match_up(feasible: &[Vec<usize>]) -> Vec<Option<usize>> {
    let mut taken: HashMap<usize, usize> = HashMap::new();
    for place in 0..feasible.len() {
        augment(place, feasible, &mut taken, &mut Vec::new());
    }
    let mut matched = vec![None; feasible.len()];
    for (call, place) in taken {
        matched[place] = Some(call);
    }
    matched
}

fn augment(
    place: usize,
    feasible: &[Vec<usize>],
    taken: &mut HashMap<usize, usize>,
    tried: &mut Vec<usize>,
) -> bool {
    for &call in &feasible[place] {
        if tried.contains(&call) {
            continue;
        }
        tried.push(call);
        let free = match taken.get(&call).copied() {
            None => true,
            Some(other) => augment(other, feasible, taken, tried),
        };
        if free {
            taken.insert(call, place);
            return true;
        }
    }
    false
}

/// Acknowledged revocations by header revision and lease.
fn revocations(calls: &[Call]) -> HashMap<(i64, LeaseId), usize> {
    let mut found = HashMap::new();
    for (index, call) in calls.iter().enumerate() {
        if let (Request::LeaseRevoke(id), Outcome::Done { revision, .. }) =
            (&call.request, &call.outcome)
        {
            found.insert((revision.0, *id), index);
        }
    }
    found
}

/// The lease whose keys these events delete, all of them and in order.
fn lease_that_ended(events: &[WatchEvent], store: &Store) -> Option<LeaseId> {
    let before = events[0].revision().0 - 1;
    let id = store.get(&events[0].kv.key, before)?.lease;
    let keys = store.attached(id, before);
    let same = keys.len() == events.len()
        && keys
            .iter()
            .zip(events)
            .all(|(key, event)| event.kind == EventKind::Delete && event.kv.key == *key);
    (id.is_some() && same).then_some(id)
}

/// Reports events without an author, as precisely as possible.
fn foreign(
    calls: &[Call],
    events: &[WatchEvent],
    matched: &[Option<usize>],
    verdict: &mut Verdict,
) {
    let at = events[0].revision();
    let carries = |call: &Call| {
        values(&call.request).iter().any(|value| events.iter().any(|e| e.kv.value == **value))
    };
    let detail = format!("{events:?}");
    let Some(index) = calls.iter().position(carries) else {
        verdict.add(Fault::Foreign, detail, &[]);
        return;
    };
    let fault = match &calls[index].outcome {
        Outcome::Failed(_) => Fault::FailedWriteCounts,
        Outcome::Done { revision, .. } if *revision == at => Fault::WrongEffect,
        Outcome::Done { response, .. } if !changed(response) => Fault::FailedWriteCounts,
        Outcome::Done { .. } => Fault::AppliedTwice,
        Outcome::Unknown if matched.contains(&Some(index)) => Fault::AppliedTwice,
        // Only part of its effect, or an effect before it was sent.
        Outcome::Unknown => Fault::Foreign,
    };
    verdict.add(fault, detail, &[index]);
}
