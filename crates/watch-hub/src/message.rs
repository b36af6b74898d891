//! What the hub tells a stream.

use std::sync::Arc;

use t4_kv_types::{Event, Revision};

/// One thing to tell the client of a stream, in the order of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The watcher exists now.
    Created {
        /// Its name.
        id: i64,
        /// The newest visible revision.
        revision: Revision,
    },
    /// There is no watcher.
    CreateRefused {
        /// The newest visible revision.
        revision: Revision,
        /// Why.
        reason: RefusalReason,
    },
    /// Events for a watcher: at least one.
    Events {
        /// The watcher.
        id: i64,
        /// For a live watcher the revision of the events; for one that catches
        /// up the newest published one, which may exceed that of the events.
        header_revision: Revision,
        /// Whole revisions, ascending: one for a live watcher.
        batch: Batch,
        /// [`WatchSpec::prev_kv`](crate::WatchSpec::prev_kv).
        prev_kv: bool,
        /// [`WatchSpec::fragment`](crate::WatchSpec::fragment).
        fragment: bool,
    },
    /// Every event up to `revision` stands in the queue before this message.
    Progress {
        /// The watcher, or [`Message::ALL_WATCHERS`] in answer to a request:
        /// then it speaks for all of the stream.
        id: i64,
        /// Up to which revision.
        revision: Revision,
    },
    /// The watcher is gone; nothing follows for it.
    Canceled {
        /// The watcher.
        id: i64,
        /// The newest visible revision.
        revision: Revision,
        /// Why.
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
    /// It was to start at a negative revision.
    NegativeStart,
    /// Its range can contain no key.
    EmptyRange,
    /// Its id is in use on the stream.
    DuplicateId,
}

/// Why a watcher ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// The client asked for it.
    Requested,
    /// The store was compacted at this revision and the watcher is not beyond.
    Compacted(Revision),
    /// History that it needs is damaged; the text says where.
    Damaged(Arc<str>),
}

/// Which events of a revision a watcher gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every one.
    All,
    /// The one with this index.
    One(u32),
    /// Those with these indexes, ascending: at least two.
    Some(Arc<[u32]>),
}

/// What a watcher gets of one revision: at least one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The revision.
    pub revision: Revision,
    /// All its events, shared by everyone who gets some of them.
    pub events: Arc<[Event]>,
    /// Which of them.
    pub selection: Selection,
}

impl Piece {
    /// How many events are selected.
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

/// What a watcher gets in one message: some of the events of some revisions.
/// Cheap to clone; watchers of one range share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pieces: Arc<[Piece]>,
    // What is before belongs to watchers further behind, who share the pieces.
    // skip < pieces.len()
    skip: u32,
}

impl Batch {
    pub(crate) fn new(pieces: Arc<[Piece]>, skip: usize) -> Self {
        let skip = u32::try_from(skip).expect("a read of history has fewer revisions");
        Batch { pieces, skip }
    }

    /// The revisions, ascending: at least one.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces[self.skip as usize..]
    }

    /// The events, in order.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.pieces().iter().flat_map(Piece::selected)
    }

    /// How many events there are.
    #[must_use]
    pub fn event_count(&self) -> usize {
        self.pieces().iter().map(Piece::event_count).sum()
    }

    /// Whether both are the same shared batch, so that what was encoded for
    /// one serves the other. False does not mean that the events differ.
    #[must_use]
    pub fn is_shared_with(&self, other: &Batch) -> bool {
        self.shares_pieces_with(other) && self.skip == other.skip
    }

    pub(crate) fn shares_pieces_with(&self, other: &Batch) -> bool {
        Arc::ptr_eq(&self.pieces, &other.pieces)
    }
}
