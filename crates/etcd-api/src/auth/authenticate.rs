//! Logging in: from a name and a password to a token.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use t4_auth_rbac::jwt::{JwtKeys, SignError};
use t4_auth_rbac::{Command, Credentials, Origin, SimpleToken, TOKEN_RANDOM_BYTES};
use t4_proto::etcdserverpb as pb;
use tonic::Status;

use crate::api::Api;
use crate::config::Tokens;
use crate::errors::{ApiError, login_refused};
use crate::login::Secret;

/// A login is begun anew when the user's password changes under it; so often,
/// then the client shall try again.
const ATTEMPTS: usize = 8;

/// The most bytes that the name of a user or a role may have, and a password at
/// a login. A thousand logins may wait at a time, from any client, so each of them
/// must hold little; and users and roles are all in memory.
pub(super) const NAME_BYTES_MAX: usize = 4 << 10;
const LOGIN_PASSWORD_BYTES_MAX: usize = 4 << 10;

impl Api {
    /// The token that a call shows does not matter: it may be the one that
    /// shall be replaced.
    pub(crate) async fn authenticate(
        &self,
        origin: Origin,
        request: pb::AuthenticateRequest,
    ) -> Result<pb::AuthenticateResponse, Status> {
        let (name, password): (Arc<str>, _) = (request.name.into(), request.password);
        // Answered without a wait: clients go on without a token then.
        if !self.node.auth_is_on() {
            return Err(self.refuse_login(ApiError::AuthNotEnabled).status());
        }
        if name.len() > NAME_BYTES_MAX || password.len() > LOGIN_PASSWORD_BYTES_MAX {
            return Err(self.refuse_login(ApiError::RequestTooLarge).status());
        }
        let turn = self.logins.turn(&name, origin).await;
        turn.map_err(|refused| self.refuse_login(refused))?;
        for _ in 0..ATTEMPTS {
            let verified_at = self.verify(&name, &password, origin).await?;
            if let Some(token) = self.issue(&name, verified_at).await? {
                self.logins.succeeded(&name, origin);
                let header = Some(self.header_now());
                return Ok(pb::AuthenticateResponse { header, token });
            }
        }
        Err(self.refuse_login(ApiError::AuthOldRevision).status())
    }

    fn refuse_login(&self, error: ApiError) -> ApiError {
        self.logins.stats.refused.fetch_add(1, Ordering::Relaxed);
        error
    }

    /// Checks the password. Gives the auth revision at which it was right.
    async fn verify(
        &self,
        name: &Arc<str>,
        password: &str,
        origin: Origin,
    ) -> Result<u64, ApiError> {
        let found = self.node.auth().credentials(name);
        let found = found.map_err(|error| self.refuse_login(error.into()))?;
        let stored = match &found {
            Credentials::Password { hash, .. } => Some(hash),
            Credentials::Unknown | Credentials::NoPassword => None,
        };
        let secret = Secret::new(password.to_owned());
        let right = self.logins.is_right(origin, name, secret, stored).await;
        let right = right.map_err(|error| self.refuse_login(error))?;
        let error = match found {
            Credentials::Password { revision, .. } if right => return Ok(revision),
            Credentials::NoPassword => ApiError::NoPasswordUser,
            Credentials::Password { .. } | Credentials::Unknown => ApiError::AuthFailed,
        };
        self.logins.failed(name, origin);
        // An unknown name is not logged: people type passwords there.
        let user = if found == Credentials::Unknown { "(unknown)" } else { name.as_ref() };
        tracing::warn!(user, ?origin, "a login failed: wrong name or password");
        Err(error)
    }

    /// A token; `None` if the user has changed since `verified_at`.
    async fn issue(&self, name: &Arc<str>, verified_at: u64) -> Result<Option<String>, Status> {
        match &self.config.auth.tokens {
            Tokens::Simple => self.issue_simple(name, verified_at).await,
            Tokens::Jwt(keys) => Ok(self.sign(keys, name, verified_at).await?),
            Tokens::None => Err(self.refuse_login(ApiError::AuthFailed).status()),
        }
    }

    async fn issue_simple(
        &self,
        name: &Arc<str>,
        verified_at: u64,
    ) -> Result<Option<String>, Status> {
        let mut random = [0; TOKEN_RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(|_| ApiError::NoRandomness)?;
        let token = SimpleToken::from_random(random);
        let command = Command::IssueToken {
            user: name.clone(),
            hash: token.hash(),
            verified_at,
            nearest: None,
        };
        match self.node.auth_command(command).await {
            Ok(outcome) => Ok(Some(token.reveal(outcome.index.0))),
            Err(error) => login_refused(error).map(|()| None),
        }
    }

    /// Signed where threads may block: it takes a millisecond.
    async fn sign(
        &self,
        keys: &Arc<JwtKeys>,
        name: &Arc<str>,
        verified_at: u64,
    ) -> Result<Option<String>, ApiError> {
        let (keys, user) = (keys.clone(), name.clone());
        let signed =
            tokio::task::spawn_blocking(move || keys.sign(SystemTime::now(), &user, verified_at));
        let token = match signed.await.map_err(|_| ApiError::Stopped)? {
            Ok(token) => token,
            Err(SignError::VerifyOnly) => return Err(ApiError::VerifyOnlyKey),
            Err(error) => {
                tracing::error!(%error, "a token cannot be signed");
                return Err(ApiError::SigningFailed);
            }
        };
        // Not through the log: so the state is asked again.
        let unchanged = self.node.auth().revision() == verified_at;
        Ok(unchanged.then_some(token))
    }
}
