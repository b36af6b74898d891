//! The options of a watcher, and the hub's state for it.

use t4_kv_types::{EventKind, KeyRange, Revision};

/// The options of a watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSpec {
    /// The keys to watch. The watcher keeps these buffers, so they should not
    /// be slices of larger ones.
    pub range: KeyRange,
    /// The first revision to deliver; 0: everything after the newest.
    pub start: Revision,
    /// Omit puts.
    pub no_put: bool,
    /// Omit deletes.
    pub no_delete: bool,
    /// Passed on in [`Message::Events`](crate::Message): the sender adds the
    /// previous value of each key.
    pub prev_kv: bool,
    /// Send [`Message::Progress`](crate::Message) on the periodic tick while
    /// there are no events.
    pub progress_notify: bool,
    /// Passed on in [`Message::Events`](crate::Message): the sender may split
    /// a large message.
    pub fragment: bool,
}

impl WatchSpec {
    /// All future events in `range`.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        WatchSpec {
            range,
            start: Revision(0),
            no_put: false,
            no_delete: false,
            prev_kv: false,
            progress_notify: false,
            fragment: false,
        }
    }
}

/// The kinds of events to omit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) no_put: bool,
    pub(crate) no_delete: bool,
}

impl Filter {
    /// The number of different filters.
    pub(crate) const KINDS: usize = 4;

    /// A number below [`Filter::KINDS`], different for each filter.
    pub(crate) fn index(self) -> usize {
        usize::from(self.no_put) | usize::from(self.no_delete) << 1
    }

    pub(crate) fn admits(self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }
}

/// The state of a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It gets each revision as it is published.
    Live,
    /// It is in a cohort, which holds its position.
    CatchingUp,
    /// Its stream is full; it waits for space, outside of all matching.
    Parked,
}

/// The hub's state for a watcher.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// The index of its stream.
    pub(crate) stream: u32,
    /// Its id within the stream.
    pub(crate) id: i64,
    pub(crate) range: KeyRange,
    pub(crate) standing: Standing,
    /// Live: earlier revisions do not concern it. Parked: its first matching
    /// revision that is not queued, or an earlier one. Catching up: stale, the
    /// cohort's position is used instead.
    pub(crate) next: Revision,
    /// The requested start; 0 or less: after the newest revision.
    start: Revision,
    pub(crate) filter: Filter,
    pub(crate) prev_kv: bool,
    pub(crate) progress_notify: bool,
    pub(crate) fragment: bool,
    /// Whether events were queued for it since the last periodic tick.
    pub(crate) sent: bool,
}

impl Watcher {
    pub(crate) fn new(stream: u32, id: i64, spec: &WatchSpec) -> Self {
        Watcher {
            stream,
            id,
            range: spec.range.clone(),
            standing: Standing::Live,
            next: spec.start,
            start: spec.start,
            filter: Filter { no_put: spec.no_put, no_delete: spec.no_delete },
            prev_kv: spec.prev_kv,
            progress_notify: spec.progress_notify,
            fragment: spec.fragment,
            sent: false,
        }
    }

    /// Whether it was created to start above `revision`.
    pub(crate) fn starts_above(&self, revision: Revision) -> bool {
        self.start > revision
    }
}
