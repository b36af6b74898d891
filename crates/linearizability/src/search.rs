//! The general search: is there an order of calls that explains one object?
//!
//! This is Wing and Gong's search as a walk through time that keeps every
//! possible configuration (after Lowe): the object's state, and which of the
//! calls in flight have taken effect. Equal configurations are kept once, so the
//! work is bounded by the possibilities at one moment, not by the number of
//! orders. The next history starts with the configurations possible at the end.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// An object with one state, and the effects of calls on it.
pub(crate) trait Object {
    type State: Clone + Eq + Hash + std::fmt::Debug;
    /// The state after the step with this index, or `None` if the step is
    /// impossible on `state`.
    fn step(&self, state: &Self::State, index: usize) -> Option<Self::State>;
    /// Whether the step leaves every state unchanged.
    fn only_reads(&self, index: usize) -> bool;
}

/// When a step can have happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) invoked: u64,
    pub(crate) returned: u64,
    /// The possible points in the history of the key space, as returned by
    /// [`made`] and [`seen`]. A step whose last point is before another's first
    /// point comes before that step.
    pub(crate) low: i64,
    pub(crate) high: i64,
    /// The point that had been reached when it was invoked: no step invoked
    /// later is before it.
    pub(crate) base: i64,
    /// Whether the step may not have happened at all.
    pub(crate) maybe: bool,
}

/// The point at which a revision is created.
pub(crate) fn made(revision: i64) -> i64 {
    revision.saturating_mul(2)
}

/// The point at which a revision is the current one, until the next.
pub(crate) fn seen(revision: i64) -> i64 {
    revision.saturating_mul(2).saturating_add(1)
}

/// The result of a search.
#[derive(Debug)]
pub(crate) enum Found<S> {
    /// Orders exist; these states are possible at the end.
    Orders(HashSet<S>),
    /// No order exists: this step has no place. With the states that were
    /// possible before it, and the steps that were in flight.
    Stuck { step: usize, states: Vec<S>, beside: Vec<usize> },
    /// Too many configurations.
    GaveUp,
}

/// A search is given up if it holds more configurations.
const CONFIGURATIONS_MAX: usize = 50_000;

// The state, and the sorted steps in flight that have happened; and the first
// point at which the next step may happen.
type Configurations<S> = HashMap<(S, Vec<u32>), i64>;

/// Searches all orders of the steps with these spans, starting in each of the
/// given states.
pub(crate) fn search<O: Object>(
    object: &O,
    spans: &[Span],
    initial: impl IntoIterator<Item = O::State>,
) -> Found<O::State> {
    let mut configurations: Configurations<O::State> =
        initial.into_iter().map(|state| ((state, Vec::new()), i64::MIN)).collect();
    let mut in_flight: Vec<usize> = Vec::new();
    let mut reached = i64::MIN;
    for (_, is_return, step) in moments(spans) {
        if !is_return {
            in_flight.push(step);
            reached = reached.max(spans[step].base);
            continue;
        }
        let before = states(&configurations);
        let span = &spans[step];
        // After this the step has happened; a `maybe` step may also never happen.
        let without = if span.maybe { configurations.clone() } else { Configurations::new() };
        let walked =
            Walk { object, spans, in_flight: &in_flight, reached }.happened(configurations, step);
        let Some(walked) = walked else { return Found::GaveUp };
        let walked = without.into_iter().fold(walked, keep);
        if walked.is_empty() {
            return Found::Stuck { step, states: before, beside: in_flight };
        }
        let forget = |((state, mut done), floor): ((O::State, Vec<u32>), i64)| {
            done.retain(|other| *other as usize != step);
            ((state, done), floor)
        };
        configurations = walked.into_iter().map(forget).fold(Configurations::new(), keep);
        in_flight.retain(|other| *other != step);
    }
    Found::Orders(states(&configurations).into_iter().collect())
}

/// Invocations and returns by time; invocations first at equal times.
fn moments(spans: &[Span]) -> Vec<(u64, bool, usize)> {
    let mut moments = Vec::with_capacity(spans.len() * 2);
    for (step, span) in spans.iter().enumerate() {
        moments.push((span.invoked, false, step));
        moments.push((span.returned.max(span.invoked), true, step));
    }
    moments.sort_unstable();
    moments
}

fn states<S: Clone + Eq + Hash>(configurations: &Configurations<S>) -> Vec<S> {
    let all: HashSet<&S> = configurations.keys().map(|(state, _)| state).collect();
    all.into_iter().cloned().collect()
}

fn keep<S: Eq + Hash>(
    mut into: Configurations<S>,
    (key, floor): ((S, Vec<u32>), i64),
) -> Configurations<S> {
    let kept = into.entry(key).or_insert(floor);
    *kept = (*kept).min(floor);
    into
}

/// The steps that may happen at one moment.
struct Walk<'a, O> {
    object: &'a O,
    spans: &'a [Span],
    in_flight: &'a [usize],
    // No step invoked later is before this point.
    reached: i64,
}

impl<O: Object> Walk<'_, O> {
    /// The configurations in which `step` has happened, possibly after other
    /// steps in flight. `None` if there are too many.
    fn happened(
        &self,
        configurations: Configurations<O::State>,
        step: usize,
    ) -> Option<Configurations<O::State>> {
        let mut done_with = Configurations::new();
        let mut best: Configurations<O::State> = Configurations::new();
        let mut open: Vec<_> = configurations.into_iter().collect();
        while let Some((mut key, mut floor)) = open.pop() {
            self.let_readers_go(&mut key, &mut floor);
            if key.1.binary_search(&(step as u32)).is_ok() {
                done_with = keep(done_with, (key, floor));
                continue;
            }
            match best.get(&key) {
                Some(known) if *known <= floor => continue,
                _ => best.insert(key.clone(), floor),
            };
            if best.len() > CONFIGURATIONS_MAX {
                return None;
            }
            let (state, done) = &key;
            for &next in self.in_flight {
                let Err(place) = done.binary_search(&(next as u32)) else { continue };
                if self.spans[next].high < floor {
                    continue;
                }
                let Some(state) = self.object.step(state, next) else { continue };
                let mut done = done.clone();
                done.insert(place, next as u32);
                open.push(((state, done), floor.max(self.spans[next].low)));
            }
        }
        Some(done_with)
    }

    /// Lets read-only steps happen as early as possible, if that does not
    /// displace another step: without this, every subset of the readers in
    /// flight would be a configuration.
    fn let_readers_go(&self, (state, done): &mut (O::State, Vec<u32>), floor: &mut i64) {
        for &next in self.in_flight {
            let Err(place) = done.binary_search(&(next as u32)) else { continue };
            let Span { low, high, maybe, .. } = self.spans[next];
            let reads = self.object.only_reads(next);
            if maybe || !reads || high < *floor || (low > *floor && low > self.reached) {
                continue;
            }
            let waits = |other: &&usize| {
                done.binary_search(&(**other as u32)).is_err() && self.spans[**other].high < low
            };
            if self.in_flight.iter().any(|other| waits(&other)) {
                continue;
            }
            if self.object.step(state, next).as_ref() == Some(state) {
                done.insert(place, next as u32);
                *floor = low.max(*floor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register: (`true`, x) writes, (`false`, x) reads x.
    struct Register(Vec<(bool, u8)>);

    impl Object for Register {
        type State = u8;
        fn step(&self, state: &u8, index: usize) -> Option<u8> {
            match self.0[index] {
                (true, value) => Some(value),
                (false, value) => (value == *state).then_some(value),
            }
        }
        fn only_reads(&self, index: usize) -> bool {
            !self.0[index].0
        }
    }

    fn span(invoked: u64, returned: u64) -> Span {
        Span { invoked, returned, low: i64::MIN, high: i64::MAX, base: i64::MIN, maybe: false }
    }

    fn orders(steps: &[(bool, u8)], spans: &[Span]) -> Option<Vec<u8>> {
        match search(&Register(steps.to_vec()), spans, [0]) {
            Found::Orders(states) => {
                let mut states: Vec<u8> = states.into_iter().collect();
                states.sort_unstable();
                Some(states)
            }
            Found::Stuck { .. } => None,
            Found::GaveUp => panic!("gave up"),
        }
    }

    #[test]
    fn concurrent_writes_end_in_either() {
        let steps = [(true, 1), (true, 2)];
        assert_eq!(orders(&steps, &[span(0, 10), span(5, 15)]), Some(vec![1, 2]));
        assert_eq!(orders(&steps, &[span(0, 10), span(11, 15)]), Some(vec![2]));
    }

    #[test]
    fn a_stale_read_has_no_order() {
        let steps = [(true, 1), (false, 0)];
        assert_eq!(orders(&steps, &[span(0, 10), span(11, 15)]), None);
        assert_eq!(orders(&steps, &[span(0, 10), span(9, 15)]), Some(vec![1]));
    }

    #[test]
    fn reads_that_disagree_on_the_order_have_none() {
        let steps = [(true, 1), (true, 2), (false, 1), (false, 2), (false, 1)];
        let spans = [span(0, 100), span(0, 100), span(10, 20), span(30, 40), span(50, 60)];
        assert_eq!(orders(&steps, &spans), None);
        assert_eq!(orders(&steps[..4], &spans[..4]), Some(vec![2]));
    }

    #[test]
    fn a_step_that_may_not_have_happened_happens_at_most_once() {
        let maybe = Span { maybe: true, ..span(0, 100) };
        let steps = [(true, 1), (false, 1), (true, 2), (false, 1)];
        assert_eq!(orders(&steps[..1], &[maybe]), Some(vec![0, 1]));
        let open = Span { returned: u64::MAX, ..maybe };
        assert_eq!(orders(&steps[..2], &[open, span(10, 20)]), Some(vec![1]));
        let spans = [maybe, span(10, 20), span(30, 40), span(50, 60)];
        assert_eq!(orders(&steps, &spans), None);
    }

    #[test]
    fn a_write_of_what_is_there_may_come_later_all_the_same() {
        // The value is 1, is written as 1 again, becomes 2, and is read as 1:
        // the second write of 1 came after that of 2.
        let steps = [(true, 1), (true, 1), (true, 2), (false, 2), (false, 1)];
        let spans = [span(0, 10), span(11, 100), span(20, 30), span(31, 40), span(50, 60)];
        assert_eq!(orders(&steps, &spans), Some(vec![1]));
    }

    #[test]
    fn points_of_the_key_space_order_what_overlaps_in_time() {
        let at = |point| Span { low: point, high: point, ..span(0, 100) };
        let steps = [(true, 1), (false, 0)];
        assert_eq!(orders(&steps, &[at(made(5)), at(seen(4))]), Some(vec![1]));
        assert_eq!(orders(&steps, &[at(made(5)), at(seen(5))]), None);
    }
}
