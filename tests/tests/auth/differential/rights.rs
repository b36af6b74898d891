//! The oracle: who may do what, by what `UserGet` and `RoleGet` say.
//!
//! As naive as can be, and nothing in common with `t4-auth-rbac`: a range is
//! looked at key by key. That is exact, because a permission changes its mind at
//! few keys only: at the first of its own range, and at the first beyond.

use std::collections::BTreeMap;

use bytes::Bytes;
use t4_proto::authpb::Permission;
use t4_proto::authpb::permission::Type;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::alarm_request::AlarmAction;
use t4_proto::etcdserverpb::request_op::Request;
use t4_proto::v3lockpb::LockRequest;
use tonic::Code;

use super::answer::{Answer, Refusal};
use super::ask::{Ask, is_keyless, place, queue};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Nobody,
    /// Whoever shows a token that is not good.
    Forger,
    User(String),
}

/// What a request needs, besides a user who makes it.
enum Need {
    Admin,
    /// To be this user.
    Being(String),
    /// To have this role.
    Having(String),
    Read(Bytes, Bytes),
    Write(Bytes, Bytes),
}

/// The keys of each lease.
pub(super) type LeaseKeys = BTreeMap<i64, Vec<Bytes>>;

/// Users and roles as the reference told of them last.
#[derive(Clone, Debug, Default)]
pub(super) struct Rights {
    /// The roles of each user.
    pub(super) users: BTreeMap<String, Vec<String>>,
    pub(super) roles: BTreeMap<String, Vec<Permission>>,
}

impl Rights {
    /// Takes note of what the reference says about users and roles.
    pub(super) fn observe(&mut self, ask: &Ask, answer: &Answer) {
        let is_not_found = answer.refusal().is_some_and(|it| it.code == Code::FailedPrecondition);
        match (ask, answer) {
            (Ask::UserGet(name), Answer::User(told)) => {
                self.users.insert(name.clone(), told.roles.clone());
            }
            (Ask::RoleGet(name), Answer::Role(told)) => {
                self.roles.insert(name.clone(), told.perm.clone());
            }
            (Ask::UserGet(name), _) if is_not_found => {
                self.users.remove(name);
            }
            (Ask::RoleGet(name), _) if is_not_found => {
                self.roles.remove(name);
            }
            _ => {}
        }
    }

    pub(super) fn is_admin(&self, user: &str) -> bool {
        self.users.get(user).is_some_and(|roles| roles.iter().any(|role| role == "root"))
    }

    /// The permissions of a user.
    pub(super) fn permissions(&self, user: &str) -> impl Iterator<Item = &Permission> {
        let roles = self.users.get(user).into_iter().flatten();
        roles.filter_map(|role| self.roles.get(role)).flatten()
    }

    /// What must be answered to whoever may not ask that.
    pub(super) fn refusal(&self, who: &Who, ask: &Ask, leases: &LeaseKeys) -> Option<Refusal> {
        if matches!(ask, Ask::Authenticate(_)) {
            return None;
        }
        match who {
            Who::Forger => Some(Refusal::invalid_token()),
            Who::Nobody if matches!(ask, Ask::AuthStatus) => None,
            Who::Nobody => Some(Refusal::no_user()),
            Who::User(user) => {
                let may = needs(ask, leases).iter().all(|need| self.has(user, need));
                (!may).then(Refusal::permission_denied)
            }
        }
    }

    /// The same for a watch.
    pub(super) fn refusal_to_watch(&self, who: &Who, key: &Bytes, end: &Bytes) -> Option<Refusal> {
        // There is no empty key: the first one is meant.
        let key = if key.is_empty() { Bytes::from_static(b"\0") } else { key.clone() };
        let range = pb::RangeRequest { key, range_end: end.clone(), ..Default::default() };
        self.refusal(who, &Ask::Range(range), &LeaseKeys::new())
    }

    fn has(&self, user: &str, need: &Need) -> bool {
        if self.is_admin(user) {
            return true;
        }
        match need {
            Need::Admin => false,
            Need::Being(name) => user == name,
            Need::Having(role) => self.users.get(user).is_some_and(|own| own.contains(role)),
            Need::Read(key, end) => self.covers(user, Type::Read, key, end),
            Need::Write(key, end) => self.covers(user, Type::Write, key, end),
        }
    }

    fn covers(&self, user: &str, kind: Type, key: &Bytes, end: &Bytes) -> bool {
        let of_kind = |held: &&Permission| [kind, Type::Readwrite].contains(&held.perm_type());
        let held: Vec<&Permission> = self.permissions(user).filter(of_kind).collect();
        let mut looked_at = vec![key.clone()];
        // In a range without keys, its first one counts.
        if !is_keyless(key, end) {
            let changes = held.iter().flat_map(|held| [held.key.clone(), beyond(held)]);
            looked_at.extend(changes.filter(|change| holds(key, end, change)));
        }
        looked_at.iter().all(|one| held.iter().any(|held| holds(&held.key, &held.range_end, one)))
    }
}

/// Whether a key is in a range.
fn holds(start: &Bytes, end: &Bytes, key: &Bytes) -> bool {
    match end.as_ref() {
        b"" => key == start,
        b"\0" => start <= key,
        _ => start <= key && key < end,
    }
}

/// The first key beyond those of a permission. Of one without an end, its own
/// first key: it changes its mind once.
fn beyond(held: &Permission) -> Bytes {
    match held.range_end.as_ref() {
        b"" => [held.key.as_ref(), b"\0"].concat().into(),
        b"\0" => held.key.clone(),
        _ => held.range_end.clone(),
    }
}

fn needs(ask: &Ask, leases: &LeaseKeys) -> Vec<Need> {
    let of_lease = |lease, need: fn(Bytes, Bytes) -> Need| {
        let keys = leases.get(&lease).into_iter().flatten();
        keys.map(|key| need(key.clone(), Bytes::new())).collect()
    };
    match ask {
        Ask::Range(range) => vec![Need::Read(range.key.clone(), range.range_end.clone())],
        Ask::Put(put) => of_put(put, leases),
        Ask::Delete(delete) => of_delete(delete),
        Ask::Txn(txn) => of_txn(txn, leases),
        Ask::LeaseRevoke(id) | Ask::LeaseKeepAlive(id) => of_lease(*id, Need::Write),
        Ask::LeaseTimeToLive(request) if request.keys => of_lease(request.id, Need::Read),
        Ask::LeaseLeases => leases.keys().flat_map(|id| of_lease(*id, Need::Read)).collect(),
        Ask::Lock(request) => of_lock(request, leases),
        Ask::Unlock(request) => vec![Need::Write(request.key.clone(), Bytes::new())],
        Ask::Leader(request) => {
            let (first, end) = queue(&request.name);
            vec![Need::Read(first, end)]
        }
        Ask::UserGet(name) => vec![Need::Being(name.clone())],
        Ask::RoleGet(role) => vec![Need::Having(role.clone())],
        // Of a watch, each creation is asked about.
        Ask::LeaseTimeToLive(_)
        | Ask::LeaseGrant(_)
        | Ask::MemberList
        | Ask::Status
        | Ask::Alarm(AlarmAction::Get)
        | Ask::Watch(_)
        | Ask::AuthStatus
        | Ask::Authenticate(_) => Vec::new(),
        _ => vec![Need::Admin],
    }
}

fn of_put(put: &pb::PutRequest, leases: &LeaseKeys) -> Vec<Need> {
    let mut needs = vec![Need::Write(put.key.clone(), Bytes::new())];
    if put.prev_kv {
        needs.push(Need::Read(put.key.clone(), Bytes::new()));
    }
    // Whoever ends the lease deletes them.
    let keys = leases.get(&put.lease).into_iter().flatten();
    needs.extend(keys.map(|key| Need::Write(key.clone(), Bytes::new())));
    needs
}

/// To take a place in the queue, and to see who is before it.
fn of_lock(request: &LockRequest, leases: &LeaseKeys) -> Vec<Need> {
    let key = place(&request.name, request.lease);
    let (first, end) = queue(&request.name);
    let mut needs = vec![Need::Read(key.clone(), Bytes::new()), Need::Read(first, end)];
    needs.extend(of_put(
        &pb::PutRequest { key, lease: request.lease, ..Default::default() },
        leases,
    ));
    needs
}

fn of_delete(delete: &pb::DeleteRangeRequest) -> Vec<Need> {
    let mut needs = vec![Need::Write(delete.key.clone(), delete.range_end.clone())];
    if delete.prev_kv {
        needs.push(Need::Read(delete.key.clone(), delete.range_end.clone()));
    }
    needs
}

/// Whatever is in it, in whichever branch.
fn of_txn(txn: &pb::TxnRequest, leases: &LeaseKeys) -> Vec<Need> {
    let compares = txn.compare.iter();
    let mut needs: Vec<Need> =
        compares.map(|it| Need::Read(it.key.clone(), it.range_end.clone())).collect();
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => {
                needs.push(Need::Read(range.key.clone(), range.range_end.clone()));
            }
            Some(Request::RequestPut(put)) => needs.extend(of_put(put, leases)),
            Some(Request::RequestDeleteRange(delete)) => needs.extend(of_delete(delete)),
            Some(Request::RequestTxn(nested)) => needs.extend(of_txn(nested, leases)),
            None => {}
        }
    }
    needs
}
