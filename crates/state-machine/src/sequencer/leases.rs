//! Grants and revokes leases.

use bytes::Bytes;
use t4_kv_types::{LeaseId, OpError};
use t4_lease::TTL_MAX_S;

use super::Sequencer;
use crate::batch::Effect;
use crate::request::Response;
use crate::state::StateMachine;

/// A revocation names the keys that it deletes in its log entry up to this
/// number of keys, and a number of bytes. Beyond that, `apply` takes the keys
/// from the lease: the entry stays small, so no lease has too many keys to end.
const NAMED_KEYS_MAX: usize = 1_000;
const NAMED_BYTES_MAX: usize = 1 << 20;

impl Sequencer {
    pub(super) fn lease_grant(
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
        self.plain(Effect::LeaseGrant { id, ttl_s })?;
        self.leases.insert(id, (true, self.batch_number));
        Ok(Response::LeaseGrant(ttl_s))
    }

    pub(super) fn lease_revoke(
        &mut self,
        state: &StateMachine,
        id: LeaseId,
    ) -> Result<Response, OpError> {
        self.refuse_if_corrupt()?;
        if !self.lease_exists(state, id) {
            return Err(OpError::LeaseNotFound);
        }
        let keys = self.attached_keys(state, id);
        let main = self.revision.next();
        let bytes: usize = keys.iter().map(Bytes::len).sum();
        let by_name = keys.len() <= NAMED_KEYS_MAX && bytes <= NAMED_BYTES_MAX;
        let effect = match by_name {
            true => Effect::LeaseRevoke { id, writes: keys.len() as u32 },
            false => Effect::LeaseEnd { id },
        };
        self.check_room(&effect)?;
        let has_keys = !keys.is_empty();
        if by_name {
            let mark = self.batch.writes.len();
            self.delete_keys(main, keys);
            self.refuse_if_too_large(mark)?;
        } else {
            self.keys.delete_in_bulk(main, keys);
        }
        if has_keys {
            self.revision = main;
        }
        self.leases.insert(id, (false, self.batch_number));
        self.push_effect(effect);
        Ok(Response::Done(self.revision))
    }

    /// The keys attached to a lease on the newest state, in key order.
    fn attached_keys(&self, state: &StateMachine, id: LeaseId) -> Vec<Bytes> {
        let mut keys = Vec::new();
        self.each_attached_key(state, id, &mut |key| {
            keys.push(key.clone());
            true
        });
        // Two sorted runs.
        keys.sort();
        keys
    }

    /// Whether `holds` is true for every key attached to a lease on the newest
    /// state.
    pub(super) fn each_attached_key(
        &self,
        state: &StateMachine,
        id: LeaseId,
        holds: &mut dyn FnMut(&Bytes) -> bool,
    ) -> bool {
        let applied = |key: &Bytes| self.keys.changes(key) || holds(key);
        state.leases().lock().keys(id).all(applied) && self.keys.attached_to(id).all(holds)
    }
}
