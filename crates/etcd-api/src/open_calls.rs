//! The calls that a connection has open, and what each makes the server hold
//! while it is: its task, the state of its stream, its metadata, its request.
//!
//! They are counted for the connection, and for the process only in steps: a
//! connection with few calls open touches no counter that others touch, and the
//! first [`STEP_BYTES`] are within the share that each has anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use parking_lot::Mutex;

use crate::memory::{Account, ClientMemory, Held};

/// What an open call costs, in bytes: a stream that waits for its first message
/// takes as much, with what the allocator and the HTTP/2 library need for it.
/// Measured by `tests/tests/hostile/open_calls.rs`.
const CALL_BYTES: usize = 6 << 10;

/// In such steps calls count for the process, and so much does not count at all.
const STEP_BYTES: usize = 64 << 10;

/// The calls of one connection.
#[derive(Debug)]
pub(crate) struct OpenCalls {
    /// Bytes of all of them.
    open: AtomicUsize,
    /// Bytes that may be open without another look at the account.
    allowed: AtomicUsize,
    /// What counts for the process: `allowed` without the first step.
    counted: Mutex<Held>,
}

/// A call, or a part of one, that counts until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct OpenCall {
    calls: Arc<OpenCalls>,
    bytes: usize,
}

impl OpenCalls {
    pub(crate) fn new(memory: &Arc<ClientMemory>) -> Arc<Self> {
        let account = Account::new(memory, usize::MAX);
        Arc::new(OpenCalls {
            open: AtomicUsize::new(0),
            allowed: AtomicUsize::new(STEP_BYTES),
            counted: Mutex::new(account.hold(0)),
        })
    }

    /// A call with so many bytes of metadata begins. `None`: it is too much.
    pub(crate) fn begin(self: &Arc<Self>, metadata_bytes: usize) -> Option<OpenCall> {
        self.hold(CALL_BYTES + metadata_bytes)
    }

    /// A call holds so many bytes more. `None`: it is too much.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Option<OpenCall> {
        let open = self.open.fetch_add(bytes, SeqCst) + bytes;
        // Owned from here on: what is refused is taken back by its drop.
        let call = OpenCall { calls: self.clone(), bytes };
        (open <= self.allowed.load(SeqCst) || self.allow_more()).then_some(call)
    }

    /// Has what is open by now counted for the process, if there is room.
    fn allow_more(&self) -> bool {
        let mut counted = self.counted.lock();
        let allowed = self.open.load(SeqCst).next_multiple_of(STEP_BYTES).max(STEP_BYTES);
        let goes_on = allowed <= self.allowed.load(SeqCst) || counted.try_set(allowed - STEP_BYTES);
        if goes_on {
            self.allowed.store(counted.bytes() + STEP_BYTES, SeqCst);
        }
        goes_on
    }

    /// Gives back what has been more than enough for a while: two steps, so that
    /// one call more and one less do not count each time.
    fn allow_less(&self) {
        let mut counted = self.counted.lock();
        let allowed = self.open.load(SeqCst).next_multiple_of(STEP_BYTES).max(STEP_BYTES);
        if allowed < self.allowed.load(SeqCst) {
            self.allowed.store(allowed, SeqCst);
            counted.set(allowed - STEP_BYTES);
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let open = self.calls.open.fetch_sub(self.bytes, SeqCst) - self.bytes;
        let allowed = self.calls.allowed.load(SeqCst);
        if allowed > STEP_BYTES && open + 2 * STEP_BYTES <= allowed {
            self.calls.allow_less();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn calls(memory: &Arc<ClientMemory>, count: usize) -> (Arc<OpenCalls>, Vec<OpenCall>) {
        let calls = OpenCalls::new(memory);
        let open = (0..count).map_while(|_| calls.begin(0)).collect();
        (calls, open)
    }

    #[test]
    fn few_calls_touch_nothing_that_others_touch() {
        let memory = Arc::new(ClientMemory::new(MIB));
        let (calls, mut open) = calls(&memory, STEP_BYTES / CALL_BYTES);
        assert_eq!((open.len(), memory.held()), (STEP_BYTES / CALL_BYTES, 0));
        open.push(calls.begin(0).expect("there is plenty"));
        assert_eq!(memory.held(), STEP_BYTES);
        // One less and one more, again and again, count once.
        for _ in 0..3 {
            open.pop();
            assert_eq!(memory.held(), STEP_BYTES);
            open.push(calls.begin(0).expect("there is plenty"));
        }
        drop(open);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn calls_beyond_the_share_are_refused_and_those_of_others_are_not() {
        let memory = Arc::new(ClientMemory::new(8 * MIB));
        let (greedy, mut open) = calls(&memory, usize::MAX);
        let most = (4 * MIB + STEP_BYTES) / CALL_BYTES;
        assert_eq!((open.len(), memory.refusals()), (most, 1), "half of the memory");
        assert!(greedy.begin(0).is_none());
        let (_, few) = calls(&memory, 100);
        assert_eq!(few.len(), 100, "others go on");
        // What was refused holds nothing.
        open.truncate(most / 4);
        assert!(greedy.begin(0).is_some());
        drop((open, few));
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn metadata_and_requests_count_too() {
        let memory = Arc::new(ClientMemory::new(8 * MIB));
        let calls = OpenCalls::new(&memory);
        let large = calls.begin(3 * MIB).expect("there is plenty");
        assert!(memory.held() >= 3 * MIB);
        let request = calls.hold(MIB / 2).expect("there is plenty");
        assert!(calls.hold(MIB).is_none());
        drop((large, request));
        assert_eq!(memory.held(), 0);
    }

    /// Calls of several threads: what is counted in the end is nothing.
    #[test]
    fn nothing_is_left_over() {
        let memory = Arc::new(ClientMemory::new(2 * MIB));
        let (calls, _) = calls(&memory, 0);
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                let calls = &calls;
                scope.spawn(move || {
                    for round in 0..200 {
                        let count = 1 + (round * 7 + thread) % 90;
                        let open: Vec<_> =
                            (0..count).filter_map(|at| calls.begin(at * 50)).collect();
                        drop(open);
                    }
                });
            }
        });
        assert_eq!((calls.open.load(SeqCst), memory.held()), (0, 0));
    }
}
