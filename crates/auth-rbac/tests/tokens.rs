//! Tokens: their bounds, what ends them, and the clock against a naive model.

mod prng;

use std::time::Duration;

use prng::Prng;
use t4_auth_rbac::{
    Applied, AuthError, AuthState, Command, Identity, PasswordHash, Permission, PermissionKind,
    TOKENS_MAX, TokenClock, TokenHash, TokenId, USER_TOKENS_MAX,
};

fn run(state: &mut AuthState, command: Command) -> Applied {
    let effect = state.evaluate(&Identity::Server, &command).expect("a command that is allowed");
    state.apply(&effect.expect("one that does something")).expect("it fits")
}

fn user_add(name: &str) -> Command {
    let password = Some(PasswordHash("hash".into()));
    Command::UserAdd { name: name.into(), no_password: false, password }
}

/// Authentication is on, for root and `users`.
fn enabled(users: &[&str]) -> AuthState {
    let mut state = AuthState::new();
    run(&mut state, user_add("root"));
    run(&mut state, Command::UserGrantRole { user: "root".into(), role: "root".into() });
    for user in users {
        run(&mut state, user_add(user));
    }
    run(&mut state, Command::Enable);
    state
}

fn hash(number: u64) -> TokenHash {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_le_bytes());
    TokenHash(hash)
}

fn issue(user: &str, number: u64, nearest: Option<TokenId>) -> Command {
    Command::IssueToken { user: user.into(), hash: hash(number), verified_at: 1 << 40, nearest }
}

#[test]
fn a_token_is_its_users_until_something_ends_it() {
    let mut state = enabled(&["alice", "bob"]);
    let first = run(&mut state, issue("alice", 1, None)).begun.unwrap();
    let second = run(&mut state, issue("alice", 2, None)).begun.unwrap();
    let bobs = run(&mut state, issue("bob", 3, None)).begun.unwrap();
    assert_eq!(state.identify(&hash(1)), Ok((first, Identity::user("alice"))));
    assert_eq!(state.identify(&hash(9)), Err(AuthError::InvalidAuthToken));

    let expire = Command::ExpireTokens { ids: vec![second, TokenId(99), second] };
    assert_eq!(run(&mut state, expire).ended, [second]);
    assert_eq!(state.identify(&hash(2)), Err(AuthError::InvalidAuthToken));

    let changed = Command::UserChangePassword {
        name: "alice".into(),
        password: Some(PasswordHash("other".into())),
    };
    assert_eq!(run(&mut state, changed).ended, [first]);
    assert!(state.has_token(bobs));
    assert_eq!(run(&mut state, Command::UserDelete { name: "bob".into() }).ended, [bobs]);

    let roots = run(&mut state, issue("root", 4, None)).begun.unwrap();
    assert!(roots > bobs, "ids are not used twice");
    assert_eq!(run(&mut state, Command::Disable).ended, [roots]);
    assert_eq!(state.token_count(), 0);
}

#[test]
fn a_login_is_repeated_if_its_password_changed_meanwhile() {
    let mut state = enabled(&["alice", "bob"]);
    let verified_at = state.revision();
    let login = |user: &str, number| Command::IssueToken {
        user: user.into(),
        hash: hash(number),
        verified_at,
        nearest: None,
    };
    let password = Some(PasswordHash("other".into()));
    run(&mut state, Command::UserChangePassword { name: "alice".into(), password });
    let evaluate = |state: &AuthState, command| state.evaluate(&Identity::Anonymous, &command);
    assert_eq!(evaluate(&state, login("alice", 1)), Err(AuthError::RepeatLogin));
    // What changed is nothing to bob, whose login etcd would repeat.
    run(&mut state, login("bob", 2));
    assert_eq!(evaluate(&state, login("bob", 2)), Err(AuthError::RepeatLogin), "a hash in use");
    run(&mut state, Command::UserDelete { name: "bob".into() });
    assert_eq!(evaluate(&state, login("bob", 3)), Err(AuthError::AuthFailed));
    run(&mut state, user_add("bob"));
    assert_eq!(evaluate(&state, login("bob", 3)), Err(AuthError::RepeatLogin));
}

#[test]
fn a_session_ends_with_what_it_was_opened_by() {
    let mut state = enabled(&["alice", "bob"]);
    let alice = state.open_session(&Identity::user("alice"));
    let signed = state.open_session(&Identity::user_at("alice", state.revision()));
    let bob = state.open_session(&Identity::user("bob"));
    run(&mut state, Command::RoleAdd { name: "app".into() });
    assert!(alice.stands(&state) && bob.stands(&state));
    assert!(signed.stands(&state), "a change of something else ends no stream");
    let password = Some(PasswordHash("other".into()));
    run(&mut state, Command::UserChangePassword { name: "alice".into(), password });
    assert!(!alice.stands(&state) && !signed.stands(&state) && bob.stands(&state));
    run(&mut state, Command::UserDelete { name: "bob".into() });
    assert!(!bob.stands(&state));
    run(&mut state, user_add("bob"));
    assert!(!bob.stands(&state), "another bob");

    let mut state = enabled(&["alice"]);
    let alice = state.open_session(&Identity::user("alice"));
    run(&mut state, Command::Disable);
    assert!(alice.stands(&state), "nobody is asked who they are");
    run(&mut state, Command::Enable);
    assert!(!alice.stands(&state), "its token ended with authentication");
    assert!(state.open_session(&Identity::user("alice")).stands(&state));

    let mut state = AuthState::new();
    let nobody = state.open_session(&Identity::Anonymous);
    assert!(nobody.stands(&state), "authentication is off");
    run(&mut state, user_add("root"));
    run(&mut state, Command::UserGrantRole { user: "root".into(), role: "root".into() });
    run(&mut state, Command::Enable);
    assert!(!nobody.stands(&state));
}

#[test]
fn rights_that_were_taken_and_given_back_are_not_the_same() {
    let mut state = enabled(&["alice", "bob"]);
    run(&mut state, Command::RoleAdd { name: "app".into() });
    run(&mut state, Command::UserGrantRole { user: "alice".into(), role: "app".into() });
    let permission =
        Permission { kind: PermissionKind::Read, key: "a".into(), range_end: "b".into() };
    let grant = Command::RoleGrantPermission { role: "app".into(), permission: Some(permission) };
    run(&mut state, grant.clone());
    let before = state.clone();
    let [alice, bob] = ["alice", "bob"].map(Identity::user);
    let signed = Identity::user_at("bob", before.revision());
    assert!(state.has_same_rights(&before, &alice) && state.has_same_rights(&before, &signed));

    let (key, range_end) = ("a".into(), "b".into());
    run(&mut state, Command::RoleRevokePermission { role: "app".into(), key, range_end });
    run(&mut state, grant);
    assert!(!state.has_same_rights(&before, &alice));
    assert!(state.has_same_rights(&before, &bob), "nothing to bob");
    assert!(!state.has_same_rights(&before, &signed), "a signed token is of one revision");
    assert!(state.has_same_rights(&before, &Identity::Server));

    let before = state.clone();
    run(&mut state, Command::Disable);
    assert!(!state.has_same_rights(&before, &bob) && !before.has_same_rights(&state, &bob));
    run(&mut state, Command::Enable);
    assert!(!state.has_same_rights(&before, &bob));
}

#[test]
fn the_table_is_bounded_for_each_user_and_for_all() {
    let users: Vec<String> = (0..=TOKENS_MAX / USER_TOKENS_MAX).map(|n| format!("u{n}")).collect();
    let mut state = enabled(&users.iter().map(String::as_str).collect::<Vec<_>>());
    let mut number = 0;
    for user in &users[1..] {
        for _ in 0..USER_TOKENS_MAX {
            number += 1;
            assert_eq!(run(&mut state, issue(user, number, None)).ended, []);
        }
    }
    assert_eq!(state.token_count(), TOKENS_MAX);

    // A user with its share ends its own oldest, whatever is nearest.
    let applied = run(&mut state, issue(&users[2], number + 1, Some(TokenId(5))));
    assert_eq!(applied.ended, [TokenId(USER_TOKENS_MAX as u64 + 1)]);
    // Another one ends what is nearest to expiry, or else the oldest.
    let applied = run(&mut state, issue(&users[0], number + 2, Some(TokenId(5))));
    assert_eq!(applied.ended, [TokenId(5)]);
    let applied = run(&mut state, issue(&users[0], number + 3, Some(TokenId(5))));
    assert_eq!(applied.ended, [TokenId(1)]);
    assert_eq!(state.token_count(), TOKENS_MAX);
    let bytes = state.encode();
    assert_eq!(AuthState::decode(&bytes).expect("a full table").encode(), bytes);
}

/// The clock, by linear search.
#[derive(Default)]
struct Oracle {
    /// (id, deadline in ms, reported)
    tokens: Vec<(TokenId, u64, bool)>,
}

#[test]
fn the_clock_keeps_time_as_the_oracle_does() {
    const TTL: u64 = 300;
    let mut prng = Prng::for_test();
    let (mut expired_in_all, mut uses) = (0, 0);
    for _ in 0..300 {
        let ms = Duration::from_millis;
        let mut now = prng.below(1000);
        let (mut oracle, mut next) = (Oracle::default(), 1);
        let mut clock = TokenClock::start(ms(TTL), std::iter::empty(), ms(now));
        for _ in 0..300 {
            match prng.below(8) {
                0..2 => {
                    let id = TokenId(next);
                    next += 1;
                    clock.follow(&Applied { begun: Some(id), ended: Vec::new() }, ms(now));
                    oracle.tokens.push((id, now + TTL, false));
                }
                2..5 => {
                    let id = TokenId(prng.below(next + 1));
                    let found = oracle.tokens.iter_mut().find(|token| token.0 == id);
                    let expected = found.is_some_and(|token| {
                        let alive = token.1 > now;
                        if alive {
                            token.1 = now + TTL;
                        }
                        alive
                    });
                    uses += u64::from(expected);
                    assert_eq!(clock.use_token(id, ms(now)), expected);
                }
                5 => {
                    let max = prng.below(5) as usize;
                    let due = |token: &(TokenId, u64, bool)| !token.2 && token.1 <= now;
                    oracle.tokens.sort_by_key(|token| (token.1, token.0));
                    let expected: Vec<TokenId> = oracle
                        .tokens
                        .iter()
                        .filter(|token| due(token))
                        .map(|token| token.0)
                        .take(max)
                        .collect();
                    let found = clock.take_expired(ms(now), max);
                    assert_eq!(found, expected);
                    expired_in_all += found.len();
                    for id in &found {
                        oracle.tokens.iter_mut().find(|token| token.0 == *id).unwrap().2 = true;
                    }
                    if prng.once_in(3) {
                        clock.unreport(&found);
                        for id in &found {
                            oracle.tokens.iter_mut().find(|token| token.0 == *id).unwrap().2 =
                                false;
                        }
                    } else if prng.once_in(2) {
                        clock.follow(&Applied { begun: None, ended: found.clone() }, ms(now));
                        oracle.tokens.retain(|token| !found.contains(&token.0));
                    }
                }
                6 if prng.once_in(30) => {
                    // Another leader: each has its full time again.
                    let alive = oracle.tokens.iter().map(|token| token.0);
                    clock = TokenClock::start(ms(TTL), alive, ms(now));
                    oracle.tokens.iter_mut().for_each(|token| *token = (token.0, now + TTL, false));
                }
                _ => now += prng.below(TTL / 4),
            }
            let unreported = oracle.tokens.iter().filter(|token| !token.2);
            let nearest = unreported.min_by_key(|token| (token.1, token.0));
            assert_eq!(clock.nearest(), nearest.map(|token| token.0));
            assert_eq!(clock.next_deadline(), nearest.map(|token| ms(token.1)));
        }
    }
    assert!(expired_in_all > 1_000 && uses > 1_000, "{expired_in_all} {uses}");
}

/// Parts of a millisecond are the client's: never early.
#[test]
fn a_token_does_not_end_within_its_last_millisecond() {
    let at = Duration::from_nanos(5_000_000_001);
    let ttl = Duration::from_secs(300);
    let mut clock = TokenClock::start(ttl, [TokenId(1)].into_iter(), at);
    let last = at + ttl - Duration::from_nanos(1);
    assert_eq!(clock.take_expired(last, 9), []);
    assert!(clock.use_token(TokenId(1), last));
    // A thread that read its clock earlier does not bring the end nearer.
    assert!(clock.use_token(TokenId(1), at));
    assert_eq!(clock.take_expired(last + ttl - Duration::from_nanos(1), 9), []);
    let end = last + ttl + Duration::from_millis(1);
    assert_eq!(clock.take_expired(end, 9), [TokenId(1)]);
    assert!(!clock.use_token(TokenId(1), end));
}
