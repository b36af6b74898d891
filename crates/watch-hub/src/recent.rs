//! The events of the newest revisions, kept for watchers that are nearly live.

use std::collections::VecDeque;
use std::sync::Arc;

use t4_kv_types::{Event, Revision};

use crate::limits::Limits;

/// The events of one revision, with their size.
#[derive(Clone)]
pub(crate) struct RevisionEvents {
    pub(crate) revision: Revision,
    pub(crate) events: Arc<[Event]>,
    /// The size of keys, values and the events themselves.
    pub(crate) bytes: usize,
}

impl RevisionEvents {
    pub(crate) fn new(revision: Revision, events: Arc<[Event]>) -> Self {
        let payload: usize = events.iter().map(|e| e.kv.key.len() + e.kv.value.len()).sum();
        let bytes = payload + size_of_val::<[Event]>(&events);
        RevisionEvents { revision, events, bytes }
    }
}

/// The newest revisions, within bounds.
pub(crate) struct Recent {
    // Every published revision above `floor`, ascending.
    revisions: VecDeque<RevisionEvents>,
    floor: Revision,
    bytes: usize,
    revisions_max: usize,
    bytes_max: usize,
}

impl Recent {
    /// Empty; `newest` was published last.
    pub(crate) fn new(limits: &Limits, newest: Revision) -> Self {
        Recent {
            revisions: VecDeque::new(),
            floor: newest,
            bytes: 0,
            revisions_max: limits.recent_revisions,
            bytes_max: limits.recent_bytes,
        }
    }

    /// All published revisions above this one are kept.
    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }

    /// Adds the newest revision and drops what exceeds the bounds, but never
    /// the newest: with it the last step from history to live is always
    /// possible.
    pub(crate) fn push(&mut self, revision: RevisionEvents) {
        self.bytes += revision.bytes;
        self.revisions.push_back(revision);
        while self.revisions.len() > 1
            && (self.revisions.len() > self.revisions_max || self.bytes > self.bytes_max)
        {
            let Some(oldest) = self.revisions.pop_front() else { break };
            self.bytes -= oldest.bytes;
            self.floor = oldest.revision;
        }
    }

    /// At most `count` revisions starting at `from`, which is above the floor,
    /// and whether these are all of them.
    pub(crate) fn since(&mut self, from: Revision, count: usize) -> (&[RevisionEvents], bool) {
        let all = self.revisions.make_contiguous();
        let wanted = &all[all.partition_point(|kept| kept.revision < from)..];
        (&wanted[..count.min(wanted.len())], count >= wanted.len())
    }
}

#[cfg(test)]
mod tests {
    use t4_kv_types::{EventKind, KeyValue};

    use super::*;

    fn revision(at: i64, value_len: usize) -> RevisionEvents {
        let kv = KeyValue { value: vec![0; value_len].into(), ..KeyValue::default() };
        RevisionEvents::new(Revision(at), Arc::from([Event { kind: EventKind::Put, kv }]))
    }

    fn kept(recent: &mut Recent, from: i64, count: usize) -> (Vec<i64>, bool) {
        let (revisions, whole) = recent.since(Revision(from), count);
        (revisions.iter().map(|kept| kept.revision.0).collect(), whole)
    }

    #[test]
    fn keeps_the_newest_within_both_bounds() {
        let recent_bytes = revision(0, 9_000).bytes + revision(0, 10).bytes;
        let limits = Limits { recent_revisions: 3, recent_bytes, ..Limits::default() };
        let mut recent = Recent::new(&limits, Revision(5));
        assert_eq!(kept(&mut recent, 6, 9), (vec![], true));
        for at in [6, 7, 8, 20] {
            recent.push(revision(at, 10));
        }
        assert_eq!(recent.floor(), Revision(6));
        assert_eq!(kept(&mut recent, 7, 9), (vec![7, 8, 20], true));
        assert_eq!(kept(&mut recent, 9, 9), (vec![20], true));
        assert_eq!(kept(&mut recent, 7, 2), (vec![7, 8], false));
        recent.push(revision(21, 9_000));
        assert_eq!(recent.floor(), Revision(8));
        recent.push(revision(22, 20_000));
        assert_eq!((recent.floor(), kept(&mut recent, 22, 1)), (Revision(21), (vec![22], true)));
    }
}
