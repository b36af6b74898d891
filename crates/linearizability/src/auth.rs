//! Users and roles as one object of the search.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;

use crate::search::{Found, Object, Span, search};
use crate::{AuthRequest, Failure, Outcome, Response};

/// Users with their roles, and roles with their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Accounts {
    users: BTreeMap<String, BTreeSet<String>>,
    roles: BTreeMap<String, BTreeSet<Bytes>>,
}

impl Accounts {
    /// Applies a request and returns its answer.
    pub(crate) fn apply(&mut self, request: &AuthRequest) -> Result<Response, Failure> {
        use AuthRequest::{
            RoleAdd, RoleDelete, RoleGet, RoleGrant, RoleList, RoleRevoke, UserAdd, UserDelete,
            UserGet, UserGrantRole, UserList, UserRevokeRole,
        };
        let done = Ok(Response::Empty);
        match request {
            UserAdd(name) if self.users.contains_key(name) => Err(Failure::UserExists),
            UserAdd(name) => {
                self.users.insert(name.clone(), BTreeSet::new());
                done
            }
            UserDelete(name) => {
                self.users.remove(name).map(|_| Response::Empty).ok_or(Failure::UserNotFound)
            }
            UserGet(name) => Ok(Response::Names(names(self.user(name)?.iter()))),
            UserList => Ok(Response::Names(names(self.users.keys()))),
            UserGrantRole(name, role) => {
                self.user(name)?;
                self.role(role)?;
                self.user(name)?.insert(role.clone());
                done
            }
            UserRevokeRole(name, role) => self
                .user(name)?
                .remove(role)
                .then_some(Response::Empty)
                .ok_or(Failure::RoleNotGranted),
            RoleAdd(name) if self.roles.contains_key(name) => Err(Failure::RoleExists),
            RoleAdd(name) => {
                self.roles.insert(name.clone(), BTreeSet::new());
                done
            }
            RoleDelete(name) => {
                self.roles.remove(name).ok_or(Failure::RoleNotFound)?;
                for roles in self.users.values_mut() {
                    roles.remove(name);
                }
                done
            }
            RoleGet(name) => Ok(Response::Names(self.role(name)?.iter().cloned().collect())),
            RoleList => Ok(Response::Names(names(self.roles.keys()))),
            RoleGrant(name, key) => {
                self.role(name)?.insert(key.clone());
                done
            }
            RoleRevoke(name, key) => self
                .role(name)?
                .remove(key)
                .then_some(Response::Empty)
                .ok_or(Failure::PermissionNotGranted),
        }
    }

    fn user(&mut self, name: &str) -> Result<&mut BTreeSet<String>, Failure> {
        self.users.get_mut(name).ok_or(Failure::UserNotFound)
    }

    fn role(&mut self, name: &str) -> Result<&mut BTreeSet<Bytes>, Failure> {
        self.roles.get_mut(name).ok_or(Failure::RoleNotFound)
    }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> Vec<Bytes> {
    names.map(|name| Bytes::copy_from_slice(name.as_bytes())).collect()
}

/// A call about users and roles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuthCall<'a> {
    pub(crate) request: &'a AuthRequest,
    pub(crate) outcome: &'a Outcome,
    pub(crate) span: Span,
    pub(crate) call: usize,
}

/// Searches for an order. Returns the calls that have none, and whether the
/// search was given up. After such calls, later ones are not judged.
pub(crate) fn check(
    calls: &[AuthCall<'_>],
    states: &mut HashSet<Accounts>,
) -> (Option<(String, Vec<usize>)>, bool) {
    if states.is_empty() {
        return (None, false);
    }
    let spans: Vec<Span> = calls.iter().map(|call| call.span).collect();
    match search(&Steps(calls), &spans, states.iter().cloned()) {
        Found::Orders(after) => {
            *states = after;
            (None, false)
        }
        Found::GaveUp => (None, true),
        Found::Stuck { step, states: at, beside } => {
            let AuthCall { request, outcome, .. } = calls[step];
            let detail = format!("{request:?} -> {outcome:?} on {at:?}");
            // After this, the state is unknown.
            states.clear();
            (Some((detail, beside.into_iter().map(|place| calls[place].call).collect())), false)
        }
    }
}

struct Steps<'a>(&'a [AuthCall<'a>]);

impl Object for Steps<'_> {
    type State = Accounts;

    fn step(&self, state: &Accounts, index: usize) -> Option<Accounts> {
        let AuthCall { request, outcome, .. } = self.0[index];
        let mut after = state.clone();
        let answer = after.apply(request);
        let fits = match outcome {
            Outcome::Done { response, .. } => answer.as_ref() == Ok(response),
            Outcome::Failed(failure) => answer.as_ref() == Err(failure),
            Outcome::Unknown => answer.is_ok(),
        };
        fits.then_some(after)
    }

    fn only_reads(&self, index: usize) -> bool {
        use AuthRequest::{RoleGet, RoleList, UserGet, UserList};
        let AuthCall { request, outcome, .. } = self.0[index];
        let asks = matches!(request, UserGet(_) | UserList | RoleGet(_) | RoleList);
        asks || matches!(outcome, Outcome::Failed(_))
    }
}
