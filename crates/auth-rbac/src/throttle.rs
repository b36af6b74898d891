//! Failed logins slow down one (user, address) pair, and no others.
//!
//! Asked twice for each login: [`Throttle::admit`] right before the password is
//! looked at, by the cache or by bcrypt, and [`Throttle::failed`] or
//! [`Throttle::succeeded`] after it. A login that must wait asks again when its
//! time has come: `admit` gives a throttled pair one attempt for each delay,
//! however many wait, and a right password waits like any other, so that the wait
//! reveals nothing.
//!
//! No user is ever locked out: guessing `root`'s password from one address does not
//! slow root down at another.
//!
//! Non-goals: clocks, sleeping, how long a client is kept waiting at most,
//! and how many hashes are computed at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::digest;

/// Plain settings of a [`Throttle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleConfig {
    /// Failures without a delay: people mistype. Default 3.
    pub free_failures: u32,
    /// The delay after the first failure beyond those; each further one doubles it.
    /// Default 250 ms.
    pub delay_min: Duration,
    /// No delay is longer. Default 30 s.
    pub delay_max: Duration,
    /// One failure is forgiven for each such time without another. Default 60 s,
    /// so that the longest delay is forgotten after 11 minutes.
    pub forgive_every: Duration,
    /// The most pairs remembered, about 150 bytes each; beyond that the one that
    /// would be forgiven first goes. Default 65,536.
    pub pairs_max: usize,
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        ThrottleConfig {
            free_failures: 3,
            delay_min: Duration::from_millis(250),
            delay_max: Duration::from_secs(30),
            forgive_every: Duration::from_secs(60),
            pairs_max: 65_536,
        }
    }
}

/// Where a login comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The remote address of a connection, without its port. Of an IPv6 address
    /// the first 64 bits count, because one machine has all the rest.
    Address(IpAddr),
    /// A unix socket, or this process. The loopback of IPv6 counts with it.
    Local,
}

impl Origin {
    /// What counts of it.
    #[must_use]
    pub fn network(self) -> Network {
        Network(match self {
            Origin::Local => [0; 16],
            Origin::Address(address) => match address.to_canonical() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => {
                    (u128::from_be_bytes(v6.octets()) & !u128::from(u64::MAX)).to_be_bytes()
                }
            },
        })
    }
}

/// What counts of an [`Origin`]: equal ones are slowed down together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network([u8; 16]);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Origin::Address(address)
    }
}

/// The answer to "may this login be checked now?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Check the password now, then say how it went.
    Now,
    /// Ask again after this time; do not look at the password before.
    After(Duration),
}

/// The failures of (user, address) pairs.
///
/// Time is an argument, a `Duration` since any fixed point on a monotonic clock.
#[derive(Debug)]
pub struct Throttle {
    config: ThrottleConfig,
    /// Failures beyond this number delay no longer, so they are not counted.
    failures_max: u32,
    pairs: BTreeMap<Pair, Failures>,
    /// (when all is forgiven, pair): the same pairs as in `pairs`.
    forgiven: BTreeSet<(Duration, Pair)>,
}

/// A (user, address) pair in 40 bytes, however long the name is that a client
/// sends: 128 bits of its SHA-256, and the network.
type Pair = ([u8; 16], Network);

#[derive(Clone, Copy, Debug)]
struct Failures {
    /// As of `last`; at least 1.
    count: u32,
    /// When the last failure was.
    last: Duration,
    /// No attempt before this.
    next: Duration,
}

impl Throttle {
    /// One without failures.
    #[must_use]
    pub fn new(config: ThrottleConfig) -> Self {
        let mut throttle = Throttle {
            config,
            failures_max: config.free_failures.saturating_add(1),
            pairs: BTreeMap::new(),
            forgiven: BTreeSet::new(),
        };
        for _ in 0..u64::BITS {
            if throttle.delay(throttle.failures_max) < config.delay_max {
                throttle.failures_max = throttle.failures_max.saturating_add(1);
            }
        }
        throttle
    }

    /// May `user` at `origin` try a password now? [`Admission::Now`] takes the
    /// attempt: the next one of a throttled pair has to wait again.
    pub fn admit(&mut self, now: Duration, user: &str, origin: Origin) -> Admission {
        let pair = pair(user, origin);
        let Some(failures) = self.pairs.get(&pair).copied() else { return Admission::Now };
        let count = self.count_at(now, failures);
        if count == 0 {
            self.remove(&pair);
            return Admission::Now;
        }
        if now < failures.next {
            return Admission::After(failures.next - now);
        }
        let next = now.saturating_add(self.delay(count));
        self.pairs.insert(pair, Failures { next, ..failures });
        Admission::Now
    }

    /// The password was wrong, or there is no such user. Returns how long the
    /// pair has to wait now.
    pub fn failed(&mut self, now: Duration, user: &str, origin: Origin) -> Duration {
        if self.config.pairs_max == 0 {
            return Duration::ZERO;
        }
        let pair = pair(user, origin);
        let before = self.remove(&pair);
        self.make_room(now);
        let count = before.map_or(0, |before| self.count_at(now, before)) + 1;
        let count = count.min(self.failures_max);
        // Attempts that ran at the same time may report late or out of order:
        // neither the time of the last failure nor the wait goes back.
        let last = before.map_or(now, |before| before.last.max(now));
        let delay = self.delay(count);
        let next = now.saturating_add(delay).max(before.map_or(Duration::ZERO, |b| b.next));
        self.forgiven.insert((self.forgiven_at(count, last), pair));
        self.pairs.insert(pair, Failures { count, last, next });
        delay
    }

    /// The password was right: the pair starts afresh.
    pub fn succeeded(&mut self, user: &str, origin: Origin) {
        self.remove(&pair(user, origin));
    }

    /// How many pairs are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// True if no pair is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The time between attempts after `count` failures.
    fn delay(&self, count: u32) -> Duration {
        let Some(doublings) = count.checked_sub(self.config.free_failures.saturating_add(1)) else {
            return Duration::ZERO;
        };
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.config.delay_min.saturating_mul(factor).min(self.config.delay_max)
    }

    /// What is left of these failures at `now`.
    fn count_at(&self, now: Duration, failures: Failures) -> u32 {
        let every = self.config.forgive_every.as_nanos().max(1);
        let passed = now.saturating_sub(failures.last).as_nanos() / every;
        failures.count.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX))
    }

    fn forgiven_at(&self, count: u32, last: Duration) -> Duration {
        last.saturating_add(self.config.forgive_every.saturating_mul(count))
    }

    fn remove(&mut self, pair: &Pair) -> Option<Failures> {
        let failures = self.pairs.remove(pair)?;
        self.forgiven.remove(&(self.forgiven_at(failures.count, failures.last), *pair));
        Some(failures)
    }

    /// Drops what is forgiven, and if that is not enough the pair that would be
    /// forgiven first: a crowd of addresses pushes out its own light penalties
    /// before the heavy one of a pair that keeps failing.
    fn make_room(&mut self, now: Duration) {
        while let Some(&(at, pair)) = self.forgiven.first()
            && (at <= now || self.pairs.len() >= self.config.pairs_max)
        {
            self.forgiven.remove(&(at, pair));
            self.pairs.remove(&pair);
        }
    }
}

fn pair(user: &str, origin: Origin) -> Pair {
    let mut name = [0; 16];
    name.copy_from_slice(&digest::digest(&digest::SHA256, user.as_bytes()).as_ref()[..16]);
    (name, origin.network())
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
