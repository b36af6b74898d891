//! One stream of watchers, as one etcd Watch call has them.

use std::sync::Arc;

use t4_watch_hub::{Heard, Message, WatchSpec};

use crate::lane::{Lane, OpenStream};

/// A stream of watchers; they share one queue of messages. Dropping it ends
/// them.
///
/// A client that does not read costs a bounded amount of memory: when the
/// queue is full, its watchers fall behind and are brought up from history
/// once it is read again.
pub struct WatchStream {
    lane: Arc<Lane>,
    stream: OpenStream,
}

impl WatchStream {
    pub(crate) fn open(lane: Arc<Lane>) -> Self {
        let stream = lane.open_stream();
        WatchStream { lane, stream }
    }

    /// Adds a watcher. Its id is the next free one from 0 on, unless one is
    /// given. What became of it comes as a message. Without a start it begins
    /// after all that was acknowledged before, on whichever connection.
    pub fn create(&self, id: Option<i64>, spec: WatchSpec) {
        self.lane.ask(&self.stream, |hub| hub.create(self.stream.id(), id, spec));
    }

    /// Ends a watcher; a message says so. An unknown id does nothing.
    pub fn cancel(&self, id: i64) {
        self.lane.ask(&self.stream, |hub| hub.cancel(self.stream.id(), id));
    }

    /// Asks up to which revision all of the stream's watchers have had their
    /// events; the answer queues behind those events.
    pub fn request_progress(&self) {
        self.lane.request_progress(&self.stream);
    }

    /// The periodic tick for watchers that asked to be told of progress.
    pub fn notify_progress(&self) {
        self.lane.with_hub(&self.stream, |hub| hub.notify_progress(self.stream.id()));
    }

    /// The next message if there is one already. It asks for no history:
    /// [`next`](Self::next) does.
    pub fn try_next(&self) -> Option<Message> {
        self.lane.with_hub(&self.stream, |hub| hub.pop(self.stream.id())).flatten()
    }

    /// The next message; `None` once the node has stopped, or when the stream
    /// cannot be continued (its client should open a new one).
    ///
    /// Watchers that catch up are given as much history as there is room for in
    /// the stream. [`hear`](Self::hear) leaves that to the caller.
    pub async fn next(&self) -> Option<Message> {
        loop {
            match self.hear().await? {
                Heard::Message(message) => return Some(message),
                Heard::HistoryWanted => self.grant_history(usize::MAX),
                Heard::HistoryEnds => {}
            }
        }
    }

    /// The next message, or what there is to know of the stream's history: it is
    /// given none but what [`grant_history`](Self::grant_history) allows. `None`
    /// as for [`next`](Self::next).
    pub async fn hear(&self) -> Option<Heard> {
        loop {
            let heard = self.lane.with_hub(&self.stream, |hub| hub.hear(self.stream.id()))?;
            if heard.is_some() {
                return heard;
            }
            if self.lane.is_closed() {
                return None;
            }
            self.stream.waiting.notified().await;
        }
    }

    /// Lets watchers that catch up have about so many bytes of events: more by one
    /// read of history (1 MiB, or one revision) at most.
    pub fn grant_history(&self, bytes: usize) {
        self.lane.with_hub(&self.stream, |hub| hub.grant_history(self.stream.id(), bytes));
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.lane.close_stream(&self.stream);
    }
}
