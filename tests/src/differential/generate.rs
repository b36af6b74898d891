//! Draws the next operation from a seed and from what the reference answered.
//!
//! Most operations are valid and hit a small key space, so that they meet each
//! other; every way to be refused has its share. What 3.5.1 and the contract
//! decide differently is either drawn and settled by [`crate::allowed`], or not
//! drawn, where the reference would crash or answer at random times.

use std::collections::VecDeque;

use t4_testkit::{Rng, Seed};

use super::answer::Answer;
use super::op::Op;
use super::world::World;

mod admin;
mod keys;
mod kv;
mod lease;
mod recipes;
mod txn;
mod watch;

/// The source of operations.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    world: World,
    planned: VecDeque<Step>,
    // Whether the subject follows the contract where 3.5.1 does not.
    contract: bool,
}

/// What is already decided about the next operations.
#[derive(Clone, Debug)]
enum Step {
    Op(Op),
    // A join at the revision that is current by then; fences first until the
    // watcher may see anything.
    Join { stream: u32, id: i64 },
    // A compaction, once every watcher has caught up: one that has not would be
    // cancelled by etcd or not, depending on its timer.
    Compact { revision: Option<i64>, physical: bool },
    // The same: 3.5.1 reads the history for watchers that lag from memory that
    // a defragmentation unmaps, and dies.
    Defragment,
}

impl Generator {
    /// A generator for two servers with empty stores.
    #[must_use]
    pub fn new(seed: Seed) -> Generator {
        let (rng, world) = (seed.rng(), World::new());
        Generator { rng, world, planned: VecDeque::new(), contract: true }
    }

    /// A generator for a subject that is itself a 3.5.1: leaves out what only
    /// the contract decides.
    #[must_use]
    pub fn for_old_line(seed: Seed) -> Generator {
        Generator { contract: false, ..Generator::new(seed) }
    }

    /// The next operation.
    pub fn next_op(&mut self) -> Op {
        loop {
            match self.planned.pop_front() {
                Some(Step::Op(op)) => return op,
                Some(Step::Join { stream, id }) => {
                    if let Some(op) = self.join(stream, id) {
                        return op;
                    }
                }
                Some(Step::Compact { revision, physical }) => {
                    if let Some(op) = self.compact(revision, physical) {
                        return op;
                    }
                }
                Some(Step::Defragment) => {
                    if !self.plan_catching_up(0) {
                        return Op::Defragment;
                    }
                    self.planned.push_back(Step::Defragment);
                }
                None => self.plan(),
            }
        }
    }

    /// Takes note of what the reference answered to the last operation.
    pub fn observe(&mut self, op: &Op, answer: &Answer) {
        self.world.observe(op, answer);
    }

    /// The kinds of operations, by weight out of 1000.
    fn plan(&mut self) {
        match self.rng.below(1000) {
            0..300 => self.plan_put(),
            300..510 => self.plan_range(),
            510..585 => self.plan_delete(),
            585..780 => self.plan_txn(),
            780..860 => self.plan_lease(),
            860..870 => self.plan_hash(),
            870..874 => {
                let physical = self.rng.chance(1, 2);
                self.planned.push_back(Step::Compact { revision: None, physical });
            }
            874..880 => self.plan_refused_compaction(),
            880..930 => self.plan_watch(),
            930..945 => self.plan_lock(),
            945..965 => self.plan_election(),
            965..998 => self.plan_admin(),
            _ => self.plan_alarm(),
        }
    }

    fn push(&mut self, op: Op) {
        self.planned.push_back(Step::Op(op));
    }
}
