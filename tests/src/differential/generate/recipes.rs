//! Lock and election service calls. None waits for another client's call:
//! whoever takes a lock or an office gives it up again in the same plan.

use bytes::Bytes;
use t4_proto::v3electionpb::LeaderKey;

use super::super::op::Op;
use super::super::recipe_key;
use super::Generator;

impl Generator {
    pub(super) fn plan_lock(&mut self) {
        let name = Bytes::from(format!("lock/{}", self.rng.below(3)));
        let Some(lease) = self.live_lease() else { return self.plan_put() };
        let key = recipe_key(&name, lease);
        match self.rng.below(10) {
            // No such lease.
            0 => return self.push(Op::Lock { name, lease: 4242 }),
            1 => return self.push(Op::Unlock { key: Bytes::from_static(b"lock/none") }),
            2 => return self.push(Op::Unlock { key: Bytes::new() }),
            3..6 if self.world.leases.len() > 1 => {
                let second = self.live_lease().unwrap_or(lease);
                if second != lease {
                    let first = lease;
                    return self.push(Op::LockContended { name, first, second });
                }
            }
            _ => {}
        }
        self.push(Op::Lock { name: name.clone(), lease });
        if self.rng.chance(1, 2) {
            self.plan_range();
            self.push(Op::Lock { name, lease });
        }
        if self.rng.chance(1, 4) {
            self.push(Op::LeaseRevoke { id: lease });
        }
        self.push(Op::Unlock { key });
    }

    pub(super) fn plan_election(&mut self) {
        let name = Bytes::from(format!("election/{}", self.rng.below(2)));
        let Some(lease) = self.live_lease() else { return self.plan_put() };
        let value = Bytes::from(format!("v{}", self.rng.below(4)));
        let key = recipe_key(&name, lease);
        match self.rng.below(8) {
            0 => return self.push(Op::Proclaim { leader: None, value }),
            1 => return self.push(Op::Resign { leader: None }),
            2 => return self.push(Op::Leader { name }),
            3 => return self.push(Op::Campaign { name, lease: 4242, value }),
            _ => {}
        }
        self.push(Op::Campaign { name: name.clone(), lease, value: value.clone() });
        // The campaign's put is the next revision: its key's create revision.
        let rev = self.world.revision + 1;
        let leader = LeaderKey { name: name.clone(), key, rev, lease };
        let stale = LeaderKey { rev: rev - 1, ..leader.clone() };
        if self.rng.chance(1, 2) {
            self.push(Op::Proclaim { leader: Some(leader.clone()), value: value.clone() });
            self.push(Op::Leader { name: name.clone() });
        }
        if self.rng.chance(1, 3) {
            self.push(Op::Campaign { name: name.clone(), lease, value: Bytes::from_static(b"re") });
            self.push(Op::ObserveOnce { name: name.clone() });
        }
        if self.rng.chance(1, 3) {
            self.push(Op::Proclaim { leader: Some(stale.clone()), value });
            self.push(Op::Resign { leader: Some(stale) });
        }
        self.push(Op::Resign { leader: Some(leader.clone()) });
        if self.rng.chance(1, 4) {
            self.push(Op::Resign { leader: Some(leader) });
            self.push(Op::Leader { name });
        }
    }
}
