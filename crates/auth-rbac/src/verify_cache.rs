//! A password that was right a moment ago is cheap to check again.
//!
//! bcrypt makes guessing dear, and makes each honest login as dear. This
//! remembers, for a short time, a keyed MAC of (user, stored hash, password)
//! for each user whose password was right: the same three again cost one
//! HMAC. What it holds is of no use without the key, which lives in memory only
//! and is new in each process.
//!
//! Left to others: what the password is checked with on a miss, the throttle
//! (which is asked before the cache, hit or miss), the lock around it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

/// Bytes of the key that each process draws.
pub const KEY_BYTES: usize = 32;

/// Plain settings of a [`VerifyCache`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyCacheConfig {
    /// How long a right password is cheap, from when bcrypt last said so; a hit
    /// does not extend it. Default 60 s.
    pub life: Duration,
    /// The most users remembered; beyond that the one that is nearest to its end
    /// goes. Default 10,000; 0 disables the cache.
    pub users_max: usize,
}

impl Default for VerifyCacheConfig {
    fn default() -> Self {
        VerifyCacheConfig { life: Duration::from_secs(60), users_max: 10_000 }
    }
}

/// Which (user, stored hash, password) bcrypt said yes to lately.
///
/// Time is an argument, a `Duration` since any fixed point on a monotonic clock.
///
/// The stored hash is part of what is remembered, so a changed password is a
/// miss from the moment that the caller reads the new hash; [`VerifyCache::forget`]
/// also takes the entry away.
pub struct VerifyCache {
    key: hmac::Key,
    config: VerifyCacheConfig,
    /// One entry a user: of all passwords one is right. Same users as in `ends`.
    users: BTreeMap<String, Entry>,
    /// (when it ends, user), to find the next one to go.
    ends: BTreeSet<(Duration, String)>,
}

struct Entry {
    tag: hmac::Tag,
    ends: Duration,
}

impl VerifyCache {
    /// An empty cache; `key` is secret random bytes.
    #[must_use]
    pub fn new(key: [u8; KEY_BYTES], config: VerifyCacheConfig) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        VerifyCache { key, config, users: BTreeMap::new(), ends: BTreeSet::new() }
    }

    /// True if these three were [remembered](Self::remember) less than
    /// [`VerifyCacheConfig::life`] ago. `stored` is the user's hash as it is now.
    #[must_use]
    pub fn knows(&self, now: Duration, user: &str, stored: &[u8], password: &[u8]) -> bool {
        // Computed also where there is no entry: who logged in lately is not for
        // others to measure.
        let tag = self.tag(user, stored, password);
        let Some(entry) = self.users.get(user) else { return false };
        let same = verify_slices_are_equal(entry.tag.as_ref(), tag.as_ref()).is_ok();
        same && now < entry.ends
    }

    /// Remembers that `password` is right for `stored`. Only for what bcrypt just
    /// said: a hit does not lengthen its own life.
    pub fn remember(&mut self, now: Duration, user: &str, stored: &[u8], password: &[u8]) {
        if self.config.users_max == 0 {
            return;
        }
        self.forget(user);
        self.drop_ended(now);
        if self.users.len() >= self.config.users_max
            && let Some((_, first)) = self.ends.pop_first()
        {
            self.users.remove(&first);
        }
        let ends = now.saturating_add(self.config.life);
        let tag = self.tag(user, stored, password);
        self.users.insert(user.to_owned(), Entry { tag, ends });
        self.ends.insert((ends, user.to_owned()));
    }

    /// Forgets `user`: its password changed, or it is gone.
    pub fn forget(&mut self, user: &str) {
        if let Some(entry) = self.users.remove(user) {
            self.ends.remove(&(entry.ends, user.to_owned()));
        }
    }

    /// Forgets every user.
    pub fn clear(&mut self) {
        self.users.clear();
        self.ends.clear();
    }

    /// How many users are remembered, ended ones that were not yet dropped too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// True if no user is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    fn drop_ended(&mut self, now: Duration) {
        while let Some((ends, _)) = self.ends.first()
            && *ends <= now
        {
            let (_, user) = self.ends.pop_first().expect("it was just seen");
            self.users.remove(&user);
        }
    }

    /// The lengths go in too, so that no two triples are the same bytes.
    fn tag(&self, user: &str, stored: &[u8], password: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user.as_bytes(), stored, password] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        context.sign()
    }
}

impl fmt::Debug for VerifyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyCache").field("users", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "verify_cache_tests.rs"]
mod tests;
