//! The events that the runs reached, to detect a test that no longer tests
//! anything.

use std::collections::BTreeMap;

/// Counts of what happened, to check that the runs reach what they should.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deeds(BTreeMap<&'static str, usize>);

impl Deeds {
    pub(crate) fn count(&mut self, deed: &'static str) {
        *self.0.entry(deed).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Deeds) {
        for (deed, count) in &other.0 {
            *self.0.entry(deed).or_default() += count;
        }
    }

    pub(crate) fn assert_all_happened(&self) {
        for deed in [
            "live event",
            "batch of several revisions",
            "compacted at creation",
            "created ahead of what is published",
            "compacted later",
            "cancelled",
            "refused",
            "progress of all behind",
            "progress of all live",
            "progress of one",
            "history",
            "history cut short",
            "history ahead of the hub",
            "history failed",
            "history compacted",
            "history wanted",
            "history ends",
            "full queue",
            "all queues full",
            "closed with a backlog",
        ] {
            assert!(self.0.get(deed).is_some_and(|&count| count >= 20), "{deed}: {self:?}");
        }
    }
}
