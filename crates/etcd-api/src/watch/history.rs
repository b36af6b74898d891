//! How a stream comes by history: piece by piece, each counted for its connection
//! until the client takes it, so that those that do not read wait for themselves.

use std::pin::Pin;

use crate::memory::Held;
use crate::sink::Sink;

/// The first piece of history that a stream is granted, in bytes: it counts before
/// anything is read, and a thousand clients may reconnect at the same time.
const FIRST_PIECE_BYTES: usize = 64 << 10;
/// Each piece is twice as large as the one before that the client has taken, up to
/// this, in bytes.
pub(crate) const PIECE_BYTES_MAX: usize = 1 << 20;

/// What one stream holds of history, or waits for.
#[derive(Default)]
pub(super) struct History<'a> {
    /// Counts what was granted, until it is on its way to the client.
    held: Option<Held>,
    /// The last piece that was granted, in bytes; 0 before the first.
    piece: usize,
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

    /// Waits until the stream may be granted a piece, and answers with its size in
    /// bytes. Dropping the future loses nothing.
    pub(super) async fn next(&mut self, sink: &'a Sink<'a>) -> usize {
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
                    self.next = Next::Room(Box::pin(sink.history_room(self.next_piece())));
                }
                Next::Room(room) => {
                    self.held = Some(room.await);
                    self.next = Next::Nothing;
                    self.piece = self.next_piece();
                    return self.piece;
                }
            }
        }
    }

    fn next_piece(&self) -> usize {
        (2 * self.piece).clamp(FIRST_PIECE_BYTES, PIECE_BYTES_MAX)
    }
}
