//! What each operation of the table does, case by case. The long random runs
//! against an oracle are in `tests/model.rs`.

use super::*;

const NS: Duration = Duration::from_nanos(1);
const A: LeaseId = LeaseId(1);
const B: LeaseId = LeaseId(2);
const C: LeaseId = LeaseId(-3);

fn at(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn table(leases: &[(LeaseId, i64)]) -> LeaseTable {
    let mut table = LeaseTable::new();
    for &(id, ttl_s) in leases {
        table.grant(id, ttl_s, at(100));
    }
    table
}

#[test]
fn expires_at_the_deadline_and_not_a_nanosecond_before() {
    let mut t = table(&[(A, 10)]);
    assert_eq!(t.next_deadline(), Some(at(110)));
    assert!(t.take_expired(at(110) - NS, 9).is_empty());
    assert_eq!(t.renew(A, at(110) - NS), Renewal::Renewed { ttl_s: 10 });
    assert!(t.take_expired(at(120) - NS - NS, 9).is_empty());
    assert_eq!(t.renew(A, at(120) - NS), Renewal::Expired);
    assert_eq!(t.renew(A, at(120) - NS - NS), Renewal::Expired, "it has said so once");
    assert_eq!(t.take_expired(at(120) - NS, 9), [A]);
}

#[test]
fn reports_in_order_of_deadline_then_id_and_not_more_than_asked_for() {
    let mut t = table(&[(A, 10), (C, 10), (B, 5)]);
    assert!(t.take_expired(at(200), 0).is_empty());
    assert_eq!(t.take_expired(at(200), 2), [B, C]);
    assert_eq!(t.next_deadline(), Some(at(110)), "the one that did not fit");
    assert_eq!(t.take_expired(at(200), 2), [A]);
    assert_eq!(t.next_deadline(), None);
}

#[test]
fn an_expired_lease_exists_until_it_is_revoked_but_cannot_be_renewed() {
    let mut t = table(&[(A, 10)]);
    assert_eq!(t.take_expired(at(110), 9), [A]);
    assert!(t.exists(A));
    assert!(t.attach(A, Bytes::from_static(b"k")));
    assert_eq!(t.renew(A, at(111)), Renewal::Expired);
    assert_eq!(t.renew(A, at(105)), Renewal::Expired, "reported, whatever the clock says");
    assert_eq!(t.revoke(A), Some(vec![Bytes::from_static(b"k")]));
    assert_eq!(t.renew(A, at(111)), Renewal::NotFound);
    assert_eq!(t.revoke(A), None);
}

#[test]
fn a_refused_revocation_is_reported_again_at_the_time_of_retry() {
    let mut t = table(&[(A, 10), (B, 11)]);
    assert_eq!(t.take_expired(at(110), 9), [A]);
    t.unreport(A, at(115));
    assert_eq!(t.renew(A, at(112)), Renewal::Expired);
    assert_eq!(t.renew(A, at(109)), Renewal::Expired, "its revocation may yet take effect");
    assert_eq!(t.remaining(A, at(112)), Some(Remaining { left_s: -2, granted_ttl_s: 10 }));
    assert_eq!(t.take_expired(at(114), 9), [B]);
    assert_eq!(t.next_deadline(), Some(at(115)));
    assert_eq!(t.take_expired(at(115), 9), [A]);
}

#[test]
fn unreport_never_makes_a_lease_due_before_its_deadline() {
    let mut t = table(&[(A, 10)]);
    t.unreport(A, at(1));
    assert_eq!(t.next_deadline(), Some(at(110)), "it was not reported");
    assert_eq!(t.take_expired(at(110), 9), [A]);
    t.unreport(A, at(1));
    t.unreport(A, at(500));
    assert_eq!(t.next_deadline(), Some(at(110)), "the second one found it handed back");
    t.unreport(B, at(1));
    assert!(!t.exists(B));
}

#[test]
fn a_renewal_with_an_older_clock_does_not_shorten() {
    let mut t = table(&[(A, 10)]);
    assert_eq!(t.renew(A, at(105)), Renewal::Renewed { ttl_s: 10 });
    assert_eq!(t.renew(A, at(103)), Renewal::Renewed { ttl_s: 10 });
    assert_eq!(t.next_deadline(), Some(at(115)));
    t.promote(at(50));
    assert_eq!(t.next_deadline(), Some(at(115)));
}

#[test]
fn promotion_gives_the_full_time_and_forgets_reports() {
    let mut t = table(&[(A, 10), (B, 20)]);
    assert_eq!(t.take_expired(at(110), 9), [A]);
    t.promote(at(112));
    assert_eq!(t.renew(A, at(121)), Renewal::Renewed { ttl_s: 10 });
    assert_eq!(t.next_deadline(), Some(at(131)));
    assert_eq!(t.take_expired(at(132), 9), [A, B]);
}

#[test]
fn a_restored_lease_has_what_it_had_and_never_more_than_granted() {
    let mut t = table(&[(A, 10), (B, 10), (C, 10)]);
    assert_eq!(t.take_expired(at(110), 1), [C]);
    t.promote(at(1000));
    t.restore_remaining(A, Duration::from_millis(1), at(1000));
    t.restore_remaining(B, Duration::MAX, at(1000));
    t.restore_remaining(C, Duration::ZERO, at(1000));
    t.restore_remaining(LeaseId(99), at(1), at(1000));
    assert_eq!(t.len(), 3);
    assert_eq!(t.take_expired(at(1000), 9), [C]);
    assert_eq!(t.take_expired(at(1000) + Duration::from_millis(1), 9), [A]);
    assert_eq!(t.next_deadline(), Some(at(1010)));
}

#[test]
fn remaining_is_floored_on_both_sides_of_the_deadline() {
    let t = table(&[(A, 10)]);
    let left = |now| t.remaining(A, now).unwrap().left_s;
    assert_eq!(left(at(100)), 10);
    assert_eq!(left(at(100) + NS), 9);
    assert_eq!(left(at(109) + NS), 0);
    assert_eq!(left(at(110)), 0);
    assert_eq!(left(at(110) + NS), -1);
    assert_eq!(left(at(111)), -1);
    assert_eq!(left(at(111) + NS), -2);
    assert_eq!(left(at(0)), 10, "an older clock shows no more than was granted");
    assert_eq!(t.remaining(B, at(0)), None);
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    let mut t = LeaseTable::new();
    t.grant(A, TTL_MAX_S, Duration::MAX);
    t.grant(B, TTL_MAX_S, Duration::ZERO);
    assert_eq!(t.remaining(B, Duration::ZERO).unwrap().left_s, TTL_MAX_S);
    assert_eq!(t.remaining(B, Duration::MAX).unwrap().left_s, -i64::MAX);
    assert_eq!(t.next_deadline(), Some(at(9_000_000_000)));
    assert_eq!(t.take_expired(Duration::MAX, 9), [B, A]);
    t.promote(Duration::MAX);
    t.restore_remaining(A, Duration::MAX, Duration::MAX);
    t.unreport(A, Duration::MAX);
    let records = LeaseTable::decode(&t.encode(Some(Duration::ZERO))).unwrap();
    assert!(records.iter().all(|r| r.remaining == Some(at(9_000_000_000))));
}

#[test]
fn keys_are_sorted_and_belong_to_their_lease() {
    let mut t = table(&[(A, 10), (B, 10)]);
    for key in ["b", "a", "c", "a"] {
        assert!(t.attach(A, Bytes::from(key)));
    }
    assert!(t.attach(B, Bytes::from("z")));
    assert!(!t.attach(LeaseId(9), Bytes::from("lost")));
    assert!(t.detach(A, b"c"));
    assert!(!t.detach(A, b"c") && !t.detach(A, b"z") && !t.detach(LeaseId(9), b"a"));
    assert_eq!(t.keys(A).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(t.keys(LeaseId(9)).count(), 0);
    assert_eq!(t.revoke(A).unwrap(), ["a", "b"]);
    assert_eq!(t.ids().collect::<Vec<_>>(), [B]);
}

#[test]
fn a_revoked_id_can_be_granted_again_and_starts_afresh() {
    let mut t = table(&[(A, 10)]);
    t.attach(A, Bytes::from("k"));
    assert_eq!(t.take_expired(at(110), 9), [A]);
    t.revoke(A);
    t.grant(A, 5, at(120));
    t.unreport(A, at(0));
    assert_eq!(t.keys(A).count(), 0);
    assert_eq!(t.granted_ttl_s(A), Some(5));
    assert_eq!(t.take_expired(at(125) - NS, 9), []);
    assert_eq!(t.take_expired(at(125), 9), [A]);
}

#[test]
#[should_panic(expected = "granted twice")]
fn a_second_grant_is_our_own_bug() {
    table(&[(A, 10), (A, 10)]);
}

#[test]
#[should_panic(expected = "time to live 0 s")]
fn a_grant_without_time_is_our_own_bug() {
    table(&[(A, 0)]);
}

#[test]
#[should_panic(expected = "time to live 9000000001 s")]
fn a_grant_beyond_the_bound_is_our_own_bug() {
    table(&[(A, TTL_MAX_S + 1)]);
}

#[test]
#[should_panic(expected = "needs an id")]
fn a_grant_of_no_lease_is_our_own_bug() {
    table(&[(LeaseId::NONE, 1)]);
}

#[test]
fn a_snapshot_stays_what_it_was() {
    let mut table = LeaseTable::new();
    table.grant(LeaseId(2), 60, Duration::ZERO);
    table.grant(LeaseId(-1), 10, Duration::ZERO);
    let (snapshot, encoded) = (table.snapshot(), table.encode(None));
    table.grant(LeaseId(3), 5, Duration::ZERO);
    table.revoke(LeaseId(2));
    assert_eq!(snapshot.encode(), encoded);
    assert_eq!(table.snapshot().encode(), table.encode(None));
    assert_ne!(table.encode(None), encoded);
}
