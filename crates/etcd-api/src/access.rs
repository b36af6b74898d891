//! Whether the caller may call a method at all, and whether a stream may go on.
//!
//! Permissions on keys and leases are checked by the node, where it reads and where
//! it decides the order of writes; the rules are those of `t4-auth-rbac`.

use t4_auth_rbac::{Identity, Session};
use t4_kv_types::KeyRange;
use t4_node::AuthChanges;
use tonic::Status;

use crate::api::Api;
use crate::errors::{ApiError, refused};
use crate::method::Method;
use crate::proof::{Acting, Proof};
use crate::rule::Rule;

impl Api {
    /// Whether a method may be called. Permissions on its keys are checked later.
    pub(crate) fn admit(&self, method: Method, proof: &Proof) -> Result<(), ApiError> {
        if !self.node.auth_is_on() {
            let refused = self.config.auth.required && !method.is_served_before_auth();
            return if refused { Err(ApiError::AuthRequired) } else { Ok(()) };
        }
        match method.rule() {
            // A bad token does not keep a client from logging in again.
            Rule::Open | Rule::Own | Rule::Keys => Ok(()),
            Rule::User | Rule::UserOrAdmin => self.require_user(proof),
            Rule::Admin => self.require_admin(proof),
        }
    }

    fn require_user(&self, proof: &Proof) -> Result<(), ApiError> {
        let state = self.node.auth();
        Ok(state.authorize_user(&self.who(&state, proof)?)?)
    }

    /// Whether the caller has the role `root`, if that matters now.
    pub(crate) fn require_admin(&self, proof: &Proof) -> Result<(), ApiError> {
        let state = self.node.auth();
        Ok(state.authorize_admin(&self.who(&state, proof)?)?)
    }

    /// Whether there is room for a write, answered before anything else, as in
    /// etcd; but not to unauthenticated callers, which are rejected later and must
    /// neither learn that the space is used up nor raise the alarm.
    pub(crate) async fn check_quota(
        &self,
        acting: &Result<Acting<'_>, ApiError>,
        cost: u64,
    ) -> Result<(), Status> {
        match acting {
            Ok(node) if node.check_user().is_ok() => node.check_quota(cost).await.map_err(refused),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The caller that opens a stream, to be checked again after each change.
    ///
    /// # Errors
    /// [`ApiError::InvalidAuthToken`].
    pub(crate) fn tenure(
        &self,
        proof: &Proof,
        range: Option<KeyRange>,
    ) -> Result<Tenure, ApiError> {
        // Before the state is looked at, so that no change is missed.
        let changes = self.node.auth_changes();
        let (given_at, state) = self.node.numbered_auth();
        let session = state.open_session(&self.who(&state, proof)?);
        Ok(Tenure { session, range, given_at, changes })
    }

    /// Why a stream of `session` may not go on in the present state, if so.
    pub(crate) fn lost(&self, session: &Session) -> Option<ApiError> {
        let state = self.node.auth();
        if !state.is_enabled() {
            return self.config.auth.required.then_some(ApiError::AuthRequired);
        }
        match session.identity() {
            _ if session.stands(&state) => None,
            Identity::User { .. } => Some(ApiError::InvalidAuthToken),
            Identity::Anonymous | Identity::Server => Some(ApiError::UserEmpty),
        }
    }
}

/// A stream, or a call that waits for long, and what it must not lose.
pub(crate) struct Tenure {
    session: Session,
    /// The keys that it reads all the time.
    range: Option<KeyRange>,
    /// The number of the state that it began in; older ones do not matter.
    given_at: u64,
    changes: AuthChanges,
}

impl Tenure {
    /// Waits until the stream may not go on. Dropping the future forgets
    /// nothing.
    pub(crate) async fn ended(&mut self, api: &Api) -> ApiError {
        loop {
            if let Some(lost) = api.lost(&self.session) {
                return lost;
            }
            // Also what is back by now was gone.
            let mut states = self.changes.take();
            states.retain(|(number, _)| *number > self.given_at);
            states.push(api.node.numbered_auth());
            if let Some(range) = &self.range
                && states.iter().any(|(_, state)| !self.session.still_reads(state, range))
            {
                return ApiError::PermissionDenied;
            }
            if !self.changes.changed().await {
                return ApiError::Stopped;
            }
        }
    }
}
