//! Ranges of keys, with etcd's wire convention translated once at the edge.

use bytes::Bytes;

/// Where a range of keys ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RangeEnd {
    /// The range contains only the start key.
    Single,
    /// The first key after the range. If it is at or below the start key, the
    /// range is empty; that is not an error.
    Before(Bytes),
    /// The range has no end.
    Open,
}

/// A range of keys in byte order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// The first key of the range.
    pub start: Bytes,
    /// The end of the range.
    pub end: RangeEnd,
}

impl KeyRange {
    /// The range of a single key.
    #[must_use]
    pub fn single(key: impl Into<Bytes>) -> Self {
        KeyRange { start: key.into(), end: RangeEnd::Single }
    }

    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        KeyRange { start: Bytes::new(), end: RangeEnd::Open }
    }

    /// Every key that starts with `prefix`. The empty prefix matches every key.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start: Bytes = prefix.into();
        let end = match start.iter().rposition(|&b| b != 0xff) {
            None => RangeEnd::Open,
            Some(last) => {
                let mut end = start[..=last].to_vec();
                end[last] += 1;
                RangeEnd::Before(end.into())
            }
        };
        KeyRange { start, end }
    }

    /// Translates etcd's `(key, range_end)` (reference: etcd `rpc.proto`,
    /// RangeRequest): an empty end means a single key, a single zero byte means
    /// "no end", anything else is the first key after the range.
    #[must_use]
    pub fn from_wire(key: Bytes, range_end: Bytes) -> Self {
        let end = match range_end.as_ref() {
            [] => RangeEnd::Single,
            [0] => RangeEnd::Open,
            _ => RangeEnd::Before(range_end),
        };
        KeyRange { start: key, end }
    }

    /// Whether the range contains `key`.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            RangeEnd::Single => self.start == key,
            RangeEnd::Before(end) => self.start.as_ref() <= key && key < end.as_ref(),
            RangeEnd::Open => self.start.as_ref() <= key,
        }
    }

    /// Whether the range contains no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, RangeEnd::Before(end) if *end <= self.start)
    }

    /// Whether this is the range of a single key.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.end == RangeEnd::Single
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_ends() {
        let b = Bytes::from_static;
        assert!(KeyRange::from_wire(b(b"a"), b(b"")).is_single());
        assert_eq!(KeyRange::from_wire(b(b"a"), b(b"\0")).end, RangeEnd::Open);
        let all = KeyRange::from_wire(b(b"\0"), b(b"\0"));
        assert!(all.contains(b"\0") && all.contains(b"\xff\xff"));
        assert!(KeyRange::from_wire(b(b"b"), b(b"a")).is_empty());
        assert!(KeyRange::from_wire(b(b"b"), b(b"b")).is_empty());
    }

    #[test]
    fn prefixes() {
        assert_eq!(KeyRange::prefix("a").end, RangeEnd::Before(Bytes::from_static(b"b")));
        assert_eq!(
            KeyRange::prefix(&b"a\xff\xff"[..]).end,
            RangeEnd::Before(Bytes::from_static(b"b"))
        );
        assert_eq!(KeyRange::prefix(&b"\xff"[..]).end, RangeEnd::Open);
        assert_eq!(KeyRange::prefix("").end, RangeEnd::Open);
    }
}
