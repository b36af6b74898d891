//! What etcd had to learn by advisories, and what the Go T4 let through, as far
//! as permissions decide it: the checks themselves. That each listener and each
//! RPC asks them is for the suites of those.

use std::sync::Arc;

use bytes::Bytes;
use t4_auth_rbac::{
    AuthError, AuthState, Command, Identity, Operation, PasswordHash, Permission, PermissionKind,
};
use t4_kv_types::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyRange, LeaseId, PutRequest,
    RangeRequest, TxnOp, TxnRequest,
};

const DENIED: Result<(), AuthError> = Err(AuthError::PermissionDenied);
const NOBODY: Result<(), AuthError> = Err(AuthError::UserEmpty);

/// Lease 1 has a key of alice's, lease 2 has one that is not hers.
fn leases(lease: LeaseId, holds: &mut dyn FnMut(&Bytes) -> bool) -> bool {
    match lease.0 {
        1 => holds(&"app/own".into()),
        2 => holds(&"app/own".into()) && holds(&"secret".into()),
        _ => true,
    }
}

fn run(state: &mut AuthState, command: Command) {
    let effect = state.evaluate(&Identity::Server, &command).expect("a command that is allowed");
    state.apply(&effect.expect("one that does something")).expect("it fits");
}

fn user_add(name: &str) -> Command {
    let password = Some(PasswordHash("hash".into()));
    Command::UserAdd { name: name.into(), no_password: false, password }
}

fn grant(role: &str, kind: PermissionKind, key: &'static str, end: &'static str) -> Command {
    let permission = Some(Permission::new(kind, key, end));
    Command::RoleGrantPermission { role: role.into(), permission }
}

/// alice reads and writes `app/…`, and reads the one key `read`.
fn state() -> AuthState {
    let mut state = AuthState::new();
    for name in ["root", "alice"] {
        run(&mut state, user_add(name));
        run(&mut state, Command::RoleAdd { name: name.into() });
        run(&mut state, Command::UserGrantRole { user: name.into(), role: name.into() });
    }
    run(&mut state, grant("alice", PermissionKind::ReadWrite, "app/", "app0"));
    run(&mut state, grant("alice", PermissionKind::Read, "read", ""));
    run(&mut state, Command::Enable);
    state
}

fn alice(operation: Operation<'_>) -> Result<(), AuthError> {
    state().authorize(&Identity::user("alice"), operation, &leases)
}

fn put(key: &'static str) -> PutRequest {
    PutRequest { key: key.into(), ..PutRequest::default() }
}

fn range(key: &'static str, end: &'static str) -> KeyRange {
    KeyRange::from_wire(key.into(), end.into())
}

/// One operation in a transaction, in each place that it can have.
fn everywhere(op: &TxnOp) -> Vec<TxnRequest> {
    let empty = TxnRequest::default;
    let success = TxnRequest { success: vec![op.clone()], ..empty() };
    let failure = TxnRequest { failure: vec![op.clone()], ..empty() };
    let nested = |txn: &TxnRequest| {
        [
            TxnRequest { success: vec![TxnOp::Txn(txn.clone())], ..empty() },
            TxnRequest { failure: vec![TxnOp::Txn(txn.clone())], ..empty() },
        ]
    };
    let once: Vec<_> = [&success, &failure].into_iter().flat_map(nested).collect();
    let twice: Vec<_> = once.iter().flat_map(nested).collect();
    [vec![success, failure], once, twice].concat()
}

/// GHSA-rfx7-8w68-q57q: operations in nested transactions were not checked.
#[test]
fn an_operation_is_refused_wherever_in_a_transaction_it_is() {
    let forbidden = [
        TxnOp::Put(put("secret")),
        TxnOp::Range(RangeRequest::new(range("secret", ""))),
        TxnOp::Range(RangeRequest::new(range("app/", "app1"))),
        TxnOp::DeleteRange(DeleteRangeRequest { range: range("app/", "\0"), prev_kv: false }),
    ];
    for op in &forbidden {
        for txn in everywhere(op) {
            assert_eq!(alice(Operation::Txn(&txn)), DENIED, "{txn:?}");
        }
    }
    for txn in everywhere(&TxnOp::Put(put("app/a"))) {
        assert_eq!(alice(Operation::Txn(&txn)), Ok(()), "{txn:?}");
    }
}

#[test]
fn a_compare_is_a_read_wherever_it_is() {
    for (place, allowed) in
        [(range("app/a", ""), true), (range("secret", ""), false), (range("read", "reae"), false)]
    {
        let result = CompareResult::Equal;
        let compare = Compare { range: place, target: CompareTarget::Version(1), result };
        let txn = TxnRequest { compares: vec![compare], ..TxnRequest::default() };
        let nested = everywhere(&TxnOp::Txn(txn.clone()));
        for txn in nested.iter().chain([&txn]) {
            assert_eq!(alice(Operation::Txn(txn)).is_ok(), allowed, "{txn:?}");
        }
    }
}

/// GHSA-x35m-3gp4-4fh5: `prev_kv` and leases of puts in transactions were not
/// checked as those of plain puts are.
#[test]
fn a_put_in_a_transaction_is_checked_as_a_plain_one() {
    let mut state = state();
    run(&mut state, grant("alice", PermissionKind::Write, "drop", ""));
    let cases = [
        (PutRequest { prev_kv: true, ..put("drop") }, DENIED),
        (PutRequest { lease: LeaseId(2), ..put("app/a") }, DENIED),
        (PutRequest { lease: LeaseId(1), ..put("app/a") }, Ok(())),
        (PutRequest { lease: LeaseId(3), ..put("app/a") }, Ok(())),
        (PutRequest { ignore_value: true, ignore_lease: true, ..put("drop") }, Ok(())),
    ];
    let who = Identity::user("alice");
    for (put, expected) in cases {
        assert_eq!(state.authorize(&who, Operation::Put(&put), &leases), expected, "{put:?}");
        for txn in everywhere(&TxnOp::Put(put)) {
            assert_eq!(state.authorize(&who, Operation::Txn(&txn), &leases), expected, "{txn:?}");
        }
    }
}

/// GHSA-q8m4-xhhv-38mg: members, alarms, leases and compaction were open to
/// those who are nobody. There is no operation that nobody may do, and none of
/// the administrator's that a user may do.
#[test]
fn nothing_is_open_to_strangers() {
    let (point, txn) = (range("app/a", ""), TxnRequest::default());
    let (put, read) = (put("app/a"), RangeRequest::new(point.clone()));
    let delete = DeleteRangeRequest { range: point.clone(), prev_kv: false };
    let every = [
        Operation::Range(&read),
        Operation::Put(&put),
        Operation::DeleteRange(&delete),
        Operation::Txn(&txn),
        Operation::Watch(&point),
        Operation::WriteLease(LeaseId(1)),
        Operation::WriteLease(LeaseId(9)),
        Operation::ReadLease(LeaseId(1)),
        Operation::ReadLease(LeaseId(9)),
        Operation::Authenticated,
        Operation::Admin,
    ];
    let state = state();
    for operation in every {
        let ask = |who: &Identity| state.authorize(who, operation, &leases);
        assert_eq!(ask(&Identity::Anonymous), NOBODY, "{operation:?}");
        assert_eq!(ask(&Identity::user("")), NOBODY, "{operation:?}");
        assert!(ask(&Identity::user("stranger")).is_err(), "{operation:?}");
        assert_eq!(ask(&Identity::user("root")), Ok(()), "{operation:?}");
        let admin = matches!(operation, Operation::Admin);
        assert_eq!(ask(&Identity::user("alice")), if admin { DENIED } else { Ok(()) });
    }
}

/// Of the Go T4: `AuthDisable` and the other calls about users were open to
/// everybody, admin calls to any user.
#[test]
fn users_and_roles_are_for_the_administrator() {
    let state = state();
    let (name, role): (Arc<str>, Arc<str>) = ("x".into(), "y".into());
    let commands = [
        Command::Enable,
        Command::Disable,
        user_add("x"),
        Command::UserDelete { name: name.clone() },
        Command::UserChangePassword { name: name.clone(), password: None },
        Command::UserGrantRole { user: name.clone(), role: role.clone() },
        Command::UserRevokeRole { user: name.clone(), role: role.clone() },
        Command::RoleAdd { name: name.clone() },
        Command::RoleDelete { name },
        grant("alice", PermissionKind::ReadWrite, "a", "\0"),
        Command::RoleRevokePermission { role, key: "a".into(), range_end: "".into() },
    ];
    for command in commands {
        let ask = |who: &Identity| state.evaluate(who, &command).map(|_| ());
        assert_eq!(ask(&Identity::Anonymous), NOBODY, "{command:?}");
        assert_eq!(ask(&Identity::user("alice")), DENIED, "{command:?}");
        assert_eq!(ask(&Identity::user("stranger")), Err(AuthError::UserNotFound), "{command:?}");
    }
    for who in [Identity::Anonymous, Identity::user("alice")] {
        assert!(state.user_list(&who).is_err() && state.role_list(&who).is_err());
        assert!(state.user_get(&who, "root").is_err() && state.role_get(&who, "root").is_err());
    }
    assert_eq!(state.user_get(&Identity::user("alice"), "alice").unwrap(), ["alice".into()]);
    assert_eq!(state.role_get(&Identity::user("alice"), "alice").unwrap().len(), 2);
}

/// GHSA-xg4h-6gfc-h4m8: whoever could read one key could watch all that follow.
/// Of the Go T4: watches and ranges were checked at their first key only.
#[test]
fn a_read_of_one_key_does_not_watch_others() {
    assert_eq!(alice(Operation::Watch(&range("read", ""))), Ok(()));
    assert_eq!(alice(Operation::Watch(&range("read", "read\0"))), Ok(()));
    for end in ["\0", "reae", "read\0\0", "readx", "\u{10ffff}"] {
        let beyond = range("read", end);
        assert_eq!(alice(Operation::Watch(&beyond)), DENIED, "{end:?}");
        let read = RangeRequest::new(beyond);
        assert_eq!(alice(Operation::Range(&read)), DENIED, "{end:?}");
    }
    assert_eq!(alice(Operation::Watch(&range("app/", "app0"))), Ok(()));
    assert_eq!(alice(Operation::Watch(&range("app/", "\0"))), DENIED);
    assert_eq!(alice(Operation::Watch(&KeyRange::all())), DENIED);
}

/// Of the Go T4: caches that were never refreshed. Each state answers for
/// itself, whatever was asked of another before.
#[test]
fn what_was_allowed_is_not_remembered() {
    let mut state = state();
    let who = Identity::user("alice");
    let own = range("app/a", "");
    let session = state.open_session(&who);
    assert!(state.can_read(&who, &own).is_ok() && session.still_reads(&state, &own));
    let before = state.clone();
    run(&mut state, grant("alice", PermissionKind::Write, "app/", "app0"));
    assert_eq!(state.can_read(&who, &own), DENIED);
    assert_eq!(state.can_write(&who, &own), Ok(()));
    assert!(!session.still_reads(&state, &own) && session.stands(&state));
    assert_eq!(before.can_read(&who, &own), Ok(()));

    let mut deleted = before.clone();
    run(&mut deleted, Command::RoleDelete { name: "alice".into() });
    assert_eq!(deleted.can_read(&who, &own), DENIED);
    assert!(!session.still_reads(&deleted, &own));
}

/// A permission that is granted again is the new one, also when another has the
/// same key: in etcd the old one stays, and with it the right to write.
#[test]
fn a_downgrade_counts_whatever_else_has_the_same_key() {
    let mut state = state();
    run(&mut state, grant("alice", PermissionKind::Read, "two", ""));
    run(&mut state, grant("alice", PermissionKind::ReadWrite, "two", "twp"));
    run(&mut state, grant("alice", PermissionKind::Read, "two", "twp"));
    let who = Identity::user("alice");
    assert_eq!(state.can_read(&who, &range("two", "twp")), Ok(()));
    assert_eq!(state.can_write(&who, &range("two", "")), DENIED);
    assert_eq!(state.role_get(&Identity::Server, "alice").unwrap().len(), 4);
}
