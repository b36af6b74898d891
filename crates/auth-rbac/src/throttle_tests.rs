//! Delays, who shares them, how they end, and how much a crowd can make the
//! throttle remember.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::test_prng::Prng;

const HERE: Origin = Origin::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
const THERE: Origin = Origin::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn throttle() -> Throttle {
    Throttle::new(ThrottleConfig::default())
}

/// One that has seen `count` failures of root from [`HERE`] at time 0.
fn after_failures(count: usize) -> Throttle {
    let mut throttle = throttle();
    for _ in 0..count {
        throttle.failed(ms(0), "root", HERE);
    }
    throttle
}

fn v6(text: &str) -> Origin {
    Origin::Address(IpAddr::V6(text.parse::<Ipv6Addr>().unwrap()))
}

#[test]
fn the_first_failures_are_free_then_each_doubles_the_delay_up_to_a_bound() {
    let mut throttle = throttle();
    let delays: Vec<u128> =
        (0..14).map(|_| throttle.failed(ms(0), "root", HERE).as_millis()).collect();
    let expected =
        [0, 0, 0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000];
    assert_eq!(delays, expected);
}

#[test]
fn a_penalised_pair_waits_with_the_right_password_too() {
    let mut throttle = after_failures(5);
    assert_eq!(throttle.admit(ms(0), "root", HERE), Admission::After(ms(500)));
    assert_eq!(throttle.admit(ms(499), "root", HERE), Admission::After(ms(1)));
    assert_eq!(throttle.admit(ms(500), "root", HERE), Admission::Now);
    throttle.succeeded("root", HERE);
    assert_eq!(throttle.admit(ms(500), "root", HERE), Admission::Now);
    assert_eq!(throttle.admit(ms(500), "root", HERE), Admission::Now);
    assert!(throttle.is_empty());
}

#[test]
fn nobody_else_waits() {
    let mut throttle = after_failures(50);
    assert_eq!(throttle.admit(ms(0), "root", THERE), Admission::Now);
    assert_eq!(throttle.admit(ms(0), "root", Origin::Local), Admission::Now);
    assert_eq!(throttle.admit(ms(0), "alice", HERE), Admission::Now);
    assert_eq!(throttle.admit(ms(0), "root", HERE), Admission::After(ms(30_000)));
}

#[test]
fn many_attempts_at_once_get_one_for_each_delay() {
    let mut throttle = after_failures(4);
    let admitted = |throttle: &mut Throttle, now| {
        let now_ones = (0..1000).filter(|_| throttle.admit(now, "root", HERE) == Admission::Now);
        now_ones.count()
    };
    assert_eq!(admitted(&mut throttle, ms(0)), 0);
    assert_eq!(admitted(&mut throttle, ms(250)), 1);
    assert_eq!(admitted(&mut throttle, ms(499)), 0);
    assert_eq!(admitted(&mut throttle, ms(500)), 1);
}

#[test]
fn a_late_report_does_not_shorten_the_wait() {
    let mut throttle = after_failures(9);
    throttle.failed(ms(60_000), "root", HERE);
    let Admission::After(wait) = throttle.admit(ms(60_000), "root", HERE) else {
        panic!("it is penalised")
    };
    // Another attempt's thread took its time stamp earlier.
    throttle.failed(ms(1), "root", HERE);
    let Admission::After(after) = throttle.admit(ms(60_000), "root", HERE) else {
        panic!("it is penalised")
    };
    assert!(after >= wait, "{after:?} {wait:?}");
}

#[test]
fn failures_are_forgiven_one_by_one() {
    let minute = 60_000;
    let mut throttle = after_failures(100);
    // 11 count; after 7 minutes 4 are left.
    assert_eq!(throttle.failed(ms(7 * minute), "root", HERE), ms(500));
    let mut throttle = after_failures(100);
    assert_eq!(throttle.admit(ms(11 * minute), "root", HERE), Admission::Now);
    assert!(throttle.is_empty(), "all is forgiven");
    // Who fails again just before a minute is over is forgiven nothing.
    let mut throttle = after_failures(4);
    for n in 1..=10 {
        throttle.failed(ms(n * (minute - 1)), "root", HERE);
    }
    let last = ms(10 * (minute - 1));
    assert_eq!(throttle.admit(last, "root", HERE), Admission::After(ms(30_000)));
}

#[test]
fn an_ipv6_network_is_one_address() {
    let mut throttle = throttle();
    for host in 0..5 {
        throttle.failed(ms(0), "root", v6(&format!("2001:db8:1:2::{host:x}")));
    }
    let waits = |throttle: &mut Throttle, origin| {
        matches!(throttle.admit(ms(0), "root", origin), Admission::After(_))
    };
    assert!(waits(&mut throttle, v6("2001:db8:1:2:ffff:ffff:ffff:ffff")));
    assert!(!waits(&mut throttle, v6("2001:db8:1:3::1")));
}

#[test]
fn an_ipv4_address_is_one_address_in_either_form() {
    let mut throttle = after_failures(5);
    let mapped = v6("::ffff:10.0.0.1");
    assert_eq!(throttle.admit(ms(0), "root", mapped), Admission::After(ms(500)));
    assert_eq!(throttle.admit(ms(0), "root", v6("::ffff:10.0.0.2")), Admission::Now);
    // Local is an origin of its own, not the address 0.
    for _ in 0..5 {
        throttle.failed(ms(0), "alice", Origin::Local);
    }
    assert!(matches!(throttle.admit(ms(0), "alice", Origin::Local), Admission::After(_)));
}

#[test]
fn a_crowd_of_addresses_neither_grows_it_nor_frees_the_guesser() {
    let config = ThrottleConfig { pairs_max: 1_000, ..ThrottleConfig::default() };
    let mut throttle = Throttle::new(config);
    for _ in 0..12 {
        throttle.failed(ms(0), "root", HERE);
    }
    for n in 0..50_000u32 {
        let crowd = Origin::Address(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + n)));
        throttle.failed(ms(u64::from(n / 1_000)), "root", crowd);
        assert!(throttle.len() <= 1_000);
    }
    assert_eq!(throttle.forgiven.len(), throttle.len());
    assert!(matches!(throttle.admit(ms(100), "root", HERE), Admission::After(_)));
    // A name of a megabyte is remembered in 16 bytes.
    assert!(size_of::<(Pair, Failures)>() + size_of::<(Duration, Pair)>() <= 150);
}

#[test]
fn settings_at_their_ends() {
    let none = ThrottleConfig { pairs_max: 0, ..ThrottleConfig::default() };
    let mut off = Throttle::new(none);
    assert_eq!(off.failed(ms(0), "root", HERE), Duration::ZERO);
    assert!(off.is_empty());
    let extreme = ThrottleConfig {
        free_failures: u32::MAX,
        delay_min: Duration::MAX,
        delay_max: Duration::MAX,
        forgive_every: Duration::ZERO,
        pairs_max: 1,
    };
    let mut throttle = Throttle::new(extreme);
    throttle.failed(Duration::MAX, "root", HERE);
    assert_eq!(throttle.admit(Duration::MAX, "root", HERE), Admission::Now);
    let never = ThrottleConfig { delay_min: Duration::ZERO, free_failures: 0, ..none };
    assert_eq!(Throttle::new(never).delay(u32::MAX), Duration::ZERO);
}

/// Over any run: in no window is more admitted to a pair than its delays allow,
/// the books agree, and time alone frees everyone.
#[test]
fn random_runs_keep_the_bounds() {
    let mut prng = Prng::for_test();
    for _ in 0..100 {
        let config = ThrottleConfig { pairs_max: 4, ..ThrottleConfig::default() };
        let (mut throttle, mut now) = (Throttle::new(config), ms(0));
        for _ in 0..500 {
            now += ms(prng.below(2_000));
            let user = ["root", "alice", "bob"][prng.below(3) as usize];
            let origin = [HERE, THERE, Origin::Local][prng.below(3) as usize];
            match throttle.admit(now, user, origin) {
                Admission::After(wait) => {
                    assert!(wait > Duration::ZERO && wait <= config.delay_max);
                    // Nobody else's move frees it before its time.
                    let early = now + wait - Duration::from_nanos(1);
                    assert!(matches!(throttle.admit(early, user, origin), Admission::After(_)));
                }
                Admission::Now if prng.below(4) == 0 => throttle.succeeded(user, origin),
                Admission::Now => {
                    let delay = throttle.failed(now, user, origin);
                    let again = throttle.admit(now, user, origin);
                    assert_eq!(again == Admission::Now, delay == Duration::ZERO);
                }
            }
            assert!(throttle.len() <= 4 && throttle.forgiven.len() == throttle.len());
        }
        let later = now + ms(12 * 60_000);
        for user in ["root", "alice", "bob"] {
            for origin in [HERE, THERE, Origin::Local] {
                assert_eq!(throttle.admit(later, user, origin), Admission::Now);
            }
        }
        assert!(throttle.is_empty());
    }
}
