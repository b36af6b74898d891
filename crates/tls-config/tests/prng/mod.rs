//! The random numbers of this crate's tests (splitmix64): small, seeded, the
//! same on every machine.

use std::hash::{BuildHasher, RandomState};

/// A generator whose whole state is its seed.
pub(crate) struct Prng(u64);

impl Prng {
    /// A generator that starts from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Prng(seed)
    }

    /// One that starts from `T4_SEED`, or from a new seed each run; the seed is
    /// printed, so that a failure can be replayed.
    pub(crate) fn for_test() -> Self {
        let seed = match std::env::var("T4_SEED") {
            Ok(text) => text.parse().expect("T4_SEED is a decimal number of 64 bits"),
            Err(_) => RandomState::new().hash_one(0),
        };
        println!("replay with T4_SEED={seed}");
        Prng::new(seed)
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }
}
