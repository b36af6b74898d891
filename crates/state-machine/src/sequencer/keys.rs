//! Puts, deletes and transactions.

use bytes::Bytes;
use t4_kv_types::{
    DeleteRangeRequest, DeleteRangeResult, KeyRange, KeyValue, OpError, PutRequest, PutResult,
    Revision, TxnOp, TxnOpResult, TxnRequest, TxnResult, Write,
};
use t4_mvcc::{Budget, Projection, ReadError};

use super::{BATCH_BYTES_MAX, Sequencer, op_error};
use crate::batch::{Effect, write_size_max};
use crate::newest::Newest;
use crate::read::{self, ANSWER_BYTES_MAX, ANSWER_OVERHEAD_BYTES, Path, View};
use crate::state::StateMachine;

/// The most bytes, as a budget counts them, that the keys of one delete may
/// take: a delete whose writes fit into the log stays below it. So a delete
/// that is far too large is rejected before it is gathered.
const KEYS_GATHERED_MAX: usize = 6 * BATCH_BYTES_MAX;

impl Sequencer {
    pub(super) fn put(
        &mut self,
        state: &StateMachine,
        put: PutRequest,
    ) -> Result<PutResult, OpError> {
        self.refuse_if_corrupt()?;
        self.refuse_if_full()?;
        if put.lease.is_some() && !self.lease_exists(state, put.lease) {
            return Err(OpError::LeaseNotFound);
        }
        let main = self.revision.next();
        let mark = self.batch.writes.len();
        let prev_kv = self.write_put(state, put, main, &Budget::new(ANSWER_BYTES_MAX))?;
        self.close_revision(mark);
        Ok(PutResult { revision: main, prev_kv })
    }

    /// Appends a put at `main` to the batch; returns the previous state if it
    /// was requested.
    fn write_put(
        &mut self,
        state: &StateMachine,
        put: PutRequest,
        main: Revision,
        budget: &Budget<'_>,
    ) -> Result<Option<KeyValue>, OpError> {
        let mut write =
            Write::Put { key: put.key.clone(), value: put.value.clone(), lease: put.lease };
        let mut prev_kv = None;
        if put.prev_kv || put.ignore_value || put.ignore_lease {
            let before = self.view_at(state, main, budget).get(&put.key, main);
            let before = before.map_err(op_error)?;
            if (put.ignore_value || put.ignore_lease) && before.is_none() {
                return Err(OpError::KeyNotFound);
            }
            if let (Write::Put { value, lease, .. }, Some(before)) = (&mut write, &before) {
                if put.ignore_value {
                    *value = before.value.clone();
                }
                if put.ignore_lease {
                    *lease = before.lease;
                }
            }
            prev_kv = before.filter(|_| put.prev_kv);
        }
        prev_kv.iter().try_for_each(|kv| budget.pair(kv)).map_err(op_error)?;
        self.push(main, write);
        Ok(prev_kv)
    }

    fn push(&mut self, main: Revision, write: Write) {
        self.keys.push(main, &write);
        self.push_write(write);
    }

    /// Makes the writes since `mark`, if any, the next revision.
    fn close_revision(&mut self, mark: usize) {
        let writes = self.batch.writes.len() - mark;
        if writes > 0 {
            self.push_effect(Effect::Revision { writes: writes as u32 });
            self.revision = self.revision.next();
        }
    }

    pub(super) fn top_level_delete(
        &mut self,
        state: &StateMachine,
        delete: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResult, OpError> {
        let main = self.revision.next();
        let mark = self.batch.writes.len();
        let budget = Budget::new(ANSWER_BYTES_MAX);
        let mut result = self.write_delete(state, delete, main, &budget)?;
        self.refuse_if_too_large(mark)?;
        self.close_revision(mark);
        result.revision = self.revision;
        Ok(result)
    }

    /// Appends the deletes of a range at `main` to the batch.
    fn write_delete(
        &mut self,
        state: &StateMachine,
        delete: &DeleteRangeRequest,
        main: Revision,
        budget: &Budget<'_>,
    ) -> Result<DeleteRangeResult, OpError> {
        budget.bytes(ANSWER_OVERHEAD_BYTES).map_err(op_error)?;
        let (keys, prev_kvs) = match delete.prev_kv {
            true => {
                let view = self.view_at(state, main, budget);
                let page = view.page(&delete.range, main, 0, Projection::Full);
                let kvs = page.map_err(op_error)?.kvs;
                (kvs.iter().map(|kv| kv.key.clone()).collect(), kvs)
            }
            false => (self.keys_of(state, &delete.range, main)?, Vec::new()),
        };
        let deleted = keys.len() as i64;
        self.delete_keys(main, keys);
        Ok(DeleteRangeResult { revision: main, deleted, prev_kvs })
    }

    /// The keys of a range, provided that they may fit into one log entry.
    fn keys_of(
        &self,
        state: &StateMachine,
        range: &KeyRange,
        main: Revision,
    ) -> Result<Vec<Bytes>, OpError> {
        let budget = Budget::new(KEYS_GATHERED_MAX);
        match self.view_at(state, main, &budget).keys(range) {
            Ok(keys) => Ok(keys),
            Err(ReadError::OverBudget) => Err(OpError::TooLarge),
            Err(error) => Err(op_error(error)),
        }
    }

    /// Appends deletes of live keys, given in order, at `main` to the batch.
    pub(super) fn delete_keys(&mut self, main: Revision, keys: Vec<Bytes>) {
        self.batch.writes.reserve(keys.len());
        keys.iter().for_each(|key| self.push_write(Write::Delete { key: key.clone() }));
        self.keys.delete(main, keys);
    }

    pub(super) fn txn(
        &mut self,
        state: &StateMachine,
        txn: &TxnRequest,
    ) -> Result<TxnResult, OpError> {
        self.refuse_if_corrupt()?;
        if txn.has_put() {
            self.refuse_if_full()?;
        }
        let budget = Budget::new(ANSWER_BYTES_MAX);
        let view = self.view_at(state, self.revision, &budget);
        let path = read::path(&view, txn).map_err(op_error)?;
        self.check_puts(state, &view, &path)?;
        read::check_ranges(&view, &path).map_err(op_error)?;

        let mark = self.batch.writes.len();
        match self.run(state, &path, mark, &budget) {
            Ok(mut result) => {
                self.refuse_if_too_large(mark)?;
                self.close_revision(mark);
                result.revision = self.revision;
                Ok(result)
            }
            Err(error) => {
                self.withdraw(mark);
                Err(error)
            }
        }
    }

    /// Removes the writes since `mark`: their request was rejected.
    fn withdraw(&mut self, mark: usize) {
        let withdrawn = self.batch.writes.split_off(mark);
        self.batch_bytes -= withdrawn.iter().map(write_size_max).sum::<usize>();
        self.keys.withdraw(&withdrawn, self.revision);
    }

    /// One revision is one log entry, whose size is limited.
    pub(super) fn refuse_if_too_large(&mut self, mark: usize) -> Result<(), OpError> {
        if self.batch_bytes <= BATCH_BYTES_MAX {
            return Ok(());
        }
        self.withdraw(mark);
        Err(OpError::TooLarge)
    }

    /// Checks the preconditions of the puts in the taken path against the state
    /// before the transaction.
    fn check_puts(
        &self,
        state: &StateMachine,
        view: &Newest<'_>,
        path: &Path<'_>,
    ) -> Result<(), OpError> {
        let mut nested = path.nested.iter();
        for op in path.ops {
            match op {
                TxnOp::Put(put) => {
                    let needs_key = put.ignore_value || put.ignore_lease;
                    if needs_key && view.meta(&put.key).map_err(op_error)?.is_none() {
                        return Err(OpError::KeyNotFound);
                    }
                    if put.lease.is_some() && !self.lease_exists(state, put.lease) {
                        return Err(OpError::LeaseNotFound);
                    }
                }
                TxnOp::Txn(_) => {
                    self.check_puts(state, view, nested.next().expect("one path per txn"))?;
                }
                TxnOp::Range(_) | TxnOp::DeleteRange(_) => {}
            }
        }
        Ok(())
    }

    /// Runs the operations of a path in order; each sees the earlier ones.
    /// `mark` is the start of the whole transaction's writes in the batch; all
    /// answers share one budget.
    fn run(
        &mut self,
        state: &StateMachine,
        path: &Path<'_>,
        mark: usize,
        budget: &Budget<'_>,
    ) -> Result<TxnResult, OpError> {
        budget.bytes(ANSWER_OVERHEAD_BYTES).map_err(op_error)?;
        let main = self.revision.next();
        let mut nested = path.nested.iter();
        let mut responses = Vec::with_capacity(path.ops.len());
        for op in path.ops {
            let response = match op {
                TxnOp::Range(range) => {
                    let view = self.view_at(state, self.reached(mark), budget);
                    TxnOpResult::Range(read::range(&view, range).map_err(op_error)?)
                }
                TxnOp::Put(put) => {
                    budget.bytes(ANSWER_OVERHEAD_BYTES).map_err(op_error)?;
                    let prev_kv = self.write_put(state, put.clone(), main, budget)?;
                    TxnOpResult::Put(PutResult { revision: main, prev_kv })
                }
                TxnOp::DeleteRange(delete) => {
                    let mut result = self.write_delete(state, delete, main, budget)?;
                    result.revision = self.reached(mark);
                    TxnOpResult::DeleteRange(result)
                }
                TxnOp::Txn(_) => {
                    let inner = nested.next().expect("one path per txn");
                    TxnOpResult::Txn(self.run(state, inner, mark, budget)?)
                }
            };
            responses.push(response);
        }
        Ok(TxnResult { revision: self.reached(mark), succeeded: path.succeeded, responses })
    }

    /// The current revision of a transaction: one more than at its start once
    /// it has changed something.
    fn reached(&self, mark: usize) -> Revision {
        if self.batch.writes.len() > mark { self.revision.next() } else { self.revision }
    }
}
