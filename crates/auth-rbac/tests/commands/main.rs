//! Commands against a naive model: the same errors, revisions and lists after
//! every command, and the effects as bytes make the same state again.

mod model;
#[path = "../prng/mod.rs"]
mod prng;

use std::sync::Arc;

use bytes::Bytes;
use model::Model;
use prng::Prng;
use t4_auth_rbac::{
    AuthState, Command, Credentials, Effect, Identity, PasswordHash, Permission, PermissionKind,
    TokenHash, TokenId,
};

/// The empty names are none, `ghost` never exists.
pub(crate) const USERS: [&str; 6] = ["", "root", "alice", "bob", "carol", "ghost"];
pub(crate) const ROLES: [&str; 6] = ["", "root", "app", "logs", "ops", "ghost"];

fn name(prng: &mut Prng, from: &[&str]) -> Arc<str> {
    // The last one is there to be missed, now and then.
    let last = from.len() as u64 - u64::from(!prng.once_in(8));
    from[prng.below(last) as usize].into()
}

fn bytes(prng: &mut Prng) -> Bytes {
    const BOUNDS: [&[u8]; 6] = [b"", b"\0", b"a", b"ab", b"b", b"c"];
    let bound: &&[u8] = prng.pick(&BOUNDS);
    Bytes::from_static(bound)
}

fn hash(prng: &mut Prng) -> TokenHash {
    TokenHash([prng.below(40) as u8; 32])
}

fn password(prng: &mut Prng) -> Option<PasswordHash> {
    let text = *prng.pick(&["", "$2a$04$one", "$2a$04$two"]);
    (!prng.once_in(10)).then(|| PasswordHash(text.into()))
}

fn command(prng: &mut Prng, state: &AuthState) -> Command {
    let user = name(prng, &USERS);
    let role = name(prng, &ROLES);
    match prng.below(64) {
        0..6 => Command::Enable,
        6 => Command::Disable,
        7..14 => {
            let no_password = prng.once_in(4);
            Command::UserAdd { name: user, no_password, password: password(prng) }
        }
        14..17 => Command::UserDelete { name: user },
        17..21 => Command::UserChangePassword { name: user, password: password(prng) },
        21..24 => Command::UserGrantRole { user: "root".into(), role: "root".into() },
        24..31 => Command::UserGrantRole { user, role },
        31..35 => Command::UserRevokeRole { user, role },
        35..41 => Command::RoleAdd { name: role },
        41..43 => Command::RoleDelete { name: role },
        43..50 => {
            let kinds = [PermissionKind::Read, PermissionKind::Write, PermissionKind::ReadWrite];
            let (key, range_end) = (bytes(prng), bytes(prng));
            let permission = Permission { kind: *prng.pick(&kinds), key, range_end };
            let permission = (!prng.once_in(10)).then_some(permission);
            Command::RoleGrantPermission { role, permission }
        }
        50..54 => Command::RoleRevokePermission { role, key: bytes(prng), range_end: bytes(prng) },
        54..62 => {
            let back = prng.below(4).min(state.revision());
            Command::IssueToken {
                user,
                hash: hash(prng),
                verified_at: state.revision() - back,
                nearest: None,
            }
        }
        _ => Command::ExpireTokens {
            ids: (0..prng.below(4)).map(|_| TokenId(prng.below(30))).collect(),
        },
    }
}

fn identity(prng: &mut Prng, state: &AuthState) -> Identity {
    let user = name(prng, &USERS);
    match prng.below(16) {
        0 => Identity::Anonymous,
        1 => Identity::Server,
        2..4 => Identity::user(user),
        4 => Identity::user_at(user, state.revision() - prng.below(4).min(state.revision())),
        _ => Identity::user("root"),
    }
}

/// All that can be asked of both, as somebody.
fn check_queries(state: &AuthState, model: &Model, who: &Identity) {
    assert_eq!(state.is_enabled(), model.enabled);
    assert_eq!(state.revision(), model.revision);
    assert_eq!(state.user_list(who), model.user_list(who), "users, as {who:?}");
    assert_eq!(state.role_list(who), model.role_list(who), "roles, as {who:?}");
    for user in USERS {
        assert_eq!(state.user_get(who, user), model.user_get(who, user), "{user}, as {who:?}");
        assert_eq!(state.credentials(user), model.credentials(user), "{user}");
    }
    for role in ROLES {
        assert_eq!(state.role_get(who, role), model.role_get(who, role), "{role}, as {who:?}");
    }
    let tokens: Vec<_> =
        state.tokens().map(|(id, token)| (id, token.hash, token.user.clone())).collect();
    assert_eq!(tokens, model.tokens);
    for value in 0..40 {
        let hash = TokenHash([value; 32]);
        let expected = model.tokens.iter().find(|token| token.1 == hash).map(|token| token.0);
        assert_eq!(state.token(&hash).map(|(id, _)| id), expected);
    }
}

/// One run; the bytes of all its effects, and those of the state at its end.
fn run(prng: &mut Prng, log: &mut Vec<Bytes>, outcomes: &mut Outcomes) -> Bytes {
    let (mut state, mut model) = (AuthState::new(), Model::default());
    for _ in 0..120 {
        let who = identity(prng, &state);
        let command = command(prng, &state);
        let before = state.clone();
        let decided = state.evaluate(&who, &command);
        let expected = model.run(&who, &command);
        let seen = decided.as_ref().map(Option::is_some).map_err(|refused| *refused);
        assert_eq!(seen, expected, "{who:?}: {command:?} on {model:?}");
        outcomes.count(&seen);
        if let Ok(Some(effect)) = decided {
            let bytes = effect.encode();
            assert_eq!(Effect::decode(&bytes).as_ref(), Ok(&effect));
            let former = state.encode();
            let applied = state.apply(&effect).expect("an effect fits the state it came from");
            assert_eq!(before.encode(), former, "a snapshot has changed");
            let read = AuthState::decode(&state.encode()).expect("its own bytes");
            assert_eq!(state.bytes(), read.bytes(), "bytes that were added up, by {command:?}");
            let growth = state.bytes().saturating_sub(before.bytes());
            // A user without a usable password gets one, at no charge.
            let free = if matches!(command, Command::UserChangePassword { .. }) { 60 } else { 0 };
            let told = before.growth(&command);
            assert!((told..=told + free).contains(&growth), "{command:?} added {growth}");
            let dead = |id| !state.has_token(id) && before.has_token(id);
            assert!(applied.ended.iter().all(|id| dead(*id)), "{applied:?}");
            let gone = before.token_count() + usize::from(applied.begun.is_some());
            assert_eq!(gone - applied.ended.len(), state.token_count());
            log.push(bytes);
        } else if before.authorize_admin(&who).is_ok() {
            assert_eq!(before.growth(&command), 0, "{command:?} adds nothing");
        }
        check_queries(&state, &model, &identity(prng, &state));
    }
    let bytes = state.encode();
    assert_eq!(AuthState::decode(&bytes).expect("its own bytes").encode(), bytes);
    bytes
}

/// What became of the commands, to see that all of it happens.
#[derive(Default)]
struct Outcomes {
    effects: u64,
    nothing: u64,
    errors: std::collections::BTreeMap<String, u64>,
}

impl Outcomes {
    fn count(&mut self, outcome: &Result<bool, t4_auth_rbac::AuthError>) {
        match outcome {
            Ok(true) => self.effects += 1,
            Ok(false) => self.nothing += 1,
            Err(refused) => *self.errors.entry(format!("{refused:?}")).or_default() += 1,
        }
    }
}

#[test]
fn commands_do_what_the_model_says_and_replay_to_the_same_bytes() {
    let mut prng = Prng::for_test();
    let mut outcomes = Outcomes::default();
    for _ in 0..400 {
        let mut log = Vec::new();
        let (mut again, mut same_log) = (prng.clone(), Vec::new());
        let bytes = run(&mut prng, &mut log, &mut outcomes);
        assert_eq!(run(&mut again, &mut same_log, &mut Outcomes::default()), bytes);
        assert_eq!(log, same_log, "one seed, two runs");
        let mut replica = AuthState::new();
        for entry in &log {
            replica.apply(&Effect::decode(entry).expect("an effect")).expect("it fits");
        }
        assert_eq!(replica.encode(), bytes, "replay");
    }
    println!("{} effects, {} nothing, {:?}", outcomes.effects, outcomes.nothing, outcomes.errors);
    assert!(outcomes.effects > 5_000 && outcomes.nothing > 500);
    // Every error that a command can have was met.
    assert_eq!(outcomes.errors.len(), 18, "{:?}", outcomes.errors);
}

/// A state that is decoded goes on as the one that was encoded: every effect,
/// applied to both, leaves the same bytes.
#[test]
fn a_decoded_state_goes_on_as_its_origin() {
    let mut prng = Prng::for_test();
    let mut log = Vec::new();
    run(&mut prng, &mut log, &mut Outcomes::default());
    let mut state = AuthState::new();
    for entry in &log {
        let effect = Effect::decode(entry).expect("an effect");
        let mut decoded = AuthState::decode(&state.encode()).expect("a state");
        state.apply(&effect).expect("it fits");
        decoded.apply(&effect).expect("it fits too");
        assert_eq!(decoded.encode(), state.encode());
    }
}

/// An effect on a state it was not decided on is refused or does what it says,
/// and what is refused leaves everything as it was.
#[test]
fn effects_out_of_place_change_nothing_by_halves() {
    let mut prng = Prng::for_test();
    let mut log = Vec::new();
    for _ in 0..20 {
        run(&mut prng, &mut log, &mut Outcomes::default());
    }
    let (mut state, mut refused) = (AuthState::new(), 0);
    for _ in 0..20_000 {
        let entry: &Bytes = prng.pick(&log);
        let effect = Effect::decode(entry).expect("an effect");
        let before = state.encode();
        if state.apply(&effect).is_err() {
            refused += 1;
            assert_eq!(state.encode(), before);
        }
        let bytes = state.encode();
        let decoded = AuthState::decode(&bytes).map(|state| state.encode());
        // What a decoder insists on beyond what an effect checks: that root is
        // in charge, and that only passwords log in. Both are `evaluate`'s.
        assert!(decoded.is_err() || decoded == Ok(bytes));
    }
    assert!(refused > 1_000, "{refused}");
}

#[test]
fn credentials_are_not_shown() {
    let password = PasswordHash("$2a$10$secret".into());
    let add =
        Command::UserAdd { name: "root".into(), no_password: false, password: Some(password) };
    let mut state = AuthState::new();
    let effect = state.evaluate(&Identity::Anonymous, &add).unwrap().unwrap();
    state.apply(&effect).unwrap();
    let grant = Command::UserGrantRole { user: "root".into(), role: "root".into() };
    for command in [grant, Command::Enable] {
        let effect = state.evaluate(&Identity::Anonymous, &command).unwrap().unwrap();
        state.apply(&effect).unwrap();
    }
    let credentials = state.credentials("root").unwrap();
    assert!(
        matches!(&credentials, Credentials::Password { hash, .. } if hash.0 == "$2a$10$secret")
    );
    for shown in [format!("{add:?} {effect:?}"), format!("{state:?} {credentials:?}")] {
        assert!(!shown.contains("secret") && !shown.contains("36, 50"), "{shown}");
    }
    let hash = TokenHash([77; 32]);
    assert!(!format!("{hash:?}").contains("77"));
}
