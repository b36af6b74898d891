//! Objects without revisions: leases, compactions, users and roles. Derives the
//! steps of their searches from calls and watches.

use std::collections::HashSet;

use bytes::Bytes;
use t4_kv_types::LeaseId;

use crate::auth::{self, Accounts, AuthCall};
use crate::authors::Author;
use crate::checker::{Checker, Judge};
use crate::compactions::{self, CompactionCall, CompactionStep};
use crate::leases::{self, LeaseCall, LeaseCalls, LeaseStates, LeaseStep};
use crate::search::{Span, made, seen};
use crate::verdict::{Fault, Verdict};
use crate::{Call, Failure, Outcome, Request, Response, WatchNews};

/// The possible states after a history.
pub(crate) struct After {
    leases: LeaseStates,
    compacted: HashSet<i64>,
    accounts: HashSet<Accounts>,
}

impl After {
    /// Makes them the start of the next history.
    pub(crate) fn store_into(self, checker: &mut Checker) {
        checker.leases = self.leases;
        checker.compacted = self.compacted;
        checker.accounts = self.accounts;
    }
}

/// Searches for orders of everything without revisions.
pub(crate) fn check(
    judge: &Judge<'_>,
    leases: LeaseStates,
    compacted: HashSet<i64>,
    accounts: HashSet<Accounts>,
    verdict: &mut Verdict,
) -> After {
    let mut after = After { leases, compacted, accounts };
    let steps = Steps { judge, known: after.leases.keys().copied().collect() };

    let calls = steps.leases(verdict);
    let (wrong, given_up) = leases::check(&calls, &mut after.leases);
    verdict.inconclusive += given_up;
    for (id, detail, calls) in wrong {
        verdict.add(Fault::Lease, format!("lease {id}: {detail}"), &calls);
    }

    let calls = steps.compactions(verdict);
    let (wrong, given_up) = compactions::check(&calls, &mut after.compacted);
    verdict.inconclusive += usize::from(given_up);
    if let Some((detail, calls)) = wrong {
        verdict.add(Fault::Compaction, detail, &calls);
    }

    let calls = steps.auth();
    let (wrong, given_up) = auth::check(&calls, &mut after.accounts);
    verdict.inconclusive += usize::from(given_up);
    if let Some((detail, calls)) = wrong {
        verdict.add(Fault::Auth, detail, &calls);
    }
    after
}

struct Steps<'a> {
    judge: &'a Judge<'a>,
    // Leases of earlier histories.
    known: HashSet<LeaseId>,
}

impl<'a> Steps<'a> {
    fn calls(&self) -> impl Iterator<Item = (usize, &'a Call)> + use<'a> {
        self.judge.history.calls.iter().enumerate()
    }

    /// When a call was executed. If `header_is_last`, the header of its answer
    /// was filled in afterwards, so it ran no later than that revision.
    fn span(&self, call: &Call, header_is_last: bool) -> Span {
        let base = self.judge.order.floor(call.invoked).0;
        let last = self.judge.order.ceiling(call.returned);
        let high = match &call.outcome {
            Outcome::Done { revision, .. } if header_is_last => revision.0.min(last),
            _ => last,
        };
        Span {
            invoked: call.invoked,
            returned: call.returned,
            low: seen(base),
            // Below only if a call went back, which is reported elsewhere.
            high: seen(high.max(base)),
            base: seen(base),
            maybe: call.outcome == Outcome::Unknown,
        }
    }

    /// The same for a call that created a revision.
    fn made(&self, call: &Call, revision: i64) -> Span {
        let (_, latest) = self.judge.order.birth(revision);
        Span {
            low: made(revision),
            high: made(revision),
            returned: call.returned.min(latest).max(call.invoked),
            maybe: false,
            ..self.span(call, false)
        }
    }

    /// Whether the lease may have had no keys during the span.
    fn bare(&self, id: LeaseId, span: Span) -> bool {
        let (low, high) = (span.low / 2, (span.high / 2).min(self.judge.store.last()));
        let mut states = self.judge.store.attachments(id, low.min(high), high);
        states.any(|(_, keys)| keys.is_empty())
    }

    fn leases(&self, verdict: &mut Verdict) -> LeaseCalls {
        let mut steps = LeaseCalls::new();
        let mut add = |id: LeaseId, step, span, bare, call| {
            let call = LeaseCall { step, span, bare, excused: false, call };
            steps.entry(id).or_default().push(call);
        };
        let everyone = self.everyone();
        for (index, call) in self.calls() {
            let mut at = |id, step, span| add(id, step, span, self.bare(id, span), Some(index));
            match (&call.request, &call.outcome) {
                (Request::LeaseGrant { id, .. }, outcome) => match outcome {
                    Outcome::Done { response: Response::LeaseGranted(ttl), .. } => {
                        at(*id, LeaseStep::Granted(Some(*ttl)), self.span(call, true));
                    }
                    Outcome::Failed(Failure::LeaseExists) => {
                        at(*id, LeaseStep::Seen(None), self.span(call, false));
                    }
                    Outcome::Unknown => at(*id, LeaseStep::Granted(None), self.span(call, false)),
                    _ => {}
                },
                (Request::LeaseRevoke(id), Outcome::Done { revision, .. }) => {
                    if self.judge.authors.get(&revision.0) == Some(&Author::Call(index)) {
                        add(
                            *id,
                            LeaseStep::Revoked,
                            self.made(call, revision.0),
                            true,
                            Some(index),
                        );
                    } else {
                        at(*id, LeaseStep::Revoked, self.span(call, true));
                    }
                }
                (Request::LeaseRevoke(id), Outcome::Unknown) => {
                    at(*id, LeaseStep::Revoked, self.span(call, false));
                }
                (
                    Request::LeaseRevoke(id) | Request::LeaseKeepAlive(id),
                    Outcome::Failed(Failure::LeaseNotFound),
                ) => at(*id, LeaseStep::Missing, self.span(call, false)),
                (Request::LeaseKeepAlive(id), Outcome::Done { response, .. }) => {
                    let step = match response {
                        Response::LeaseKept(ttl) if *ttl > 0 => LeaseStep::Renewed(*ttl),
                        _ => LeaseStep::Missing,
                    };
                    at(*id, step, self.span(call, false));
                }
                (
                    Request::LeaseTimeToLive { id, keys: asked },
                    Outcome::Done {
                        response: Response::LeaseTimeToLive { granted_ttl_s, ttl_s, keys },
                        ..
                    },
                ) => {
                    // The header may be from a moment before or after.
                    let mut span = self.span(call, false);
                    let step = match *granted_ttl_s {
                        0 => LeaseStep::Missing,
                        granted => LeaseStep::Seen(Some(granted)),
                    };
                    if *ttl_s > *granted_ttl_s {
                        let detail = format!("{ttl_s} s are left of {granted_ttl_s} s");
                        verdict.add(Fault::Lease, detail, &[index]);
                    }
                    if *asked && *granted_ttl_s != 0 {
                        span = self.keys_seen(index, *id, keys, span, verdict);
                    }
                    at(*id, step, span);
                }
                (Request::LeaseList, Outcome::Done { response: Response::Leases(ids), .. }) => {
                    let listed: HashSet<LeaseId> = ids.iter().copied().collect();
                    for id in everyone.union(&listed) {
                        let there = listed.contains(id);
                        let step = if there { LeaseStep::Seen(None) } else { LeaseStep::Missing };
                        at(*id, step, self.span(call, false));
                    }
                }
                (Request::Put(_) | Request::Txn(_), Outcome::Failed(Failure::LeaseNotFound)) => {
                    let needed = self.judge.leases_of(call);
                    if let (1, Some(id)) = (needed.len(), needed.first()) {
                        at(*id, LeaseStep::Missing, self.span(call, false));
                    }
                }
                _ => {}
            }
        }
        for (&revision, author) in self.judge.authors {
            match *author {
                Author::Call(index) => {
                    let call = &self.judge.history.calls[index];
                    for id in self.judge.leases_needed(call, revision) {
                        add(
                            id,
                            LeaseStep::Seen(None),
                            self.made(call, revision),
                            false,
                            Some(index),
                        );
                    }
                }
                Author::Lease(id) => {
                    let (invoked, returned) = self.judge.order.birth(revision);
                    let point = made(revision);
                    let base = seen(self.judge.order.floor(invoked).0);
                    let span = Span {
                        invoked,
                        returned: returned.max(invoked),
                        low: point,
                        high: point,
                        base,
                        maybe: false,
                    };
                    add(id, LeaseStep::Expired, span, true, None);
                }
            }
        }
        self.excuse(&mut steps);
        steps
    }

    /// Every lease that is known to exist or to have existed.
    fn everyone(&self) -> HashSet<LeaseId> {
        let mut all = self.known.clone();
        all.extend(self.calls().filter_map(|(_, call)| match call.request {
            Request::LeaseGrant { id, .. } => Some(id),
            _ => None,
        }));
        all
    }

    /// A lease may be gone early if a revocation got no answer.
    fn excuse(&self, steps: &mut LeaseCalls) {
        for (_, call) in self.calls() {
            let (Request::LeaseRevoke(id), Outcome::Unknown) = (&call.request, &call.outcome)
            else {
                continue;
            };
            for step in steps.get_mut(id).into_iter().flatten() {
                step.excused |= call.invoked <= step.span.returned;
            }
        }
    }

    /// The keys of a lease must match a revision in the span; returns the part
    /// of the span in which they do.
    fn keys_seen(
        &self,
        index: usize,
        id: LeaseId,
        keys: &[Bytes],
        span: Span,
        verdict: &mut Verdict,
    ) -> Span {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        let (low, high) = (span.low / 2, span.high / 2);
        let mut part: Option<(i64, i64)> = None;
        let mut open: Option<i64> = None;
        for (at, attached) in self.judge.store.attachments(id, low, high) {
            if attached == keys {
                open = Some(at);
                part = Some((part.map_or(at, |(first, _)| first), high));
            } else if open.take().is_some() {
                part = part.map(|(first, _)| (first, at - 1));
            }
        }
        if let Some((first, last)) = part {
            return Span { low: seen(first), high: seen(last), ..span };
        }
        let last = self.judge.store.last();
        let later = self.judge.store.attachments(id, high + 1, last).find(|(_, at)| *at == keys);
        let detail = match later {
            Some((at, _)) => format!(
                "lease {id}: its keys are those of revision {at}, and a call that was sent later \
                 shows {high}"
            ),
            None => format!("lease {id}: no revision of {low}..={high} has these keys: {keys:?}"),
        };
        let mut calls = vec![index];
        let author = later.and_then(|(at, _)| self.judge.authors.get(&at));
        if let Some(Author::Call(author)) = author {
            calls.push(*author);
        }
        verdict.add(Fault::LeaseKeys, detail, &calls);
        span
    }

    fn compactions(&self, verdict: &mut Verdict) -> Vec<CompactionCall> {
        let mut steps = Vec::new();
        for (index, call) in self.calls() {
            let step = match (&call.request, &call.outcome) {
                (Request::Compact(to), Outcome::Done { revision, .. }) => {
                    if to > revision {
                        let detail = format!("compacted to {to} at revision {revision}");
                        verdict.add(Fault::WrongResponse, detail, &[index]);
                    }
                    CompactionStep::Moved(to.0)
                }
                (Request::Compact(to), Outcome::Unknown) => CompactionStep::Moved(to.0),
                (Request::Compact(to), Outcome::Failed(Failure::Compacted)) => {
                    CompactionStep::AtLeast(to.0)
                }
                (Request::Compact(to), Outcome::Failed(Failure::FutureRevision)) => {
                    if self.judge.order.floor(call.invoked).0 >= to.0 {
                        let detail = "the revision is not in the future".to_owned();
                        verdict.add(Fault::WrongError, detail, &[index]);
                    }
                    continue;
                }
                (Request::Range(range), Outcome::Done { .. }) if range.revision.0 > 0 => {
                    CompactionStep::AtMost(range.revision.0)
                }
                (Request::Range(range), Outcome::Failed(Failure::Compacted)) => {
                    CompactionStep::Above(range.revision.0)
                }
                _ => continue,
            };
            steps.push(CompactionCall { step, span: self.span(call, false), call: Some(index) });
        }
        steps.extend(self.watches_compacted());
        steps
    }

    fn watches_compacted(&self) -> impl Iterator<Item = CompactionCall> + '_ {
        self.judge.history.watches.iter().flat_map(move |watch| {
            watch.responses.iter().filter_map(move |response| {
                let WatchNews::Compacted(to) = response.news else { return None };
                let base = seen(self.judge.order.floor(watch.invoked).0);
                let span = Span {
                    invoked: watch.invoked,
                    returned: response.at,
                    low: base,
                    high: i64::MAX,
                    base,
                    maybe: false,
                };
                let start = watch.start.map_or(i64::MAX, |start| start.0);
                Some(CompactionCall { step: CompactionStep::Is(to.0, start), span, call: None })
            })
        })
    }

    fn auth(&self) -> Vec<AuthCall<'a>> {
        let calls = self.calls().filter_map(|(index, call)| match &call.request {
            Request::Auth(request) => Some((index, call, request)),
            _ => None,
        });
        let rejected = |outcome: &Outcome| matches!(outcome, Outcome::Failed(Failure::Rejected(_)));
        calls
            .filter(|(_, call, _)| !rejected(&call.outcome))
            .map(|(index, call, request)| AuthCall {
                request,
                outcome: &call.outcome,
                span: self.span(call, false),
                call: index,
            })
            .collect()
    }
}
