//! Revisions in real time: what each call may have seen.
//!
//! Every answer that shows a revision bounds when that revision was created:
//! not after the answer arrived, and not before the start of any call that
//! shows an earlier revision.

/// An answer that shows a revision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) invoked: u64,
    pub(crate) returned: u64,
    pub(crate) revision: i64,
    /// Whether it created that revision.
    pub(crate) wrote: bool,
    /// The call or watch that saw it.
    pub(crate) by: By,
}

/// The observer of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The call with this index.
    Call(usize),
    /// The watch with this index.
    Watch(usize),
    /// A call or watch of an earlier history.
    Earlier,
}

/// All sights, indexed for queries.
pub(crate) struct Order {
    base: i64,
    // By time of return; each with the highest revision so far, and its observer.
    ended: Vec<(u64, i64, By)>,
    // By time of invocation; each with the lowest revision that it or a later
    // one found as the current state.
    begun: Vec<(u64, i64)>,
    // By revision; each with the latest invocation so far.
    lower: Vec<(i64, u64)>,
    // By revision; each with the earliest return of it and all later ones.
    higher: Vec<(i64, u64)>,
}

impl Order {
    /// Earlier histories had seen revisions up to `base`.
    pub(crate) fn new(sights: &[Sight], base: i64) -> Order {
        let mut ended: Vec<_> = sights.iter().map(|s| (s.returned, s.revision, s.by)).collect();
        ended.sort_unstable_by_key(|&(at, revision, _)| (at, revision));
        let mut top = (base, By::Earlier);
        for (_, revision, by) in &mut ended {
            if *revision > top.0 {
                top = (*revision, *by);
            }
            (*revision, *by) = top;
        }
        let mut begun: Vec<_> =
            sights.iter().map(|s| (s.invoked, s.revision - i64::from(s.wrote))).collect();
        begun.sort_unstable();
        let mut lowest = i64::MAX;
        for (_, revision) in begun.iter_mut().rev() {
            lowest = lowest.min(*revision);
            *revision = lowest;
        }
        let mut lower: Vec<_> =
            sights.iter().map(|s| (s.revision - i64::from(s.wrote), s.invoked)).collect();
        lower.sort_unstable();
        let mut latest = 0;
        for (_, invoked) in &mut lower {
            latest = latest.max(*invoked);
            *invoked = latest;
        }
        let mut higher: Vec<_> = sights.iter().map(|s| (s.revision, s.returned)).collect();
        higher.sort_unstable();
        let mut earliest = u64::MAX;
        for (_, returned) in higher.iter_mut().rev() {
            earliest = earliest.min(*returned);
            *returned = earliest;
        }
        Order { base, ended, begun, lower, higher }
    }

    /// The highest revision seen before `at`, and its observer.
    pub(crate) fn floor(&self, at: u64) -> (i64, By) {
        let place = self.ended.partition_point(|(returned, ..)| *returned < at);
        match place.checked_sub(1) {
            Some(place) => (self.ended[place].1, self.ended[place].2),
            None => (self.base, By::Earlier),
        }
    }

    /// The highest revision that can have existed at `at`.
    pub(crate) fn ceiling(&self, at: u64) -> i64 {
        let place = self.begun.partition_point(|(invoked, _)| *invoked <= at);
        self.begun.get(place).map_or(i64::MAX, |(_, revision)| *revision)
    }

    /// The bounds of the time at which a revision was created.
    pub(crate) fn birth(&self, revision: i64) -> (u64, u64) {
        let below = self.lower.partition_point(|(seen, _)| *seen < revision);
        let from = below.checked_sub(1).map_or(0, |place| self.lower[place].1);
        let above = self.higher.partition_point(|(seen, _)| *seen < revision);
        (from, self.higher.get(above).map_or(u64::MAX, |(_, returned)| *returned))
    }

    /// Whether a sight goes back, that is, shows an earlier revision than
    /// another that had ended before it; returns that other revision and its observer.
    pub(crate) fn back(&self, sight: &Sight) -> Option<(i64, By)> {
        let (floor, by) = self.floor(sight.invoked);
        (sight.revision - i64::from(sight.wrote) < floor).then_some((floor, by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(invoked: u64, returned: u64, revision: i64, wrote: bool) -> Sight {
        Sight { invoked, returned, revision, wrote, by: By::Call(0) }
    }

    #[test]
    fn what_had_ended_is_a_floor_and_what_begins_later_a_ceiling() {
        let sights = [sight(10, 20, 5, true), sight(30, 40, 6, false), sight(50, 60, 8, true)];
        let order = Order::new(&sights, 3);
        assert_eq!(order.floor(20).0, 3, "it had not ended before");
        assert_eq!(order.floor(21).0, 5);
        assert_eq!(order.floor(100).0, 8);
        assert_eq!(order.ceiling(5), 4, "5 is written by a call that is sent later");
        assert_eq!(order.ceiling(25), 6);
        assert_eq!(order.ceiling(49), 7);
        assert_eq!(order.ceiling(50), i64::MAX);
        assert_eq!(order.birth(5), (10, 20));
        assert_eq!(order.birth(7), (30, 60), "6 was still there at 30");
        assert_eq!(order.birth(8), (50, 60), "nobody had written it before");
        assert_eq!(order.birth(9), (50, u64::MAX));
    }

    #[test]
    fn going_back_is_seen_and_overlap_is_not_going_back() {
        let sights = [sight(10, 20, 5, false), sight(15, 30, 4, false), sight(21, 30, 5, true)];
        let order = Order::new(&sights, 1);
        assert!(order.back(&sights[0]).is_none());
        assert!(order.back(&sights[1]).is_none());
        assert!(order.back(&sights[2]).is_some(), "a write makes a revision that nobody saw yet");
    }
}
