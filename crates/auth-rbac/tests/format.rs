//! The persisted forms: golden fixtures, round trips, and refusal of everything
//! that is not exactly one value.

mod prng;

use prng::Prng;
use t4_auth_rbac::{
    AuthState, Command, DecodeError, Effect, FORMAT_VERSION, Identity, PasswordHash, Permission,
    PermissionKind, TokenHash, TokenId,
};

/// Length and bytes of each effect, one after the other.
const GOLDEN_EFFECTS: &[u8] = include_bytes!("fixtures/auth-effects-v1.bin");
const GOLDEN_STATE: &[u8] = include_bytes!("fixtures/auth-state-v1.bin");

fn every_effect() -> Vec<Effect> {
    let permission = |kind, key: &'static str, end: &'static str| Effect::RoleGrant {
        role: "app".into(),
        permission: Permission::new(kind, key, end),
    };
    let user_add = |name: &str, no_password, hash: &'static str| Effect::UserAdd {
        name: name.into(),
        no_password,
        password: PasswordHash(hash.into()),
    };
    let grant_role =
        |user: &str, role: &str| Effect::UserGrantRole { user: user.into(), role: role.into() };
    let token = |id, user: &str, byte, ended| Effect::TokenIssue {
        id: TokenId(id),
        user: user.into(),
        hash: TokenHash([byte; 32]),
        ended,
    };
    vec![
        user_add("root", false, "$2a$10$root"),
        grant_role("root", "root"),
        user_add("dévi", true, ""),
        user_add("gone", false, ""),
        Effect::RoleAdd { name: "app".into() },
        Effect::RoleAdd { name: "spare".into() },
        permission(PermissionKind::Read, "a", ""),
        permission(PermissionKind::Write, "a", "c"),
        permission(PermissionKind::ReadWrite, "\0", "\0"),
        Effect::RoleRevoke { role: "app".into(), key: "a".into(), range_end: "".into() },
        grant_role("dévi", "app"),
        grant_role("dévi", "spare"),
        grant_role("gone", "spare"),
        Effect::UserRevokeRole { user: "gone".into(), role: "spare".into() },
        Effect::Enable,
        token(1, "root", 7, None),
        token(300, "gone", 8, None),
        token(301, "root", 9, Some(TokenId(1))),
        Effect::UserPassword { name: "root".into(), password: PasswordHash("$2a$10$new".into()) },
        Effect::UserDelete { name: "gone".into() },
        Effect::RoleDelete { name: "spare".into() },
        Effect::Disable,
        Effect::Enable,
        token(302, "root", 10, None),
        token(303, "root", 11, None),
        token(304, "root", 12, None),
        Effect::TokensEnd { ids: vec![TokenId(302), TokenId(304)] },
    ]
}

fn state_of(effects: &[Effect]) -> AuthState {
    let mut state = AuthState::new();
    for effect in effects {
        state.apply(effect).unwrap_or_else(|diverged| panic!("{effect:?}: {diverged}"));
    }
    state
}

fn framed(effects: &[Effect]) -> Vec<u8> {
    let frame = |effect: &Effect| {
        let bytes = effect.encode();
        [&[bytes.len() as u8][..], &bytes].concat()
    };
    effects.iter().flat_map(frame).collect()
}

/// What version 1 wrote must be readable for ever.
#[test]
fn golden_version_1() {
    let effects = every_effect();
    assert_eq!(framed(&effects), GOLDEN_EFFECTS);
    let mut rest = GOLDEN_EFFECTS;
    for effect in &effects {
        let (length, behind) = rest.split_first().unwrap();
        let (bytes, behind) = behind.split_at(usize::from(*length));
        assert_eq!(Effect::decode(bytes).as_ref(), Ok(effect));
        rest = behind;
    }
    assert_eq!(rest, b"");

    assert_eq!(state_of(&effects).encode(), GOLDEN_STATE);
    let state = AuthState::decode(GOLDEN_STATE).unwrap();
    assert_eq!(state.encode(), GOLDEN_STATE);
    assert_eq!(state.revision(), 19);
    assert_eq!(state.user_list(&Identity::Server).unwrap(), ["dévi".into(), "root".into()]);
    assert_eq!(state.tokens().map(|(id, _)| id).collect::<Vec<_>>(), [TokenId(303)]);
}

#[test]
fn the_empty_state_is_a_state() {
    let bytes = AuthState::new().encode();
    assert_eq!(bytes.as_ref(), [1, 0, 1, 0, 0, 1, 0]);
    assert_eq!(AuthState::decode(&bytes).unwrap().encode(), bytes);
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    let whole = GOLDEN_STATE.to_vec();
    for length in 0..whole.len() {
        assert!(AuthState::decode(&whole[..length]).is_err(), "cut to {length}");
    }
    assert!(AuthState::decode(&[&whole[..], &[0]].concat()).is_err());
    for effect in every_effect() {
        let whole = effect.encode();
        for length in 0..whole.len() {
            assert!(Effect::decode(&whole[..length]).is_err(), "{effect:?} cut to {length}");
        }
        assert!(Effect::decode(&[&whole[..], &[0]].concat()).is_err());
    }
}

#[test]
fn a_newer_version_is_told_apart() {
    let newer = FORMAT_VERSION + 1;
    assert_eq!(Effect::decode(&[newer, 1]), Err(DecodeError::NewerFormat(newer)));
    assert_eq!(AuthState::decode(&[newer]).unwrap_err(), DecodeError::NewerFormat(newer));
    assert_eq!(Effect::decode(&[0, 1]), Err(DecodeError::Malformed("version")));
    assert_eq!(Effect::decode(&[1, 0]), Err(DecodeError::Malformed("unknown effect")));
    assert_eq!(Effect::decode(&[1, 14]), Err(DecodeError::Malformed("unknown effect")));
}

#[test]
fn what_cannot_be_in_a_state_is_refused() {
    let refused = |body: &[u8]| AuthState::decode(&[&[1u8][..], body].concat()).unwrap_err();
    let what = |body: &[u8]| match refused(body) {
        DecodeError::Malformed(what) => what,
        other @ DecodeError::NewerFormat(_) => panic!("{other}"),
    };
    assert_eq!(what(&[2, 1, 0, 0, 1, 0]), "enabled");
    assert_eq!(what(&[0, 0, 0, 0, 1, 0]), "revision");
    assert_eq!(what(&[1, 1, 0, 0, 1, 0]), "enabled without root");
    assert_eq!(what(&[0, 1, 0, 0, 0, 0]), "next token id");
    // The longer form of a number.
    assert_eq!(what(&[0, 0x81, 0, 0, 0, 1, 0]), "revision");
    // Names: empty, not text, out of order, twice.
    assert_eq!(what(&[0, 1, 1, 0, 0, 0, 1, 0]), "role name");
    assert_eq!(what(&[0, 1, 1, 1, 0xff, 0, 0, 1, 0]), "role name");
    assert_eq!(what(&[0, 1, 2, 1, b'b', 0, 1, b'a', 0, 0, 1, 0]), "order of names");
    assert_eq!(what(&[0, 1, 2, 1, b'b', 0, 1, b'b', 0, 0, 1, 0]), "order of names");
    // Permissions of a role r: kind, range, order, twice.
    let role = |permissions: &[u8]| [&[0, 1, 1, 1, b'r'], permissions, &[0, 1, 0]].concat();
    assert_eq!(what(&role(&[1, 3, 1, b'a', 0])), "permission kind");
    assert_eq!(what(&role(&[1, 0, 0, 0])), "permission range");
    assert_eq!(what(&role(&[1, 0, 1, b'b', 1, b'a'])), "permission range");
    assert_eq!(what(&role(&[2, 0, 1, b'b', 0, 0, 1, b'a', 0])), "permission order");
    assert_eq!(what(&role(&[2, 0, 1, b'a', 0, 1, 1, b'a', 0])), "a permission twice");
    // A user u: a password without one, a revision to come, a role that is none.
    let user = |rest: &[u8]| [&[0, 1, 0, 1, 1, b'u'], rest, &[1, 0]].concat();
    assert_eq!(what(&user(&[1, 1, b'p', 1, 0])), "a password of a user without one");
    assert_eq!(what(&user(&[0, 0, 2, 0])), "credential revision");
    assert_eq!(what(&user(&[0, 0, 1, 1, 1, b'r'])), "a role that is none");
    assert_eq!(
        AuthState::decode(&[&[1u8][..], &user(&[0, 0, 1, 1, 4, b'r', b'o', b'o', b't'])].concat())
            .map(|_| ()),
        Ok(())
    );
    // Tokens while authentication is off.
    assert_eq!(what(&[0, 1, 0, 0, 2, 1, 1]), "token count");
}

/// Damaged bytes are refused, or stand for a value that encodes to them.
#[test]
fn whatever_is_accepted_encodes_to_the_same_bytes() {
    let mut prng = Prng::for_test();
    let effects = every_effect();
    let (mut states, mut accepted) = (0, 0);
    for _ in 0..60_000 {
        let is_state = prng.once_in(3);
        let mut bytes =
            if is_state { GOLDEN_STATE.to_vec() } else { prng.pick(&effects).encode().to_vec() };
        for _ in 0..prng.below(3) {
            let place = prng.below(bytes.len() as u64) as usize;
            match prng.below(4) {
                0 => bytes[place] = prng.bits() as u8,
                1 => bytes[place] ^= 1 << prng.below(8),
                2 => drop(bytes.drain(place..place + 1)),
                _ => bytes.insert(place, prng.below(4) as u8),
            }
            if bytes.is_empty() {
                break;
            }
        }
        if is_state {
            if let Ok(state) = AuthState::decode(&bytes) {
                states += 1;
                assert_eq!(state.encode(), bytes);
                go_on(state);
            }
        } else if let Ok(effect) = Effect::decode(&bytes) {
            accepted += 1;
            assert_eq!(effect.encode(), bytes);
        }
    }
    assert!(states > 1_000 && accepted > 1_000, "{states} {accepted}: the test does not test");
}

/// A state that was accepted works: it takes commands without a panic.
fn go_on(mut state: AuthState) {
    let add = Command::UserAdd {
        name: "new".into(),
        no_password: false,
        password: Some(PasswordHash::default()),
    };
    let issue = Command::IssueToken {
        user: "new".into(),
        hash: TokenHash([99; 32]),
        verified_at: u64::MAX,
        nearest: None,
    };
    for command in [add, issue, Command::Disable] {
        if let Ok(Some(effect)) = state.evaluate(&Identity::Server, &command) {
            state.apply(&effect).expect("it fits");
        }
    }
    assert!(AuthState::decode(&state.encode()).is_ok());
}
