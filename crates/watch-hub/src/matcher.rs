//! Finds the watchers that an event concerns.
//!
//! Watchers of exactly the same range form a group, so that an event is matched
//! with each range once and the result for the range is computed once, however
//! many watch it. Single keys are found by hash, other ranges in an interval
//! tree.

use std::collections::HashMap;

use bytes::Bytes;
use t4_kv_types::{KeyRange, RangeEnd};

use crate::interval_tree::IntervalTree;
use crate::recent::RevisionEvents;
use crate::roster::Roster;
use crate::slots::NONE;

/// The events that match the range of one group.
pub(crate) struct Hit {
    pub(crate) group: u32,
    /// (index of the revision, index of the event within it), ascending.
    pub(crate) at: Vec<(u32, u32)>,
}

/// Watchers by their ranges.
pub(crate) struct Matcher {
    // One list per range.
    groups: Roster,
    // Never iterated: the order of a hash map must not show in any result.
    singles: HashMap<Bytes, u32>,
    ranges: IntervalTree,
    range_count: usize,
    // By group, while hits are collected: its index in the result, or NONE.
    marks: Vec<u32>,
}

impl Matcher {
    pub(crate) fn new() -> Self {
        Matcher {
            groups: Roster::new(),
            singles: HashMap::new(),
            ranges: IntervalTree::new(),
            range_count: 0,
            marks: Vec::new(),
        }
    }

    /// Adds a watcher that is not in the matcher yet.
    pub(crate) fn insert(&mut self, watcher: u32, range: &KeyRange) {
        let group = match self.group(range) {
            Some(group) => group,
            None => self.open_group(range),
        };
        self.groups.join(group, watcher);
    }

    /// Removes a watcher that is in the matcher with this range.
    pub(crate) fn remove(&mut self, watcher: u32, range: &KeyRange) {
        let group = self.groups.leave(watcher);
        if self.groups.len(group) > 0 {
            return;
        }
        self.groups.close(group);
        match tree_end(range) {
            None => {
                self.singles.remove(&range.start);
            }
            Some(end) => {
                self.ranges.remove(&range.start, end.map(Bytes::as_ref));
                self.range_count -= 1;
            }
        }
    }

    /// The watchers of a group.
    pub(crate) fn members(&self, group: u32) -> impl Iterator<Item = u32> {
        self.groups.members(group)
    }

    /// For each matching group, the events that concern it. Ordered by the
    /// first such event.
    pub(crate) fn hits(&mut self, revisions: &[RevisionEvents]) -> Vec<Hit> {
        let mut hits = Vec::new();
        if self.singles.is_empty() && self.range_count == 0 {
            return hits;
        }
        for (revision_index, revision) in (0..).zip(revisions) {
            for (event_index, event) in (0..).zip(revision.events.iter()) {
                let at = (revision_index, event_index);
                self.concerned(&event.kv.key, |marks, group| mark(marks, &mut hits, group, at));
            }
        }
        for hit in &hits {
            self.marks[hit.group as usize] = NONE;
        }
        hits
    }

    fn concerned(&mut self, key: &Bytes, mut found: impl FnMut(&mut [u32], u32)) {
        if let Some(&group) = self.singles.get(key) {
            found(&mut self.marks, group);
        }
        self.ranges.containing(key, |group| found(&mut self.marks, group));
    }

    fn group(&self, range: &KeyRange) -> Option<u32> {
        match tree_end(range) {
            None => self.singles.get(&range.start).copied(),
            Some(end) => self.ranges.get(&range.start, end.map(Bytes::as_ref)),
        }
    }

    fn open_group(&mut self, range: &KeyRange) -> u32 {
        let group = self.groups.open();
        if self.marks.len() <= group as usize {
            self.marks.resize(group as usize + 1, NONE);
        }
        match tree_end(range) {
            None => {
                self.singles.insert(range.start.clone(), group);
            }
            Some(end) => {
                self.ranges.insert(range.start.clone(), end.cloned(), group);
                self.range_count += 1;
            }
        }
        group
    }
}

/// The end of a range in the interval tree, unless the range is a single key.
#[expect(clippy::option_option, reason = "not in the tree, in it without end, in it with an end")]
fn tree_end(range: &KeyRange) -> Option<Option<&Bytes>> {
    match &range.end {
        RangeEnd::Single => None,
        RangeEnd::Before(end) => Some(Some(end)),
        RangeEnd::Open => Some(None),
    }
}

fn mark(marks: &mut [u32], hits: &mut Vec<Hit>, group: u32, at: (u32, u32)) {
    let mark = &mut marks[group as usize];
    if *mark == NONE {
        *mark = u32::try_from(hits.len()).expect("no more hits than groups");
        hits.push(Hit { group, at: vec![at] });
    } else {
        hits[*mark as usize].at.push(at);
    }
}

#[cfg(test)]
mod tests;
