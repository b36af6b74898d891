//! Gives requests their order: evaluates each on the newest state, committed
//! plus in flight, and gathers the effects into the next log entry.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use t4_auth_rbac::{AuthState, Command, Identity};
use t4_kv_types::{
    AlarmKind, DeleteRangeRequest, DeleteRangeResult, KeyValue, LeaseId, NodeId, OpError,
    PutRequest, PutResult, Revision, TxnOp, TxnOpResult, TxnRequest, TxnResult, Write,
};
use t4_lease::TTL_MAX_S;
use t4_mvcc::{Projection, ReadError};

use crate::batch::{Batch, Effect};
use crate::in_flight::{InFlight, Newest};
use crate::permission;
use crate::read::{self, Path, View};
use crate::request::{Request, Response};
use crate::state::StateMachine;

/// The most that the writes of an open batch may be, in bytes; the log takes
/// entries of 256 MiB.
const BATCH_BYTES_MAX: usize = 192 << 20;

/// Tags, lengths and the lease of a write in its log entry, at most, in bytes.
const WRITE_OVERHEAD_BYTES: usize = 21;

/// The state beyond what is applied.
pub struct Sequencer {
    lease_ttl_min_s: i64,
    /// The newest revision given to an effect.
    revision: Revision,
    compacted: Option<Revision>,
    alarms: BTreeSet<(NodeId, AlarmKind)>,
    keys: InFlight,
    /// Leases granted (`true`) or revoked in flight, with the number of the
    /// batch that did it last.
    leases: BTreeMap<LeaseId, (bool, u64)>,
    /// Users, roles and tokens with what is in flight. Shares with the applied
    /// state what they have in common.
    auth: AuthState,
    /// The newest batch that changes `auth`; 0: none in flight.
    auth_number: u64,
    batch: Batch,
    batch_bytes: usize,
    /// Of the open batch; the first is 1.
    batch_number: u64,
    /// Of the newest applied batch. Batches are applied in order.
    applied_number: u64,
}

impl Sequencer {
    /// A sequencer with nothing in flight on `state`. Grants below
    /// `lease_ttl_min_s` seconds are raised to it.
    #[must_use]
    pub fn new(state: &StateMachine, lease_ttl_min_s: i64) -> Self {
        Sequencer {
            lease_ttl_min_s,
            revision: state.revision(),
            compacted: state.compacted(),
            alarms: state.alarms().clone(),
            keys: InFlight::default(),
            leases: BTreeMap::new(),
            auth: state.auth().clone(),
            auth_number: 0,
            batch: Batch::default(),
            batch_bytes: 0,
            batch_number: 1,
            applied_number: 0,
        }
    }

    /// The batch that is being gathered.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// How many bytes of keys and values the open batch holds.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    /// Closes the batch; what is evaluated from now on goes into the next one.
    pub fn take_batch(&mut self) -> Batch {
        self.batch_number += 1;
        self.batch_bytes = 0;
        std::mem::take(&mut self.batch)
    }

    /// The oldest batch in flight, `batch`, was applied to `state`.
    pub fn applied(&mut self, state: &StateMachine, batch: &Batch) {
        self.keys.applied(&batch.writes, state.revision());
        self.applied_number += 1;
        if !self.leases.is_empty() {
            let applied = self.applied_number;
            self.leases.retain(|_, (_, number)| *number > applied);
        }
        if self.auth_number == self.applied_number {
            // Equal to what it was, and shared again.
            self.auth.clone_from(state.auth());
            self.auth_number = 0;
        }
    }

    /// Forgets everything in flight: the log has refused it.
    pub fn discard(&mut self, state: &StateMachine) {
        *self = Sequencer::new(state, self.lease_ttl_min_s);
    }

    /// Evaluates one request of `who`. Its effects, if it has any, join the open
    /// batch; the response must not leave before that batch, or whatever else
    /// it has seen in flight, is committed.
    ///
    /// # Errors
    /// While authentication is on, [`OpError::Auth`] comes before all others:
    /// who may not ask learns nothing of the state.
    pub fn evaluate(
        &mut self,
        state: &StateMachine,
        who: &Identity,
        request: Request,
    ) -> Result<Response, OpError> {
        if self.auth.is_enabled() {
            let keys = |lease, holds: &mut dyn FnMut(&Bytes) -> bool| {
                self.each_attached_key(state, lease, holds)
            };
            permission::check(&self.auth, who, &request, &keys)?;
        }
        match request {
            Request::Put(put) => self.put(state, put).map(Response::Put),
            Request::DeleteRange(delete) => {
                self.refuse_if_corrupt()?;
                self.top_level_delete(state, &delete).map(Response::DeleteRange)
            }
            Request::Txn(txn) => self.txn(state, &txn).map(Response::Txn),
            Request::Compact(at) => self.compact(at),
            Request::LeaseGrant(id, ttl_s) => self.lease_grant(state, id, ttl_s),
            Request::LeaseRevoke(id) => self.lease_revoke(state, id),
            Request::SetAlarm(member, kind, on) => Ok(self.set_alarm(member, kind, on)),
            Request::Barrier(boot_nonce) => Ok(self.plain(Effect::Barrier { boot_nonce })),
            Request::LeasesLeft(left) => Ok(self.plain(Effect::LeasesLeft { left })),
            Request::Member(id, attributes) => Ok(self.plain(Effect::Member { id, attributes })),
            Request::Auth(command) => self.change_auth(who, &command),
        }
    }

    fn change_auth(&mut self, who: &Identity, command: &Command) -> Result<Response, OpError> {
        if let Some(effect) = self.auth.evaluate(who, command)? {
            self.auth.apply(&effect).expect("an effect fits the state that it was decided on");
            self.auth_number = self.batch_number;
            self.batch.effects.push(Effect::Auth(effect));
        }
        Ok(Response::Auth(self.auth.revision()))
    }

    fn plain(&mut self, effect: Effect) -> Response {
        self.batch.effects.push(effect);
        Response::Done(self.revision)
    }

    fn has_alarm(&self, kind: AlarmKind) -> bool {
        self.alarms.iter().any(|(_, on)| *on == kind)
    }

    fn refuse_if_corrupt(&self) -> Result<(), OpError> {
        if self.has_alarm(AlarmKind::Corrupt) { Err(OpError::Corrupt) } else { Ok(()) }
    }

    fn refuse_if_full(&self) -> Result<(), OpError> {
        if self.has_alarm(AlarmKind::NoSpace) { Err(OpError::NoSpace) } else { Ok(()) }
    }

    fn newest<'a>(&'a self, state: &'a StateMachine) -> Newest<'a> {
        self.view_at(state, self.revision)
    }

    fn view_at<'a>(&'a self, state: &'a StateMachine, revision: Revision) -> Newest<'a> {
        Newest {
            reader: state.reader(),
            applied: state.revision(),
            revision,
            compacted: self.compacted,
            in_flight: &self.keys,
        }
    }

    fn lease_exists(&self, state: &StateMachine, id: LeaseId) -> bool {
        match self.leases.get(&id) {
            Some((granted, _)) => *granted,
            None => state.lease_exists(id),
        }
    }

    fn put(&mut self, state: &StateMachine, put: PutRequest) -> Result<PutResult, OpError> {
        self.refuse_if_corrupt()?;
        self.refuse_if_full()?;
        if put.lease.is_some() && !self.lease_exists(state, put.lease) {
            return Err(OpError::LeaseNotFound);
        }
        let main = self.revision.next();
        let mark = self.batch.writes.len();
        let prev_kv = self.write_put(state, put, main)?;
        self.close_revision(mark);
        Ok(PutResult { revision: main, prev_kv })
    }

    /// Appends a put at `main` to the batch; returns the previous state if it
    /// was asked for.
    fn write_put(
        &mut self,
        state: &StateMachine,
        put: PutRequest,
        main: Revision,
    ) -> Result<Option<KeyValue>, OpError> {
        let mut write =
            Write::Put { key: put.key.clone(), value: put.value.clone(), lease: put.lease };
        let mut prev_kv = None;
        if put.prev_kv || put.ignore_value || put.ignore_lease {
            let before = self.view_at(state, main).get(&put.key, main).map_err(op_error)?;
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
        self.push(main, write);
        Ok(prev_kv)
    }

    fn push(&mut self, main: Revision, write: Write) {
        self.batch_bytes += write_bytes(&write);
        self.keys.push(main, &write);
        self.batch.writes.push(write);
    }

    /// The writes from `mark` on, if there are any, make the next revision.
    fn close_revision(&mut self, mark: usize) {
        let writes = self.batch.writes.len() - mark;
        if writes > 0 {
            self.batch.effects.push(Effect::Revision { writes: writes as u32 });
            self.revision = self.revision.next();
        }
    }

    fn top_level_delete(
        &mut self,
        state: &StateMachine,
        delete: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResult, OpError> {
        let main = self.revision.next();
        let mark = self.batch.writes.len();
        let mut result = self.write_delete(state, delete, main)?;
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
    ) -> Result<DeleteRangeResult, OpError> {
        let projection = if delete.prev_kv { Projection::Full } else { Projection::KeysOnly };
        let page =
            self.view_at(state, main).page(&delete.range, main, 0, projection).map_err(op_error)?;
        for kv in &page.kvs {
            self.push(main, Write::Delete { key: kv.key.clone() });
        }
        Ok(DeleteRangeResult {
            revision: main,
            deleted: page.kvs.len() as i64,
            prev_kvs: if delete.prev_kv { page.kvs } else { Vec::new() },
        })
    }

    fn txn(&mut self, state: &StateMachine, txn: &TxnRequest) -> Result<TxnResult, OpError> {
        self.refuse_if_corrupt()?;
        if txn.has_put() {
            self.refuse_if_full()?;
        }
        let view = self.newest(state);
        let path = read::path(&view, txn).map_err(op_error)?;
        self.check_puts(state, &view, &path)?;
        read::check_ranges(&view, &path).map_err(op_error)?;

        let mark = self.batch.writes.len();
        match self.run(state, &path, mark) {
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

    /// Takes back the writes from `mark` on: their request is refused.
    fn withdraw(&mut self, mark: usize) {
        let withdrawn = self.batch.writes.split_off(mark);
        self.batch_bytes -= withdrawn.iter().map(write_bytes).sum::<usize>();
        self.keys.withdraw(&withdrawn, self.revision);
    }

    /// One revision is one log entry, and the log has a bound for that.
    fn refuse_if_too_large(&mut self, mark: usize) -> Result<(), OpError> {
        if self.batch_bytes <= BATCH_BYTES_MAX {
            return Ok(());
        }
        self.withdraw(mark);
        Err(OpError::TooLarge)
    }

    /// What the puts of the taken path need, looked for in the state before
    /// the transaction.
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
    /// `mark` is where the whole transaction's writes begin in the batch.
    fn run(
        &mut self,
        state: &StateMachine,
        path: &Path<'_>,
        mark: usize,
    ) -> Result<TxnResult, OpError> {
        let main = self.revision.next();
        let mut nested = path.nested.iter();
        let mut responses = Vec::with_capacity(path.ops.len());
        for op in path.ops {
            let response = match op {
                TxnOp::Range(range) => {
                    let view = self.view_at(state, self.reached(mark));
                    TxnOpResult::Range(read::range(&view, range).map_err(op_error)?)
                }
                TxnOp::Put(put) => {
                    let prev_kv = self.write_put(state, put.clone(), main)?;
                    TxnOpResult::Put(PutResult { revision: main, prev_kv })
                }
                TxnOp::DeleteRange(delete) => {
                    let mut result = self.write_delete(state, delete, main)?;
                    result.revision = self.reached(mark);
                    TxnOpResult::DeleteRange(result)
                }
                TxnOp::Txn(_) => {
                    let inner = nested.next().expect("one path per txn");
                    TxnOpResult::Txn(self.run(state, inner, mark)?)
                }
            };
            responses.push(response);
        }
        Ok(TxnResult { revision: self.reached(mark), succeeded: path.succeeded, responses })
    }

    /// The revision that a transaction has reached: one more than where it
    /// began as soon as it has changed something.
    fn reached(&self, mark: usize) -> Revision {
        if self.batch.writes.len() > mark { self.revision.next() } else { self.revision }
    }

    fn compact(&mut self, at: Revision) -> Result<Response, OpError> {
        self.refuse_if_corrupt()?;
        if at.0 <= self.compacted.map_or(-1, |compacted| compacted.0) {
            return Err(OpError::Compacted);
        }
        if at > self.revision {
            return Err(OpError::FutureRevision);
        }
        self.compacted = Some(at);
        Ok(self.plain(Effect::Compact { at }))
    }

    fn lease_grant(
        &mut self,
        state: &StateMachine,
        id: LeaseId,
        ttl_s: i64,
    ) -> Result<Response, OpError> {
        self.refuse_if_corrupt()?;
        self.refuse_if_full()?;
        if ttl_s > TTL_MAX_S {
            return Err(OpError::LeaseTtlTooLarge);
        }
        if self.lease_exists(state, id) {
            return Err(OpError::LeaseExists);
        }
        let ttl_s = ttl_s.max(self.lease_ttl_min_s);
        self.leases.insert(id, (true, self.batch_number));
        self.batch.effects.push(Effect::LeaseGrant { id, ttl_s });
        Ok(Response::LeaseGrant(ttl_s))
    }

    fn lease_revoke(&mut self, state: &StateMachine, id: LeaseId) -> Result<Response, OpError> {
        self.refuse_if_corrupt()?;
        if !self.lease_exists(state, id) {
            return Err(OpError::LeaseNotFound);
        }
        let keys = self.attached_keys(state, id);
        let main = self.revision.next();
        let mark = self.batch.writes.len();
        for key in &keys {
            self.push(main, Write::Delete { key: key.clone() });
        }
        self.refuse_if_too_large(mark)?;
        if !keys.is_empty() {
            self.revision = main;
        }
        self.leases.insert(id, (false, self.batch_number));
        self.batch.effects.push(Effect::LeaseRevoke { id, writes: keys.len() as u32 });
        Ok(Response::Done(self.revision))
    }

    /// The keys attached to a lease on the newest state, in key order.
    fn attached_keys(&self, state: &StateMachine, id: LeaseId) -> Vec<Bytes> {
        let mut keys = BTreeSet::new();
        self.each_attached_key(state, id, &mut |key| {
            keys.insert(key.clone());
            true
        });
        keys.into_iter().collect()
    }

    /// Whether `holds` is true of every key attached to a lease on the newest
    /// state.
    fn each_attached_key(
        &self,
        state: &StateMachine,
        id: LeaseId,
        holds: &mut dyn FnMut(&Bytes) -> bool,
    ) -> bool {
        let applied = |key: &Bytes| self.keys.changes(key) || holds(key);
        state.leases().lock().keys(id).all(applied) && self.keys.attached_to(id).all(holds)
    }

    fn set_alarm(&mut self, member: NodeId, kind: AlarmKind, on: bool) -> Response {
        let alarm = (member, kind);
        let known = self.alarms.contains(&alarm);
        if known != on {
            if on {
                self.alarms.insert(alarm);
            } else {
                self.alarms.remove(&alarm);
            }
            self.batch.effects.push(Effect::Alarm { member, kind, on });
        }
        Response::Alarms(if known || on { vec![alarm] } else { Vec::new() })
    }
}

/// What a write adds to its log entry, but for some tags and lengths.
fn write_bytes(write: &Write) -> usize {
    WRITE_OVERHEAD_BYTES
        + match write {
            Write::Put { key, value, .. } => key.len() + value.len(),
            Write::Delete { key } => key.len(),
        }
}

/// What a failed read means to the one who asked.
pub(crate) fn op_error(error: ReadError) -> OpError {
    match error {
        ReadError::Compacted => OpError::Compacted,
        ReadError::Future => OpError::FutureRevision,
        ReadError::Corrupt { .. } => OpError::Damaged(error.to_string()),
        other => OpError::Io(other.to_string()),
    }
}
