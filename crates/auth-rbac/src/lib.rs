//! Users, roles, key-range permissions and tokens.
//!
//! # The state
//!
//! * [`AuthState`]: users, roles and tokens as one value that is cheap to share.
//! * [`Command`] and [`Effect`]: a change that is asked for, and what the log
//!   stores of it. [`AuthState::evaluate`] makes one of the other,
//!   [`AuthState::apply`] carries it out.
//! * [`Operation`] and [`AuthState::authorize`]: who may do what with which keys.
//! * [`Session`]: whether a stream that runs may still run.
//! * [`TokenClock`]: until when tokens live.
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
mod state;
mod token_clock;
mod tokens;

pub use authorize::{LeaseKeys, Operation};
pub use command::Command;
pub use effect::{Applied, Diverged, Effect};
pub use error::AuthError;
pub use format::{DecodeError, FORMAT_VERSION};
pub use identity::Identity;
pub use permission::{Permission, PermissionKind};
pub use record::{PasswordHash, ROOT};
pub use session::Session;
pub use state::{AuthState, Credentials};
pub use token_clock::TokenClock;
pub use tokens::{TOKENS_MAX, Token, TokenHash, TokenId, USER_TOKENS_MAX};
