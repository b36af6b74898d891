//! The events of some revisions for the watchers of one range: computed once
//! per kind of filter and shared.

use std::sync::Arc;

use t4_kv_types::{Event, Revision};

use crate::message::{Batch, Piece, Selection};
use crate::recent::RevisionEvents;
use crate::watcher::Filter;

/// The pieces for all watchers with the same range and filter.
pub(crate) struct Parcel {
    // Never empty.
    pieces: Arc<[Piece]>,
    /// The bytes of the revisions that the pieces keep alive.
    pub(crate) pinned_bytes: usize,
    /// The bytes of the pieces themselves.
    pub(crate) piece_bytes: usize,
}

impl Parcel {
    /// The part for a watcher that has everything before `next`.
    pub(crate) fn since(&self, next: Revision) -> Option<Batch> {
        let skip = self.pieces.partition_point(|piece| piece.revision < next);
        (skip < self.pieces.len()).then(|| Batch::new(Arc::clone(&self.pieces), skip))
    }
}

/// The parcels of one range, built on first use.
pub(crate) struct Parcels<'a> {
    revisions: &'a [RevisionEvents],
    // (index of the revision, index of the event), ascending.
    at: &'a [(u32, u32)],
    made: [Option<Option<Parcel>>; Filter::KINDS],
}

impl<'a> Parcels<'a> {
    pub(crate) fn new(revisions: &'a [RevisionEvents], at: &'a [(u32, u32)]) -> Self {
        Parcels { revisions, at, made: [const { None }; Filter::KINDS] }
    }

    /// The parcel for this filter; `None` if the filter leaves no events.
    pub(crate) fn filtered(&mut self, filter: Filter) -> Option<&Parcel> {
        let (revisions, at) = (self.revisions, self.at);
        self.made[filter.index()].get_or_insert_with(|| pack(revisions, at, filter)).as_ref()
    }
}

fn pack(revisions: &[RevisionEvents], at: &[(u32, u32)], filter: Filter) -> Option<Parcel> {
    let mut pieces = Vec::new();
    let (mut pinned_bytes, mut index_bytes) = (0, 0);
    for of_one_revision in at.chunk_by(|a, b| a.0 == b.0) {
        let revision = &revisions[of_one_revision[0].0 as usize];
        let Some(selection) = select(&revision.events, of_one_revision, filter) else { continue };
        if let Selection::Some(indexes) = &selection {
            index_bytes += size_of_val::<[u32]>(indexes);
        }
        pinned_bytes += revision.bytes;
        let events = Arc::clone(&revision.events);
        pieces.push(Piece { revision: revision.revision, events, selection });
    }
    if pieces.is_empty() {
        return None;
    }
    let pieces: Arc<[Piece]> = pieces.into();
    let piece_bytes = size_of_val::<[Piece]>(&pieces) + index_bytes;
    Some(Parcel { pieces, pinned_bytes, piece_bytes })
}

/// Selects the events of one revision at these indexes that the filter admits.
fn select(events: &[Event], at: &[(u32, u32)], filter: Filter) -> Option<Selection> {
    let admitted = |&&(_, event): &&(u32, u32)| filter.admits(events[event as usize].kind);
    let count = at.iter().filter(admitted).count();
    let mut indexes = at.iter().filter(admitted).map(|&(_, event)| event);
    match count {
        0 => None,
        _ if count == events.len() => Some(Selection::All),
        1 => indexes.next().map(Selection::One),
        _ => Some(Selection::Some(indexes.collect())),
    }
}

#[cfg(test)]
mod tests {
    use t4_kv_types::{EventKind, KeyValue};

    use super::*;

    fn revision(at: i64, kinds: &[EventKind]) -> RevisionEvents {
        let event = |&kind| Event { kind, kv: KeyValue::default() };
        RevisionEvents::new(Revision(at), kinds.iter().map(event).collect())
    }

    #[test]
    fn selections_are_the_smallest_that_say_it() {
        use EventKind::{Delete, Put};
        let revisions =
            [revision(5, &[Put, Delete, Put]), revision(6, &[Delete]), revision(9, &[Put])];
        let at = [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)];
        let mut parcels = Parcels::new(&revisions, &at);
        let mut selections = |no_put, no_delete, next| -> Option<Vec<(i64, Selection)>> {
            let batch = parcels.filtered(Filter { no_put, no_delete })?.since(Revision(next))?;
            Some(batch.pieces().iter().map(|p| (p.revision.0, p.selection.clone())).collect())
        };
        let all = vec![(5, Selection::All), (6, Selection::All), (9, Selection::All)];
        assert_eq!(selections(false, false, 1), Some(all.clone()));
        assert_eq!(selections(false, false, 6), Some(all[1..].to_vec()));
        assert_eq!(selections(false, false, 10), None);
        let puts = vec![(5, Selection::Some(Arc::from([0, 2]))), (9, Selection::All)];
        assert_eq!(selections(false, true, 5), Some(puts));
        let deletes = vec![(5, Selection::One(1)), (6, Selection::All)];
        assert_eq!(selections(true, false, 0), Some(deletes));
        assert_eq!(selections(true, true, 0), None);
    }

    #[test]
    fn batches_count_and_list_their_events() {
        let revisions = [revision(5, &[EventKind::Put; 3]), revision(6, &[EventKind::Put; 2])];
        let mut parcels = Parcels::new(&revisions, &[(0, 0), (0, 2), (1, 1)]);
        let everything = Filter { no_put: false, no_delete: false };
        let parcel = parcels.filtered(everything).expect("three events");
        let batch = parcel.since(Revision(0)).expect("three events");
        assert_eq!((batch.event_count(), batch.events().count()), (3, 3));
        let rest = parcel.since(Revision(6)).expect("one event");
        assert_eq!((rest.event_count(), rest.events().count()), (1, 1));
        assert!(!rest.is_shared_with(&batch) && rest.is_shared_with(&rest.clone()));
    }
}
