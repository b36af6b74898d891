//! Status, members, maintenance and alarms.

use super::super::op::{Op, Who};
use super::{Generator, Step};

const GET: i32 = 0;
const ACTIVATE: i32 = 1;
const DEACTIVATE: i32 = 2;
const NOSPACE: i32 = 1;
const CORRUPT: i32 = 2;

impl Generator {
    pub(super) fn plan_admin(&mut self) {
        let nobody = Who::Id(0xdead);
        let op = match self.rng.below(16) {
            0..3 => Op::Status,
            3..5 => Op::MemberList { linearizable: self.rng.chance(1, 2) },
            5 => Op::Hash,
            6 => return self.planned.push_back(Step::Defragment),
            7 => Op::MoveLeader { to: nobody },
            8 => Op::MoveLeader { to: Who::Own },
            9 => Op::MemberRemove { member: nobody },
            10 => Op::MemberUpdate {
                member: nobody,
                peer_urls: match self.rng.below(3) {
                    0 => vec![],
                    1 => vec!["no-scheme:1".to_owned()],
                    _ => vec!["http://127.0.0.1:1".to_owned()],
                },
            },
            11 => Op::MemberPromote { member: nobody },
            12 => Op::MemberAddRefused {
                peer_urls: match self.rng.below(3) {
                    0 => vec![],
                    1 => vec!["no-scheme:1".to_owned()],
                    _ => vec!["http://127.0.0.1".to_owned()],
                },
            },
            13 => Op::MemberRemove { member: Who::Own },
            14 => Op::Downgrade {
                action: *self.rng.pick(&[0, 1]),
                version: (*self.rng.pick(&["", "x", "three.five"])).to_owned(),
            },
            _ => match self.rng.below(3) {
                0 => Op::MemberPromote { member: Who::Own },
                1 => Op::Downgrade { action: 2, version: String::new() },
                _ => Op::Alarm { action: GET, member: Who::Id(0), alarm: 0 },
            },
        };
        self.push(op);
    }

    /// An alarm, what is refused under it, and its end.
    pub(super) fn plan_alarm(&mut self) {
        let alarm = *self.rng.pick(&[NOSPACE, CORRUPT]);
        let member = *self.rng.pick(&[Who::Own, Who::Own, Who::Id(7)]);
        self.push(Op::Alarm { action: ACTIVATE, member, alarm });
        self.push(Op::Alarm { action: GET, member: Who::Id(0), alarm: 0 });
        self.push(Op::Alarm { action: ACTIVATE, member, alarm });
        self.push(Op::Alarm { action: ACTIVATE, member, alarm: 0 });
        self.push(Op::Status);
        for _ in 0..4 {
            self.plan_put();
            self.plan_txn();
            self.plan_txn_that_hides_its_put();
            self.plan_range();
            self.plan_delete();
            self.plan_lease();
        }
        if alarm == CORRUPT {
            self.plan_refused_compaction();
        }
        self.push(Op::Alarm { action: DEACTIVATE, member, alarm });
        self.push(Op::Alarm { action: DEACTIVATE, member, alarm });
        self.push(Op::Alarm { action: GET, member: Who::Id(0), alarm });
    }
}
