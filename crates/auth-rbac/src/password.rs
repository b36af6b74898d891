//! Passwords as bcrypt hashes, and the time that a login takes.
//!
//! [`hash`] and [`Verifier::verify`] are meant to be slow: some 60 ms of a core at
//! the default cost, twice that for each step more. Callers run them on threads that
//! may block. The throttle limits how often a client may try; the verify cache saves
//! hashing the same password at each login.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bcrypt::{HashParts, Version};

/// The longest password in bytes: bcrypt looks at no more, so etcd refuses a
/// longer one instead of comparing only its beginning.
pub const PASSWORD_BYTES_MAX: usize = 72;

/// Bytes of the random salt of a hash.
pub const SALT_BYTES: usize = 16;

/// Base64 as Go's `base64.StdEncoding` reads it: padded, and the unused bits of
/// the last letter are not looked at.
const WIRE: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Why a password or a hash was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Longer than [`PASSWORD_BYTES_MAX`]. The text is bcrypt's in Go, which
    /// etcd passes on.
    #[error("bcrypt: password length exceeds 72 bytes")]
    TooLong,
    /// A `hashedPassword` that is not base64.
    #[error("hashed password is not base64 (the standard alphabet, padded)")]
    NotBase64,
}

/// The work of one hash: 2^cost rounds. `--bcrypt-cost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(u32);

impl Cost {
    /// The lowest that bcrypt knows.
    pub const MIN: Cost = Cost(4);
    /// The highest: about a day for one hash.
    pub const MAX: Cost = Cost(31);
    /// The highest of hashes that were made elsewhere: some 4 s of a core.
    pub const VERIFIED_MAX: Cost = Cost(16);
    /// The default of etcd and of Go's bcrypt.
    pub const DEFAULT: Cost = Cost(10);

    /// The cost `value`, or none outside of [`Cost::MIN`] to [`Cost::MAX`]. etcd
    /// warns then, and takes [`Cost::DEFAULT`].
    #[must_use]
    pub fn new(value: u32) -> Option<Cost> {
        (Cost::MIN.0..=Cost::MAX.0).contains(&value).then_some(Cost(value))
    }

    /// The exponent.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for Cost {
    fn default() -> Self {
        Cost::DEFAULT
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The hash of `password` as it is stored: the 60 bytes of `$2a$…`, what etcd
/// stores. `salt` is random bytes, new for each hash. Slow.
pub fn hash(password: &[u8], cost: Cost, salt: [u8; SALT_BYTES]) -> Result<Vec<u8>, PasswordError> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordError::TooLong);
    }
    let parts = rounds(password, cost, salt);
    Ok(parts.format_for_version(Version::TwoA).into_bytes())
}

/// A hash as etcd carries it in `hashedPassword`.
#[must_use]
pub fn to_wire(stored: &[u8]) -> String {
    WIRE.encode(stored)
}

/// The bytes of a `hashedPassword`. They are stored as they are, as in etcd:
/// bytes that are no bcrypt hash make a user that cannot log in, see
/// [`Verifier::can_match`].
pub fn from_wire(text: &str) -> Result<Vec<u8>, PasswordError> {
    // Go's decoder skips line ends, which `base64(1)` puts after 76 letters.
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    WIRE.decode(text).map_err(|_| PasswordError::NotBase64)
}

/// Compares passwords with stored hashes, in a time that does not reveal which users
/// exist.
///
/// A login of a user that does not exist, that has no password, or whose hash is
/// malformed does the work of one hash of the configured cost, and so does one
/// that has a hash of a lower cost (from before `--bcrypt-cost` was raised).
/// Only a hash of a higher cost takes longer, because it must.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verifier {
    cost: Cost,
}

impl Verifier {
    /// One that lets each login do the work of `cost`, the cost that new hashes
    /// are made with.
    #[must_use]
    pub fn new(cost: Cost) -> Self {
        Verifier { cost }
    }

    /// The configured cost.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// True if some password can match `stored`: it is a bcrypt hash of a kind
    /// that we verify, and costs at most the configured cost or
    /// [`Cost::VERIFIED_MAX`]. Hashes are stored as clients send them, and one of
    /// cost 31 would keep a thread busy for a day at each attempt to log in.
    #[must_use]
    pub fn can_match(&self, stored: &[u8]) -> bool {
        self.parse(stored).is_some()
    }

    fn parse(&self, stored: &[u8]) -> Option<StoredHash> {
        let cost_max = self.cost.max(Cost::VERIFIED_MAX);
        StoredHash::parse(stored).filter(|stored| stored.cost <= cost_max)
    }

    /// True if `password` is the one that `stored` was made from. Pass none for
    /// users that do not exist and those that have no password. Slow.
    ///
    /// Of a password of more than [`PASSWORD_BYTES_MAX`] bytes only these are
    /// compared, as in etcd: hashes of such passwords came from versions that
    /// cut them off, and their owners still log in.
    #[must_use]
    pub fn verify(&self, password: &[u8], stored: Option<&[u8]>) -> bool {
        let Some(stored) = stored.and_then(|stored| self.parse(stored)) else {
            self.decoy(password, self.cost);
            return false;
        };
        let computed = rounds(password, stored.cost, stored.salt);
        let same = stored.matches(&computed);
        // 2^c + (2^c + 2^(c+1) + … + 2^(C-1)) = 2^C: the work of cost C.
        for cost in stored.cost.0..self.cost.0 {
            self.decoy(password, Cost(cost));
        }
        same
    }

    /// The work of one hash, for nothing.
    fn decoy(&self, password: &[u8], cost: Cost) {
        const SALT: [u8; SALT_BYTES] = *b"nobody logs in\0\0";
        black_box(rounds(black_box(password), cost, SALT));
    }
}

/// The parts of a stored hash that a comparison needs.
struct StoredHash {
    cost: Cost,
    salt: [u8; SALT_BYTES],
    /// With the hash as text, because bcrypt's crate gives out no raw digest.
    canonical: String,
}

impl StoredHash {
    /// `$2a$`, `$2b$` and `$2y$`, which differ in mistakes of old C programs
    /// only. `$2x$` marks hashes that such a mistake made, and is refused.
    fn parse(stored: &[u8]) -> Option<StoredHash> {
        let text = std::str::from_utf8(stored).ok()?;
        if !["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            return None;
        }
        // "+9" is a number for Rust, and no cost.
        if !text.bytes().skip(4).take(2).all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let parts = HashParts::from_str(&canonical_salt(text)?).ok()?;
        Some(StoredHash {
            cost: Cost::new(parts.get_cost())?,
            salt: parts.get_salt_raw(),
            canonical: parts.format_for_version(Version::TwoA),
        })
    }

    fn matches(&self, computed: &HashParts) -> bool {
        let computed = computed.format_for_version(Version::TwoA);
        verify_slices_are_equal(self.canonical.as_bytes(), computed.as_bytes()).is_ok()
    }
}

/// `text` with the four bits cleared that the last letter of a salt has too
/// many: some programs set them, and Go does not look at them.
fn canonical_salt(text: &str) -> Option<String> {
    const LAST: usize = 28;
    const ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let letter = text.as_bytes().get(LAST)?;
    let bits = ALPHABET.iter().position(|other| other == letter)?;
    let cleared = char::from(ALPHABET[bits & 0b11_0000]);
    // The letter is ASCII, so these are boundaries of characters.
    Some(format!("{}{cleared}{}", text.get(..LAST)?, text.get(LAST + 1..)?))
}

/// bcrypt itself, on the first 72 bytes.
fn rounds(password: &[u8], cost: Cost, salt: [u8; SALT_BYTES]) -> HashParts {
    bcrypt::hash_with_salt(password, cost.0, salt)
        .expect("a Cost is in the range that bcrypt knows, its only error here")
}

#[cfg(test)]
#[path = "password_tests.rs"]
mod tests;
