//! Passwords: hashing them, checking them, and making whoever guesses wait.
//!
//! bcrypt is slow on purpose, so it runs on threads that may block, a bounded
//! number at a time, and a password that was right a moment ago is not hashed
//! again. Who failed before from the same address waits before the password is
//! looked at, and who logs in a lot from one address waits for that alone. What a
//! user may do is not decided here.

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

/// Calls that wait for a hash at most, and calls that wait after failures. Who
/// comes beyond is told to try again; of those that wait for a hash, the last
/// from the address with the most of them.
const WAITING_MAX: usize = 1024;

/// Calls from one address that wait after failures at most.
const PENALISED_OF_ADDRESS_MAX: usize = 64;

/// What became of logins: `t4_auth_attempts_total`, by result.
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
    /// Hashes that are computed at a time, and who waits for one.
    hashing: Turns<Network>,
    penalised: Mutex<Penalised>,
    /// The fixed point of the times of cache and throttle.
    since: Instant,
}

impl Logins {
    /// `key` is random bytes that nobody else has.
    pub(crate) fn new(cost: Cost, key: [u8; KEY_BYTES]) -> Self {
        // The other half of the cores serves those who are logged in.
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

    /// A place among those who wait after failures.
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

    /// Whether anybody can log in with this hash.
    pub(crate) fn can_match(&self, hash: &PasswordHash) -> bool {
        self.verifier.can_match(&hash.0)
    }

    /// The hash of a new password, for who may set one.
    ///
    /// # Errors
    /// [`ApiError::PasswordTooLong`]; [`ApiError::TooManyRequests`];
    /// [`ApiError::Stopped`].
    pub(crate) async fn hash(&self, password: Secret) -> Result<PasswordHash, ApiError> {
        // Told before a wait: what waits must be small.
        if password.bytes().len() > password::PASSWORD_BYTES_MAX {
            return Err(ApiError::PasswordTooLong);
        }
        // They need not stand behind those who want to be let in.
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

/// Who waits after failures.
#[derive(Default)]
struct Penalised {
    all: usize,
    /// None is 0.
    of_network: BTreeMap<Network, usize>,
}

/// One of them; it goes when this is dropped.
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
        // Another hash of the same user: nothing is known of it.
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
