//! The table against a naive oracle: random runs of every operation, with the
//! clock set on, just before and just after deadlines.

mod prng;

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use prng::Prng;
use t4_kv_types::LeaseId;
use t4_lease::{LeaseTable, Remaining, Renewal};

const NS: Duration = Duration::from_nanos(1);
const NANOS_PER_S: i128 = 1_000_000_000;

/// Everything by linear search, and nothing derived that can be recomputed.
#[derive(Default)]
struct Oracle {
    leases: Vec<OracleLease>,
}

struct OracleLease {
    id: LeaseId,
    ttl_s: i64,
    /// Every moment until which some client was told that it lives.
    told: Vec<Duration>,
    reported: bool,
    /// It has answered that it has expired.
    said_expired: bool,
    retry_at: Duration,
    keys: Vec<Bytes>,
}

impl OracleLease {
    fn full(&self) -> Duration {
        Duration::from_secs(self.ttl_s as u64)
    }

    fn deadline(&self) -> Duration {
        *self.told.iter().max().unwrap()
    }

    fn due(&self) -> Duration {
        self.deadline().max(self.retry_at)
    }
}

impl Oracle {
    fn find(&mut self, id: LeaseId) -> Option<&mut OracleLease> {
        self.leases.iter_mut().find(|lease| lease.id == id)
    }

    fn grant(&mut self, id: LeaseId, ttl_s: i64, now: Duration) {
        let mut lease = OracleLease {
            id,
            ttl_s,
            told: vec![],
            reported: false,
            said_expired: false,
            retry_at: Duration::ZERO,
            keys: vec![],
        };
        lease.told.push(now + lease.full());
        self.leases.push(lease);
    }

    fn revoke(&mut self, id: LeaseId) -> Option<Vec<Bytes>> {
        let place = self.leases.iter().position(|lease| lease.id == id)?;
        let mut keys = self.leases.remove(place).keys;
        keys.sort();
        Some(keys)
    }

    fn attach(&mut self, id: LeaseId, key: Bytes) -> bool {
        let Some(lease) = self.find(id) else { return false };
        if !lease.keys.contains(&key) {
            lease.keys.push(key);
        }
        true
    }

    fn detach(&mut self, id: LeaseId, key: &[u8]) -> bool {
        let Some(lease) = self.find(id) else { return false };
        let before = lease.keys.len();
        lease.keys.retain(|k| k != key);
        lease.keys.len() < before
    }

    fn renew(&mut self, id: LeaseId, now: Duration) -> Renewal {
        match self.find(id) {
            None => Renewal::NotFound,
            Some(lease) if lease.said_expired || lease.deadline() <= now => {
                lease.said_expired = true;
                Renewal::Expired
            }
            Some(lease) => {
                lease.told.push(now + lease.full());
                Renewal::Renewed { ttl_s: lease.ttl_s }
            }
        }
    }

    fn remaining(&mut self, id: LeaseId, now: Duration) -> Option<Remaining> {
        let lease = self.find(id)?;
        let nanos = |d: Duration| i128::try_from(d.as_nanos()).unwrap();
        let left = (nanos(lease.deadline()) - nanos(now)).div_euclid(NANOS_PER_S);
        let left_s = left.min(i128::from(lease.ttl_s)) as i64;
        Some(Remaining { left_s, granted_ttl_s: lease.ttl_s })
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.leases.iter().filter(|l| !l.reported).map(OracleLease::due).min()
    }

    fn take_expired(&mut self, now: Duration, max: usize) -> Vec<LeaseId> {
        let mut due: Vec<_> =
            self.leases.iter().filter(|l| !l.reported && l.due() <= now).collect();
        due.sort_by_key(|lease| (lease.due(), lease.id));
        let ids: Vec<_> = due.into_iter().map(|lease| lease.id).take(max).collect();
        for &id in &ids {
            let lease = self.find(id).unwrap();
            (lease.reported, lease.said_expired) = (true, true);
        }
        ids
    }

    fn unreport(&mut self, id: LeaseId, retry_at: Duration) {
        if let Some(lease) = self.find(id).filter(|lease| lease.reported) {
            lease.reported = false;
            lease.retry_at = retry_at;
        }
    }

    fn promote(&mut self, now: Duration) {
        for lease in &mut self.leases {
            lease.told.push(now + lease.full());
            (lease.reported, lease.said_expired) = (false, false);
            lease.retry_at = Duration::ZERO;
        }
    }

    fn restore_remaining(&mut self, id: LeaseId, left: Duration, now: Duration) {
        if let Some(lease) = self.find(id) {
            lease.told = vec![now + left.min(lease.full())];
            (lease.reported, lease.said_expired) = (false, false);
            lease.retry_at = Duration::ZERO;
        }
    }
}

/// One run: the same operations on both, every answer compared and written down.
struct Run {
    prng: Prng,
    table: LeaseTable,
    oracle: Oracle,
    now: Duration,
    transcript: String,
    expired: usize,
    renewed: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        Run {
            prng: Prng::new(seed),
            table: LeaseTable::new(),
            oracle: Oracle::default(),
            now: Duration::from_secs(1),
            transcript: String::new(),
            expired: 0,
            renewed: 0,
        }
    }

    fn go(mut self, steps: usize) -> Self {
        for step in 0..steps {
            self.pass_time();
            self.step();
            self.compare(step);
        }
        self
    }

    /// Few ids, so that they meet; negative ones too.
    fn id(&mut self) -> LeaseId {
        LeaseId([-7, -1, 1, 2, 3, i64::MAX, i64::MIN, 40, 41, 42][self.prng.below(10) as usize])
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(format!("k{}", self.prng.below(12)))
    }

    fn pass_time(&mut self) {
        let next = self.oracle.next_deadline().unwrap_or(self.now).max(self.now);
        self.now = match self.prng.below(8) {
            0 => next,
            1 => (next - NS).max(self.now),
            2 => next + NS,
            3 => self.now + Duration::from_nanos(self.prng.below(5_000_000_000)),
            _ => self.now + Duration::from_millis(self.prng.below(200)),
        };
    }

    /// Now, and sometimes a little earlier: another thread read its clock first.
    fn clock(&mut self) -> Duration {
        let late = if self.prng.below(6) == 0 { self.prng.below(1_500_000_000) } else { 0 };
        self.now.saturating_sub(Duration::from_nanos(late))
    }

    fn step(&mut self) {
        let (id, now) = (self.id(), self.clock());
        match self.prng.below(100) {
            0..18 => self.grant_if_new(id, now),
            18..24 => assert_eq!(self.table.revoke(id), self.oracle.revoke(id)),
            24..44 => {
                let key = self.key();
                assert_eq!(self.table.attach(id, key.clone()), self.oracle.attach(id, key));
            }
            44..52 => {
                let key = self.key();
                assert_eq!(self.table.detach(id, &key), self.oracle.detach(id, &key));
            }
            52..70 => self.renew(id, now),
            70..88 => self.expire(now),
            88..94 => {
                let retry_at = now + Duration::from_millis(self.prng.below(3_000));
                self.table.unreport(id, retry_at);
                self.oracle.unreport(id, retry_at);
            }
            94..96 => {
                self.table.promote(now);
                self.oracle.promote(now);
            }
            96..98 => {
                let left = Duration::from_millis(self.prng.below(8_000));
                self.table.restore_remaining(id, left, now);
                self.oracle.restore_remaining(id, left, now);
            }
            _ => self.restart(),
        }
    }

    fn grant_if_new(&mut self, id: LeaseId, now: Duration) {
        if !self.table.exists(id) {
            let ttl_s = 1 + self.prng.below(6) as i64;
            self.table.grant(id, ttl_s, now);
            self.oracle.grant(id, ttl_s, now);
        }
    }

    fn renew(&mut self, id: LeaseId, now: Duration) {
        let renewal = self.table.renew(id, now);
        assert_eq!(renewal, self.oracle.renew(id, now));
        self.renewed += usize::from(matches!(renewal, Renewal::Renewed { .. }));
        writeln!(self.transcript, "renew {id} {now:?} {renewal:?}").unwrap();
    }

    /// Reports, and mostly revokes at once, as a leader does.
    fn expire(&mut self, now: Duration) {
        let max = self.prng.below(4) as usize;
        let expired = self.table.take_expired(now, max);
        assert_eq!(expired, self.oracle.take_expired(now, max));
        self.expired += expired.len();
        writeln!(self.transcript, "expired {now:?} {expired:?}").unwrap();
        for id in expired {
            if self.prng.below(3) > 0 {
                let keys = self.table.revoke(id);
                assert_eq!(keys, self.oracle.revoke(id));
                writeln!(self.transcript, "revoked {id} {keys:?}").unwrap();
            }
        }
    }

    /// A clean stop and a start: through bytes, keys from elsewhere, the clock
    /// from another origin, every lease with what it had.
    fn restart(&mut self) {
        assert_eq!(self.table.snapshot().encode(), self.table.encode(None));
        let bytes = self.table.encode(Some(self.now));
        let restarted_at = Duration::from_millis(self.prng.below(10_000));
        let mut table = LeaseTable::new();
        for record in LeaseTable::decode(&bytes).unwrap() {
            let left = record.remaining.unwrap();
            let lease = self.oracle.find(record.id).unwrap();
            let exact = lease.deadline().saturating_sub(self.now).min(lease.full());
            assert!(left >= exact && left - exact < Duration::from_millis(1));
            assert_eq!(record.ttl_s, lease.ttl_s);
            table.grant(record.id, record.ttl_s, Duration::ZERO);
            for key in &lease.keys {
                table.attach(record.id, key.clone());
            }
        }
        table.promote(restarted_at);
        self.oracle.promote(restarted_at);
        for record in LeaseTable::decode(&bytes).unwrap() {
            table.restore_remaining(record.id, record.remaining.unwrap(), restarted_at);
            self.oracle.restore_remaining(record.id, record.remaining.unwrap(), restarted_at);
        }
        (self.table, self.now) = (table, restarted_at);
    }

    /// Everything that can be asked.
    fn compare(&mut self, step: usize) {
        let (table, oracle, now) = (&self.table, &mut self.oracle, self.now);
        assert_eq!(table.next_deadline(), oracle.next_deadline(), "step {step}");
        assert_eq!(
            (table.len(), table.is_empty()),
            (oracle.leases.len(), oracle.leases.is_empty())
        );
        oracle.leases.sort_by_key(|lease| lease.id);
        assert!(table.ids().eq(oracle.leases.iter().map(|lease| lease.id)), "step {step}");
        let ids: Vec<LeaseId> = table.ids().chain([LeaseId(5)]).collect();
        for id in ids {
            assert_eq!(table.remaining(id, now), oracle.remaining(id, now), "step {step}");
            let lease = oracle.find(id);
            assert_eq!(table.exists(id), lease.is_some());
            assert_eq!(table.granted_ttl_s(id), lease.as_ref().map(|lease| lease.ttl_s));
            let mut keys = lease.map(|lease| lease.keys.clone()).unwrap_or_default();
            keys.sort();
            assert!(table.keys(id).eq(&keys), "step {step}, lease {id}");
        }
    }
}

#[test]
fn agrees_with_the_oracle() {
    let mut seeds = Prng::for_test();
    let (mut expired, mut renewed) = (0, 0);
    for _ in 0..100 {
        let run = Run::new(seeds.bits()).go(1_000);
        expired += run.expired;
        renewed += run.renewed;
    }
    assert!(expired > 1_000 && renewed > 1_000, "{expired} expired, {renewed} renewed: too tame");
}

#[test]
fn the_same_calls_give_the_same_answers_and_bytes() {
    let seed = Prng::for_test().bits();
    let (one, two) = (Run::new(seed).go(2_000), Run::new(seed).go(2_000));
    assert_eq!(one.transcript, two.transcript);
    assert_eq!(one.table.encode(Some(one.now)), two.table.encode(Some(two.now)));
}

/// Replicas that applied the same log have the same bytes, whenever they applied
/// it and whoever leads.
#[test]
fn the_bytes_do_not_depend_on_the_clock() {
    let mut leader = LeaseTable::new();
    let mut follower = LeaseTable::new();
    let mut prng = Prng::for_test();
    for step in 0..500 {
        let (id, ttl_s) = (LeaseId(prng.bits() as i64 | 1), 1 + prng.below(100) as i64);
        leader.grant(id, ttl_s, Duration::from_secs(step));
        follower.grant(id, ttl_s, Duration::ZERO);
        if prng.below(2) == 0 {
            leader.renew(id, Duration::from_secs(step));
        }
    }
    leader.promote(Duration::from_secs(1_000));
    assert!(!leader.take_expired(Duration::from_secs(1_050), 100).is_empty());
    assert_eq!(leader.encode(None), follower.encode(None));
}

/// 100,000 leases under keep-alives: anything that is linear per call would not
/// come to an end.
#[test]
fn a_hundred_thousand_leases() {
    const LEASES: u64 = 100_000;
    let ms = Duration::from_millis;
    let mut table = LeaseTable::new();
    for i in 0..LEASES {
        table.grant(LeaseId(i as i64 + 1), 60, ms(i / 10));
    }
    let mut prng = Prng::for_test();
    let mut deadlines = vec![Duration::ZERO; LEASES as usize];
    for i in 0..LEASES {
        deadlines[i as usize] = ms(i / 10 + 60_000);
    }
    for i in 0..300_000 {
        let (now, lease) = (ms(10_000 + i / 10), prng.below(LEASES));
        assert_eq!(table.renew(LeaseId(lease as i64 + 1), now), Renewal::Renewed { ttl_s: 60 });
        deadlines[lease as usize] = now + ms(60_000);
    }
    let mut expected: Vec<_> =
        deadlines.iter().enumerate().map(|(i, &at)| (at, LeaseId(i as i64 + 1))).collect();
    expected.sort();
    let mut reported = 0;
    while let Some(now) = table.next_deadline() {
        for id in table.take_expired(now, 500) {
            assert_eq!((now, id), expected[reported]);
            reported += 1;
            assert!(table.revoke(id).is_some());
        }
    }
    assert_eq!(reported, expected.len());
    assert!(table.is_empty());
}
