//! What the reference's answers tell: rights, logins, passwords, revisions. The
//! generator draws by it, and the oracle judges by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use t4_proto::etcdserverpb as pb;

use super::USERS;
use super::answer::Answer;
use super::ask::{Actor, Ask, ROOT};
use super::rights::{Rights, Who};

/// Failures of one user that T4 does not make wait for.
const FREE_FAILURES: u32 = 3;

/// A login that succeeded.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) user: String,
    /// Whether its token is still one.
    pub(super) is_good: bool,
}

#[derive(Debug)]
pub(super) struct Known {
    /// Shared with the steps that were judged by them.
    pub(super) rights: Arc<Rights>,
    pub(super) logins: Vec<Login>,
    /// Who can log in, and by what.
    pub(super) passwords: BTreeMap<String, String>,
    /// Users who have none and never will.
    without_password: Vec<String>,
    /// Of each name, since the last login.
    failures: BTreeMap<String, u32>,
    pub(super) revision: i64,
    pub(super) compacted: i64,
}

impl Known {
    /// What is so at the beginning.
    pub(super) fn new() -> Known {
        let mut rights = Rights::default();
        for user in USERS {
            let roles = if user == "root" { vec!["root".to_owned()] } else { Vec::new() };
            rights.users.insert(user.to_owned(), roles);
        }
        for role in super::ROLES {
            rights.roles.insert(role.to_owned(), Vec::new());
        }
        Known {
            rights: Arc::new(rights),
            logins: USERS.map(|user| Login { user: user.to_owned(), is_good: true }).into(),
            passwords: USERS.map(|user| (user.to_owned(), user.to_owned())).into(),
            without_password: Vec::new(),
            failures: BTreeMap::new(),
            revision: 1,
            compacted: 0,
        }
    }

    pub(super) fn who(&self, actor: Actor) -> Who {
        match actor {
            Actor::Nobody => Who::Nobody,
            Actor::Forger => Who::Forger,
            Actor::Login(number) => match &self.logins[number] {
                Login { user, is_good: true } => Who::User(user.clone()),
                Login { .. } => Who::Forger,
            },
        }
    }

    /// The newest login of a user.
    pub(super) fn login_of(&self, user: &str) -> Option<Actor> {
        let newest = self.logins.iter().rposition(|login| login.is_good && login.user == user);
        newest.map(Actor::Login)
    }

    pub(super) fn is_there(&self, user: &str) -> bool {
        self.rights.users.contains_key(user)
    }

    /// Whether T4 lets a wrong password of this user fail at once, and the next
    /// right one succeed at once.
    pub(super) fn may_fail(&self, name: &str) -> bool {
        self.failures.get(name).is_none_or(|failures| *failures < FREE_FAILURES)
    }

    /// Takes note of an answer. Gives what must be asked now to know what has
    /// come of it.
    pub(super) fn observe(&mut self, ask: &Ask, answer: &Answer) -> Vec<(Actor, Ask)> {
        self.revision = self.revision.max(answer.revision());
        if matches!(ask, Ask::UserGet(_) | Ask::RoleGet(_)) {
            Arc::make_mut(&mut self.rights).observe(ask, answer);
        }
        if let Ask::Authenticate(request) = ask {
            self.observe_login(request, answer);
        }
        if answer.refusal().is_some() {
            return Vec::new();
        }
        match ask {
            Ask::Compact(request) => self.compacted = request.revision,
            Ask::UserAdd(request) => self.observe_user(request),
            Ask::UserDelete(name) => {
                self.passwords.remove(name);
                self.without_password.retain(|other| other != name);
                self.end_logins(name);
            }
            Ask::UserChangePassword(request) => return self.observe_password(request),
            _ => {}
        }
        self.changed_by(ask).into_iter().map(|ask| (ROOT, ask)).collect()
    }

    fn observe_login(&mut self, request: &pb::AuthenticateRequest, answer: &Answer) {
        let name = request.name.clone();
        if answer.refusal().is_some() {
            *self.failures.entry(name).or_default() += 1;
        } else {
            self.failures.remove(&name);
            self.logins.push(Login { user: name, is_good: true });
        }
    }

    fn observe_user(&mut self, request: &pb::AuthUserAddRequest) {
        if request.options.as_ref().is_some_and(|options| options.no_password) {
            self.without_password.push(request.name.clone());
        } else {
            self.passwords.insert(request.name.clone(), request.password.clone());
        }
    }

    fn observe_password(
        &mut self,
        request: &pb::AuthUserChangePasswordRequest,
    ) -> Vec<(Actor, Ask)> {
        let name = request.name.clone();
        self.end_logins(&name);
        if self.without_password.contains(&name) {
            return Vec::new();
        }
        if request.password.is_empty() {
            // The empty hash of the request: nothing is right.
            self.passwords.remove(&name);
            return Vec::new();
        }
        self.passwords.insert(name.clone(), request.password.clone());
        let login = pb::AuthenticateRequest { name, password: request.password.clone() };
        vec![(Actor::Nobody, Ask::Authenticate(login))]
    }

    fn end_logins(&mut self, name: &str) {
        for login in self.logins.iter_mut().filter(|login| login.user == name) {
            login.is_good = false;
        }
    }

    /// Whom and what a change was about.
    fn changed_by(&self, ask: &Ask) -> Vec<Ask> {
        match ask {
            Ask::UserAdd(request) => vec![Ask::UserGet(request.name.clone())],
            Ask::UserDelete(name) => vec![Ask::UserGet(name.clone())],
            Ask::UserGrantRole(request) => vec![Ask::UserGet(request.user.clone())],
            Ask::UserRevokeRole(request) => vec![Ask::UserGet(request.name.clone())],
            Ask::RoleAdd(role) => vec![Ask::RoleGet(role.clone())],
            Ask::RoleGrantPermission(request) => vec![Ask::RoleGet(request.name.clone())],
            Ask::RoleRevokePermission(request) => vec![Ask::RoleGet(request.role.clone())],
            Ask::RoleDelete(role) => {
                let had = self.rights.users.iter().filter(|(_, roles)| roles.contains(role));
                let users = had.map(|(name, _)| Ask::UserGet(name.clone()));
                std::iter::once(Ask::RoleGet(role.clone())).chain(users).collect()
            }
            _ => Vec::new(),
        }
    }
}
