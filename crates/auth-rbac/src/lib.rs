//! Users, roles, key-range permissions and tokens, with the primitives of
//! passwords and tokens that they rest on.
//!
//! # The state
//!
//! * [`AuthState`]: users, roles and tokens as one value that is cheap to share.
//! * [`Command`] and [`Effect`]: a change that is asked for, and what the log
//!   stores of it. [`AuthState::evaluate`] makes one of the other,
//!   [`AuthState::apply`] carries it out.
//! * [`Operation`] and [`AuthState::authorize`]: permission checks on keys.
//! * [`Session`]: whether a stream that runs may still run.
//! * [`TokenClock`]: until when tokens live.
//!
//! # The primitives
//!
//! * [`password`]: bcrypt hashes, and the time that a login takes.
//! * [`VerifyCache`]: a password that was right a moment ago is cheap to check.
//! * [`Throttle`]: failures slow down one (user, address) pair, and no others.
//! * [`SimpleToken`]: the text of a token, and the hash that is stored of it.
//! * [`TokenProvider`]: the value of `--auth-token`.
//! * [`jwt`]: signed tokens, their keys and the reload of these.
//!
//! # Invariants
//!
//! * The state and its bytes follow from the effects alone: no clock, no
//!   randomness, no hash map. Bounds of time are the clock's, outside the state.
//! * A user's keys are worked out from exactly the roles of the state that is
//!   asked: a change of a role replaces the users that have it.
//! * Only the hash of a token and the hash of a password are ever in here, and
//!   neither is shown by `Debug`.
//!
//! # Left to others
//!
//! gRPC and its status texts; clocks, random bytes and threads (they are
//! arguments); the log.
#![doc = include_str!("../README.md")]

pub mod jwt;
pub mod password;

mod authorize;
mod command;
mod effect;
mod error;
mod format;
mod identity;
mod intervals;
mod permission;
mod record;
mod session;
mod simple_token;
mod state;
mod throttle;
mod token_clock;
mod token_provider;
mod tokens;
mod verify_cache;

pub use authorize::{LeaseKeys, Operation};
pub use command::Command;
pub use effect::{Applied, Diverged, Effect};
pub use error::AuthError;
pub use format::{DecodeError, FORMAT_VERSION};
pub use identity::Identity;
pub use permission::{Permission, PermissionKind};
pub use record::{PasswordHash, ROOT};
pub use session::Session;
pub use simple_token::{PresentedToken, SimpleToken, TOKEN_LETTERS, TOKEN_RANDOM_BYTES};
pub use state::{AuthState, Credentials};
pub use throttle::{Admission, Network, Origin, Throttle, ThrottleConfig};
pub use token_clock::TokenClock;
pub use token_provider::{
    JWT_TTL_DEFAULT, JwtOptions, ParsedTokenOptions, SIMPLE_TOKEN_TTL_DEFAULT, TokenOptionsError,
    TokenProvider,
};
pub use tokens::{TOKENS_MAX, Token, TokenHash, TokenId, USER_TOKENS_MAX};
pub use verify_cache::{KEY_BYTES, VerifyCache, VerifyCacheConfig};

#[cfg(test)]
#[path = "../tests/prng/mod.rs"]
mod test_prng;
