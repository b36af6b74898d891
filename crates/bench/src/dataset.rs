//! Keys and values, generated before the measurement.

use bytes::Bytes;
use t4_testkit::Rng;

/// The size of the pool from which values are cut.
const POOL_BYTES: usize = 4 << 20;

/// Keys of one length under one prefix, in byte order.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
    keys: Vec<Bytes>,
}

impl Keys {
    /// `count` keys of `key_bytes` bytes: the prefix, then the number with
    /// leading zeros.
    ///
    /// # Panics
    /// If the numbers do not fit after the prefix.
    #[must_use]
    pub fn new(prefix: &str, count: usize, key_bytes: usize) -> Keys {
        let digits = key_bytes.saturating_sub(prefix.len());
        assert!(count.to_string().len() <= digits, "{count} keys of {key_bytes} bytes");
        let key = |i| forever(format!("{prefix}{i:0digits$}").into_bytes());
        Keys { prefix: prefix.into(), keys: (0..count).map(key).collect() }
    }

    /// The key with this number.
    #[must_use]
    pub fn get(&self, i: usize) -> Bytes {
        self.keys[i].clone()
    }

    /// A uniformly random key.
    pub fn pick(&self, rng: &mut Rng) -> Bytes {
        self.get(rng.below(self.keys.len() as u64) as usize)
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The first key after all of them.
    #[must_use]
    pub fn end(&self) -> Bytes {
        // The keys continue with a digit, and ':' follows '9'.
        Bytes::from(format!("{}:", self.prefix))
    }

    /// The smallest possible key.
    #[must_use]
    pub fn start(&self) -> Bytes {
        Bytes::from(self.prefix.clone())
    }
}

/// Values of one length. They are cut at random offsets from a pool of random
/// bytes, so that neither server gains from compression.
#[derive(Clone, Debug)]
pub struct Values {
    pool: Bytes,
    value_bytes: usize,
}

impl Values {
    /// Values of `value_bytes` bytes, the same ones in every run.
    #[must_use]
    pub fn new(value_bytes: usize) -> Values {
        Values { pool: forever(Rng::new(0x7434).bytes(POOL_BYTES + value_bytes)), value_bytes }
    }

    /// The value with this number.
    #[must_use]
    pub fn get(&self, i: usize) -> Bytes {
        let at = Rng::new(i as u64).below(POOL_BYTES as u64) as usize;
        self.pool.slice(at..at + self.value_bytes)
    }

    /// A random value.
    pub fn pick(&self, rng: &mut Rng) -> Bytes {
        self.get(rng.next_u64() as usize)
    }
}

/// Leaks bytes: cloning them touches no reference count, which two threads
/// would otherwise contend for at every request.
fn forever(bytes: Vec<u8>) -> Bytes {
    Bytes::from_static(Box::leak(bytes.into_boxed_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_order_and_inside_their_range() {
        let keys = Keys::new("bench/a/", 1_000, 32);
        assert!((1..keys.len()).all(|i| keys.get(i - 1) < keys.get(i)));
        assert!(keys.start() < keys.get(0) && keys.get(999) < keys.end());
        assert!((0..1_000).all(|i| keys.get(i).len() == 32));
    }

    #[test]
    fn values_differ_and_repeat() {
        let values = Values::new(256);
        assert_eq!(values.get(5), Values::new(256).get(5));
        assert_ne!(values.get(5), values.get(6));
        assert_eq!(values.get(7).len(), 256);
    }
}
