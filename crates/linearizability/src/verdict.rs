//! What is wrong with a history.

use std::collections::BTreeMap;
use std::fmt;

use t4_kv_types::{KeyRange, RangeEnd, RangeRequest};

use crate::{Call, History, Request};

/// What a correct server never does. What is further down may follow from what
/// is further up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The log skips a revision, repeats one, or goes back.
    LogOrder,
    /// An event's version, create revision, lease or previous key-value does not
    /// follow from the events before it.
    Record,
    /// A revision that no call and no lease accounts for.
    Foreign,
    /// A write that was refused is in the log.
    FailedWriteCounts,
    /// A call's write stands at two revisions.
    AppliedTwice,
    /// A write that was acknowledged is not in the log.
    LostWrite,
    /// Two calls were acknowledged with one revision.
    RevisionReused,
    /// A revision holds other changes than its call asked for.
    WrongEffect,
    /// A later call shows an earlier revision than one that had ended before it
    /// began.
    WentBack,
    /// A response does not fit the state at its revision.
    WrongResponse,
    /// An error that no state in the call's time gives.
    WrongError,
    /// No order of the calls on a lease explains what they saw.
    Lease,
    /// A lease's keys are those of no revision in the call's time.
    LeaseKeys,
    /// No order of the calls explains what compactions and reads saw.
    Compaction,
    /// No order of the calls explains what those about users and roles saw.
    Auth,
    /// A watch delivered an event that it should not: twice, out of order, from
    /// before its start, or one that never happened.
    WatchExtra,
    /// A watch left out an event.
    WatchMissed,
    /// A watch delivered an event with other content than the log has.
    WatchEvent,
    /// A watch tore the events of a revision apart.
    WatchSplit,
    /// A response of a watch has an impossible revision in its header.
    WatchHeader,
}

/// One fault: what, and the calls that show it.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Its kind.
    pub fault: Fault,
    /// What was expected and what was found.
    pub detail: String,
    /// Indexes of calls in the history: the fewest that show it.
    pub calls: Vec<usize>,
    /// Indexes of watches in the history.
    pub watches: Vec<usize>,
}

/// The result of a check.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What is wrong; what explains the rest stands first.
    pub violations: Vec<Violation>,
    /// How many of each kind there are, those that were not kept included.
    pub counts: BTreeMap<Fault, usize>,
    /// Searches that were given up, because too many orders were possible.
    pub inconclusive: usize,
}

/// A verdict keeps so many violations of a kind: one loss moves everything
/// after it.
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

    /// Leaves out faults that the server is known to have.
    pub fn forgive(&mut self, is_known: impl Fn(&Violation) -> bool) {
        self.violations.retain(|violation| !is_known(violation));
    }

    /// Whether this is among the faults.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.violations.iter().any(|violation| violation.fault == fault)
    }

    /// The first violations of each kind with the calls that show them, to be
    /// read.
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

/// A call in one line.
#[must_use]
pub fn show(call: &Call) -> String {
    let Call { client, invoked, returned, request, outcome } = call;
    let request = match request {
        Request::Range(range) => show_range(range),
        other => format!("{other:?}"),
    };
    format!("[{invoked:>14} .. {returned:>14} ns] client {client:>3}: {request} -> {outcome:?}")
}

/// What a range asks for, and nothing of what it does not.
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
