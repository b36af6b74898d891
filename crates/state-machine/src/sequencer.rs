//! Orders requests: evaluates each on the newest state, committed plus in
//! flight, and gathers the effects into the next log entry.

mod keys;
mod leases;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use t4_auth_rbac::{AuthState, Command, Identity};
use t4_kv_types::{AlarmKind, LeaseId, NodeId, OpError, Revision, Write};
use t4_mvcc::{Budget, ReadError};

use crate::batch::{Batch, Effect, write_size_max};
use crate::in_flight::InFlight;
use crate::newest::Newest;
use crate::permission;
use crate::request::{Request, Response};
use crate::state::StateMachine;

/// The most bytes in an open batch; the log accepts entries of up to 256 MiB.
const BATCH_BYTES_MAX: usize = 192 << 20;

/// The state beyond the applied state.
pub struct Sequencer {
    lease_ttl_min_s: i64,
    /// The newest revision assigned to an effect.
    revision: Revision,
    compacted: Option<Revision>,
    alarms: BTreeSet<(NodeId, AlarmKind)>,
    keys: InFlight,
    /// Leases granted (`true`) or revoked in flight, with the number of the
    /// last batch that did so.
    leases: BTreeMap<LeaseId, (bool, u64)>,
    /// Users, roles and tokens including changes in flight. Shares unchanged
    /// parts with the applied state.
    auth: AuthState,
    /// The newest batch that changes `auth`; 0 if none is in flight.
    auth_number: u64,
    batch: Batch,
    /// The most bytes that the open batch may take in the log.
    batch_bytes: usize,
    /// The number of the open batch; the first is 1.
    batch_number: u64,
    /// The number of the newest applied batch. Batches are applied in order.
    applied_number: u64,
}

impl Sequencer {
    /// A sequencer on `state` with nothing in flight. Grants below
    /// `lease_ttl_min_s` seconds are raised to it.
    #[must_use]
    pub fn new(state: &StateMachine, lease_ttl_min_s: i64) -> Self {
        Sequencer {
            lease_ttl_min_s,
            revision: state.revision(),
            compacted: state.compacted(),
            alarms: state.alarms().read().clone(),
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

    /// The open batch.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The most bytes that the open batch may take in the log, counting all
    /// kinds of effects.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    /// Closes the batch; later evaluations go into the next one.
    pub fn take_batch(&mut self) -> Batch {
        self.batch_number += 1;
        self.batch_bytes = 0;
        std::mem::take(&mut self.batch)
    }

    /// Called after the oldest batch in flight, `batch`, was applied to `state`.
    pub fn applied(&mut self, state: &StateMachine, batch: &Batch) {
        self.keys.applied(&batch.writes, state.revision());
        self.applied_number += 1;
        if !self.leases.is_empty() {
            let applied = self.applied_number;
            self.leases.retain(|_, (_, number)| *number > applied);
        }
        if self.auth_number == self.applied_number {
            // Equal to the previous value, but shared again.
            self.auth.clone_from(state.auth());
            self.auth_number = 0;
        }
    }

    /// Forgets everything in flight after the log rejected it.
    pub fn discard(&mut self, state: &StateMachine) {
        *self = Sequencer::new(state, self.lease_ttl_min_s);
    }

    /// Evaluates one request of `who`. Its effects, if any, are added to the
    /// open batch; the response must not be sent before that batch, and
    /// everything in flight that the evaluation saw, is committed.
    ///
    /// # Errors
    /// If authentication is on, [`OpError::Auth`] takes precedence over all
    /// other errors: callers without rights learn nothing about the state.
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
            Request::SetAlarm(member, kind, on) => self.set_alarm(member, kind, on),
            Request::Barrier(boot_nonce) => self.plain(Effect::Barrier { boot_nonce }),
            Request::LeasesLeft(left) => self.plain(Effect::LeasesLeft { left }),
            Request::Member(id, attributes) => self.plain(Effect::Member { id, attributes }),
            Request::Auth(command) => self.change_auth(who, &command),
        }
    }

    fn change_auth(&mut self, who: &Identity, command: &Command) -> Result<Response, OpError> {
        if let Some(effect) = self.auth.evaluate(who, command)? {
            let effect = Effect::Auth(effect);
            self.check_room(&effect)?;
            if let Effect::Auth(effect) = &effect {
                self.auth.apply(effect).expect("an effect fits the state that it was decided on");
            }
            self.auth_number = self.batch_number;
            self.push_effect(effect);
        }
        Ok(Response::Auth(self.auth.revision()))
    }

    fn plain(&mut self, effect: Effect) -> Result<Response, OpError> {
        self.check_room(&effect)?;
        self.push_effect(effect);
        Ok(Response::Done(self.revision))
    }

    /// Checks that an effect fits the size limit of a log entry. Call it before
    /// changing anything else for the effect.
    fn check_room(&self, effect: &Effect) -> Result<(), OpError> {
        let bytes = self.batch_bytes.saturating_add(effect.size_max());
        if bytes > BATCH_BYTES_MAX { Err(OpError::TooLarge) } else { Ok(()) }
    }

    fn push_effect(&mut self, effect: Effect) {
        self.batch_bytes += effect.size_max();
        self.batch.effects.push(effect);
    }

    /// Adds a write whose key is in flight already, or will be.
    fn push_write(&mut self, write: Write) {
        self.batch_bytes += write_size_max(&write);
        self.batch.writes.push(write);
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

    fn view_at<'a>(
        &'a self,
        state: &'a StateMachine,
        revision: Revision,
        budget: &'a Budget<'a>,
    ) -> Newest<'a> {
        Newest {
            reader: state.reader(),
            applied: state.revision(),
            revision,
            compacted: self.compacted,
            in_flight: &self.keys,
            budget,
        }
    }

    fn lease_exists(&self, state: &StateMachine, id: LeaseId) -> bool {
        match self.leases.get(&id) {
            Some((granted, _)) => *granted,
            None => state.lease_exists(id),
        }
    }

    fn compact(&mut self, at: Revision) -> Result<Response, OpError> {
        self.refuse_if_corrupt()?;
        if at.0 <= self.compacted.map_or(-1, |compacted| compacted.0) {
            return Err(OpError::Compacted);
        }
        if at > self.revision {
            return Err(OpError::FutureRevision);
        }
        let response = self.plain(Effect::Compact { at })?;
        self.compacted = Some(at);
        Ok(response)
    }

    fn set_alarm(
        &mut self,
        member: NodeId,
        kind: AlarmKind,
        on: bool,
    ) -> Result<Response, OpError> {
        let alarm = (member, kind);
        let known = self.alarms.contains(&alarm);
        if known != on {
            self.plain(Effect::Alarm { member, kind, on })?;
            if on {
                self.alarms.insert(alarm);
            } else {
                self.alarms.remove(&alarm);
            }
        }
        Ok(Response::Alarms(if known || on { vec![alarm] } else { Vec::new() }))
    }
}

/// Maps a read error to the error for the caller.
pub(crate) fn op_error(error: ReadError) -> OpError {
    match error {
        ReadError::Compacted => OpError::Compacted,
        ReadError::Future => OpError::FutureRevision,
        ReadError::OverBudget => OpError::AnswerTooLarge,
        ReadError::Corrupt { .. } => OpError::Damaged(error.to_string()),
        other => OpError::Io(other.to_string()),
    }
}
