//! A lease as an object of the search: there or not, and until when.
//!
//! Leases have no revisions, so what pins their order is time, the header
//! revisions of answers, and the revisions at which their keys were deleted
//! with them.

use std::collections::{BTreeMap, HashSet};

use t4_kv_types::LeaseId;

use crate::search::{Found, Object, Span, search};

/// A lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lease {
    /// It is not there.
    Gone,
    /// It is there.
    There {
        /// For how long, in seconds, from its last renewal on.
        ttl_s: i64,
        /// Not before when that renewal was.
        renewed: u64,
    },
}

/// What a call, or the server, did with a lease, or saw of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeaseStep {
    /// A grant; the client was told this time to live, if it was told.
    Granted(Option<i64>),
    /// A revocation. Or a removal of an expired lease, and its keys.
    Revoked,
    /// It was removed with its keys, by nobody that is known to have asked.
    Expired,
    /// It was renewed, and this was given.
    Renewed(i64),
    /// It was there; with the time to live that was granted, if that was told.
    Seen(Option<i64>),
    /// It was not there.
    Missing,
}

/// A step, when it was, and what the state of the keys allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseCall {
    pub(crate) step: LeaseStep,
    pub(crate) span: Span,
    /// Whether the lease had no keys at some revision of the step's time; with
    /// keys, it cannot have gone unseen.
    pub(crate) bare: bool,
    /// Someone may have revoked it in this time, so that it need not be over.
    pub(crate) excused: bool,
    /// The call; `None`: the server's own.
    pub(crate) call: Option<usize>,
}

/// What was done with each lease.
pub(crate) type LeaseCalls = BTreeMap<LeaseId, Vec<LeaseCall>>;

/// What is possible of each lease that was ever granted. Of one that is not
/// here: it is gone.
pub(crate) type LeaseStates = BTreeMap<LeaseId, HashSet<Lease>>;

/// Searches an order for each lease. Gives those that have none, with the step
/// that has no place, and how many searches were given up.
pub(crate) fn check(
    calls: &LeaseCalls,
    states: &mut LeaseStates,
) -> (Vec<(LeaseId, String, Vec<usize>)>, usize) {
    let (mut wrong, mut given_up) = (Vec::new(), 0);
    for (&id, calls) in calls {
        let spans: Vec<Span> = calls.iter().map(|call| call.span).collect();
        let known = states.entry(id).or_insert_with(|| HashSet::from([Lease::Gone]));
        match search(&Steps(calls), &spans, known.iter().copied()) {
            Found::Orders(after) => *known = after,
            Found::GaveUp => {
                given_up += 1;
                *known = everything(calls, known);
            }
            Found::Stuck { step, states, beside } => {
                let detail = format!("{:?} on {states:?}", calls[step].step);
                let mut shown: Vec<usize> = beside;
                shown.extend(just_before(&spans, step));
                shown.push(step);
                shown.sort_unstable();
                shown.dedup();
                let shown = shown.into_iter().filter_map(|place| calls[place].call).collect();
                wrong.push((id, detail, shown));
                *known = everything(calls, known);
            }
        }
    }
    states.retain(|_, states| *states != HashSet::from([Lease::Gone]));
    (wrong, given_up)
}

/// The steps that ended last before this one began.
fn just_before(spans: &[Span], step: usize) -> Vec<usize> {
    const SHOWN: usize = 4;
    let mut ended: Vec<usize> =
        (0..spans.len()).filter(|&other| spans[other].returned < spans[step].invoked).collect();
    ended.sort_by_key(|&other| std::cmp::Reverse(spans[other].returned));
    ended.truncate(SHOWN);
    ended
}

/// Every state that the lease can have been in: after a search without a
/// result, what comes later is judged mildly.
fn everything(calls: &[LeaseCall], known: &HashSet<Lease>) -> HashSet<Lease> {
    let mut all = known.clone();
    all.insert(Lease::Gone);
    for call in calls {
        match call.step {
            LeaseStep::Granted(Some(ttl_s)) | LeaseStep::Renewed(ttl_s) => {
                all.insert(Lease::There { ttl_s, renewed: 0 });
            }
            _ => {}
        }
    }
    all
}

struct Steps<'a>(&'a [LeaseCall]);

const NANOSECONDS: u64 = 1_000_000_000;

fn is_over(ttl_s: i64, renewed: u64, at: u64) -> bool {
    let ttl = u64::try_from(ttl_s).unwrap_or(0).saturating_mul(NANOSECONDS);
    at >= renewed.saturating_add(ttl)
}

impl Object for Steps<'_> {
    type State = Lease;

    fn step(&self, state: &Lease, index: usize) -> Option<Lease> {
        let LeaseCall { step, span, bare, excused, .. } = &self.0[index];
        // Without keys its end is seen by nobody.
        let may_be_gone = match *state {
            Lease::Gone => true,
            Lease::There { ttl_s, renewed } => *bare && is_over(ttl_s, renewed, span.returned),
        };
        match (*step, *state) {
            (LeaseStep::Granted(ttl), _) if may_be_gone => {
                // Of a grant without an answer the time to live is what was asked
                // for at least.
                let ttl_s = ttl.unwrap_or(0);
                Some(Lease::There { ttl_s, renewed: span.invoked })
            }
            (LeaseStep::Missing, _) if may_be_gone => Some(Lease::Gone),
            (LeaseStep::Revoked, Lease::There { .. }) if *bare => Some(Lease::Gone),
            (LeaseStep::Expired, Lease::There { ttl_s, renewed })
                if *excused || is_over(ttl_s, renewed, span.returned) =>
            {
                Some(Lease::Gone)
            }
            (LeaseStep::Renewed(given), Lease::There { ttl_s, renewed }) => {
                let same = ttl_s == given || ttl_s == 0;
                let renewed = renewed.max(span.invoked);
                same.then_some(Lease::There { ttl_s: given, renewed })
            }
            (LeaseStep::Seen(granted), Lease::There { ttl_s, .. }) => {
                let same = granted.is_none_or(|granted| granted == ttl_s || ttl_s == 0);
                same.then_some(*state)
            }
            _ => None,
        }
    }

    /// That a lease is over changes nothing either: who needs it to be gone finds
    /// that out as well.
    fn only_reads(&self, index: usize) -> bool {
        matches!(self.0[index].step, LeaseStep::Seen(_) | LeaseStep::Missing)
    }
}
