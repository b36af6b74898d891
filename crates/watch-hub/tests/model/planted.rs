//! Bugs to plant between the hub and its surroundings, once per run.

use crate::oracle::{Pieces, Seen};

/// The fault to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The hub does not see one event of a published revision.
    SkipsEventOfPublish,
    /// The hub does not see one revision of a piece of history.
    SkipsRevisionOfHistory,
    /// A revision is missing in a message.
    LosesPiece,
    /// One event of a revision is missing in a message.
    LosesEvent,
    /// A message is delivered twice.
    RepeatsMessage,
    /// A revision is split over two messages.
    SplitsRevision,
    /// Two revisions of a message are swapped.
    SwapsRevisions,
    /// Progress claims a revision that a watcher does not have.
    ProgressAhead,
    /// A stream is never reported as ready again.
    ForgetsReady,
    /// A cancelled watcher gets an event.
    OutlivesCancel,
}

impl Fault {
    /// All except `None`.
    pub(crate) const PLANTED: [Fault; 10] = [
        Fault::SkipsEventOfPublish,
        Fault::SkipsRevisionOfHistory,
        Fault::LosesPiece,
        Fault::LosesEvent,
        Fault::RepeatsMessage,
        Fault::SplitsRevision,
        Fault::SwapsRevisions,
        Fault::ProgressAhead,
        Fault::ForgetsReady,
        Fault::OutlivesCancel,
    ];
}

/// What a client sees of a message if this fault occurs; `None` if it cannot.
/// `owed` is the first revision that the client still has to receive.
pub(crate) fn tamper(fault: Fault, seen: &Seen, owed: Option<i64>) -> Option<Vec<Seen>> {
    match (fault, seen) {
        (Fault::ProgressAhead, Seen::Progress { id: -1, .. }) => {
            Some(vec![Seen::Progress { id: -1, revision: owed? }])
        }
        (Fault::OutlivesCancel, Seen::Canceled { id, revision, .. }) => {
            let pieces = vec![(*revision, vec![(true, b"a".to_vec(), 0)])];
            Some(vec![seen.clone(), Seen::Events { id: *id, header: *revision, pieces }])
        }
        (_, Seen::Events { id, header, pieces }) => {
            let changed = tamper_pieces(fault, pieces.clone())?;
            let message = |pieces| Seen::Events { id: *id, header: *header, pieces };
            Some(changed.into_iter().filter(|pieces| !pieces.is_empty()).map(message).collect())
        }
        _ => None,
    }
}

/// The pieces of the messages that replace one with these pieces.
fn tamper_pieces(fault: Fault, mut pieces: Pieces) -> Option<Vec<Pieces>> {
    let (_, of_first) = pieces.first()?;
    let several = of_first.len() > 1;
    match fault {
        Fault::LosesPiece => {
            pieces.remove(0);
            Some(vec![pieces])
        }
        Fault::LosesEvent if several => {
            pieces[0].1.pop();
            Some(vec![pieces])
        }
        Fault::RepeatsMessage => Some(vec![pieces.clone(), pieces]),
        Fault::SplitsRevision if several => {
            let first = pieces[0].1.remove(0);
            Some(vec![vec![(pieces[0].0, vec![first])], pieces])
        }
        Fault::SwapsRevisions if pieces.len() > 1 => {
            pieces.swap(0, 1);
            Some(vec![pieces])
        }
        _ => None,
    }
}
