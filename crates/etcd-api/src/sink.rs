//! Where the services put the messages of a streamed response.

use bytes::Bytes;
use tonic::{Code, Status};

use crate::backlog::{Backlog, LargeTurn, PartTurn};
use crate::memory::Held;
use crate::stats::{GrpcStats, Meter};
use crate::wire::{Answer, Encoding, Outlet, encode_frame};

/// The responses of one call, counted on their way out.
pub(crate) struct Sink<'a> {
    outlet: Outlet,
    meter: Meter<'a>,
    encoding: Encoding,
    backlog: &'a Backlog,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(
        outlet: Outlet,
        meter: Meter<'a>,
        encoding: Encoding,
        backlog: &'a Backlog,
    ) -> Self {
        Sink { outlet, meter, encoding, backlog }
    }

    /// Sends a message; waits while the client does not read.
    ///
    /// # Errors
    /// The status that ends the call if it is too large for a message.
    pub(crate) async fn send(&self, message: &impl Answer) -> Result<(), Status> {
        let frame = encode_frame(message)?;
        self.meter.sent(frame.len());
        self.send_framed(frame).await;
        Ok(())
    }

    /// Waits until a part of about so many bytes can be made: the client has
    /// taken the last one, and there is memory for another.
    pub(crate) async fn part_turn(&self, bytes: usize) -> PartTurn<'a> {
        self.ready().await;
        self.backlog.part_turn(bytes).await
    }

    /// Sends a part that was made in a turn.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(crate) async fn send_part(
        &self,
        mut turn: PartTurn<'_>,
        message: &impl Answer,
    ) -> Result<(), Status> {
        let frame = encode_frame(message)?;
        self.meter.sent(frame.len());
        let frame = turn.count(self.encoding.encode(frame).await);
        // Over before the client takes it: one that does not read this stream
        // may wait for another one.
        turn.end().await;
        self.outlet.send(frame).await;
        Ok(())
    }

    /// Waits until an answer that may be large can be made.
    pub(crate) async fn large_turn(&self) -> LargeTurn {
        self.backlog.large_turn().await
    }

    /// What the watchers of this stream hold: nothing so far.
    pub(crate) fn watchers(&self) -> Held {
        self.backlog.watchers()
    }

    /// Waits until what was sent before is on its way.
    pub(crate) async fn ready(&self) {
        self.outlet.ready().await;
    }

    /// Waits until a watch stream may have a piece of history of so many bytes,
    /// and counts it.
    pub(crate) async fn history_room(&self, bytes: usize) -> Held {
        self.backlog.history_room(bytes).await
    }

    /// Whether messages are compressed on their way.
    pub(crate) fn compresses(&self) -> bool {
        self.encoding != Encoding::Identity
    }

    /// Sends bytes of whole framed messages. Each message is to be counted with
    /// [`Sink::count_sent`].
    pub(crate) async fn send_framed(&self, chunk: Bytes) {
        let chunk = self.encoding.encode(chunk).await;
        self.outlet.send(chunk).await;
    }

    /// Counts a message of so many bytes, with what frames it.
    pub(crate) fn count_sent(&self, bytes: usize) {
        self.meter.sent(bytes);
    }

    /// Counts a request of so many bytes on the same call.
    pub(crate) fn count_received(&self, bytes: usize) {
        self.meter.received(bytes);
    }

    /// What counts the call.
    pub(crate) fn meter(&self) -> &Meter<'a> {
        &self.meter
    }

    pub(crate) fn stats(&self) -> &GrpcStats {
        self.meter.stats()
    }

    /// The call has ended.
    pub(crate) fn finish(mut self, result: Result<(), Status>) -> Result<(), Status> {
        self.meter.finish(result.as_ref().err().map_or(Code::Ok, Status::code));
        result
    }
}
