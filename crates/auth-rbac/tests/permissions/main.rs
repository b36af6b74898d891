//! The permission checks against a naive model: lists instead of trees, sets
//! of points instead of intervals, a list of needs instead of a recursion.
//!
//! A chain of states is built by random commands, with hundreds of random
//! requests on each; over a million (state, request) pairs in each run. That
//! the model sees what goes wrong is shown with checkers that have one fault
//! each.

mod model;
#[path = "../prng/mod.rs"]
mod prng;
mod requests;
mod universe;

use std::sync::Arc;

use bytes::Bytes;
use model::Model;
use prng::Prng;
use requests::Request;
use t4_auth_rbac::{
    AuthError, AuthState, Command, Identity, LeaseKeys, PasswordHash, Permission, PermissionKind,
    ROOT, Session,
};
use t4_kv_types::{KeyRange, LeaseId, RangeEnd, TxnOp, TxnRequest};

const USERS: [&str; 5] = ["root", "alice", "bob", "carol", "dave"];
const ROLES: [&str; 5] = ["root", "app", "logs", "ops", "spare"];

/// The keys of leases; leases that are not here have none.
struct Leases(Vec<(LeaseId, Vec<Bytes>)>);

impl LeaseKeys for Leases {
    fn every_key(&self, lease: LeaseId, holds: &mut dyn FnMut(&Bytes) -> bool) -> bool {
        let keys = self.0.iter().filter(|(id, _)| *id == lease).flat_map(|(_, keys)| keys);
        for key in keys {
            if !holds(key) {
                return false;
            }
        }
        true
    }
}

/// What is under test: the checker, or one with a fault.
type Checker = fn(&World, &Identity, &Request) -> Result<(), AuthError>;

fn sound(world: &World, who: &Identity, request: &Request) -> Result<(), AuthError> {
    world.state.authorize(who, request.operation(), &world.leases)
}

/// The state under test and the model, changed together.
struct World {
    state: AuthState,
    /// The state before the last change: what a cache that is not refreshed
    /// would answer from.
    former: AuthState,
    model: Model,
    leases: Leases,
    sessions: Vec<(Session, Identity, Bytes)>,
}

impl World {
    fn new(prng: &mut Prng) -> World {
        let mut world = World {
            state: AuthState::new(),
            former: AuthState::new(),
            model: Model::default(),
            leases: Leases(Vec::new()),
            sessions: Vec::new(),
        };
        for user in USERS {
            world.run(user_add(user));
        }
        for role in &ROLES[1..] {
            world.run(Command::RoleAdd { name: (*role).into() });
        }
        world.run(Command::UserGrantRole { user: ROOT.into(), role: ROOT.into() });
        if !prng.once_in(16) {
            world.run(Command::Enable);
        }
        for _ in 0..prng.below(48) {
            world.change(prng);
        }
        world
    }

    /// Carries a command out on both; the model takes those that succeed.
    fn run(&mut self, command: Command) {
        if let Ok(Some(effect)) = self.state.evaluate(&Identity::Server, &command) {
            self.former = self.state.clone();
            self.state.apply(&effect).expect("an effect fits the state it was decided on");
            self.model.take(&command);
        }
    }

    fn change(&mut self, prng: &mut Prng) {
        let role: Arc<str> = (*prng.pick(&ROLES)).into();
        let user: Arc<str> = (*prng.pick(&USERS)).into();
        let (key, range_end) = universe::permission_range(prng);
        let command = match prng.below(42) {
            0..16 => {
                let kinds =
                    [PermissionKind::Read, PermissionKind::Write, PermissionKind::ReadWrite];
                let permission = Some(Permission { kind: *prng.pick(&kinds), key, range_end });
                Command::RoleGrantPermission { role, permission }
            }
            16..24 => match self.model.some_permission(&role, prng) {
                Some((key, range_end)) => Command::RoleRevokePermission { role, key, range_end },
                None => Command::UserGrantRole { user, role },
            },
            24..33 if role.as_ref() != ROOT || prng.once_in(8) => {
                Command::UserGrantRole { user, role }
            }
            24..36 => Command::UserRevokeRole { user, role },
            36 => Command::RoleDelete { name: role },
            37 => Command::RoleAdd { name: role },
            38 => Command::UserDelete { name: user },
            // Mostly on.
            39 | 40 => match self.model.is_enabled() && prng.once_in(4) {
                true => Command::Disable,
                false => Command::Enable,
            },
            _ => user_add(&user),
        };
        self.run(command);
    }

    fn new_leases(&mut self, prng: &mut Prng) {
        let keys = |prng: &mut Prng| (0..prng.below(4)).map(|_| universe::key(prng)).collect();
        self.leases = Leases((1..=3).map(|id| (LeaseId(id), keys(prng))).collect());
    }

    fn identity(&self, prng: &mut Prng) -> Identity {
        let name = *prng.pick(&USERS);
        match prng.below(24) {
            0 => Identity::Anonymous,
            1 => Identity::Server,
            2 => Identity::user("nobody"),
            3 => Identity::user(""),
            4..7 => Identity::user_at(name, self.state.revision()),
            7 => Identity::user_at(name, self.state.revision() - prng.below(3).min(1)),
            8 => Identity::user_at(name, 1 + prng.below(self.state.revision())),
            _ => Identity::user(name),
        }
    }

    fn open_session(&mut self, prng: &mut Prng) {
        let who = self.identity(prng);
        let session = self.state.open_session(&who);
        self.model.open_session(&who);
        self.sessions.push((session, who, universe::key(prng)));
    }

    /// Every session ever opened, asked on the state as it is now.
    fn check_sessions(&self, prng: &mut Prng) -> Result<(), String> {
        for (place, (session, who, _)) in self.sessions.iter().enumerate() {
            let range = universe::range(prng);
            let found = session.still_reads(&self.state, &range);
            let expected = self.model.session_reads(place, who, &range);
            if found != expected {
                return Err(format!("session {place} of {who:?} on {range:?}: {found}"));
            }
        }
        Ok(())
    }
}

fn user_add(name: &str) -> Command {
    let password = Some(PasswordHash(Bytes::from_static(b"hash")));
    Command::UserAdd { name: name.into(), no_password: false, password }
}

/// How often the answers were yes and no, where permissions on keys decide: of
/// users that exist and are no administrators.
#[derive(Default)]
struct Answers {
    pairs: u64,
    yes: u64,
    no: u64,
}

/// Compares a checker with the model on `worlds` chains of states.
fn compare(checker: Checker, worlds: u64, prng: &mut Prng) -> Result<Answers, String> {
    const STATES: u64 = 25;
    const REQUESTS: u64 = 420;
    let mut answers = Answers::default();
    for _ in 0..worlds {
        let mut world = World::new(prng);
        for _ in 0..STATES {
            world.change(prng);
            world.new_leases(prng);
            world.open_session(prng);
            world.check_sessions(prng)?;
            for _ in 0..REQUESTS {
                let who = world.identity(prng);
                let request = requests::random(prng);
                let found = checker(&world, &who, &request);
                let expected = world.model.authorize(&who, &request, &world.leases.0);
                if found != expected {
                    let model = &world.model;
                    return Err(format!(
                        "{who:?} {request:?}: found {found:?}, expected {expected:?}; {model:?}"
                    ));
                }
                answers.pairs += 1;
                if world.model.is_plain_user(&who) {
                    *(if found.is_ok() { &mut answers.yes } else { &mut answers.no }) += 1;
                }
            }
        }
    }
    Ok(answers)
}

#[test]
fn a_million_requests_are_answered_as_by_the_model() {
    let answers =
        compare(sound, 400, &mut Prng::for_test()).unwrap_or_else(|wrong| panic!("{wrong}"));
    let Answers { pairs, yes, no } = answers;
    println!("{pairs} pairs; by permissions, {yes} allowed and {no} refused");
    assert!(yes + no >= 1_000_000);
    // Both answers are common, or the test does not test.
    assert!(yes > 200_000 && no > 200_000);
}

/// The same questions to checkers that have one fault each.
#[test]
fn a_checker_with_a_fault_is_found() {
    let faults: [(&str, Checker); 9] = [
        ("nested transactions are skipped", |world, who, request| {
            sound(
                world,
                who,
                &rewritten(request, |txn| {
                    txn.success.retain(|op| !matches!(op, TxnOp::Txn(_)));
                    txn.failure.retain(|op| !matches!(op, TxnOp::Txn(_)));
                }),
            )
        }),
        ("the branch that may not run is skipped", |world, who, request| {
            sound(world, who, &rewritten(request, |txn| txn.failure.clear()))
        }),
        ("compares are skipped", |world, who, request| {
            sound(world, who, &rewritten(request, |txn| txn.compares.clear()))
        }),
        ("prev_kv of puts in transactions is skipped", |world, who, request| {
            sound(
                world,
                who,
                &rewritten(request, |txn| {
                    for op in txn.success.iter_mut().chain(&mut txn.failure) {
                        if let TxnOp::Put(put) = op {
                            put.prev_kv = false;
                        }
                    }
                }),
            )
        }),
        ("an open end is taken for a point", |world, who, request| {
            sound(
                world,
                who,
                &with_watch(request, |range| {
                    if range.end == RangeEnd::Open {
                        range.end = RangeEnd::Single;
                    }
                }),
            )
        }),
        ("a watch is checked at its start only", |world, who, request| {
            sound(world, who, &with_watch(request, |range| range.end = RangeEnd::Single))
        }),
        ("leases are not looked at", |world, who, request| {
            let blind = |_: LeaseId, _: &mut dyn FnMut(&Bytes) -> bool| true;
            world.state.authorize(who, request.operation(), &blind)
        }),
        ("a cache is not refreshed", |world, who, request| {
            world.former.authorize(who, request.operation(), &world.leases)
        }),
        ("the age of a proof is not looked at", |world, who, request| {
            let ageless = who.name().map_or_else(|| who.clone(), Identity::user);
            sound(world, &ageless, request)
        }),
    ];
    let mut prng = Prng::for_test();
    for (fault, checker) in faults {
        let found = compare(checker, 50, &mut prng);
        assert!(found.is_err(), "not found: {fault}");
    }
}

/// The request with a change of each transaction in it.
fn rewritten(request: &Request, change: fn(&mut TxnRequest)) -> Request {
    fn within(txn: &mut TxnRequest, change: fn(&mut TxnRequest)) {
        change(txn);
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            if let TxnOp::Txn(nested) = op {
                within(nested, change);
            }
        }
    }
    let mut request = request.clone();
    if let Request::Txn(txn) = &mut request {
        within(txn, change);
    }
    request
}

fn with_watch(request: &Request, change: fn(&mut KeyRange)) -> Request {
    let mut request = request.clone();
    if let Request::Watch(range) = &mut request {
        change(range);
    }
    request
}
