//! What the watchers of a stream may see, checked again after each change of users or
//! roles: etcd checks when a watcher is created and never again.
//!
//! A watcher that loses its permission ends with etcd's reason, and events that are
//! queued for it are not sent. A stream whose user is deleted ends as a whole.

use std::collections::{BTreeMap, VecDeque};

use t4_auth_rbac::Session;
use t4_kv_types::{KeyRange, RangeEnd};
use t4_node::NumberedAuth;

use crate::errors::ApiError;

/// A watcher, its range, and the user that it acts for.
pub(super) struct Permit {
    pub(super) session: Session,
    pub(super) range: KeyRange,
    /// The number of the state that it was given by; older ones do not matter.
    pub(super) given_at: u64,
}

/// What a watcher costs beside its keys, in bytes: in the hub and here. Held by the
/// bounds of `tests/tests/hostile/attacks/open.rs` and `open_calls.rs`.
const WATCHER_BYTES: usize = 1 << 10;

impl Permit {
    /// What the watcher holds.
    pub(super) fn bytes(&self) -> usize {
        watcher_bytes(&self.range)
    }
}

/// What a watcher of this range holds.
pub(super) fn watcher_bytes(range: &KeyRange) -> usize {
    let end = match &range.end {
        RangeEnd::Before(end) => end.len(),
        RangeEnd::Single | RangeEnd::Open => 0,
    };
    WATCHER_BYTES + range.start.len() + end
}

/// A creation that was not answered yet.
enum Asked {
    /// The node will say whether there is a watcher.
    Node(Permit),
    /// It will, and the watcher must end at once: its permission has gone.
    Forbidden,
    /// Refused here, in its turn: clients match answers to requests by their
    /// order.
    Refused(String),
}

/// Those of one stream.
#[derive(Default)]
pub(super) struct Permits {
    asked: VecDeque<Asked>,
    watchers: BTreeMap<i64, Permit>,
    /// Watchers that the node was asked to end, and has not ended yet.
    ending: BTreeMap<i64, ApiError>,
    /// That of the user that opened the stream, if there is one.
    opened_by: Option<Session>,
    /// What the watchers that have a permit hold, and those that were asked for.
    bytes: usize,
}

impl Permits {
    /// Those of a stream that this user has opened.
    pub(super) fn of_stream(opened_by: Option<Session>) -> Self {
        Permits { opened_by, ..Permits::default() }
    }

    /// What the watchers of the stream hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The node was asked for a watcher.
    pub(super) fn asked(&mut self, permit: Permit) {
        self.bytes += permit.bytes();
        self.asked.push_back(Asked::Node(permit));
    }

    /// A watcher was refused, with this reason; [`Self::refused`] gives it out in its
    /// turn.
    pub(super) fn refuse(&mut self, reason: String) {
        self.asked.push_back(Asked::Refused(reason));
    }

    /// The next refusal whose turn it is.
    pub(super) fn refused(&mut self) -> Option<String> {
        let next = self.asked.pop_front_if(|next| matches!(next, Asked::Refused(_)))?;
        match next {
            Asked::Refused(reason) => Some(reason),
            Asked::Node(_) | Asked::Forbidden => None,
        }
    }

    /// The node has created the watcher that was asked for first. False: it
    /// may not go on, and counts as ending.
    #[must_use]
    pub(super) fn created(&mut self, id: i64) -> bool {
        match self.asked.pop_front() {
            Some(Asked::Node(permit)) => {
                self.watchers.insert(id, permit);
                true
            }
            Some(Asked::Forbidden | Asked::Refused(_)) | None => {
                self.ending.insert(id, ApiError::PermissionDenied);
                false
            }
        }
    }

    /// The node has refused the watcher that was asked for first.
    pub(super) fn not_created(&mut self) {
        if let Some(Asked::Node(permit)) = self.asked.pop_front() {
            self.bytes -= permit.bytes();
        }
    }

    /// The node has ended a watcher; why, if it was for want of a permission.
    pub(super) fn canceled(&mut self, id: i64) -> Option<ApiError> {
        self.bytes -= self.watchers.remove(&id).map_or(0, |permit| permit.bytes());
        self.ending.remove(&id)
    }

    /// Whether what comes for a watcher may be sent.
    pub(super) fn allows(&self, id: i64) -> bool {
        self.ending.is_empty() || !self.ending.contains_key(&id)
    }

    /// The watchers that may not go on after this change, each once. They count as
    /// ending from now on. Those that the node has not created yet are named
    /// when it has.
    pub(super) fn forbidden(&mut self, (number, state): &NumberedAuth) -> Vec<i64> {
        let gone = |permit: &Permit| {
            permit.given_at < *number && !permit.session.still_reads(state, &permit.range)
        };
        for asked in &mut self.asked {
            if let Asked::Node(permit) = asked
                && gone(permit)
            {
                self.bytes -= permit.bytes();
                *asked = Asked::Forbidden;
            }
        }
        let ids: Vec<i64> =
            self.watchers.iter().filter(|(_, permit)| gone(permit)).map(|(id, _)| *id).collect();
        for id in &ids {
            self.bytes -= self.watchers.remove(id).map_or(0, |permit| permit.bytes());
            self.ending.insert(*id, ApiError::PermissionDenied);
        }
        ids
    }

    /// The sessions that the stream rests on.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &Session> {
        let asked = self.asked.iter().filter_map(|asked| match asked {
            Asked::Node(permit) => Some(permit),
            Asked::Forbidden | Asked::Refused(_) => None,
        });
        let permits = self.watchers.values().chain(asked);
        self.opened_by.iter().chain(permits.map(|permit| &permit.session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use t4_auth_rbac::{AuthState, Command, Identity, Permission, PermissionKind};

    fn change(state: &mut AuthState, command: Command) {
        let effect = state.evaluate(&Identity::Server, &command).unwrap();
        if let Some(effect) = effect {
            state.apply(&effect).unwrap();
        }
    }

    /// alice may read "a" to "c".
    fn state() -> AuthState {
        let mut state = AuthState::new();
        for name in ["root", "alice"] {
            let name = name.into();
            change(&mut state, Command::UserAdd { name, no_password: true, password: None });
        }
        let (root, role) = ("root".into(), "root".into());
        change(&mut state, Command::UserGrantRole { user: root, role });
        change(&mut state, Command::RoleAdd { name: "reader".into() });
        let permission = Some(Permission::new(PermissionKind::Read, "a", "c"));
        let role = "reader".into();
        change(&mut state, Command::RoleGrantPermission { role, permission });
        let (user, role) = ("alice".into(), "reader".into());
        change(&mut state, Command::UserGrantRole { user, role });
        change(&mut state, Command::Enable);
        state
    }

    fn permit(state: &AuthState, user: &str, key: &'static str) -> Permit {
        let session = state.open_session(&Identity::user(user));
        Permit { session, range: KeyRange::single(key), given_at: 1 }
    }

    /// The state after change 2.
    fn then(state: &AuthState) -> NumberedAuth {
        (2, Arc::new(state.clone()))
    }

    #[test]
    fn a_watcher_ends_with_its_permission() {
        let mut state = state();
        let mut permits = Permits::default();
        for (id, user) in [(0, "alice"), (7, "root")] {
            permits.asked(permit(&state, user, "a"));
            assert!(permits.created(id));
        }
        assert!(permits.forbidden(&then(&state)).is_empty());
        let (user, role) = ("alice".into(), "reader".into());
        change(&mut state, Command::UserRevokeRole { user, role });
        let before = (1, Arc::new(state.clone()));
        assert!(permits.forbidden(&before).is_empty(), "it was given at change 1");
        assert_eq!(permits.bytes(), 2 * (WATCHER_BYTES + 1));
        assert_eq!(permits.forbidden(&then(&state)), [0]);
        assert!(!permits.allows(0) && permits.allows(7));
        assert!(permits.forbidden(&then(&state)).is_empty(), "each once");
        assert_eq!(permits.canceled(0), Some(ApiError::PermissionDenied));
        assert!(permits.allows(0), "another watcher may have the id");
        assert_eq!(permits.canceled(7), None);
        assert_eq!((permits.sessions().count(), permits.bytes()), (0, 0));
    }

    #[test]
    fn a_permission_may_go_while_the_node_is_asked() {
        let mut state = state();
        let mut permits = Permits::default();
        permits.asked(permit(&state, "alice", "a"));
        let (role, key) = ("reader".into(), "a".into());
        let range_end = "c".into();
        change(&mut state, Command::RoleRevokePermission { role, key, range_end });
        assert!(permits.forbidden(&then(&state)).is_empty());
        assert!(!permits.created(5) && !permits.allows(5));
        assert_eq!(permits.canceled(5), Some(ApiError::PermissionDenied));
    }

    #[test]
    fn refusals_keep_their_turn() {
        let state = state();
        let mut permits = Permits::default();
        permits.refuse("UserEmpty".to_owned());
        assert_eq!(permits.refused().as_deref(), Some("UserEmpty"));
        permits.asked(permit(&state, "alice", "a"));
        permits.refuse("PermissionDenied".to_owned());
        permits.asked(permit(&state, "alice", "b"));
        permits.refuse("InvalidAuthToken".to_owned());
        assert_eq!(permits.refused(), None, "the node answers first");
        assert!(permits.created(3));
        assert_eq!(permits.refused().as_deref(), Some("PermissionDenied"));
        assert_eq!(permits.refused(), None);
        permits.not_created();
        assert_eq!(permits.refused().as_deref(), Some("InvalidAuthToken"));
        assert_eq!(permits.sessions().count(), 1);
    }
}
