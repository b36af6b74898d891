//! Leases through the handle on a replica. Grants and ends go through the log;
//! keep-alives and questions look at the table that `apply` keeps.

use std::sync::atomic::Ordering;

use t4_auth_rbac::Operation;
use t4_kv_types::{LeaseGranted, LeaseId, LeaseTimeToLive, OpError, Revision};
use t4_lease::Renewal;
use t4_state_machine::{Request, Response};
use tokio::time::{Instant, sleep_until};

use crate::counters::bump;
use crate::node::Node;

impl Node {
    /// Begins a lease. With id 0 the node picks one. `ttl_s` is in seconds and
    /// raised to the minimum.
    pub async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Result<LeaseGranted, OpError> {
        let picked = !id.is_some();
        let mut id = id;
        loop {
            if picked {
                id = random_lease_id()?;
            }
            match self.submit(Request::LeaseGrant(id, ttl_s)).await {
                Ok(Response::LeaseGrant(ttl_s)) => {
                    let counters = &self.shared().counters;
                    bump(&counters.leases_granted);
                    counters.times.lease_ttl.observe_number(ttl_s.unsigned_abs());
                    return Ok(LeaseGranted { revision: self.revision(), id, ttl_s });
                }
                Ok(other) => unreachable!("a grant was answered with {other:?}"),
                Err(OpError::LeaseExists) if picked => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends a lease; its keys go with it, at one revision. Returns the
    /// revision after it.
    pub async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, OpError> {
        let revision = self.submit_plain(Request::LeaseRevoke(id)).await?;
        bump(&self.shared().counters.leases_revoked);
        Ok(revision)
    }

    /// Gives a lease its full time again, without a log entry. Returns that
    /// time in seconds; 0: there is no such lease (any more).
    pub async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, OpError> {
        let shared = self.shared();
        let mut deadline = None;
        loop {
            // Told before the table is looked at, so that no change is missed.
            let changed = shared.leases_changed.notified();
            {
                let mut leases = shared.leases.lock();
                // Under the lock: what leases have left is written down at a
                // stop, and no answer may promise more after that.
                if shared.stopping.load(Ordering::SeqCst) {
                    return Err(OpError::Stopped);
                }
                self.check_lease_rights(&leases, [Operation::WriteLease(id)])?;
                match leases.renew(id, shared.now()) {
                    Renewal::Renewed { ttl_s } => {
                        bump(&shared.counters.leases_renewed);
                        return Ok(ttl_s);
                    }
                    Renewal::NotFound => return Ok(0),
                    // Its revocation is on its way; answering before it is
                    // committed could let the client see the keys still there.
                    Renewal::Expired => {}
                }
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.request_timeout());
            tokio::select! {
                () = changed => {}
                _ = self.closed() => return Err(OpError::Stopped),
                () = sleep_until(deadline) => return Err(OpError::Timeout),
            }
        }
    }

    /// How much time a lease has left, and its keys if asked for.
    pub async fn lease_time_to_live(
        &self,
        id: LeaseId,
        keys: bool,
    ) -> Result<LeaseTimeToLive, OpError> {
        let shared = self.shared();
        let leases = shared.leases.lock();
        let right = if keys { Operation::ReadLease(id) } else { Operation::Authenticated };
        self.check_lease_rights(&leases, [right])?;
        Ok(match leases.remaining(id, shared.now()) {
            Some(remaining) => LeaseTimeToLive {
                id,
                ttl_s: remaining.left_s,
                granted_ttl_s: remaining.granted_ttl_s,
                keys: if keys { leases.keys(id).cloned().collect() } else { Vec::new() },
            },
            None => LeaseTimeToLive { id, ttl_s: -1, granted_ttl_s: 0, keys: Vec::new() },
        })
    }

    /// All leases, by id; for those who may list the keys of each.
    pub async fn leases(&self) -> Result<Vec<LeaseId>, OpError> {
        let leases = self.shared().leases.lock();
        let each = leases.ids().map(Operation::ReadLease);
        self.check_lease_rights(&leases, std::iter::once(Operation::Authenticated).chain(each))?;
        Ok(leases.ids().collect())
    }
}

/// A positive id of 63 random bits.
fn random_lease_id() -> Result<LeaseId, OpError> {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes).map_err(|error| OpError::Io(error.to_string()))?;
    Ok(LeaseId((i64::from_le_bytes(bytes) & i64::MAX).max(1)))
}
