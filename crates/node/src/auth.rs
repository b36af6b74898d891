//! Authentication as the handle on a replica has it: on whose behalf it acts,
//! what that one may read, changes of users and roles, tokens.

use std::future::Future;

use bytes::Bytes;
use t4_auth_rbac::{Command, Identity, Operation, TOKENS_MAX, TokenHash};
use t4_kv_types::{AuthError, LeaseId, LogIndex, OpError, Revision};
use t4_lease::LeaseTable;
use t4_state_machine::{AuthMark, Request, Response};

use crate::auth_changes::{AuthChanges, NumberedAuth};
use crate::caller::Caller;
use crate::node::Node;

/// How often a read is done again when the rights of who asks change under it.
const READ_ATTEMPTS: usize = 8;

/// What came of a change of authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthOutcome {
    /// The newest revision of the key space that readers see.
    pub revision: Revision,
    /// The auth revision after the change.
    pub auth_revision: u64,
    /// From this log entry on the change is known; what the text of a simple
    /// token names ([`SimpleToken::reveal`](t4_auth_rbac::SimpleToken::reveal)).
    pub index: LogIndex,
}

impl Node {
    /// A handle on the same replica, on the same runtime, that acts on a user's
    /// behalf; `None`: on nobody's, and then only what needs no authentication
    /// is done while that is on. Costs two counters.
    #[must_use]
    pub fn as_caller(&self, caller: Option<Caller>) -> Node {
        self.acting_as(caller.map_or(Identity::Anonymous, Identity::from))
    }

    /// A handle that may do everything, whatever authentication says: for who
    /// owns the replica, such as an embedder or a health check. Never act with
    /// it on what a client sent.
    #[must_use]
    pub fn on_own_authority(&self) -> Node {
        self.acting_as(Identity::Server)
    }

    /// Whether authentication is on. One load.
    #[must_use]
    pub fn auth_is_on(&self) -> bool {
        self.shared().auth.mark().is_on()
    }

    /// Changes users, roles or permissions, turns authentication on or off, or
    /// gives a user a token whose password has been verified. Answered when it
    /// is durable and [`auth`](Self::auth) shows it.
    ///
    /// `nearest` of [`Command::IssueToken`] is filled in here.
    ///
    /// # Errors
    /// [`OpError::Auth`] if it may not be, or is wrong, with nothing changed;
    /// else as of every write.
    pub async fn auth_command(&self, command: Command) -> Result<AuthOutcome, OpError> {
        let command = self.make_room(command);
        match self.submit(Request::Auth(command)).await? {
            Response::Auth(auth_revision) => Ok(AuthOutcome {
                revision: self.revision(),
                auth_revision,
                index: self.shared().applied_index(),
            }),
            other => unreachable!("a change of authentication was answered with {other:?}"),
        }
    }

    /// Names the token that goes if the table of tokens is full.
    fn make_room(&self, mut command: Command) -> Command {
        if let Command::IssueToken { nearest, .. } = &mut command
            && self.auth().token_count() >= TOKENS_MAX
        {
            *nearest = self.shared().tokens.write().nearest();
        }
        command
    }

    /// Tells of each applied change of users, roles or permissions, and when
    /// authentication goes on or off: streams that are open may have lost their
    /// rights ([`Session`](t4_auth_rbac::Session)).
    #[must_use]
    pub fn auth_changes(&self) -> AuthChanges {
        AuthChanges::new(self.shared_handle())
    }

    /// The newest state, with the number of its last change of rights, as
    /// [`AuthChanges::take`] gives it.
    #[must_use]
    pub fn numbered_auth(&self) -> NumberedAuth {
        self.shared().auth.rights()
    }

    /// Whose the simple token with this hash is; its time begins anew.
    ///
    /// # Errors
    /// [`AuthError::InvalidAuthToken`] if there is none, or its time is over.
    pub fn use_token(&self, hash: &TokenHash) -> Result<Caller, AuthError> {
        let auth = self.auth();
        let (id, token) = auth.token(hash).ok_or(AuthError::InvalidAuthToken)?;
        if !self.shared().tokens.read().use_token(id, self.shared().now()) {
            return Err(AuthError::InvalidAuthToken);
        }
        Ok(Caller { user: token.user.clone(), auth_revision: auth.revision(), pinned: false })
    }

    /// Whether this handle may do something with keys, none of them a lease's.
    /// Returns what that rests on.
    pub(crate) fn check_right(&self, operation: Operation<'_>) -> Result<AuthMark, AuthError> {
        let mark = self.shared().auth.mark();
        if mark.is_on() {
            let no_keys = |_: LeaseId, _: &mut dyn FnMut(&Bytes) -> bool| true;
            self.auth().authorize(&self.who, operation, &no_keys)?;
        }
        Ok(mark)
    }

    /// Does a read that needs a right. What it has seen may be behind a change
    /// that took the right: then it is asked and read again, also if the right
    /// is back by now.
    ///
    /// # Errors
    /// Those of the check and of the read; [`AuthError::AuthOldRevision`] if the
    /// rights of who asks changed under it again and again.
    pub(crate) async fn read_by_right<T, F>(
        &self,
        operation: Operation<'_>,
        read: impl Fn() -> F,
    ) -> Result<T, OpError>
    where
        F: Future<Output = Result<T, OpError>>,
    {
        let mut mark = self.check_right(operation)?;
        let mut before = mark.is_on().then(|| self.auth());
        for attempt in 1.. {
            let result = read().await;
            if self.shared().auth.mark() == mark {
                return result;
            }
            mark = self.check_right(operation)?;
            let now = mark.is_on().then(|| self.auth());
            let same = match (&before, &now) {
                (Some(before), Some(now)) => now.has_same_rights(before, &self.who),
                // It is off, and may have been on meanwhile.
                _ => attempt >= READ_ATTEMPTS && now.is_none(),
            };
            if same {
                return result;
            }
            if attempt >= READ_ATTEMPTS {
                break;
            }
            before = now;
        }
        Err(AuthError::AuthOldRevision.into())
    }

    /// Whether this handle may do something with leases, by the keys that they
    /// have in the table, which the caller has locked.
    pub(crate) fn check_lease_rights<'a>(
        &self,
        leases: &LeaseTable,
        operations: impl IntoIterator<Item = Operation<'a>>,
    ) -> Result<(), AuthError> {
        if !self.auth_is_on() {
            return Ok(());
        }
        let auth = self.auth();
        let keys = |id: LeaseId, holds: &mut dyn FnMut(&Bytes) -> bool| leases.keys(id).all(holds);
        operations.into_iter().try_for_each(|one| auth.authorize(&self.who, one, &keys))
    }
}
