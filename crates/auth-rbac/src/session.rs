//! The user that a stream belongs to, kept so that its rights can be checked again.
//!
//! etcd checks a watch when it is created and never again. Here, streams are checked
//! after each change of the state, and those that have lost the rights that they were
//! opened with are ended.

use std::sync::Arc;

use t4_kv_types::KeyRange;

use crate::identity::Identity;
use crate::state::AuthState;

/// The identity that a stream was opened by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    who: Identity,
    /// The credential revision of the user then; 0 if there was none.
    credential_revision: u64,
}

impl AuthState {
    /// Remembers the caller that opens a stream. Ask [`Self::authorize`] whether it may.
    #[must_use]
    pub fn open_session(&self, who: &Identity) -> Session {
        let user = who.name().and_then(|name| self.users.get(name));
        Session {
            who: who.clone(),
            credential_revision: user.map_or(0, |user| user.credential_revision),
        }
    }
}

impl AuthState {
    /// Whether what `who` may do was the same all the time from `former` to
    /// this later state of the same history, both with authentication on:
    /// rights that were taken and given back are not the same.
    #[must_use]
    pub fn has_same_rights(&self, former: &AuthState, who: &Identity) -> bool {
        if !self.enabled || !former.enabled {
            return false;
        }
        match who {
            Identity::Server | Identity::Anonymous => true,
            Identity::User { revision: Some(_), .. } => self.revision == former.revision,
            // A user is never changed, but made anew, and `former` holds the old
            // one: two in one place are one.
            Identity::User { name, revision: None } => {
                match (self.users.get(name), former.users.get(name)) {
                    (Some(now), Some(then)) => Arc::ptr_eq(now, then),
                    (None, None) => true,
                    _ => false,
                }
            }
        }
    }
}

impl Session {
    /// The identity.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.who
    }

    /// Whether the stream may go on in this state: false once authentication
    /// is on and it was opened without a user, or the user has been deleted (even
    /// if there is a new one of the same name), its password changed, or
    /// authentication was off meanwhile: each ends its tokens.
    ///
    /// A token that ends because it was not used for its time ends no stream,
    /// as in etcd; nor does a signed token of an older revision, because every
    /// change, of whatever user, makes it old.
    #[must_use]
    pub fn stands(&self, state: &AuthState) -> bool {
        match &self.who {
            _ if !state.enabled => true,
            Identity::Server => true,
            Identity::Anonymous => false,
            Identity::User { name, .. } => state
                .users
                .get(name)
                .is_some_and(|user| user.credential_revision == self.credential_revision),
        }
    }

    /// Whether a watch on `range` may go on in this state: the stream
    /// [stands](Self::stands), and its user may still read the range. Costs
    /// as much as a check of a read.
    #[must_use]
    pub fn still_reads(&self, state: &AuthState, range: &KeyRange) -> bool {
        if !self.stands(state) {
            return false;
        }
        let user = self.who.name().and_then(|name| state.users.get(name));
        match user {
            Some(user) if state.enabled => {
                user.is_admin() || state.access_of(user).read.covers(range)
            }
            _ => true,
        }
    }
}
