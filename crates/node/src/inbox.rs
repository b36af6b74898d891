//! What waits for a lane's task: responses, and the news for watch streams,
//! within bounds.

use std::sync::Arc;

use t4_kv_types::{Event, OpError, Revision};
use t4_state_machine::Response;
use tokio::sync::oneshot;

/// Revisions that wait, at most. Beyond it they are dropped, and read back from
/// history when the task runs again.
pub(crate) const REVISIONS_MAX: usize = 16_384;

/// The same in bytes of events.
pub(crate) const BYTES_MAX: usize = 16 << 20;

/// Whole revisions with their events, ascending.
pub(crate) type Revisions = Vec<(Revision, Arc<[Event]>)>;

/// A response and the caller that waits for it.
pub(crate) struct Completion {
    pub(crate) to: oneshot::Sender<Result<Response, OpError>>,
    pub(crate) result: Result<Response, OpError>,
}

/// What a batch has for watch streams.
#[derive(Default)]
pub(crate) struct News {
    revisions: Revisions,
    bytes: usize,
    /// History below this was given up.
    pub(crate) compacted: Option<Revision>,
}

impl News {
    pub(crate) fn new(revisions: Revisions, compacted: Option<Revision>) -> Self {
        let cost = |event: &Event| size_of::<Event>() + event.kv.key.len() + event.kv.value.len();
        let bytes = revisions.iter().flat_map(|(_, events)| &**events).map(cost).sum();
        News { revisions, bytes, compacted }
    }

    /// How many events there are.
    pub(crate) fn events(&self) -> usize {
        self.revisions.iter().map(|(_, events)| events.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.revisions.is_empty() && self.compacted.is_none()
    }
}

#[derive(Default)]
pub(crate) struct Inbox {
    completions: Vec<Completion>,
    /// Those that follow the last ones that were taken, without a gap.
    revisions: Revisions,
    /// Of them.
    bytes: usize,
    /// There were too many: `revisions` is empty, and stays so until they were
    /// asked for.
    overrun: bool,
    compacted: Option<Revision>,
    /// The hub runs and needs every revision.
    pub(crate) watching: bool,
    pub(crate) closed: bool,
}

/// What the lane's task has to do.
pub(crate) struct Taken {
    pub(crate) completions: Vec<Completion>,
    /// To be published, unless `overrun`.
    pub(crate) revisions: Revisions,
    /// What became visible is to be read from history.
    pub(crate) overrun: bool,
    /// After that.
    pub(crate) compacted: Option<Revision>,
    pub(crate) closed: bool,
}

impl Inbox {
    /// Adds what a batch has. Whether there is something to do.
    pub(crate) fn add(&mut self, completions: &mut Vec<Completion>, news: &News) -> bool {
        let is_told = self.watching && !news.is_empty();
        let has_work = is_told || !completions.is_empty();
        self.completions.append(completions);
        if is_told {
            self.add_revisions(news);
            self.compacted = self.compacted.max(news.compacted);
        }
        has_work
    }

    fn add_revisions(&mut self, news: &News) {
        self.bytes += news.bytes;
        let count = self.revisions.len() + news.revisions.len();
        if self.overrun || count > REVISIONS_MAX || self.bytes > BYTES_MAX {
            self.overrun = true;
            self.bytes = 0;
            self.revisions = Vec::new();
        } else {
            self.revisions.extend_from_slice(&news.revisions);
        }
    }

    /// Takes all that there is.
    pub(crate) fn take(&mut self) -> Taken {
        self.bytes = 0;
        Taken {
            completions: std::mem::take(&mut self.completions),
            revisions: std::mem::take(&mut self.revisions),
            overrun: std::mem::take(&mut self.overrun),
            compacted: self.compacted.take(),
            closed: self.closed,
        }
    }

    /// Whether there is something to take.
    pub(crate) fn has_work(&self) -> bool {
        self.closed
            || self.overrun
            || !self.completions.is_empty()
            || !self.revisions.is_empty()
            || self.compacted.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use t4_kv_types::{EventKind, KeyValue};

    fn event(value_bytes: usize) -> Arc<[Event]> {
        let kv = KeyValue { value: vec![0; value_bytes].into(), ..KeyValue::default() };
        Arc::from([Event { kind: EventKind::Put, kv }])
    }

    fn revisions(range: std::ops::Range<i64>) -> News {
        let event = event(0);
        News::new(range.map(|at| (Revision(at), event.clone())).collect(), None)
    }

    fn watched() -> Inbox {
        Inbox { watching: true, ..Inbox::default() }
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let mut inbox = Inbox::default();
        assert!(!inbox.add(&mut Vec::new(), &revisions(2..9)));
        assert!(inbox.take().revisions.is_empty() && !inbox.has_work());
    }

    #[test]
    fn it_is_overrun_by_one_revision_too_many_and_by_nothing_else() {
        let mut inbox = watched();
        let last = 2 + REVISIONS_MAX as i64;
        inbox.add(&mut Vec::new(), &revisions(2..last));
        inbox.add(&mut Vec::new(), &News::new(Vec::new(), Some(Revision(7))));
        let taken = inbox.take();
        assert_eq!((taken.revisions.len(), taken.overrun), (REVISIONS_MAX, false));
        assert_eq!(taken.compacted, Some(Revision(7)));

        inbox.add(&mut Vec::new(), &revisions(2..last));
        inbox.add(&mut Vec::new(), &revisions(last..last + 1));
        // What comes now is not told apart from what was dropped.
        inbox.add(&mut Vec::new(), &revisions(last + 1..last + 2));
        let taken = inbox.take();
        assert!(taken.overrun && taken.revisions.is_empty());
        inbox.add(&mut Vec::new(), &revisions(last + 2..last + 3));
        let taken = inbox.take();
        assert!(!taken.overrun && taken.revisions.len() == 1);
    }

    #[test]
    fn large_events_are_bounded_by_their_bytes() {
        let mut inbox = watched();
        let large = |at| News::new(vec![(Revision(at), event(BYTES_MAX / 4))], None);
        for at in 2..5 {
            inbox.add(&mut Vec::new(), &large(at));
        }
        assert!(!inbox.overrun && inbox.revisions.len() == 3);
        inbox.add(&mut Vec::new(), &large(5));
        assert!(inbox.overrun && inbox.revisions.is_empty());
    }
}
