//! Reproducible random numbers for tests (splitmix64).

/// A stream of numbers determined by its seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Runs a test with the seeds `0..runs`, or only with the seed in the
/// environment variable `T4_SEED`, and prints each seed, so that a failure can
/// be replayed.
pub(crate) fn with_seeds(runs: u64, test: impl Fn(u64)) {
    if let Ok(seed) = std::env::var("T4_SEED") {
        test(seed.parse().expect("T4_SEED is a number"));
        return;
    }
    for seed in 0..runs {
        println!("T4_SEED={seed}");
        test(seed);
    }
}
