//! The bounds of a hub, each with its name, unit and default.

/// How much a hub may hold. A bound of 0 counts as 1: something must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages that may be queued for one stream before its watchers stop
    /// taking events, in addition to one per watcher of the stream: one
    /// revision that concerns every watcher of a large stream is not lag.
    /// Default 1024.
    pub stream_queue_messages: usize,
    /// Bytes of events that may be queued for one stream before its watchers
    /// stop taking events. One revision or one piece of history admitted below
    /// the bound may exceed it. Default 4 MiB.
    pub stream_queue_bytes: usize,
    /// The newest revisions kept in memory, for watchers that are nearly live.
    /// Default 1024.
    pub recent_revisions: usize,
    /// Bytes of events of the newest revisions kept in memory. The newest one
    /// is always kept. Default 4 MiB.
    pub recent_bytes: usize,
    /// Revisions requested in one read of history, and delivered to a
    /// catching-up watcher in one message. Default 1000.
    pub history_revisions: usize,
    /// Bytes of events requested in one read of history. A quarter of
    /// `stream_queue_bytes` by default (1 MiB), so that one message of history
    /// does not take the space of the live watchers on the same stream.
    pub history_bytes: usize,
    /// Bytes of events that may be queued for all streams together. Beyond it a
    /// live watcher falls behind if its stream's queue exceeds this bound
    /// divided by the number of streams with queued messages. Default 64 MiB.
    pub queues_bytes: usize,
    /// Watchers that catch up get only the history that the driver grants to
    /// their stream ([`Hub::grant_history`](crate::Hub::grant_history)), so
    /// that it can bound the memory of all hubs of a process, and make clients
    /// that do not read wait. Default false: as much as the bounds of the
    /// stream allow.
    pub history_on_demand: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            stream_queue_messages: 1024,
            stream_queue_bytes: 4 << 20,
            recent_revisions: 1024,
            recent_bytes: 4 << 20,
            history_revisions: 1000,
            history_bytes: 1 << 20,
            queues_bytes: 64 << 20,
            history_on_demand: false,
        }
    }
}

impl Limits {
    /// The same with every 0 raised to 1.
    pub(crate) fn at_least_one(self) -> Limits {
        Limits {
            stream_queue_messages: self.stream_queue_messages.max(1),
            stream_queue_bytes: self.stream_queue_bytes.max(1),
            recent_revisions: self.recent_revisions.max(1),
            recent_bytes: self.recent_bytes.max(1),
            history_revisions: self.history_revisions.max(1),
            history_bytes: self.history_bytes.max(1),
            queues_bytes: self.queues_bytes.max(1),
            history_on_demand: self.history_on_demand,
        }
    }
}
