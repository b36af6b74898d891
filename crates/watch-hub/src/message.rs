//! The messages of the hub to a stream.

use std::sync::Arc;

use t4_kv_types::{Event, Revision};

/// A message for the client of a stream, in queue order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The watcher exists now.
    Created {
        /// Its id.
        id: i64,
        /// The newest visible revision.
        revision: Revision,
    },
    /// The watcher was not created.
    CreateRefused {
        /// The newest visible revision.
        revision: Revision,
        /// The reason.
        reason: RefusalReason,
    },
    /// Events for a watcher: at least one.
    Events {
        /// The watcher.
        id: i64,
        /// For a live watcher, the revision of the events; for one that catches
        /// up, the newest published revision, which may exceed that of the
        /// events.
        header_revision: Revision,
        /// Whole revisions, ascending: one for a live watcher.
        batch: Batch,
        /// [`WatchSpec::prev_kv`](crate::WatchSpec::prev_kv).
        prev_kv: bool,
        /// [`WatchSpec::fragment`](crate::WatchSpec::fragment).
        fragment: bool,
    },
    /// Every event up to `revision` is in the queue before this message.
    Progress {
        /// The watcher; or [`Message::ALL_WATCHERS`], in answer to a request,
        /// for all watchers of the stream.
        id: i64,
        /// The revision up to which the progress holds.
        revision: Revision,
    },
    /// The watcher is gone; nothing follows for it.
    Canceled {
        /// The watcher.
        id: i64,
        /// The newest visible revision.
        revision: Revision,
        /// The reason.
        reason: CancelReason,
    },
}

impl Message {
    /// The `id` of a progress message for all watchers of the stream.
    pub const ALL_WATCHERS: i64 = -1;
}

/// Why a watcher was not created, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// Its start revision is negative.
    NegativeStart,
    /// Its range can contain no key.
    EmptyRange,
    /// Its id is in use on the stream.
    DuplicateId,
}

/// Why a watcher ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// The client requested it.
    Requested,
    /// The store was compacted at this revision and the watcher needs an
    /// earlier one.
    Compacted(Revision),
    /// History that it needs is damaged; the text says where.
    Damaged(Arc<str>),
}

/// The events of a revision that a watcher gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// The one with this index.
    One(u32),
    /// Those with these indexes, ascending; at least two.
    Some(Arc<[u32]>),
}

/// The part of one revision that a watcher gets: at least one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The revision.
    pub revision: Revision,
    /// All its events, shared by all watchers that get some of them.
    pub events: Arc<[Event]>,
    /// Which of them are selected.
    pub selection: Selection,
}

impl Piece {
    /// The number of selected events.
    #[must_use]
    pub fn event_count(&self) -> usize {
        match &self.selection {
            Selection::All => self.events.len(),
            Selection::One(_) => 1,
            Selection::Some(indexes) => indexes.len(),
        }
    }

    /// The selected events, in the order in which the request made them.
    pub fn selected(&self) -> impl Iterator<Item = &Event> {
        let (all, one, some): (&[Event], Option<u32>, &[u32]) = match &self.selection {
            Selection::All => (&self.events, None, &[]),
            Selection::One(index) => (&[], Some(*index), &[]),
            Selection::Some(indexes) => (&[], None, indexes),
        };
        let indexed = one.into_iter().chain(some.iter().copied());
        all.iter().chain(indexed.map(|index| &self.events[index as usize]))
    }
}

/// The contents of one message to a watcher: some of the events of some
/// revisions. Cheap to clone; watchers of one range share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pieces: Arc<[Piece]>,
    // The pieces before it belong to watchers further behind that share the
    // pieces. skip < pieces.len()
    skip: u32,
}

impl Batch {
    pub(crate) fn new(pieces: Arc<[Piece]>, skip: usize) -> Self {
        let skip = u32::try_from(skip).expect("a read of history has fewer revisions");
        Batch { pieces, skip }
    }

    /// The revisions, ascending; at least one.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces[self.skip as usize..]
    }

    /// The events, in order.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.pieces().iter().flat_map(Piece::selected)
    }

    /// The number of events.
    #[must_use]
    pub fn event_count(&self) -> usize {
        self.pieces().iter().map(Piece::event_count).sum()
    }

    /// Whether both are the same shared batch, so that the encoding of one can
    /// be reused for the other. False does not mean that the events differ.
    #[must_use]
    pub fn is_shared_with(&self, other: &Batch) -> bool {
        self.shares_pieces_with(other) && self.skip == other.skip
    }

    pub(crate) fn shares_pieces_with(&self, other: &Batch) -> bool {
        Arc::ptr_eq(&self.pieces, &other.pieces)
    }
}
