//! How a stream comes by history: piece by piece, each counted for its connection
//! until the client takes it, so that those that do not read wait for themselves.

use std::pin::Pin;

use crate::memory::Held;
use crate::sink::Sink;

/// What a stream is granted of history at a time, in bytes.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// What one stream holds of history, or waits for.
#[derive(Default)]
pub(super) struct History<'a> {
    /// Counts what was granted, until it is on its way to the client.
    held: Option<Held>,
    next: Next<'a>,
}

/// What comes next.
#[derive(Default)]
enum Next<'a> {
    /// Nothing: there is no need.
    #[default]
    Nothing,
    /// The stream wants no more; what it has had is on its way to the client.
    End,
    /// The stream wants more, once the client has taken what it has had.
    Piece,
    /// It waits for room, with its place in the line.
    Room(Pin<Box<dyn Future<Output = Held> + Send + 'a>>),
}

impl<'a> History<'a> {
    /// The stream wants another piece.
    pub(super) fn want(&mut self) {
        self.next = Next::Piece;
    }

    /// The stream wants no more.
    pub(super) fn end(&mut self) {
        self.next = Next::End;
    }

    /// The stream has something else to send, and may have to wait for its client:
    /// others do not wait for it meanwhile.
    pub(super) fn step_aside(&mut self) {
        if let Next::Room(_) = self.next {
            self.next = Next::Piece;
        }
    }

    /// A piece turned out to have so many bytes.
    pub(super) fn came(&mut self, bytes: usize) {
        if let Some(held) = &mut self.held {
            held.set(bytes.max(held.bytes()));
        }
    }

    /// Waits until the stream may be granted a piece. Dropping the future loses
    /// nothing.
    pub(super) async fn next(&mut self, sink: &'a Sink<'a>) {
        loop {
            match &mut self.next {
                Next::Nothing => std::future::pending().await,
                Next::End => {
                    sink.ready().await;
                    *self = History::default();
                }
                Next::Piece => {
                    sink.ready().await;
                    self.held = None;
                    self.next = Next::Room(Box::pin(sink.history_room(PIECE_BYTES)));
                }
                Next::Room(room) => {
                    self.held = Some(room.await);
                    self.next = Next::Nothing;
                    return;
                }
            }
        }
    }
}
