//! The positions of the watchers that are not live.
//!
//! Watchers that catch up and have the same next revision form a cohort: a read
//! of history moves the cohort and touches only the members that it concerns.
//! Two cohorts at the same position are merged. Parked watchers are listed per
//! stream.

use std::collections::BTreeMap;

use t4_kv_types::Revision;

use crate::roster::Roster;

/// Cohorts by position, and the lists of parked watchers.
pub(crate) struct Cohorts {
    lists: Roster,
    // The cohorts, none empty, by the first revision that they lack.
    by_next: BTreeMap<Revision, u32>,
    // By list: the position of its cohort.
    positions: Vec<Revision>,
}

impl Cohorts {
    pub(crate) fn new() -> Self {
        Cohorts { lists: Roster::new(), by_next: BTreeMap::new(), positions: Vec::new() }
    }

    /// Opens a list for the parked watchers of a stream.
    pub(crate) fn open_parking(&mut self) -> u32 {
        self.lists.open()
    }

    /// Closes such a list, which must be empty.
    pub(crate) fn close_parking(&mut self, parking: u32) {
        self.lists.close(parking);
    }

    pub(crate) fn park(&mut self, parking: u32, watcher: u32) {
        self.lists.join(parking, watcher);
    }

    /// Removes a watcher from its stream's list; returns whether others are on
    /// it.
    pub(crate) fn unpark(&mut self, watcher: u32) -> bool {
        let parking = self.lists.leave(watcher);
        self.lists.len(parking) > 0
    }

    pub(crate) fn parked(&self, parking: u32) -> Vec<u32> {
        self.lists.members(parking).collect()
    }

    pub(crate) fn has_parked(&self, parking: u32) -> bool {
        self.lists.len(parking) > 0
    }

    /// Adds a watcher to the cohort whose first missing revision is `next`.
    pub(crate) fn enter(&mut self, next: Revision, watcher: u32) {
        let cohort = match self.by_next.get(&next) {
            Some(&cohort) => cohort,
            None => {
                let cohort = self.lists.open();
                self.place(next, cohort);
                cohort
            }
        };
        self.lists.join(cohort, watcher);
    }

    /// Removes a watcher from its cohort.
    pub(crate) fn leave(&mut self, watcher: u32) {
        let cohort = self.lists.leave(watcher);
        if self.lists.len(cohort) == 0 {
            self.by_next.remove(&self.positions[cohort as usize]);
            self.lists.close(cohort);
        }
    }

    /// The first revision that a member of a cohort lacks.
    pub(crate) fn next_of(&self, watcher: u32) -> Revision {
        let cohort = self.lists.list_of(watcher).expect("who catches up is in a cohort");
        self.positions[cohort as usize]
    }

    /// The first position at or after `from`.
    pub(crate) fn first_since(&self, from: Revision) -> Option<Revision> {
        self.by_next.range(from..).next().map(|(&next, _)| next)
    }

    /// The first position.
    pub(crate) fn first(&self) -> Option<Revision> {
        self.by_next.keys().next().copied()
    }

    /// Moves every cohort at `from` to `through` to the position after
    /// `through`.
    pub(crate) fn advance(&mut self, from: Revision, through: Revision) {
        let moved: Vec<Revision> = self.by_next.range(from..=through).map(|(&n, _)| n).collect();
        let next = through.next();
        for position in moved {
            let Some(cohort) = self.by_next.remove(&position) else { continue };
            let met = self.by_next.remove(&next);
            let cohort = met.map_or(cohort, |met| self.lists.merge(met, cohort));
            self.place(next, cohort);
        }
    }

    /// All members of the cohorts at a position in this range of revisions.
    pub(crate) fn members(&self, positions: impl std::ops::RangeBounds<Revision>) -> Vec<u32> {
        let cohorts = self.by_next.range(positions);
        cohorts.flat_map(|(_, &cohort)| self.lists.members(cohort)).collect()
    }

    fn place(&mut self, next: Revision, cohort: u32) {
        if self.positions.len() <= cohort as usize {
            self.positions.resize(cohort as usize + 1, Revision::default());
        }
        self.positions[cohort as usize] = next;
        self.by_next.insert(next, cohort);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cohorts_move_and_meet() {
        let mut cohorts = Cohorts::new();
        for (next, watcher) in [(5, 0), (5, 1), (7, 2), (20, 3), (11, 4)] {
            cohorts.enter(Revision(next), watcher);
        }
        cohorts.advance(Revision(5), Revision(10));
        let next_of =
            |cohorts: &Cohorts, of: [u32; 5]| of.map(|watcher| cohorts.next_of(watcher).0);
        assert_eq!(next_of(&cohorts, [0, 1, 2, 3, 4]), [11, 11, 11, 20, 11]);
        assert_eq!(cohorts.first_since(Revision(12)), Some(Revision(20)));
        let mut members = cohorts.members(..Revision(20));
        members.sort_unstable();
        assert_eq!(members, [0, 1, 2, 4]);
        cohorts.leave(3);
        assert_eq!(cohorts.first_since(Revision(12)), None);
        cohorts.enter(Revision(2), 3);
        assert_eq!(cohorts.first(), Some(Revision(2)));
    }

    #[test]
    fn parking_is_apart_from_the_cohorts() {
        let mut cohorts = Cohorts::new();
        let parking = cohorts.open_parking();
        cohorts.park(parking, 1);
        cohorts.park(parking, 2);
        assert_eq!((cohorts.first(), cohorts.parked(parking).len()), (None, 2));
        assert!(cohorts.unpark(2) && !cohorts.unpark(1) && !cohorts.has_parked(parking));
        cohorts.close_parking(parking);
    }
}
