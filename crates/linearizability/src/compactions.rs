//! The compacted revision as an object of the search: it only increases.

use std::collections::HashSet;

use crate::search::{Found, Object, Span, search};

/// How a call changed or observed the compacted revision.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CompactionStep {
    /// It was raised to this.
    Moved(i64),
    /// It is at least this: a compaction to this was rejected.
    AtLeast(i64),
    /// It is at most this: a read at this succeeded.
    AtMost(i64),
    /// It is above this: a read at this was rejected.
    Above(i64),
    /// It is this, and above the start of a watch, which reported it.
    Is(i64, i64),
}

/// A step, its time, and its call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompactionCall {
    pub(crate) step: CompactionStep,
    pub(crate) span: Span,
    pub(crate) call: Option<usize>,
}

/// Nothing was compacted yet.
pub(crate) const NEVER: i64 = -1;

/// Searches for an order. Returns the calls that have none, and whether the
/// search was given up. After such calls, later ones are not judged.
pub(crate) fn check(
    calls: &[CompactionCall],
    states: &mut HashSet<i64>,
) -> (Option<(String, Vec<usize>)>, bool) {
    if states.is_empty() {
        return (None, false);
    }
    let spans: Vec<Span> = calls.iter().map(|call| call.span).collect();
    match search(&Steps(calls), &spans, states.iter().copied()) {
        Found::Orders(after) => {
            *states = after;
            (None, false)
        }
        Found::GaveUp => (None, true),
        Found::Stuck { step, states: at, beside } => {
            let detail = format!("{:?} while the compacted revision is {at:?}", calls[step].step);
            let shown = beside.into_iter().filter_map(|place| calls[place].call).collect();
            // After this, the state is unknown.
            states.clear();
            (Some((detail, shown)), false)
        }
    }
}

struct Steps<'a>(&'a [CompactionCall]);

impl Object for Steps<'_> {
    type State = i64;

    fn step(&self, state: &i64, index: usize) -> Option<i64> {
        let at = *state;
        match self.0[index].step {
            CompactionStep::Moved(to) => (at < to).then_some(to),
            CompactionStep::AtLeast(revision) => (at >= revision).then_some(at),
            CompactionStep::AtMost(revision) => (at <= revision).then_some(at),
            CompactionStep::Above(revision) => (at > revision).then_some(at),
            CompactionStep::Is(told, start) => (at == told && at > start).then_some(at),
        }
    }

    fn only_reads(&self, index: usize) -> bool {
        !matches!(self.0[index].step, CompactionStep::Moved(_))
    }
}
