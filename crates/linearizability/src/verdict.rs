//! What is wrong with a history.

use std::collections::BTreeMap;
use std::fmt;

use t4_kv_types::{KeyRange, RangeEnd, RangeRequest};

use crate::{Call, History, Request};

/// Violations that no correct server commits. Later variants may be
/// consequences of earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The log skips a revision, repeats one, or goes back.
    LogOrder,
    /// An event's version, create revision, lease or previous key-value does not
    /// follow from the events before it.
    Record,
    /// A revision that no call and no lease accounts for.
    Foreign,
    /// A rejected write is in the log.
    FailedWriteCounts,
    /// A call's write is in the log at two revisions.
    AppliedTwice,
    /// An acknowledged write is not in the log.
    LostWrite,
    /// Two calls were acknowledged with the same revision.
    RevisionReused,
    /// The changes of a revision differ from its call's request.
    WrongEffect,
    /// A call shows an earlier revision than one that ended before it started.
    WentBack,
    /// A response does not match the state at its revision.
    WrongResponse,
    /// An error that matches no state during the call.
    WrongError,
    /// No order of the calls on a lease explains what they observed.
    Lease,
    /// A lease's keys match no revision during the call.
    LeaseKeys,
    /// No order of the calls explains what compactions and reads observed.
    Compaction,
    /// No order of the calls about users and roles explains what they observed.
    Auth,
    /// A watch delivered an event that it should not: twice, out of order, from
    /// before its start, or one that never happened.
    WatchExtra,
    /// A watch missed an event.
    WatchMissed,
    /// The content of an event that a watch delivered differs from the log.
    WatchEvent,
    /// A watch split the events of a revision.
    WatchSplit,
    /// A response of a watch has an impossible revision in its header.
    WatchHeader,
}

/// One fault and the calls that show it.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The kind of fault.
    pub fault: Fault,
    /// What was expected and what was found.
    pub detail: String,
    /// Indexes of calls in the history: a minimal set that shows it.
    pub calls: Vec<usize>,
    /// Indexes of watches in the history.
    pub watches: Vec<usize>,
}

/// The result of a check.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The violations; root causes come first.
    pub violations: Vec<Violation>,
    /// The number of violations per kind, including those that were not kept.
    pub counts: BTreeMap<Fault, usize>,
    /// Searches that were given up because too many orders were possible.
    pub inconclusive: usize,
}

/// The most violations of one kind that a verdict keeps: one lost event shifts
/// everything after it.
const OF_A_KIND_MAX: usize = 50;

impl Verdict {
    pub(crate) fn add(&mut self, fault: Fault, detail: String, calls: &[usize]) {
        self.push(Violation { fault, detail, calls: calls.to_vec(), watches: Vec::new() });
    }

    pub(crate) fn push(&mut self, violation: Violation) {
        let counted = self.counts.entry(violation.fault).or_insert(0);
        *counted += 1;
        if *counted <= OF_A_KIND_MAX {
            self.violations.push(violation);
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Removes faults that the server is known to have.
    pub fn forgive(&mut self, is_known: impl Fn(&Violation) -> bool) {
        self.violations.retain(|violation| !is_known(violation));
    }

    /// Whether this is among the faults.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.violations.iter().any(|violation| violation.fault == fault)
    }

    /// The first violations of each kind with the calls that show them, in
    /// readable form.
    #[must_use]
    pub fn report(&self, history: &History, of_a_kind: usize) -> String {
        let mut text = format!("{:?}\n", self.counts);
        let mut shown: BTreeMap<Fault, usize> = BTreeMap::new();
        for violation in &self.violations {
            let shown = shown.entry(violation.fault).or_insert(0);
            *shown += 1;
            if *shown > of_a_kind {
                continue;
            }
            text += &format!("{violation}\n");
            let mut calls = violation.calls.clone();
            calls.sort_by_key(|&index| history.calls.get(index).map(|call| call.invoked));
            for call in calls.iter().filter_map(|&index| history.calls.get(index)) {
                text += &format!("    {}\n", show(call));
            }
            for watch in violation.watches.iter().filter_map(|&index| history.watches.get(index)) {
                text += &format!(
                    "    client {} watches {:?} from {:?}, sent at {} ns, created {:?}, {} responses\n",
                    watch.client,
                    watch.range,
                    watch.start,
                    watch.invoked,
                    watch.created,
                    watch.responses.len()
                );
            }
        }
        text
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.fault, self.detail)
    }
}

/// Formats a call as one line.
#[must_use]
pub fn show(call: &Call) -> String {
    let Call { client, invoked, returned, request, outcome } = call;
    let request = match request {
        Request::Range(range) => show_range(range),
        other => format!("{other:?}"),
    };
    format!("[{invoked:>14} .. {returned:>14} ns] client {client:>3}: {request} -> {outcome:?}")
}

/// The fields of a range request that are set.
fn show_range(range: &RangeRequest) -> String {
    let KeyRange { start, end } = &range.range;
    let mut text = match end {
        RangeEnd::Single => format!("Get({start:?}"),
        RangeEnd::Before(end) => format!("List({start:?}..{end:?}"),
        RangeEnd::Open => format!("List({start:?}.."),
    };
    if range.revision.0 != 0 {
        text += &format!(", at {}", range.revision);
    }
    if range.limit != 0 {
        text += &format!(", limit {}", range.limit);
    }
    let flags = [(range.count_only, ", count only"), (range.keys_only, ", keys only")];
    text.extend(flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name));
    text.push(')');
    text
}
