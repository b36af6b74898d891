//! Sets of keys as intervals, and whether one covers a range.
//!
//! Decides nothing about users; built when permissions change, asked on every
//! request: an answer is one binary search and no allocation.

use bytes::{BufMut, Bytes, BytesMut};
use t4_kv_types::{KeyRange, RangeEnd};

/// The lowest key there is: the empty one is none.
const LOWEST: &[u8] = &[0];

/// Keys from `start` (inside) to `end` (outside); no end: all that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interval {
    start: Bytes,
    end: Option<Bytes>,
}

impl Interval {
    /// None if there is no key in the range.
    fn of(range: &KeyRange) -> Option<Interval> {
        let start =
            if range.start.is_empty() { Bytes::from_static(LOWEST) } else { range.start.clone() };
        match &range.end {
            RangeEnd::Single if range.start.is_empty() => None,
            RangeEnd::Single => {
                let end = Some(successor(&start));
                Some(Interval { start, end })
            }
            RangeEnd::Before(end) if *end <= start => None,
            RangeEnd::Before(end) => Some(Interval { start, end: Some(end.clone()) }),
            RangeEnd::Open => Some(Interval { start, end: None }),
        }
    }

    fn ends_after(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| key < end.as_ref())
    }

    /// Whether nothing lies between its end and `start`.
    fn reaches(&self, start: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| start <= end.as_ref())
    }
}

/// A set of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intervals {
    /// Ascending, none empty, and at least one key between any two: so a range
    /// is covered by the union if and only if one of them covers it.
    intervals: Box<[Interval]>,
}

impl Intervals {
    /// The union of ranges, in any order.
    pub(crate) fn union_of<'a>(ranges: impl Iterator<Item = &'a KeyRange>) -> Intervals {
        Intervals::merged(ranges.filter_map(Interval::of).collect())
    }

    /// The union of sets.
    pub(crate) fn union<'a>(sets: impl Iterator<Item = &'a Intervals>) -> Intervals {
        Intervals::merged(sets.flat_map(|set| set.intervals.iter().cloned()).collect())
    }

    fn merged(mut intervals: Vec<Interval>) -> Intervals {
        intervals.sort_unstable_by(|one, other| one.start.cmp(&other.start));
        let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
        for next in intervals {
            match merged.last_mut() {
                Some(last) if last.reaches(&next.start) => {
                    // No end is the greatest end.
                    let further = match (&last.end, &next.end) {
                        (Some(last), Some(next)) => last < next,
                        (Some(_), None) => true,
                        (None, _) => false,
                    };
                    if further {
                        last.end = next.end;
                    }
                }
                _ => merged.push(next),
            }
        }
        Intervals { intervals: merged.into_boxed_slice() }
    }

    /// Whether `key` is in the set.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.last_from(key).is_some_and(|interval| interval.ends_after(key))
    }

    /// Whether every key of `range` is in the set. A range without an end
    /// needs an interval without one.
    ///
    /// An empty range has no keys to cover: it is allowed where its start is in
    /// the set. So it is in etcd, but for some shapes of its tree, which refuse
    /// it (seen on 3.5.1).
    pub(crate) fn covers(&self, range: &KeyRange) -> bool {
        let start = if range.start.is_empty() { LOWEST } else { range.start.as_ref() };
        match &range.end {
            RangeEnd::Single => self.contains(&range.start),
            RangeEnd::Open => self.last_from(start).is_some_and(|held| held.end.is_none()),
            RangeEnd::Before(end) if end.as_ref() <= start => self.contains(start),
            RangeEnd::Before(end) => self
                .last_from(start)
                .is_some_and(|held| held.end.as_ref().is_none_or(|outside| end <= outside)),
        }
    }

    /// The last interval that starts at or before `key`.
    fn last_from(&self, key: &[u8]) -> Option<&Interval> {
        let after = self.intervals.partition_point(|interval| interval.start.as_ref() <= key);
        self.intervals.get(after.checked_sub(1)?)
    }
}

/// The key right after `key`.
fn successor(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static str, end: &'static str) -> KeyRange {
        KeyRange::from_wire(key.into(), end.into())
    }

    fn set(ranges: &[(&'static str, &'static str)]) -> Intervals {
        let ranges: Vec<KeyRange> = ranges.iter().map(|(key, end)| range(key, end)).collect();
        Intervals::union_of(ranges.iter())
    }

    #[test]
    fn neighbours_are_one_interval() {
        let keys = set(&[("c", "e"), ("a", "c"), ("e", ""), ("b", "d")]);
        assert_eq!(keys.intervals.len(), 1);
        assert!(keys.covers(&range("a", "e\0")));
        assert!(!keys.covers(&range("a", "f")));
        assert!(keys.contains(b"e") && !keys.contains(b"e\0"));
    }

    #[test]
    fn a_gap_of_one_key_is_a_gap() {
        let keys = set(&[("a", "b"), ("b\0", "d")]);
        assert!(!keys.covers(&range("a", "d")));
        assert!(!keys.covers(&range("a", "c")));
        assert!(keys.covers(&range("b\0", "d")));
        assert!(set(&[("a", "b"), ("b", ""), ("b\0", "d")]).covers(&range("a", "d")));
    }

    #[test]
    fn an_open_end_needs_an_open_end() {
        let keys = set(&[("a", "b"), ("c", "\0"), ("d", "e")]);
        assert!(keys.covers(&range("c", "\0")) && keys.covers(&range("dd", "\0")));
        assert!(keys.covers(&range("c", "\u{ff}")));
        assert!(!keys.covers(&range("a", "\0")) && !keys.covers(&range("b", "\0")));
        assert!(!set(&[("a", "")]).covers(&range("a", "\0")));
        assert!(!set(&[("a", "\u{10ffff}")]).covers(&range("a", "\0")));
    }

    #[test]
    fn everything_begins_at_the_lowest_key() {
        let all = set(&[("\0", "\0")]);
        assert!(all.covers(&KeyRange::all()) && all.covers(&range("\0", "\0")));
        assert!(!all.contains(b""), "the empty key is none");
        assert!(!set(&[("\0\0", "\0")]).covers(&KeyRange::all()));
    }

    #[test]
    fn an_empty_range_is_allowed_where_it_starts() {
        let keys = set(&[("b", "f")]);
        for (key, end) in [("d", "c"), ("d", "d"), ("b", "b"), ("c", "a")] {
            assert!(keys.covers(&range(key, end)), "{key} {end}");
        }
        for (key, end) in [("a", "a"), ("f", "c"), ("z", "y")] {
            assert!(!keys.covers(&range(key, end)), "{key} {end}");
        }
        assert!(!Intervals::default().covers(&range("d", "c")));
    }
}
