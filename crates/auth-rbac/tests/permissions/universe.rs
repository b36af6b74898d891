//! A small universe of keys, in which any two ranges are likely to meet.
//!
//! All bounds of ranges are among `BOUNDS` or right behind one of them (the
//! end of a single key). So what is true of the first key of each stretch
//! between two such bounds is true of all keys of that stretch: `POINTS` has
//! one key for each, and sets of points stand for sets of keys exactly.

use bytes::Bytes;
use t4_kv_types::{KeyRange, RangeEnd};

use crate::prng::Prng;

/// The bounds that ranges have.
pub(crate) const BOUNDS: [&[u8]; 18] = [
    b"\0",
    b"\0\0",
    b"a",
    b"a\0",
    b"aa",
    b"aaa",
    b"aab",
    b"ab",
    b"aba",
    b"b",
    b"ba",
    b"bab",
    b"bb",
    b"bbb",
    b"c",
    b"\xfe",
    b"\xff",
    b"\xff\xff",
];

/// The bounds and what is right behind each, ascending.
pub(crate) fn points() -> Vec<Vec<u8>> {
    let behind = BOUNDS.iter().map(|bound| [bound, &b"\0"[..]].concat());
    let mut points: Vec<Vec<u8>> =
        BOUNDS.iter().map(|bound| bound.to_vec()).chain(behind).collect();
    points.sort();
    points.dedup();
    points
}

pub(crate) fn key(prng: &mut Prng) -> Bytes {
    let bound: &&[u8] = prng.pick(&BOUNDS);
    Bytes::from_static(bound)
}

/// A range as a request may have it: single keys, prefixes, open ends, and now
/// and then one that is empty or begins before the lowest key.
pub(crate) fn range(prng: &mut Prng) -> KeyRange {
    let start = key(prng);
    match prng.below(16) {
        0..6 => KeyRange::single(start),
        6..9 => KeyRange { start, end: RangeEnd::Open },
        9 => KeyRange::all(),
        10 => KeyRange { start: Bytes::new(), end: RangeEnd::Before(key(prng)) },
        11 => {
            let end = [&start[..], &b"\0"[..]].concat();
            KeyRange { start, end: RangeEnd::Before(end.into()) }
        }
        _ => KeyRange { start, end: RangeEnd::Before(key(prng)) },
    }
}

/// A range that can be granted, in etcd's form.
pub(crate) fn permission_range(prng: &mut Prng) -> (Bytes, Bytes) {
    let (one, other) = (key(prng), key(prng));
    match prng.below(16) {
        0..5 => (one, Bytes::new()),
        5..7 => (one, Bytes::from_static(b"\0")),
        _ if one == other => (one, Bytes::new()),
        // An end of one zero byte would be an open end.
        _ => (one.clone().min(other.clone()), one.max(other)),
    }
}
