//! A small deterministic generator for tests. Not for secrets.

/// SplitMix64: one word of state, every seed is good, same results on every
/// machine.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A generator that always yields the same sequence for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Rng { state: seed }
    }

    /// A separate generator for a part of the test, so that drawing more
    /// numbers in one part does not change the numbers of another.
    #[must_use]
    pub fn fork(&mut self) -> Rng {
        Rng::new(self.next_u64())
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`.
    ///
    /// # Panics
    /// When `bound` is 0: there is no such number.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a draw from an empty range");
        // The bias of one part in 2^64/bound does not matter to a test.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`.
    ///
    /// # Panics
    /// When `low > high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        assert!(low <= high, "a draw from an empty range");
        let width = high.wrapping_sub(low) as u64;
        let offset = if width == u64::MAX { self.next_u64() } else { self.below(width + 1) };
        low.wrapping_add(offset as i64)
    }

    /// True `numerator` times out of `denominator`.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// One of the elements.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.next_u64().to_le_bytes());
        }
        out.truncate(len);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn the_same_seed_gives_the_same_sequence_for_ever() {
        // The first outputs of SplitMix64 for seed 0 are published constants.
        let mut rng = Rng::new(0);
        assert_eq!(rng.next_u64(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(rng.next_u64(), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(Rng::new(7).bytes(13), Rng::new(7).bytes(13));
    }

    #[test]
    fn draws_stay_inside_their_bounds_and_reach_both_ends() {
        let mut rng = Rng::new(42);
        let mut seen = [false; 5];
        for _ in 0..200 {
            let n = rng.between(-2, 2);
            seen[(n + 2) as usize] = true;
            assert!(rng.below(3) < 3);
        }
        assert_eq!(seen, [true; 5]);
        let wide: Vec<i64> = (0..100).map(|_| rng.between(i64::MIN, i64::MAX)).collect();
        assert!(wide.iter().any(|n| *n < 0) && wide.iter().any(|n| *n > 0));
        assert_eq!(rng.bytes(11).len(), 11);
    }

    #[test]
    fn a_fork_is_not_disturbed_by_its_parent() {
        let mut one = Rng::new(1);
        let mut fork = one.fork();
        let expected: Vec<u64> = (0..4).map(|_| fork.clone().next_u64()).collect();
        one.next_u64();
        assert_eq!(fork.next_u64(), expected[0]);
    }
}
