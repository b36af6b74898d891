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
use crate::log_limit::LogLimit;

/// A read does so much work on the thread that asks, in bytes copied or as many
/// entries of the index as take as long ([`Budget::of_work`]); so it holds up the
/// other connections of this runtime for less than a millisecond, making the
/// answer included. More is read on a blocking thread.
const INLINE_WORK_MAX: usize = 768 << 10;
/// Bounds the lines about reads that fail.
static FAILURES: LogLimit = LogLimit::per_second(1);

/// Reads that wait for the disk at a time; more of them queue.
const WAITING_READS_MAX: usize = 16;
/// Large reads at a time, at least and at most; between them one for each core,
/// as they keep one busy. More of them queue: each has its whole answer in memory,
/// and the message that is made of it.
const LARGE_READS_MIN: usize = 2;
const LARGE_READS_MAX: usize = 16;

/// Reads for one node.
#[derive(Clone)]
pub(crate) struct Reads {
    pub(crate) reader: Reader,
    waiting: Arc<Semaphore>,
    large: Arc<Semaphore>,
    damage: Arc<Damage>,
}

/// What a read may take.
#[derive(Clone, Copy)]
enum Limit {
    /// No more than on the thread that asks.
    Inline(usize),
    /// So many bytes.
    Bytes(usize),
}

impl Limit {
    fn budget(self) -> Budget<'static> {
        match self {
            Limit::Inline(bytes) => Budget::of_work(INLINE_WORK_MAX.min(bytes)),
            Limit::Bytes(bytes) => Budget::new(bytes),
        }
    }
}

impl Reads {
    pub(crate) fn new(reader: Reader, damage: Arc<Damage>) -> Self {
        let cores = std::thread::available_parallelism().map_or(LARGE_READS_MIN, Into::into);
        let large = cores.clamp(LARGE_READS_MIN, LARGE_READS_MAX);
        let [waiting, large] = [WAITING_READS_MAX, large].map(|max| Arc::new(Semaphore::new(max)));
        Reads { reader, waiting, large, damage }
    }

    /// Reads a range and makes an answer of it, where it was read.
    pub(crate) async fn range<T: Send + 'static>(
        &self,
        request: &RangeRequest,
        bytes_max: usize,
        make: &(impl Fn(RangeResult) -> T + Clone + Send + 'static),
    ) -> Result<T, OpError> {
        let budget = Limit::Inline(bytes_max).budget();
        let why = match t4_state_machine::range(&self.reader, request, Io::NoWait, &budget) {
            Err(why @ (ReadError::WouldBlock | ReadError::OverBudget)) => why,
            other => return other.map(make).map_err(|error| self.op_error(error)),
        };
        let request = request.clone();
        let read = move |reader: &Reader, budget: &Budget<'_>| {
            t4_state_machine::range(reader, &request, Io::Blocking, budget)
        };
        // Boxed: it is rare, and would make the future of every read larger.
        Box::pin(self.read_elsewhere(&why, bytes_max, read, make.clone())).await
    }

    pub(crate) async fn read_only_txn<T: Send + 'static>(
        &self,
        request: &TxnRequest,
        make: &(impl Fn(TxnResult) -> T + Clone + Send + 'static),
    ) -> Result<T, OpError> {
        let budget = Limit::Inline(ANSWER_BYTES_MAX).budget();
        let why = match t4_state_machine::read_only_txn(&self.reader, request, Io::NoWait, &budget)
        {
            Err(why @ (ReadError::WouldBlock | ReadError::OverBudget)) => why,
            other => return other.map(make).map_err(|error| self.op_error(error)),
        };
        let request = request.clone();
        let read = move |reader: &Reader, budget: &Budget<'_>| {
            t4_state_machine::read_only_txn(reader, &request, Io::Blocking, budget)
        };
        Box::pin(self.read_elsewhere(&why, ANSWER_BYTES_MAX, read, make.clone())).await
    }

    pub(crate) async fn get(&self, key: &[u8], at: Revision) -> Result<Option<KeyValue>, OpError> {
        match self.reader.get(key, at, Io::NoWait) {
            Err(ReadError::WouldBlock) => {}
            other => return other.map_err(|error| self.op_error(error)),
        }
        let key = key.to_vec();
        let read = move |reader: &Reader, _: &Budget<'_>| reader.get(&key, at, Io::Blocking);
        let found = self.block(&self.waiting, Limit::Bytes(usize::MAX), read, |found| found).await;
        found?.map_err(|error| self.op_error(error))
    }

    pub(crate) async fn hash(&self, at: Revision) -> Result<HashKv, OpError> {
        let read = move |reader: &Reader, budget: &Budget<'_>| reader.hash_within(at, budget);
        let hash = self.block(&self.waiting, Limit::Bytes(usize::MAX), read, |hash| hash).await;
        hash?.map_err(|error| self.op_error(error))
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
        let read = move |_: &Reader, _: &Budget<'_>| Ok(result);
        let made = Box::pin(self.block(&self.large, Limit::Bytes(usize::MAX), read, make)).await;
        made?.map_err(|error| self.op_error(error))
    }

    /// A read that was not done where it was asked for, and `why`. One that has
    /// to wait for the disk may be small or large: what it is shows when it has
    /// waited, and if it is large it is done again in its turn.
    async fn read_elsewhere<R, T: Send + 'static>(
        &self,
        why: &ReadError,
        bytes_max: usize,
        read: impl Fn(&Reader, &Budget<'_>) -> Result<R, ReadError> + Clone + Send + 'static,
        make: impl Fn(R) -> T + Clone + Send + 'static,
    ) -> Result<T, OpError> {
        if let ReadError::WouldBlock = why {
            let limit = Limit::Inline(bytes_max);
            match self.block(&self.waiting, limit, read.clone(), make.clone()).await? {
                Err(ReadError::OverBudget) => {}
                small => return small.map_err(|error| self.op_error(error)),
            }
        }
        let large = self.block(&self.large, Limit::Bytes(bytes_max), read, make).await;
        large?.map_err(|error| self.op_error(error))
    }

    /// Runs a read that may wait for the disk or take its time, and makes an
    /// answer of it. Dropping the future ends it soon.
    ///
    /// # Errors
    /// Outside: the node stops.
    async fn block<R, T: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        limit: Limit,
        read: impl FnOnce(&Reader, &Budget<'_>) -> Result<R, ReadError> + Send + 'static,
        make: impl FnOnce(R) -> T + Send + 'static,
    ) -> Result<Result<T, ReadError>, OpError> {
        let permit = turns.clone().acquire_owned().await.map_err(|_| OpError::Stopped)?;
        let reader = self.reader.clone();
        let caller = Caller::default();
        let gone = caller.0.clone();
        let outcome = tokio::task::spawn_blocking(move || {
            let budget = limit.budget().cancelled_by(&gone);
            // It may have waited for a thread, and then for the disk.
            let result = budget.still_wanted().and_then(|()| read(&reader, &budget));
            let answer = result.and_then(|result| budget.still_wanted().map(|()| make(result)));
            drop(permit);
            answer
        });
        // The runtime is shutting down.
        outcome.await.map_err(|_| OpError::Stopped)
    }

    fn op_error(&self, error: ReadError) -> OpError {
        match error {
            ReadError::Compacted => OpError::Compacted,
            ReadError::Future => OpError::FutureRevision,
            ReadError::OverBudget => OpError::AnswerTooLarge,
            // Nobody will see it.
            ReadError::Cancelled => OpError::Stopped,
            ReadError::Corrupt { .. } => {
                let what = error.to_string();
                self.damage.met(&what);
                OpError::Damaged(what)
            }
            other => {
                if let Some(suppressed) = FAILURES.admit(std::time::Instant::now()) {
                    tracing::error!(error = %other, suppressed, "a read failed");
                }
                OpError::Io(other.to_string())
            }
        }
    }
}

/// The caller of a read. The flag is set when it is gone.
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

#[cfg(test)]
mod tests;
