//! Draws what is asked next, and on whose behalf.

mod keys;
mod users;

use std::collections::VecDeque;

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::alarm_request::AlarmAction;
use t4_proto::v3electionpb::LeaderRequest;
use t4_proto::v3lockpb::{LockRequest, UnlockRequest};
use t4_testkit::Rng;

use super::ask::{Actor, Ask, ROOT, place};
use super::known::Known;
use super::{LEASES, USERS};

/// How many users come and go.
const GUESTS: usize = 3;

/// Of how many of the last logins one is used.
const LOGINS_USED: usize = 8;

/// The source of requests.
pub(super) struct Generator {
    rng: Rng,
    planned: VecDeque<(Actor, Ask)>,
    /// The users who come and go. A name that has failed to log in too often
    /// makes room for another.
    guests: Vec<String>,
    /// How many names have been made up.
    names: u32,
}

impl Generator {
    pub(super) fn new(rng: Rng) -> Generator {
        let mut generator =
            Generator { rng, planned: VecDeque::new(), guests: Vec::new(), names: 0 };
        generator.guests = (0..GUESTS).map(|_| generator.new_name()).collect();
        generator
    }

    /// What must be asked before anything else is drawn.
    pub(super) fn plan(&mut self, asks: Vec<(Actor, Ask)>) {
        self.planned.extend(asks);
    }

    pub(super) fn next(&mut self, known: &Known) -> (Actor, Ask) {
        match self.planned.pop_front() {
            Some(planned) => planned,
            None => self.draw(known),
        }
    }

    fn draw(&mut self, known: &Known) -> (Actor, Ask) {
        let actor = self.actor(known);
        let admin = if self.rng.chance(4, 5) { ROOT } else { actor };
        match self.rng.below(1000) {
            0..230 => (actor, self.range(known, actor)),
            230..380 => (actor, self.put(known, actor)),
            380..450 => (actor, self.delete(known, actor)),
            450..610 => (actor, self.txn(known, actor)),
            610..630 => (actor, self.recipe()),
            630..725 => (actor, self.lease()),
            725..735 => (if self.rng.chance(1, 2) { ROOT } else { actor }, self.compact(known)),
            735..740 => (admin, Ask::HashKv),
            740..750 => (actor, self.watch(known, actor)),
            750..774 => (actor, self.question(known)),
            774..782 => (actor, self.question_to_member()),
            782..910 => (admin, self.change_of_roles(known)),
            910..945 => (admin, self.change_of_users(known)),
            945..985 => (Actor::Nobody, self.login(known)),
            _ => (actor, Ask::AuthStatus),
        }
    }

    /// Mostly plain users.
    fn actor(&mut self, known: &Known) -> Actor {
        match self.rng.below(20) {
            0 => Actor::Nobody,
            1 => Actor::Forger,
            2..5 => ROOT,
            5..8 => self.guest(known),
            _ => {
                let user = *self.rng.pick(&USERS[1..]);
                known.login_of(user).expect("a user logs in again after each change")
            }
        }
    }

    /// Whoever shows a token of one of the last logins, which may have ended.
    fn guest(&mut self, known: &Known) -> Actor {
        let others = USERS.len()..known.logins.len();
        let start = others.end.saturating_sub(LOGINS_USED).max(others.start);
        if start == others.end {
            return Actor::Nobody;
        }
        Actor::Login(self.rng.between(start as i64, others.end as i64 - 1) as usize)
    }

    fn lease_id(&mut self) -> i64 {
        // One more than there are.
        self.rng.between(LEASES[0], LEASES[LEASES.len() - 1] + 1)
    }

    fn lease(&mut self) -> Ask {
        let id = self.lease_id();
        match self.rng.below(100) {
            0..30 => {
                let id = *self.rng.pick(&LEASES);
                let ttl = if self.rng.chance(1, 20) { i64::MAX } else { 5000 };
                Ask::LeaseGrant(pb::LeaseGrantRequest { id, ttl })
            }
            30..48 => Ask::LeaseRevoke(id),
            48..65 => Ask::LeaseKeepAlive(id),
            65..88 => {
                let keys = self.rng.chance(2, 3);
                Ask::LeaseTimeToLive(pb::LeaseTimeToLiveRequest { id, keys })
            }
            _ => Ask::LeaseLeases,
        }
    }

    /// On keys that few of the permissions are about, and on some that more are.
    fn recipe(&mut self) -> Ask {
        let name: Bytes = (*self.rng.pick(&["A", "A", "A", "b"])).into();
        let lease = self.lease_id();
        match self.rng.below(4) {
            0..2 => Ask::Lock(LockRequest { name, lease }),
            2 => Ask::Unlock(UnlockRequest { key: place(&name, lease) }),
            _ => Ask::Leader(LeaderRequest { name }),
        }
    }

    fn compact(&mut self, known: &Known) -> Ask {
        let revision = match self.rng.below(10) {
            0 => known.revision + self.rng.between(1, 3),
            1 => known.compacted,
            _ => self.rng.between(known.compacted, known.revision),
        };
        // In the background, 3.5.1 loses track now and then: its hashes differ.
        Ask::Compact(pb::CompactionRequest { revision, physical: true })
    }

    fn question_to_member(&mut self) -> Ask {
        match self.rng.below(4) {
            0 => Ask::MemberList,
            1 => Ask::Status,
            2 => Ask::Alarm(AlarmAction::Get),
            _ => Ask::Alarm(AlarmAction::Deactivate),
        }
    }

    fn new_name(&mut self) -> String {
        self.names += 1;
        format!("guest{}", self.names)
    }
}
