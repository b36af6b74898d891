//! Lease operations. Every lease that stays lives for hours: nothing may expire
//! while the servers are compared.

use t4_proto::etcdserverpb::{LeaseGrantRequest, LeaseTimeToLiveRequest};

use super::super::op::Op;
use super::Generator;

const TTL_MIN: i64 = 20_000;
const TTL_MAX: i64 = 9_000_000_000;

impl Generator {
    pub(super) fn plan_lease(&mut self) {
        let op = match self.rng.below(100) {
            0..25 => {
                let ttl = match self.rng.below(20) {
                    0 => TTL_MAX,
                    1 => TTL_MAX + 1,
                    2 => i64::MAX,
                    _ => self.rng.between(TTL_MIN, TTL_MIN + 100),
                };
                Op::LeaseGrant(LeaseGrantRequest { ttl, id: self.lease_id() })
            }
            25..28 => Op::LeaseGrantAny {
                ttl: *self.rng.pick(&[0, -1, 1, 2, 3, 100, i64::MIN, TTL_MAX + 1]),
            },
            28..50 => Op::LeaseRevoke { id: self.some_lease() },
            50..75 => Op::LeaseTimeToLive(LeaseTimeToLiveRequest {
                id: self.some_lease(),
                keys: self.rng.chance(1, 2),
            }),
            75..82 => Op::LeaseLeases,
            _ => {
                let count = self.rng.between(1, 3);
                Op::LeaseKeepAlive { ids: (0..count).map(|_| self.some_lease()).collect() }
            }
        };
        self.push(op);
    }

    /// One of a few ids, so that grants collide; negative ones are accepted.
    fn lease_id(&mut self) -> i64 {
        match self.rng.below(10) {
            0 => -self.rng.between(1, 3),
            1 => i64::MAX - self.rng.between(0, 1),
            _ => self.rng.between(1, 12),
        }
    }

    /// Mostly the id of a lease that lives.
    pub(super) fn some_lease(&mut self) -> i64 {
        let live: Vec<i64> = self.world.leases.keys().copied().collect();
        if live.is_empty() || self.rng.chance(1, 8) {
            return if self.rng.chance(1, 4) { 0 } else { self.rng.between(1, 20) };
        }
        *self.rng.pick(&live)
    }

    /// The id of a lease that lives, if there is one.
    pub(super) fn live_lease(&mut self) -> Option<i64> {
        let live: Vec<i64> = self.world.leases.keys().copied().collect();
        if live.is_empty() { None } else { Some(*self.rng.pick(&live)) }
    }
}
