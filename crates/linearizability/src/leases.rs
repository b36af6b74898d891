//! A lease as an object of the search: whether it exists, and until when.
//!
//! Leases have no revisions. Their order is determined by time, the header
//! revisions of answers, and the revisions at which their keys were deleted
//! with them.

use std::collections::{BTreeMap, HashSet};

use t4_kv_types::LeaseId;

use crate::search::{Found, Object, Span, search};

/// A lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lease {
    /// It does not exist.
    Gone,
    /// It exists.
    There {
        /// Its time to live in seconds, counted from its last renewal.
        ttl_s: i64,
        /// The earliest possible time of that renewal.
        renewed: u64,
    },
}

/// How a call, or the server, changed or observed a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeaseStep {
    /// A grant; with the time to live that the client received, if it got an answer.
    Granted(Option<i64>),
    /// A revocation, or the removal of an expired lease with its keys.
    Revoked,
    /// It was removed with its keys, but no call is known to have requested it.
    Expired,
    /// It was renewed, with this time to live.
    Renewed(i64),
    /// It existed; with the granted time to live, if that was reported.
    Seen(Option<i64>),
    /// It did not exist.
    Missing,
}

/// A step, its time, and constraints from the state of the keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseCall {
    pub(crate) step: LeaseStep,
    pub(crate) span: Span,
    /// Whether the lease had no keys at some revision during the step; if it
    /// had keys, its end would be visible in the log.
    pub(crate) bare: bool,
    /// A call may have revoked it during this time, so it need not have expired.
    pub(crate) excused: bool,
    /// The call; `None` for the server itself.
    pub(crate) call: Option<usize>,
}

/// The steps of each lease.
pub(crate) type LeaseCalls = BTreeMap<LeaseId, Vec<LeaseCall>>;

/// The possible states of each lease that was ever granted. A lease that is not
/// in the map is gone.
pub(crate) type LeaseStates = BTreeMap<LeaseId, HashSet<Lease>>;

/// Searches for an order for each lease. Returns the leases without one, with
/// the step that has no place, and the number of searches that were given up.
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

/// The last steps that ended before this one started.
fn just_before(spans: &[Span], step: usize) -> Vec<usize> {
    const SHOWN: usize = 4;
    let mut ended: Vec<usize> =
        (0..spans.len()).filter(|&other| spans[other].returned < spans[step].invoked).collect();
    ended.sort_by_key(|&other| std::cmp::Reverse(spans[other].returned));
    ended.truncate(SHOWN);
    ended
}

/// Every state that the lease may have been in: after an inconclusive search,
/// later steps are judged leniently.
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
        // Without keys, its end is visible to no one.
        let may_be_gone = match *state {
            Lease::Gone => true,
            Lease::There { ttl_s, renewed } => *bare && is_over(ttl_s, renewed, span.returned),
        };
        match (*step, *state) {
            (LeaseStep::Granted(ttl), _) if may_be_gone => {
                // The time to live of a grant without an answer is unknown; 0
                // allows the lease to be over at any time.
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

    /// Expiry of a lease does not count as a change of state either: every step
    /// that needs the lease to be gone checks that itself.
    fn only_reads(&self, index: usize) -> bool {
        matches!(self.0[index].step, LeaseStep::Seen(_) | LeaseStep::Missing)
    }
}
