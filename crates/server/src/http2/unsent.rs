//! Calls that were answered and still hold memory, as their answer is not sent.
//!
//! A response is given to the HTTP/2 library, which keeps it and the state of
//! its stream until it is written to the socket. So a call counts as open until then.
//! An answer with a message counts with the bytes of that ([`with_call`]). One
//! without, and the end of a stream, counts here while the socket is full, until more
//! was written than can have been before it: a client that reads slowly, or whose link
//! is always busy, has its calls given back, and one that does not read has not.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use t4_etcd_api::OpenCall;

use crate::pace::Pace;

/// The library writes the frames of all streams in turns, and none of more than
/// 16 KiB: after so many bytes, an answer of one frame has been written too.
const WRITTEN_BEFORE_MAX: u64 = 256 << 10;

/// Those of one connection.
pub(super) struct Unsent<Call = Arc<OpenCall>> {
    pace: Arc<Pace>,
    /// With what had been written to the socket when each was answered.
    calls: Mutex<VecDeque<(u64, Call)>>,
}

impl<Call> Unsent<Call> {
    pub(super) fn new(pace: Arc<Pace>) -> Self {
        Unsent { pace, calls: Mutex::default() }
    }

    /// Whether the socket does not take all that it is given.
    pub(super) fn is_blocked(&self) -> bool {
        self.pace.is_blocked()
    }

    /// A call was answered. While the socket takes what it is given, the answer
    /// is as good as sent.
    pub(super) fn keep(&self, call: impl Into<Call>) {
        if self.is_blocked() {
            self.calls.lock().push_back((self.pace.written(), call.into()));
        }
    }

    /// A turn of the connection is over.
    pub(super) fn end_turn(&self) {
        let mut calls = self.calls.lock();
        let sent = if self.is_blocked() {
            let written = self.pace.written();
            calls.partition_point(|(before, _)| before + WRITTEN_BEFORE_MAX <= written)
        } else {
            calls.len()
        };
        calls.drain(..sent);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    fn kept(unsent: &Unsent<u32>) -> usize {
        unsent.calls.lock().len()
    }

    #[test]
    fn a_call_is_given_back_when_its_answer_was_written() {
        let pace = Arc::new(Pace::new());
        let unsent = Unsent::new(pace.clone());
        unsent.keep(7_u32);
        assert_eq!(kept(&unsent), 0, "the socket takes all");
        pace.wrote(None);
        for _ in 0..3 {
            unsent.keep(7_u32);
            unsent.end_turn();
        }
        assert_eq!(kept(&unsent), 3, "nothing is written");
        // The socket is full for ever, and takes a little now and then.
        pace.wrote(Some(WRITTEN_BEFORE_MAX as usize - 1));
        unsent.keep(7_u32);
        unsent.end_turn();
        assert_eq!(kept(&unsent), 4);
        pace.wrote(Some(1));
        unsent.end_turn();
        assert_eq!(kept(&unsent), 1);
        pace.flushed(false, &Context::from_waker(Waker::noop()));
        unsent.end_turn();
        assert_eq!(kept(&unsent), 0);
    }
}
