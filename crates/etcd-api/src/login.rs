//! Passwords: hashing them, checking them, and throttling guesses.
//!
//! bcrypt is slow on purpose, so it runs on threads that may block, a bounded
//! number at a time, and a password that was right a moment ago is not hashed
//! again. After a failure, logins as the same user from the same address wait before
//! the password is looked at, and an address with many logins delays only its own.
//! What a user may do is not decided here.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use t4_auth_rbac::password::{self, Cost, Verifier};
use t4_auth_rbac::{
    Admission, KEY_BYTES, Network, Origin, PasswordHash, Throttle, ThrottleConfig, VerifyCache,
    VerifyCacheConfig,
};
use tokio::time::Instant;

use crate::errors::ApiError;
use crate::turns::Turns;

/// The most calls that wait for a hash, and the most that are throttled. Calls beyond
/// that are rejected, to be tried again; of those that wait for a hash, it is the last
/// one from the address with the most of them that is rejected.
const WAITING_MAX: usize = 1024;

/// The most throttled calls from one address.
const PENALISED_OF_ADDRESS_MAX: usize = 64;

/// The outcomes of logins: `t4_auth_attempts_total`, by result.
#[derive(Debug, Default)]
pub struct LoginStats {
    /// The password was right, and there is a token.
    pub succeeded: AtomicU64,
    /// The name or the password was wrong.
    pub failed: AtomicU64,
    /// Neither was looked at: authentication is off, or too many logins waited.
    pub refused: AtomicU64,
}

/// One for all runtimes of a server.
pub(crate) struct Logins {
    pub(crate) stats: Arc<LoginStats>,
    verifier: Verifier,
    cache: Mutex<VerifyCache>,
    throttle: Mutex<Throttle>,
    /// The hashes that are computed at a time, and the calls that wait for one.
    hashing: Turns<Network>,
    penalised: Mutex<Penalised>,
    /// The origin of the times of cache and throttle.
    since: Instant,
}

impl Logins {
    /// `key` is secret random bytes.
    pub(crate) fn new(cost: Cost, key: [u8; KEY_BYTES]) -> Self {
        // The other half of the cores serves clients that are logged in.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Logins {
            stats: Arc::default(),
            verifier: Verifier::new(cost),
            cache: Mutex::new(VerifyCache::new(key, VerifyCacheConfig::default())),
            throttle: Mutex::new(Throttle::new(ThrottleConfig::default())),
            hashing: Turns::new((cores / 2).max(1), WAITING_MAX),
            penalised: Mutex::default(),
            since: Instant::now(),
        }
    }

    fn now(&self) -> Duration {
        self.since.elapsed()
    }

    /// Waits until the pair may try a password.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`].
    pub(crate) async fn turn(&self, user: &str, origin: Origin) -> Result<(), ApiError> {
        let mut place = None;
        loop {
            let admission = self.throttle.lock().admit(self.now(), user, origin);
            let Admission::After(delay) = admission else { return Ok(()) };
            if place.is_none() {
                place = Some(self.penalise(origin.network())?);
            }
            tokio::time::sleep(delay).await;
        }
    }

    /// A place among the throttled calls.
    fn penalise(&self, network: Network) -> Result<PenalPlace<'_>, ApiError> {
        let mut penalised = self.penalised.lock();
        let of_network = penalised.of_network.get(&network).copied().unwrap_or(0);
        if penalised.all >= WAITING_MAX || of_network >= PENALISED_OF_ADDRESS_MAX {
            return Err(ApiError::TooManyRequests);
        }
        penalised.all += 1;
        penalised.of_network.insert(network, of_network + 1);
        Ok(PenalPlace { penalised: &self.penalised, network })
    }

    /// Whether `password` is the one that `stored` was made from. `None`: of a
    /// user that has none, or does not exist; that takes as long.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`]; [`ApiError::Stopped`].
    pub(crate) async fn is_right(
        &self,
        origin: Origin,
        user: &Arc<str>,
        password: Secret,
        stored: Option<&PasswordHash>,
    ) -> Result<bool, ApiError> {
        if self.knows(user, &password, stored) {
            return Ok(true);
        }
        let turn = self.hashing.take(origin.network()).await;
        let turn = turn.map_err(|_| ApiError::TooManyRequests)?;
        // Of many logins at once with one right password, one is hashed.
        if self.knows(user, &password, stored) {
            return Ok(true);
        }
        let (verifier, hash) = (self.verifier, stored.cloned());
        // The turn goes along: a client that gives up does not stop bcrypt.
        let checked = tokio::task::spawn_blocking(move || {
            let stored = hash.as_ref().map(|hash| hash.0.as_ref());
            let right = verifier.verify(password.bytes(), stored);
            drop(turn);
            (right, password)
        });
        let (right, password) = checked.await.map_err(|_| ApiError::Stopped)?;
        if let (true, Some(stored)) = (right, stored) {
            self.cache.lock().remember(self.now(), user, &stored.0, password.bytes());
        }
        Ok(right)
    }

    fn knows(&self, user: &str, password: &Secret, stored: Option<&PasswordHash>) -> bool {
        let hash = stored.map_or(&b""[..], |stored| &stored.0);
        // Asked for users that do not exist too: it takes time.
        let knows = self.cache.lock().knows(self.now(), user, hash, password.bytes());
        knows && stored.is_some()
    }

    pub(crate) fn succeeded(&self, user: &str, origin: Origin) {
        self.throttle.lock().succeeded(user, origin);
        self.stats.succeeded.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, user: &str, origin: Origin) {
        self.throttle.lock().failed(self.now(), user, origin);
        self.stats.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// The password of `user` has changed, or the user is gone.
    pub(crate) fn forget(&self, user: &str) {
        self.cache.lock().forget(user);
    }

    /// Whether any password can match this hash.
    pub(crate) fn can_match(&self, hash: &PasswordHash) -> bool {
        self.verifier.can_match(&hash.0)
    }

    /// The hash of a new password, for callers allowed to set one.
    ///
    /// # Errors
    /// [`ApiError::PasswordTooLong`]; [`ApiError::TooManyRequests`];
    /// [`ApiError::Stopped`].
    pub(crate) async fn hash(&self, password: Secret) -> Result<PasswordHash, ApiError> {
        // Rejected before the wait: what waits must be small.
        if password.bytes().len() > password::PASSWORD_BYTES_MAX {
            return Err(ApiError::PasswordTooLong);
        }
        // Administrators need not queue behind logins.
        let turn = self.hashing.take(Origin::Local.network()).await;
        let turn = turn.map_err(|_| ApiError::TooManyRequests)?;
        let cost = self.verifier.cost();
        let mut salt = [0; password::SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|_| ApiError::NoRandomness)?;
        let hashed = tokio::task::spawn_blocking(move || {
            let hashed = password::hash(password.bytes(), cost, salt);
            drop(turn);
            hashed
        });
        match hashed.await.map_err(|_| ApiError::Stopped)? {
            Ok(hash) => Ok(PasswordHash(hash.into())),
            Err(_) => Err(ApiError::PasswordTooLong),
        }
    }
}

/// The throttled calls.
#[derive(Default)]
struct Penalised {
    all: usize,
    /// None is 0.
    of_network: BTreeMap<Network, usize>,
}

/// One throttled call; it stops counting when this is dropped.
struct PenalPlace<'a> {
    penalised: &'a Mutex<Penalised>,
    network: Network,
}

impl Drop for PenalPlace<'_> {
    fn drop(&mut self) {
        let mut penalised = self.penalised.lock();
        penalised.all -= 1;
        if let Entry::Occupied(mut count) = penalised.of_network.entry(self.network) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// A password on its way through a login. It is in no `Debug`.
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Secret(text)
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    const HERE: Origin = Origin::Local;

    fn logins() -> Logins {
        Logins::new(Cost::MIN, [7; KEY_BYTES])
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn the_right_password_is_right() {
        let logins = logins();
        let (alice, hash) = ("alice".into(), logins.hash(secret("word")).await.unwrap());
        for _ in 0..3 {
            assert_eq!(logins.is_right(HERE, &alice, secret("word"), Some(&hash)).await, Ok(true));
            assert_eq!(
                logins.is_right(HERE, &alice, secret("wrong"), Some(&hash)).await,
                Ok(false)
            );
        }
        assert_eq!(logins.is_right(HERE, &alice, secret(""), None).await, Ok(false));
        // Another hash of the same user: nothing is cached for it.
        let other = logins.hash(secret("other")).await.unwrap();
        assert_eq!(logins.is_right(HERE, &alice, secret("word"), Some(&other)).await, Ok(false));
    }

    #[tokio::test]
    async fn a_password_that_bcrypt_would_cut_off_is_refused() {
        let logins = logins();
        assert!(logins.hash(secret(&"x".repeat(72))).await.is_ok());
        let refused = logins.hash(secret(&"x".repeat(73))).await.err();
        assert_eq!(refused, Some(ApiError::PasswordTooLong));
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_waits_and_nobody_else() {
        let logins = logins();
        let start = Instant::now();
        let there = Origin::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)));
        for _ in 0..20 {
            logins.turn("root", there).await.unwrap();
            logins.failed("root", there);
        }
        assert!(start.elapsed() > Duration::from_secs(60), "{:?}", start.elapsed());
        let before = Instant::now();
        logins.turn("root", HERE).await.unwrap();
        logins.turn("alice", there).await.unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(logins.stats.failed.load(Ordering::Relaxed), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_bounded() {
        let logins = Arc::new(logins());
        for _ in 0..20 {
            logins.failed("root", HERE);
        }
        let waiting: Vec<_> = (0..PENALISED_OF_ADDRESS_MAX)
            .map(|_| {
                let logins = logins.clone();
                tokio::spawn(async move { logins.turn("root", HERE).await })
            })
            .collect();
        while logins.penalised.lock().all < PENALISED_OF_ADDRESS_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(logins.turn("root", HERE).await, Err(ApiError::TooManyRequests));
        let there = Origin::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)));
        assert_eq!(logins.turn("root", there).await, Ok(()), "nobody else is refused");
        for one in waiting {
            one.abort();
            let _ = one.await;
        }
        assert!(logins.penalised.lock().of_network.is_empty());
    }
}
