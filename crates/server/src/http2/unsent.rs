//! Calls that were answered and still hold memory, as their answer is not sent.
//!
//! A response is given to the HTTP/2 library, which keeps it and the state of
//! its stream until the client takes it. So a call counts as open until then.
//! What waits for the client's window counts with the bytes of the message
//! itself; what waits for the socket counts here, until it takes all there is.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use t4_etcd_api::OpenCall;

use crate::pace::Pace;

/// Those of one connection.
pub(super) struct Unsent {
    pace: Arc<Pace>,
    calls: Mutex<Vec<Arc<OpenCall>>>,
}

impl Unsent {
    pub(super) fn new(pace: Arc<Pace>) -> Self {
        Unsent { pace, calls: Mutex::default() }
    }

    /// A call was answered. While the socket takes what it is given, the answer
    /// is as good as sent.
    pub(super) fn keep(&self, call: impl Into<Arc<OpenCall>>) {
        if self.pace.is_blocked() {
            self.calls.lock().push(call.into());
        }
    }

    /// A turn of the connection is over: unless the socket is full by now, it has
    /// taken all there was.
    pub(super) fn end_turn(&self) {
        if !self.pace.is_blocked() {
            let sent = std::mem::take(&mut *self.calls.lock());
            drop(sent);
        }
    }
}

/// A message that waits for the client's window, and the call that counts until
/// it is sent or dropped.
struct Waiting {
    message: Bytes,
    _call: Arc<OpenCall>,
}

impl AsRef<[u8]> for Waiting {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

/// The message; until its last byte is sent, the call counts.
pub(super) fn with_call(message: Bytes, call: Arc<OpenCall>) -> Bytes {
    Bytes::from_owner(Waiting { message, _call: call })
}
