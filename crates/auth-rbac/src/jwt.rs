//! Signed tokens (JSON Web Tokens, RFC 7519): `--auth-token jwt,…`.
//!
//! A token names its user, the revision of the auth store that it was made at,
//! and when it ends; anything that has the key can make one, on any node or outside
//! of the cluster. [`JwtKeys`] makes and verifies them, and takes new key files into
//! use without a restart.
//!
//! # Invariants
//!
//! * One method, chosen by the operator: a token that names another, or `none`,
//!   is refused before any key is touched. A public key is never a secret of an
//!   HS method.
//! * No claim of a token is read before its signature is verified.
//! * Keys are tried before they are used: those that do not work, or are not a
//!   pair, are refused, at the start and at each reload.
//!
//! # Non-goals
//!
//! The clock; the meaning of a token's revision; looking up the user.

mod certificate;
mod keys;
mod method;
mod token;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;

pub use keys::KeyError;
use keys::KeySet;
pub use method::Method;
pub use token::{Claims, SignError, TOKEN_BYTES_MAX, TokenRefused};

use crate::token_provider::JwtOptions;

/// Reads a file whole, or says why not. What may be read, and how much of it, is
/// the caller's decision: reading a named pipe would block until it has a writer.
pub type ReadFile = fn(&Path) -> std::io::Result<Vec<u8>>;

/// The keys of `--auth-token jwt,…` as they are in force.
pub struct JwtKeys {
    options: JwtOptions,
    read: ReadFile,
    current: RwLock<Arc<KeySet>>,
}

impl JwtKeys {
    /// Reads the key files that `options` name, by `read` now and at each reload,
    /// and tries the keys.
    pub fn load(options: JwtOptions, read: ReadFile) -> Result<JwtKeys, KeyError> {
        let current = RwLock::new(Arc::new(KeySet::load(&options, read)?));
        Ok(JwtKeys { options, read, current })
    }

    /// Reads the files again. True if they hold other bytes than those in force,
    /// and these are in force now; on an error the old ones stay.
    ///
    /// Tokens that the old key signed are refused from then on; clients log in
    /// again by themselves.
    pub fn reload(&self) -> Result<bool, KeyError> {
        let new = KeySet::load(&self.options, self.read)?;
        let mut current = self.current.write();
        let changed = new.fingerprint() != current.fingerprint();
        if changed {
            *current = Arc::new(new);
        }
        Ok(changed)
    }

    /// What was asked for.
    #[must_use]
    pub fn options(&self) -> &JwtOptions {
        &self.options
    }

    /// The files that [`JwtKeys::reload`] reads.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = [&self.options.public_key, &self.options.private_key];
        files.into_iter().flatten().map(|path| path.as_path())
    }

    /// False if there is a public key alone: tokens come from outside.
    #[must_use]
    pub fn can_sign(&self) -> bool {
        self.current.read().can_sign()
    }

    /// A token of `user` that lives from `now` for the `ttl` of the options.
    /// Its text logs in: keep it out of logs.
    pub fn sign(&self, now: SystemTime, user: &str, revision: u64) -> Result<String, SignError> {
        let keys = Arc::clone(&self.current.read());
        token::sign(&keys, now, self.options.ttl, user, revision)
    }

    /// What `token` says, if it was signed by our key and lives at `now`.
    pub fn verify(&self, now: SystemTime, token: &str) -> Result<Claims, TokenRefused> {
        let keys = Arc::clone(&self.current.read());
        token::verify(&keys, now, token)
    }
}

impl fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtKeys").field("options", &self.options).finish_non_exhaustive()
    }
}
