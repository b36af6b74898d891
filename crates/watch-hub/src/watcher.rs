//! What a watcher asks for, and what the hub keeps of it.

use t4_kv_types::{EventKind, KeyRange, Revision};

/// What a watcher wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSpec {
    /// Which keys. The watcher keeps these buffers, which should be no slices of
    /// larger ones.
    pub range: KeyRange,
    /// From which revision on; 0: everything after the newest.
    pub start: Revision,
    /// Leave puts out.
    pub no_put: bool,
    /// Leave deletes out.
    pub no_delete: bool,
    /// Passed on in [`Message::Events`](crate::Message): the sender adds each
    /// key as it was before.
    pub prev_kv: bool,
    /// Send [`Message::Progress`](crate::Message) on the periodic tick while
    /// nothing happens.
    pub progress_notify: bool,
    /// Passed on in [`Message::Events`](crate::Message): the sender may split
    /// a large message.
    pub fragment: bool,
}

impl WatchSpec {
    /// Everything that happens in `range` from now on.
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

/// Which kinds of events are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) no_put: bool,
    pub(crate) no_delete: bool,
}

impl Filter {
    /// How many different filters there are.
    pub(crate) const KINDS: usize = 4;

    /// A number below [`Filter::KINDS`], different for each.
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

/// Where a watcher stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It gets each revision as it is published.
    Live,
    /// It is in a cohort, which knows its position.
    CatchingUp,
    /// Its stream has no room; it waits for that outside of all matching.
    Parked,
}

/// A watcher, as the hub keeps it.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// Its stream's index.
    pub(crate) stream: u32,
    /// Its name in the stream.
    pub(crate) id: i64,
    pub(crate) range: KeyRange,
    pub(crate) standing: Standing,
    /// Live: revisions below do not concern it. Parked: its first matching
    /// revision that is not queued, or a revision below that one. Catching up:
    /// stale, the cohort's position counts.
    pub(crate) next: Revision,
    /// The revision that its creation named; 0 or less: from now on.
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

    /// Whether its creation named a revision above `revision`.
    pub(crate) fn starts_above(&self, revision: Revision) -> bool {
        self.start > revision
    }
}
