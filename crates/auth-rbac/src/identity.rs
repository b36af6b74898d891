//! The identity that a request acts as.

use std::sync::Arc;

/// Who asks. Made where a call comes in, from its token or certificate, and
/// carried to where the decision falls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The caller is not authenticated.
    #[default]
    Anonymous,
    /// A user, proven by a token or a certificate.
    User {
        /// Its name.
        name: Arc<str>,
        /// The auth revision that the proof carries, if it carries one (JWT).
        /// Permissions on keys are refused with
        /// [`AuthOldRevision`](crate::AuthError::AuthOldRevision) once the
        /// state has moved beyond it, as etcd does. Simple tokens and
        /// certificates count as made now: None.
        revision: Option<u64>,
    },
    /// The server itself: ending expired leases, answering health checks.
    /// Everything is allowed. Never made from what a client sent.
    Server,
}

impl Identity {
    /// A user known by a simple token or a certificate.
    #[must_use]
    pub fn user(name: impl Into<Arc<str>>) -> Self {
        Identity::User { name: name.into(), revision: None }
    }

    /// A user known by a proof that carries the auth revision it was made at.
    #[must_use]
    pub fn user_at(name: impl Into<Arc<str>>, revision: u64) -> Self {
        Identity::User { name: name.into(), revision: Some(revision) }
    }

    /// The user's name, if it is a user.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Identity::User { name, .. } => Some(name),
            Identity::Anonymous | Identity::Server => None,
        }
    }
}
