//! What is done when a read meets damage: the operator is told, once, and the
//! alarm CORRUPT goes on, as etcd does when it finds its data inconsistent.
//!
//! The alarm refuses writes and shows in readiness; what is not damaged can
//! still be read. It stays until a person switches it off, and goes on again at
//! the next damage that is met.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use t4_kv_types::{AlarmKind, NodeId};
use t4_state_machine::Request;

use crate::commit_queue::CommitQueue;

/// So many different damages are told of while the alarm is on.
const TOLD_MAX: usize = 64;

/// Where damage is reported.
pub(crate) struct Damage {
    member: NodeId,
    queue: Arc<CommitQueue>,
    /// The alarm is on.
    on: AtomicBool,
    /// It was asked for, and is not on yet.
    asked: AtomicBool,
    /// The request for it has not come back yet.
    in_flight: AtomicBool,
    told: Mutex<BTreeSet<String>>,
}

impl Damage {
    pub(crate) fn new(member: NodeId, queue: Arc<CommitQueue>, on: bool) -> Self {
        let (asked, in_flight) = (AtomicBool::new(false), AtomicBool::new(false));
        Damage { member, queue, on: AtomicBool::new(on), asked, in_flight, told: Mutex::default() }
    }

    /// One whose reports go nowhere but to the log.
    #[cfg(test)]
    pub(crate) fn unheard() -> Arc<Self> {
        let queue = CommitQueue::new(0, std::time::Duration::ZERO);
        Arc::new(Damage::new(NodeId(0), Arc::new(queue), false))
    }

    /// Damage was met; `what` names the file.
    pub(crate) fn met(&self, what: &str) {
        let is_news = {
            let mut told = self.told.lock();
            told.len() < TOLD_MAX && told.insert(what.to_owned())
        };
        if is_news {
            tracing::error!(
                error = what,
                "data is damaged: the alarm CORRUPT goes on, and writes are refused"
            );
        }
        if !self.on.load(Ordering::Acquire) && !self.asked.swap(true, Ordering::AcqRel) {
            self.ask();
        }
    }

    /// Asks again if the log had no room for the alarm.
    pub(crate) fn retry(&self) {
        let waits = self.in_flight.load(Ordering::Acquire);
        if self.asked.load(Ordering::Acquire) && !self.on.load(Ordering::Acquire) && !waits {
            self.ask();
        }
    }

    /// The log has refused what it was given last.
    pub(crate) fn refused(&self) {
        self.in_flight.store(false, Ordering::Release);
    }

    fn ask(&self) {
        self.in_flight.store(true, Ordering::Release);
        self.queue.submit_own(Request::SetAlarm(self.member, AlarmKind::Corrupt, true));
    }

    /// The alarms have changed: this one is on or not.
    pub(crate) fn alarm_is(&self, on: bool) {
        if on {
            self.asked.store(false, Ordering::Release);
            self.refused();
        } else if self.on.load(Ordering::Acquire) {
            self.told.lock().clear();
        }
        self.on.store(on, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However often damage is met and the clock ticks, one request for the alarm
    /// is under way, until the log has answered it.
    #[test]
    fn the_alarm_is_asked_for_once_until_the_log_has_answered() {
        let queue = Arc::new(CommitQueue::new(0, std::time::Duration::ZERO));
        let damage = Damage::new(NodeId(1), queue.clone(), false);
        damage.retry();
        assert_eq!(queue.admitted(), 0, "there is no damage");
        for n in 0..100 {
            damage.met(&format!("file {n}"));
            damage.retry();
        }
        assert_eq!(queue.admitted(), 1);
        // The log had no room for it.
        damage.refused();
        damage.retry();
        damage.retry();
        assert_eq!(queue.admitted(), 2);
        damage.alarm_is(true);
        damage.met("another file");
        damage.retry();
        assert_eq!(queue.admitted(), 2, "it is on");
        damage.alarm_is(false);
        damage.met("another file");
        assert_eq!(queue.admitted(), 3, "it goes on again at the next damage");
    }
}
