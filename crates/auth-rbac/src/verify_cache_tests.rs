//! The cache against a plain list of what was remembered, and what it keeps to
//! itself.

use super::*;
use crate::test_prng::Prng;

const STORED: &[u8] = b"$2a$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm";

fn at(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn cache(users_max: usize) -> VerifyCache {
    VerifyCache::new([9; KEY_BYTES], VerifyCacheConfig { life: at(60), users_max })
}

#[test]
fn only_the_same_three_are_known() {
    let mut cache = cache(10);
    assert!(!cache.knows(at(0), "alice", STORED, b"secret"));
    cache.remember(at(0), "alice", STORED, b"secret");
    assert!(cache.knows(at(0), "alice", STORED, b"secret"));
    assert!(!cache.knows(at(0), "alice", STORED, b"secres"));
    assert!(!cache.knows(at(0), "alice", STORED, b""));
    assert!(!cache.knows(at(0), "bob", STORED, b"secret"));
    // The password changed, or is the same with a new salt.
    assert!(!cache.knows(at(0), "alice", b"$2a$04$other", b"secret"));
    // Letters that move from one part to the next are not the same.
    let mut moved = self::cache(10);
    moved.remember(at(0), "a", b"bc", b"d");
    assert!(moved.knows(at(0), "a", b"bc", b"d"));
    assert!(!moved.knows(at(0), "a", b"b", b"cd"));
    assert!(!moved.knows(at(0), "a", b"bcd", b""));
}

#[test]
fn it_ends_when_its_time_has_come_however_often_it_was_used() {
    let mut cache = cache(10);
    cache.remember(at(100), "alice", STORED, b"secret");
    let end = at(160);
    for now in [at(100), at(159), end - Duration::from_nanos(1)] {
        assert!(cache.knows(now, "alice", STORED, b"secret"), "{now:?}");
    }
    assert!(!cache.knows(end, "alice", STORED, b"secret"));
    // Hashed again, it lives again.
    cache.remember(end, "alice", STORED, b"secret");
    assert!(cache.knows(at(219), "alice", STORED, b"secret"));
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_password_change_and_a_reset_forget() {
    let mut cache = cache(10);
    cache.remember(at(0), "alice", STORED, b"a");
    cache.remember(at(0), "bob", STORED, b"b");
    cache.forget("alice");
    cache.forget("nobody");
    assert!(!cache.knows(at(0), "alice", STORED, b"a"));
    assert!(cache.knows(at(0), "bob", STORED, b"b"));
    cache.clear();
    assert!(cache.is_empty() && !cache.knows(at(0), "bob", STORED, b"b"));
}

#[test]
fn another_key_knows_nothing() {
    let mut ours = cache(10);
    ours.remember(at(0), "alice", STORED, b"secret");
    let other = VerifyCache::new([8; KEY_BYTES], ours.config);
    let tags = [ours.tag("alice", STORED, b"secret"), other.tag("alice", STORED, b"secret")];
    assert_ne!(tags[0].as_ref(), tags[1].as_ref());
}

#[test]
fn no_room_at_all_remembers_nobody() {
    let mut cache = cache(0);
    cache.remember(at(0), "alice", STORED, b"secret");
    assert!(cache.is_empty() && !cache.knows(at(0), "alice", STORED, b"secret"));
}

#[test]
fn debug_shows_numbers_only() {
    let mut cache = cache(10);
    cache.remember(at(0), "alice", STORED, b"secret");
    assert_eq!(format!("{cache:?}"), "VerifyCache { users: 1, .. }");
}

/// What was remembered, in order of its end; the naive form of the cache.
type Remembered = Vec<(Duration, String, Vec<u8>, Vec<u8>)>;

fn naive_remember(list: &mut Remembered, now: Duration, user: &str, stored: &[u8], pw: &[u8]) {
    list.retain(|(ends, other, ..)| other != user && *ends > now);
    if list.len() == 5 {
        let first = (0..5).min_by_key(|&i| (list[i].0, list[i].1.clone())).unwrap();
        list.remove(first);
    }
    list.push((now + at(60), user.into(), stored.into(), pw.into()));
}

#[test]
fn random_runs_agree_with_a_list() {
    let mut prng = Prng::for_test();
    let mut hits = 0;
    for _ in 0..200 {
        let (mut cache, mut list, mut now) = (cache(5), Remembered::new(), at(0));
        for _ in 0..200 {
            now += at(prng.below(12));
            let user = format!("user-{}", prng.below(9));
            let stored = [prng.below(2) as u8];
            let password = [prng.below(2) as u8];
            match prng.below(12) {
                0 => {
                    cache.forget(&user);
                    list.retain(|(_, other, ..)| *other != user);
                }
                1..=4 => {
                    cache.remember(now, &user, &stored, &password);
                    naive_remember(&mut list, now, &user, &stored, &password);
                }
                _ => {
                    let known = list.iter().any(|(ends, u, s, p)| {
                        *ends > now && *u == user && s[..] == stored && p[..] == password
                    });
                    assert_eq!(cache.knows(now, &user, &stored, &password), known);
                    hits += usize::from(known);
                }
            }
            assert!(cache.len() <= 5 && cache.users.len() == cache.ends.len());
        }
    }
    assert!(hits > 500, "only {hits} hits: the test says little");
}
