//! Reads of the committed state, on the runtime that asks: inline when memory
//! and the page cache have everything, on a blocking thread when the disk is
//! needed or when the answer is so big that others would wait for it. Answers
//! are made where they are read; a read of which the caller is gone ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use t4_kv_types::{
    KeyValue, OpError, RangeRequest, RangeResult, Revision, TxnOpResult, TxnRequest, TxnResult,
};
use t4_mvcc::{Budget, HashKv, Io, ReadError, Reader};
use t4_state_machine::ANSWER_BYTES_MAX;
use tokio::sync::Semaphore;

use crate::damage::Damage;

/// A read does so much work on the thread that asks, in bytes copied or as many
/// entries of the index as take as long ([`Budget::of_work`]); so it holds up the
/// other connections of this runtime for less than a millisecond, making the
/// answer included. More is read on a blocking thread.
const INLINE_WORK_MAX: usize = 768 << 10;
/// Reads on blocking threads at a time; more of them queue. Bounds the
/// threads and the answers in memory.
const BLOCKING_READS_MAX: usize = 16;

/// Reads for one node.
#[derive(Clone)]
pub(crate) struct Reads {
    pub(crate) reader: Reader,
    blocking: Arc<Semaphore>,
    damage: Arc<Damage>,
}

impl Reads {
    pub(crate) fn new(reader: Reader, damage: Arc<Damage>) -> Self {
        Reads { reader, blocking: Arc::new(Semaphore::new(BLOCKING_READS_MAX)), damage }
    }

    /// Reads a range and makes an answer of it, where it was read.
    pub(crate) async fn range<T: Send + 'static>(
        &self,
        request: &RangeRequest,
        bytes_max: usize,
        make: &(impl Fn(RangeResult) -> T + Clone + Send + 'static),
    ) -> Result<T, OpError> {
        match t4_state_machine::range(&self.reader, request, Io::NoWait, &inline(bytes_max)) {
            Err(ReadError::WouldBlock | ReadError::OverBudget) => {}
            other => return other.map(make).map_err(|error| op_error(&self.damage, error)),
        }
        let (request, make) = (request.clone(), make.clone());
        let read = move |reader: &Reader, budget: &Budget<'_>| {
            t4_state_machine::range(reader, &request, Io::Blocking, budget)
        };
        // Boxed: it is rare, and would make the future of every read larger.
        Box::pin(self.block(bytes_max, read, make)).await
    }

    pub(crate) async fn read_only_txn<T: Send + 'static>(
        &self,
        request: &TxnRequest,
        make: &(impl Fn(TxnResult) -> T + Clone + Send + 'static),
    ) -> Result<T, OpError> {
        let budget = inline(ANSWER_BYTES_MAX);
        match t4_state_machine::read_only_txn(&self.reader, request, Io::NoWait, &budget) {
            Err(ReadError::WouldBlock | ReadError::OverBudget) => {}
            other => return other.map(make).map_err(|error| op_error(&self.damage, error)),
        }
        let (request, make) = (request.clone(), make.clone());
        let read = move |reader: &Reader, budget: &Budget<'_>| {
            t4_state_machine::read_only_txn(reader, &request, Io::Blocking, budget)
        };
        Box::pin(self.block(ANSWER_BYTES_MAX, read, make)).await
    }

    pub(crate) async fn get(&self, key: &[u8], at: Revision) -> Result<Option<KeyValue>, OpError> {
        match self.reader.get(key, at, Io::NoWait) {
            Err(ReadError::WouldBlock) => {}
            other => return other.map_err(|error| op_error(&self.damage, error)),
        }
        let key = key.to_vec();
        let read = move |reader: &Reader, _: &Budget<'_>| reader.get(&key, at, Io::Blocking);
        self.block(usize::MAX, read, |found| found).await
    }

    pub(crate) async fn hash(&self, at: Revision) -> Result<HashKv, OpError> {
        let read = move |reader: &Reader, budget: &Budget<'_>| reader.hash_within(at, budget);
        self.block(usize::MAX, read, |hash| hash).await
    }

    /// Makes an answer of what a write has found: elsewhere if it is large.
    pub(crate) async fn answer<R: Send + 'static, T: Send + 'static>(
        &self,
        result: R,
        is_heavy: bool,
        make: impl Fn(R) -> T + Send + 'static,
    ) -> Result<T, OpError> {
        if !is_heavy {
            return Ok(make(result));
        }
        Box::pin(self.block(usize::MAX, move |_, _| Ok(result), make)).await
    }

    /// Runs a read that may wait for the disk or take its time, and makes an
    /// answer of it. Dropping the future ends it soon.
    async fn block<R, T: Send + 'static>(
        &self,
        bytes_max: usize,
        read: impl FnOnce(&Reader, &Budget<'_>) -> Result<R, ReadError> + Send + 'static,
        make: impl FnOnce(R) -> T + Send + 'static,
    ) -> Result<T, OpError> {
        let permit = self.blocking.clone().acquire_owned().await.map_err(|_| OpError::Stopped)?;
        let reader = self.reader.clone();
        let caller = Caller::default();
        let gone = caller.0.clone();
        let outcome = tokio::task::spawn_blocking(move || {
            let budget = Budget::new(bytes_max).cancelled_by(&gone);
            // It may have waited for a thread, and then for the disk.
            let result = budget.still_wanted().and_then(|()| read(&reader, &budget));
            let answer = result.and_then(|result| budget.still_wanted().map(|()| make(result)));
            drop(permit);
            answer
        });
        match outcome.await {
            Ok(result) => result.map_err(|error| op_error(&self.damage, error)),
            // The runtime is shutting down.
            Err(_) => Err(OpError::Stopped),
        }
    }
}

/// What is read on the thread that asks.
fn inline(bytes_max: usize) -> Budget<'static> {
    Budget::of_work(INLINE_WORK_MAX.min(bytes_max))
}

/// Who waits for a read. The flag says that nobody does any more.
#[derive(Default)]
struct Caller(Arc<AtomicBool>);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether making an answer of these would hold up a runtime. Looks at no more
/// than it takes to know.
pub(crate) fn is_heavy<'a>(kvs: impl IntoIterator<Item = &'a KeyValue>) -> bool {
    let budget = Budget::of_work(INLINE_WORK_MAX);
    kvs.into_iter().any(|kv| budget.pair(kv).is_err())
}

/// The same for all that a transaction has found.
pub(crate) fn txn_is_heavy(result: &TxnResult) -> bool {
    !fits(result, &Budget::of_work(INLINE_WORK_MAX))
}

fn fits(result: &TxnResult, budget: &Budget<'_>) -> bool {
    let all_fit = |kvs: &[KeyValue]| kvs.iter().all(|kv| budget.pair(kv).is_ok());
    result.responses.iter().all(|response| match response {
        TxnOpResult::Range(range) => all_fit(&range.kvs),
        TxnOpResult::Put(put) => put.prev_kv.iter().all(|kv| budget.pair(kv).is_ok()),
        TxnOpResult::DeleteRange(delete) => all_fit(&delete.prev_kvs),
        TxnOpResult::Txn(inner) => fits(inner, budget),
    })
}

fn op_error(damage: &Damage, error: ReadError) -> OpError {
    match error {
        ReadError::Compacted => OpError::Compacted,
        ReadError::Future => OpError::FutureRevision,
        ReadError::OverBudget => OpError::AnswerTooLarge,
        // Nobody will see it.
        ReadError::Cancelled => OpError::Stopped,
        ReadError::Corrupt { .. } => {
            let what = error.to_string();
            damage.met(&what);
            OpError::Damaged(what)
        }
        other => {
            tracing::error!(error = %other, "a read failed");
            OpError::Io(other.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
