//! Reads of the committed state, on the runtime that asks: inline when memory
//! and the page cache have everything, on a blocking thread when the disk is
//! needed or when the answer is so big that others would wait for it.

use std::sync::Arc;

use t4_kv_types::{KeyValue, OpError, RangeRequest, RangeResult, Revision, TxnRequest, TxnResult};
use t4_mvcc::{Io, Projection, ReadError, Reader};
use tokio::sync::Semaphore;

use crate::damage::Damage;

/// From so many keys on a range is read on a blocking thread: assembling
/// more would hold up the other connections of this runtime.
const INLINE_KEYS_MAX: u64 = 1_000;
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

    pub(crate) async fn range(&self, request: &RangeRequest) -> Result<RangeResult, OpError> {
        if !self.is_big(request) {
            match t4_state_machine::range(&self.reader, request, Io::NoWait) {
                Err(ReadError::WouldBlock) => {}
                other => return other.map_err(|error| op_error(&self.damage, error)),
            }
        }
        let request = request.clone();
        self.block(move |reader| t4_state_machine::range(reader, &request, Io::Blocking)).await
    }

    pub(crate) async fn read_only_txn(&self, request: &TxnRequest) -> Result<TxnResult, OpError> {
        match t4_state_machine::read_only_txn(&self.reader, request, Io::NoWait) {
            Err(ReadError::WouldBlock) => {}
            other => return other.map_err(|error| op_error(&self.damage, error)),
        }
        let request = request.clone();
        self.block(move |reader| t4_state_machine::read_only_txn(reader, &request, Io::Blocking))
            .await
    }

    pub(crate) async fn get(&self, key: &[u8], at: Revision) -> Result<Option<KeyValue>, OpError> {
        match self.reader.get(key, at, Io::NoWait) {
            Err(ReadError::WouldBlock) => {}
            other => return other.map_err(|error| op_error(&self.damage, error)),
        }
        let key = key.to_vec();
        self.block(move |reader| reader.get(&key, at, Io::Blocking)).await
    }

    /// Runs a read that may wait for the disk.
    pub(crate) async fn block<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, OpError> {
        let permit = self.blocking.clone().acquire_owned().await.map_err(|_| OpError::Stopped)?;
        let reader = self.reader.clone();
        let outcome = tokio::task::spawn_blocking(move || {
            let result = read(&reader);
            drop(permit);
            result
        });
        match outcome.await {
            Ok(result) => result.map_err(|error| op_error(&self.damage, error)),
            // The runtime is shutting down.
            Err(_) => Err(OpError::Stopped),
        }
    }

    /// Whether a range may have to look at many keys.
    fn is_big(&self, request: &RangeRequest) -> bool {
        if request.count_only || request.range.is_single() {
            return false;
        }
        let sorted = request.sort_order != t4_kv_types::SortOrder::None;
        if !sorted && (1..=INLINE_KEYS_MAX as i64).contains(&request.limit) {
            return false;
        }
        let at = self.reader.revision();
        let counted = self.reader.range(&request.range, at, 0, Projection::CountOnly, Io::NoWait);
        counted.is_ok_and(|page| page.count > INLINE_KEYS_MAX)
    }
}

fn op_error(damage: &Damage, error: ReadError) -> OpError {
    match error {
        ReadError::Compacted => OpError::Compacted,
        ReadError::Future => OpError::FutureRevision,
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
