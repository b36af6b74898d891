//! The seed of a random test: announced, and replayable.

use crate::Rng;

/// The seed of one random test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed for the test `name`: `T4_SEED` if it is set (decimal, or
    /// hexadecimal after `0x`), else one from the operating system. Prints the
    /// seed and the line that replays it; `command` is the command that runs
    /// the suite.
    ///
    /// # Panics
    /// When `T4_SEED` is not a number: replaying a different seed than the
    /// requested one would mislead.
    /// seed than the one asked for would mislead.
    #[must_use]
    pub fn announce(name: &str, command: &str) -> Seed {
        let seed = match std::env::var("T4_SEED") {
            Ok(text) if !text.is_empty() => match Seed::parse(&text) {
                Some(seed) => seed,
                None => panic!("T4_SEED={text:?} is no 64-bit number"),
            },
            _ => Seed(getrandom::u64().expect("the operating system gives no randomness")),
        };
        println!("{name}: seed {seed}; replay: T4_SEED={seed} {command}");
        seed
    }

    /// A seed that the code chose, for tests that need a fixed one.
    #[must_use]
    pub fn fixed(value: u64) -> Seed {
        Seed(value)
    }

    /// The generator of this seed. Each call gives the same one.
    #[must_use]
    pub fn rng(self) -> Rng {
        Rng::new(self.0)
    }

    /// A seed derived from this one: round `index` of a test with many rounds.
    #[must_use]
    pub fn round(self, index: u64) -> Seed {
        Seed(Rng::new(self.0 ^ index.wrapping_mul(0xd6e8_feb8_6659_fd93)).next_u64())
    }

    fn parse(text: &str) -> Option<Seed> {
        let text = text.trim();
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok().map(Seed),
            None => text.parse().ok().map(Seed),
        }
    }
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Seed;

    #[test]
    fn a_printed_seed_reads_back() {
        let seed = Seed::fixed(0xfeed_0000_0000_0001);
        assert_eq!(Seed::parse(&seed.to_string()), Some(seed));
        assert_eq!(Seed::parse("17"), Some(Seed::fixed(17)));
        assert_eq!(Seed::parse("0xZZ"), None);
    }

    #[test]
    fn rounds_differ_and_repeat() {
        let seed = Seed::fixed(3);
        assert_ne!(seed.round(0), seed.round(1));
        assert_eq!(seed.round(1), seed.round(1));
    }
}
