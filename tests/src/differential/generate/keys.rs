//! The small key space, values, ranges and revisions.

use bytes::Bytes;
use t4_testkit::Rng;

use super::Generator;

// Neighbours, prefixes of each other, and both ends of the byte order.
const KEYS: &[&[u8]] = &[
    b"a",
    b"a\x00",
    b"a\x00\x00",
    b"a/",
    b"aa",
    b"ab",
    b"ab\xff",
    b"b",
    b"b/1",
    b"b/10",
    b"b/2",
    b"c",
    b"d",
    b"e",
    b"f",
    b"g/x",
    b"g/y",
    b"g/z",
    b"h",
    b"\x00",
    b"\x01",
    b"\xff",
    b"\xff\xff",
    b"z",
];

pub(super) fn key(rng: &mut Rng) -> Bytes {
    let key: &'static [u8] = KEYS[rng.below(KEYS.len() as u64) as usize];
    Bytes::from_static(key)
}

/// A value: mostly one of a few, so that compares hit and sorts tie.
pub(super) fn value(rng: &mut Rng) -> Bytes {
    match rng.below(20) {
        0 => Bytes::new(),
        1..12 => Bytes::from(format!("v{}", rng.below(6))),
        12..19 => {
            let len = rng.below(40) as usize;
            Bytes::from(rng.bytes(len))
        }
        _ => {
            let len = rng.below(3000) as usize;
            Bytes::from(rng.bytes(len))
        }
    }
}

/// `key` and `range_end` of a range, in every form that clients use.
pub(super) fn range(rng: &mut Rng) -> (Bytes, Bytes) {
    let start = key(rng);
    let open = Bytes::from_static(b"\0");
    match rng.below(20) {
        0..8 => (start, Bytes::new()),
        8..13 => ordered(start, key(rng)),
        13..16 => {
            let end = prefix_end(&start);
            (start, end)
        }
        16 => (open.clone(), open),
        17 => (start, open),
        // Upside down, or empty: no error, no keys.
        18 => {
            let (low, high) = ordered(start, key(rng));
            (high, low)
        }
        _ => (start.clone(), start),
    }
}

fn ordered(one: Bytes, two: Bytes) -> (Bytes, Bytes) {
    if one <= two { (one, two) } else { (two, one) }
}

fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return Bytes::from(end);
        }
    }
    Bytes::from_static(b"\0")
}

impl Generator {
    /// A revision to read at: mostly the latest or one in the kept history,
    /// sometimes past either end.
    pub(super) fn read_revision(&mut self) -> i64 {
        let (current, compacted) = (self.world.revision, self.world.compacted);
        match self.rng.below(40) {
            0..24 => 0,
            24..34 => self.kept_revision(),
            34 => compacted.max(0),
            35 => compacted - 1,
            36 => current + self.rng.between(1, 3),
            37 => current,
            38 => self.rng.between(-5, -1),
            _ => *self.rng.pick(&[i64::MAX, i64::MIN, 1, 2]),
        }
    }

    /// A revision between the compacted and the current one, mostly near the latter.
    pub(super) fn kept_revision(&mut self) -> i64 {
        let low = self.world.compacted.max(1);
        let near = (self.world.revision - 30).max(low);
        let from = if self.rng.chance(3, 4) { near } else { low };
        self.rng.between(from, self.world.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn the_end_of_a_prefix_is_the_first_key_without_it() {
        assert_eq!(&prefix_end(b"a")[..], b"b");
        assert_eq!(&prefix_end(b"ab\xff")[..], b"ac");
        assert_eq!(&prefix_end(b"\xff\xff")[..], b"\0");
    }
}
