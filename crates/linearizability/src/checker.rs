//! Judges histories.

use std::collections::{BTreeSet, HashMap, HashSet};

use t4_kv_types::{LeaseId, Revision};

use crate::auth::Accounts;
use crate::authors::{self, Author};
use crate::compactions::NEVER;
use crate::evaluate::evaluate;
use crate::leases::LeaseStates;
use crate::order::{By, Order, Sight};
use crate::store::Store;
use crate::verdict::{Fault, Verdict, Violation};
use crate::watches::{self, Log};
use crate::{Call, Failure, History, Outcome, Request, Response, WatchEvent, sides};

/// Judges histories one after another; each starts where the previous one
/// ended.
#[derive(Clone, Debug)]
pub struct Checker {
    pub(crate) store: Store,
    // The events since the last compaction: watches may start there.
    log: Vec<WatchEvent>,
    // The highest revision that clients saw in earlier histories.
    base: i64,
    pub(crate) leases: LeaseStates,
    pub(crate) compacted: HashSet<i64>,
    pub(crate) accounts: HashSet<Accounts>,
    // The highest revision that any client requested to compact to.
    compaction_asked: i64,
}

impl Default for Checker {
    fn default() -> Checker {
        Checker::new()
    }
}

impl Checker {
    /// For a server that starts empty, at revision 1.
    #[must_use]
    pub fn new() -> Checker {
        Checker {
            store: Store::new(),
            log: Vec::new(),
            base: Revision::EMPTY_STORE.0,
            leases: LeaseStates::new(),
            compacted: HashSet::from([NEVER]),
            accounts: HashSet::from([Accounts::default()]),
            compaction_asked: NEVER,
        }
    }

    /// The last revision of the histories so far.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.store.last())
    }

    /// Judges the next history. After a history with violations, later ones are
    /// judged as if its log were correct.
    pub fn check(&mut self, history: &History) -> Verdict {
        let mut verdict = Verdict::default();
        let before = self.store.last();
        self.note_compactions(&history.calls);
        self.take_log(history, &mut verdict);
        let claims = authors::acknowledged(&history.calls, &mut verdict);
        lost(&history.calls, &claims, before, self.store.last(), &mut verdict);

        let mut sights = sights(history, &claims);
        let order = Order::new(&sights, self.base);
        let authors =
            authors::find(&history.calls, &history.log, &self.store, &order, &claims, &mut verdict);
        place_the_unanswered(&history.calls, &authors, &mut sights);
        let order = Order::new(&sights, self.base);
        went_back(&sights, &order, &mut verdict);

        let judge = Judge { history, store: &self.store, order: &order, authors: &authors };
        judge.effects(&mut verdict);
        judge.responses(&claims, &mut verdict);
        let (leases, compacted) = (self.leases.clone(), self.compacted.clone());
        let after = sides::check(&judge, leases, compacted, self.accounts.clone(), &mut verdict);
        after.store_into(self);
        self.log.extend_from_slice(&history.log);
        let log = Log { events: &self.log, compacted: self.compaction_asked };
        for (index, watch) in history.watches.iter().enumerate() {
            let (floor, _) = order.floor(watch.invoked);
            watches::check(log, index, watch, floor, &mut verdict);
        }

        let seen = sights.iter().map(|sight| sight.revision).max();
        self.base = self.base.max(seen.unwrap_or(0)).max(self.store.last());
        // No state means there was a fault; then nothing may be forgotten.
        let kept = self.compacted.iter().copied().min().unwrap_or(NEVER);
        self.store.prune(kept);
        self.log.drain(..self.log.partition_point(|event| event.revision().0 < kept));
        verdict.violations.sort_by_key(|violation| violation.fault);
        verdict
    }

    fn note_compactions(&mut self, calls: &[Call]) {
        for call in calls {
            if let (Request::Compact(at), Outcome::Done { .. } | Outcome::Unknown) =
                (&call.request, &call.outcome)
            {
                self.compaction_asked = self.compaction_asked.max(at.0);
            }
        }
    }

    /// Checks that each revision follows the previous one, and each event the
    /// events before it.
    fn take_log(&mut self, history: &History, verdict: &mut Verdict) {
        for events in authors::revisions(&history.log) {
            let (at, due) = (events[0].revision().0, self.store.last() + 1);
            if at != due {
                verdict.add(Fault::LogOrder, format!("revision {at} came, {due} is due"), &[]);
            }
            for event in events {
                let before = self.store.get(&event.kv.key, at - 1).cloned();
                let compacted = at <= self.compaction_asked && event.prev_kv.is_none();
                if event.prev_kv != before && !compacted {
                    let detail = format!("{event:?}: before was {before:?}");
                    verdict.add(Fault::Record, detail, &[]);
                }
                if let Err(detail) = self.store.apply(event) {
                    verdict.add(Fault::Record, detail, &[]);
                }
            }
        }
    }
}

/// The revisions that calls and watches show.
fn sights(history: &History, claims: &HashMap<i64, usize>) -> Vec<Sight> {
    let mut sights = watches::sights(&history.watches);
    for (index, call) in history.calls.iter().enumerate() {
        let Outcome::Done { revision, response } = &call.outcome else { continue };
        let revision = revision.0;
        let wrote = claims.get(&revision) == Some(&index) || crate::evaluate::changed(response);
        let (invoked, returned) = (call.invoked, call.returned);
        sights.push(Sight { invoked, returned, revision, wrote, by: By::Call(index) });
    }
    sights
}

/// Adds calls without an answer whose revision is known nevertheless.
fn place_the_unanswered(calls: &[Call], authors: &HashMap<i64, Author>, sights: &mut Vec<Sight>) {
    for (&revision, author) in authors {
        let &Author::Call(index) = author else { continue };
        if calls[index].outcome == Outcome::Unknown {
            let (invoked, returned) = (calls[index].invoked, u64::MAX);
            sights.push(Sight { invoked, returned, revision, wrote: true, by: By::Call(index) });
        }
    }
}

fn lost(
    calls: &[Call],
    claims: &HashMap<i64, usize>,
    before: i64,
    last: i64,
    verdict: &mut Verdict,
) {
    let mut outside: Vec<_> =
        claims.iter().filter(|(at, _)| **at > last || **at <= before).collect();
    outside.sort_unstable();
    for (at, index) in outside {
        let fault = if *at > last { Fault::LostWrite } else { Fault::RevisionReused };
        let client = calls[*index].client;
        let detail =
            format!("client {client}'s write at {at}; the log has {}..={last}", before + 1);
        verdict.add(fault, detail, &[*index]);
    }
}

fn went_back(sights: &[Sight], order: &Order, verdict: &mut Verdict) {
    for sight in sights {
        let Some((floor, by)) = order.back(sight) else { continue };
        let (mut calls, mut watches) = (Vec::new(), Vec::new());
        for by in [by, sight.by] {
            match by {
                By::Call(index) => calls.push(index),
                By::Watch(index) => watches.push(index),
                By::Earlier => {}
            }
        }
        let what = if sight.wrote { "is written" } else { "is shown" };
        let detail = format!("revision {} {what} after {floor} had been seen", sight.revision);
        verdict.push(Violation { fault: Fault::WentBack, detail, calls, watches });
    }
}

/// A history with the state at each revision and the author of each.
pub(crate) struct Judge<'a> {
    pub(crate) history: &'a History,
    pub(crate) store: &'a Store,
    pub(crate) order: &'a Order,
    pub(crate) authors: &'a HashMap<i64, Author>,
}

impl Judge<'_> {
    /// Checks that every acknowledged change is exactly the change in the log.
    fn effects(&self, verdict: &mut Verdict) {
        for events in authors::revisions(&self.history.log) {
            let at = events[0].revision().0;
            let Some(&Author::Call(index)) = self.authors.get(&at) else { continue };
            let call = &self.history.calls[index];
            let is_kv = !matches!(call.request, Request::LeaseRevoke(_));
            if is_kv && !authors::makes(call, events, self.store) {
                let detail = format!("revision {at} holds {events:?}");
                verdict.add(Fault::WrongEffect, detail, &[index]);
            }
        }
    }

    /// Checks that every response matches the state at its revision, and every
    /// error some state during the call.
    fn responses(&self, claims: &HashMap<i64, usize>, verdict: &mut Verdict) {
        for (index, call) in self.history.calls.iter().enumerate() {
            match &call.outcome {
                Outcome::Done { revision, response } => {
                    let wrote = claims.get(&revision.0) == Some(&index);
                    self.response(index, revision.0, response, wrote, verdict);
                }
                Outcome::Failed(failure) => self.error(index, failure, verdict),
                Outcome::Unknown => {}
            }
        }
    }

    fn response(
        &self,
        index: usize,
        revision: i64,
        response: &Response,
        wrote: bool,
        verdict: &mut Verdict,
    ) {
        let call = &self.history.calls[index];
        if revision > self.store.last() {
            let detail = format!("revision {revision} is shown, the last is {}", self.store.last());
            if !wrote {
                verdict.add(Fault::WrongResponse, detail, &[index]);
            }
            return;
        }
        let Some(evaluated) = evaluate(self.store, &call.request, revision - i64::from(wrote))
        else {
            return;
        };
        let expected = match evaluated {
            Ok(evaluated) if wrote || evaluated.events.is_empty() => evaluated.response,
            Ok(evaluated) => {
                let detail = format!("at {revision} it should have made {:?}", evaluated.events);
                verdict.add(Fault::WrongResponse, detail, &[index]);
                return;
            }
            Err(failure) => {
                let detail = format!("at {revision} it should have failed: {failure:?}");
                verdict.add(Fault::WrongResponse, detail, &[index]);
                return;
            }
        };
        if !same(&call.request, response, &expected) {
            let mut calls = vec![index];
            if let Some(Author::Call(author)) = self.authors.get(&revision) {
                calls.push(*author);
            }
            calls.dedup();
            let detail = format!("at {revision} it should be {expected:?}");
            verdict.add(Fault::WrongResponse, detail, &calls);
        }
    }

    fn error(&self, index: usize, failure: &Failure, verdict: &mut Verdict) {
        let call = &self.history.calls[index];
        // Leases, compactions and users have their own searches.
        let about_keys = matches!(failure, Failure::KeyNotFound | Failure::FutureRevision);
        let about_lease = *failure == Failure::LeaseNotFound
            && matches!(call.request, Request::Put(_) | Request::Txn(_));
        if !about_keys && !about_lease {
            return;
        }
        let fits =
            self.revisions_of(call).any(|at| match evaluate(self.store, &call.request, at) {
                Some(Err(found)) => found == *failure,
                Some(Ok(evaluated)) => about_lease && !evaluated.leases.is_empty(),
                None => true,
            });
        if !fits {
            verdict.add(Fault::WrongError, format!("no state gives {failure:?}"), &[index]);
        }
    }

    /// The revisions that may have been current when a call was executed;
    /// capped if there are very many.
    pub(crate) fn revisions_of(&self, call: &Call) -> std::ops::RangeInclusive<i64> {
        const LOOKED_AT: i64 = 100_000;
        let floor = self.order.floor(call.invoked).0;
        let ceiling = self.order.ceiling(call.returned).min(self.store.last());
        // If the range is empty, some call went back; that is reported elsewhere.
        floor..=ceiling.clamp(floor, floor + LOOKED_AT)
    }

    /// The leases that a call on keys needed in order to produce a revision.
    pub(crate) fn leases_needed(&self, call: &Call, revision: i64) -> BTreeSet<LeaseId> {
        match evaluate(self.store, &call.request, revision - 1) {
            Some(Ok(evaluated)) => evaluated.leases,
            _ => BTreeSet::new(),
        }
    }

    /// The leases that a call on keys would need.
    pub(crate) fn leases_of(&self, call: &Call) -> BTreeSet<LeaseId> {
        let states = self.revisions_of(call).filter_map(|at| {
            evaluate(self.store, &call.request, at)?.ok().map(|evaluated| evaluated.leases)
        });
        states.flatten().collect()
    }
}

/// Whether two responses are equal, except for the lease of a key without its
/// value, which etcd 3.7 omits and earlier versions include.
fn same(request: &Request, response: &Response, expected: &Response) -> bool {
    match (request, response, expected) {
        (Request::Range(range), Response::Range(found), Response::Range(expected))
            if range.keys_only =>
        {
            let bare = |result: &t4_kv_types::RangeResult| {
                let mut result = result.clone();
                result.kvs.iter_mut().for_each(|kv| kv.lease = LeaseId::NONE);
                result
            };
            bare(found) == bare(expected)
        }
        _ => response == expected,
    }
}
