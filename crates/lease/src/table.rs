//! The lease table: grants, renewals, expiry, and the keys that a lease takes with it.
//!
//! Decides nothing about the log or the leadership; bytes are in
//! [`format`](crate::format).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use t4_kv_types::LeaseId;

use crate::format::{self, DecodeError, LeaseRecord};

/// The largest time to live, in seconds (the bound that etcd has).
pub const TTL_MAX_S: i64 = 9_000_000_000;

/// The leases of one replica. See the crate's documentation for what it
/// promises.
///
/// `now` is always the time since a fixed point on a monotonic clock, the same
/// point for the life of the table. A `now` a little older than an earlier one
/// (two threads that read the clock before they took the lock) does no harm: it
/// never shortens a deadline.
#[derive(Clone, Debug, Default)]
pub struct LeaseTable {
    /// Ordered, so that listings and encodings are the same on every replica.
    leases: BTreeMap<LeaseId, Lease>,
    /// When to report which lease: exactly the `(due, id)` of every lease whose
    /// `due` is set. A tree rather than a heap with stale entries: the first
    /// entry is always true, and a keep-alive leaves nothing behind.
    agenda: BTreeSet<(Duration, LeaseId)>,
    /// The encoded part of them, shared with snapshots: grants and renewals must not
    /// wait for a seal that encodes a million leases.
    granted: Granted,
}

/// The granted times in seconds, by id.
type Granted = rpds::RedBlackTreeMapSync<LeaseId, i64>;

/// The leases as they were when this was taken; see [`LeaseTable::snapshot`].
#[derive(Clone, Debug)]
pub struct LeaseSnapshot(Granted);

impl LeaseSnapshot {
    /// What [`LeaseTable::encode`] without `now` gave at that moment.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let record = |(&id, &ttl_s): (&LeaseId, &i64)| LeaseRecord { id, ttl_s, remaining: None };
        format::encode(self.0.iter().map(record), false)
    }
}

#[derive(Clone, Debug)]
struct Lease {
    /// As granted; 1 ..= TTL_MAX_S.
    ttl_s: i64,
    /// From this moment on it has expired.
    deadline: Duration,
    /// When it is to be reported expired; None after it was. Never before the
    /// deadline, later only when a refused revocation is to be retried.
    due: Option<Duration>,
    /// It was reported as expired, so a revocation may be in the log: no keep-alive may
    /// renew it any more, not even one with an older clock.
    doomed: bool,
    /// What is deleted with it, in key order.
    keys: BTreeSet<Bytes>,
}

/// The outcome of a keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// There is no such lease.
    NotFound,
    /// Its deadline has passed and its revocation is pending or about to be.
    /// It can no longer be renewed; answer "not found" once it is revoked.
    Expired,
    /// It has its full time to live again.
    Renewed {
        /// That time in seconds, as granted.
        ttl_s: i64,
    },
}

/// How long a lease has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Whole seconds until the deadline, rounded towards minus infinity: 0
    /// within the last second, negative once the deadline has passed. Never
    /// above `granted_ttl_s`.
    pub left_s: i64,
    /// The time to live that it was granted with, in seconds.
    pub granted_ttl_s: i64,
}

impl LeaseTable {
    /// A table without leases.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a lease that expires `ttl_s` seconds after `now`.
    ///
    /// # Panics
    /// If `id` is [`LeaseId::NONE`] or in use, or `ttl_s` is not in
    /// `1..=TTL_MAX_S`: the caller has checked all three before it wrote the
    /// grant to the log.
    pub fn grant(&mut self, id: LeaseId, ttl_s: i64, now: Duration) {
        assert!(id.is_some(), "a lease needs an id");
        assert!((1..=TTL_MAX_S).contains(&ttl_s), "lease {id}: time to live {ttl_s} s");
        let lease = Lease::new(ttl_s, now);
        let deadline = lease.deadline;
        let former = self.leases.insert(id, lease);
        assert!(former.is_none(), "lease {id} is granted twice");
        self.granted.insert_mut(id, ttl_s);
        self.agenda.insert((deadline, id));
    }

    /// Removes a lease and returns its keys in key order, or None if there is no
    /// such lease.
    pub fn revoke(&mut self, id: LeaseId) -> Option<Vec<Bytes>> {
        let lease = self.leases.remove(&id)?;
        self.granted.remove_mut(&id);
        if let Some(due) = lease.due {
            self.agenda.remove(&(due, id));
        }
        Some(lease.keys.into_iter().collect())
    }

    /// Whether there is such a lease. It may have expired: until its revocation
    /// is committed it exists, and keys can be attached to it.
    #[must_use]
    pub fn exists(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// The time to live in seconds that a lease was granted with.
    #[must_use]
    pub fn granted_ttl_s(&self, id: LeaseId) -> Option<i64> {
        self.leases.get(&id).map(|lease| lease.ttl_s)
    }

    /// Attaches a key; attaching it again changes nothing. Returns whether there
    /// is such a lease.
    ///
    /// A key belongs to one lease at a time. The key space knows which, so the
    /// caller [detaches](Self::detach) it from the former one; a second map here
    /// would double the memory. `key` is kept as it is: pass one that does not
    /// hold on to a larger buffer.
    pub fn attach(&mut self, id: LeaseId, key: Bytes) -> bool {
        let lease = self.leases.get_mut(&id);
        lease.map(|lease| lease.keys.insert(key)).is_some()
    }

    /// Detaches a key. Returns whether it was attached to this lease.
    pub fn detach(&mut self, id: LeaseId, key: &[u8]) -> bool {
        self.leases.get_mut(&id).is_some_and(|lease| lease.keys.remove(key))
    }

    /// The keys of a lease in key order; none if there is no such lease.
    pub fn keys(&self, id: LeaseId) -> impl Iterator<Item = &Bytes> {
        self.leases.get(&id).into_iter().flat_map(|lease| &lease.keys)
    }

    /// Gives a lease its full time to live again, unless it has expired. Once a
    /// lease has answered that it has, it stays so until it is revoked (or until
    /// a promotion).
    ///
    /// Only a leader that may answer for the cluster calls this: the next leader is
    /// bound by the deadline that a client is given here (see [`Self::promote`]).
    pub fn renew(&mut self, id: LeaseId, now: Duration) -> Renewal {
        let Some(lease) = self.leases.get_mut(&id) else { return Renewal::NotFound };
        lease.doomed |= lease.deadline <= now;
        if lease.doomed {
            return Renewal::Expired;
        }
        let deadline = now.saturating_add(seconds(lease.ttl_s));
        if deadline > lease.deadline {
            // Not doomed, so not reported: its entry is at its deadline.
            self.agenda.remove(&(lease.deadline, id));
            self.agenda.insert((deadline, id));
            lease.deadline = deadline;
            lease.due = Some(deadline);
        }
        Renewal::Renewed { ttl_s: lease.ttl_s }
    }

    /// How long a lease has left, or None if there is no such lease.
    #[must_use]
    pub fn remaining(&self, id: LeaseId, now: Duration) -> Option<Remaining> {
        let lease = self.leases.get(&id)?;
        let left_s = whole_seconds_until(lease.deadline, now).min(lease.ttl_s);
        Some(Remaining { left_s, granted_ttl_s: lease.ttl_s })
    }

    /// When [`Self::take_expired`] will next have something to report: the
    /// earliest deadline (or moment of retry) among the leases that are not
    /// reported yet.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.agenda.first().map(|&(due, _)| due)
    }

    /// At most `max` of the leases whose deadline is at or before `now`, by
    /// deadline, then id. Each is reported once; it stays in the table, expired,
    /// until [`Self::revoke`]. One that was handed back by [`Self::unreport`]
    /// counts with its moment of retry as its deadline.
    #[must_use = "these leases are not reported again"]
    pub fn take_expired(&mut self, now: Duration, max: usize) -> Vec<LeaseId> {
        let mut expired = Vec::new();
        while expired.len() < max
            && let Some(&(due, id)) = self.agenda.first()
            && due <= now
        {
            self.agenda.pop_first();
            let lease = self.leases.get_mut(&id).expect("the agenda names only leases");
            lease.due = None;
            lease.doomed = true;
            expired.push(id);
        }
        expired
    }

    /// Hands back a lease whose revocation was refused (no space left, too many
    /// requests), to be reported again from `retry_at` on: now, or later to back
    /// off. It stays expired, so this is safe too when it is not known whether the
    /// revocation was refused. Nothing happens if it is not reported, or gone.
    pub fn unreport(&mut self, id: LeaseId, retry_at: Duration) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        if lease.due.is_none() {
            let due = retry_at.max(lease.deadline);
            lease.due = Some(due);
            self.agenda.insert((due, id));
        }
    }

    /// Makes this replica the leader: every lease gets its full time to live from
    /// `now` on, and none counts as expired or reported.
    ///
    /// Keep-alives are not in the log, so a new leader cannot know the deadlines that
    /// the former one gave to clients; the full time is the least that is safe.
    pub fn promote(&mut self, now: Duration) {
        for lease in self.leases.values_mut() {
            let full = now.saturating_add(seconds(lease.ttl_s));
            lease.deadline = lease.deadline.max(full);
            lease.due = Some(lease.deadline);
            lease.doomed = false;
        }
        // Built anew in one go: cheaper than moving each entry.
        self.agenda = self.leases.iter().map(|(&id, lease)| (lease.deadline, id)).collect();
    }

    /// Sets what a lease had left at a clean stop, counted from `now` and never
    /// above the granted time. Nothing happens if there is no such lease.
    ///
    /// For a single replica that led until the stop and leads again: no other replica
    /// can have renewed a lease since. Call it after [`Self::promote`], which would
    /// set the full time again.
    pub fn restore_remaining(&mut self, id: LeaseId, left: Duration, now: Duration) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let deadline = now.saturating_add(left.min(seconds(lease.ttl_s)));
        if let Some(due) = lease.due.replace(deadline) {
            self.agenda.remove(&(due, id));
        }
        lease.deadline = deadline;
        lease.doomed = false;
        self.agenda.insert((deadline, id));
    }

    /// Every lease, by id.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = LeaseId> {
        self.leases.keys().copied()
    }

    /// The leases as they are now, in constant time: to be encoded elsewhere.
    #[must_use]
    pub fn snapshot(&self) -> LeaseSnapshot {
        LeaseSnapshot(self.granted.clone())
    }

    /// How many keys a lease has; 0 if there is no such lease.
    #[must_use]
    pub fn key_count(&self, id: LeaseId) -> usize {
        self.leases.get(&id).map_or(0, |lease| lease.keys.len())
    }

    /// How many leases there are, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// The table as bytes: ids and granted times, and, with `now`, the time that
    /// each lease has left. Keys are not in it: the key space names the lease of
    /// each key.
    ///
    /// Without `now` the bytes are the same on every replica that has applied the
    /// same log. Pass `now` only at a clean stop of the leader, after the last
    /// answer to a keep-alive: a follower's deadlines are not those that clients were
    /// given, and neither are these once another keep-alive has been answered.
    #[must_use]
    pub fn encode(&self, now: Option<Duration>) -> Bytes {
        format::encode(self.records(now), now.is_some())
    }

    /// The leases as they are encoded, by id: with `now`, with the time that
    /// each has left. What is said of `now` at [`Self::encode`] holds here too.
    pub fn records(&self, now: Option<Duration>) -> impl ExactSizeIterator<Item = LeaseRecord> {
        self.leases.iter().map(move |(&id, lease)| LeaseRecord {
            id,
            ttl_s: lease.ttl_s,
            remaining: now.map(|now| lease.left(now)),
        })
    }

    /// Reads what [`Self::encode`] wrote: the leases by id, each fit for
    /// [`Self::grant`].
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Vec<LeaseRecord>, DecodeError> {
        format::decode(bytes)
    }
}

impl Lease {
    fn new(ttl_s: i64, now: Duration) -> Self {
        let deadline = now.saturating_add(seconds(ttl_s));
        Lease { ttl_s, deadline, due: Some(deadline), doomed: false, keys: BTreeSet::new() }
    }

    /// Time until the deadline: none once it has passed, never above the TTL.
    fn left(&self, now: Duration) -> Duration {
        self.deadline.saturating_sub(now).min(seconds(self.ttl_s))
    }
}

/// A granted time to live, which is positive, as a `Duration`.
fn seconds(ttl_s: i64) -> Duration {
    Duration::from_secs(ttl_s.unsigned_abs())
}

/// `deadline - now` in whole seconds, rounded towards minus infinity.
fn whole_seconds_until(deadline: Duration, now: Duration) -> i64 {
    let whole = |secs: u64| i64::try_from(secs).unwrap_or(i64::MAX);
    match deadline.checked_sub(now) {
        Some(left) => whole(left.as_secs()),
        None => {
            let over = now.saturating_sub(deadline);
            -whole(over.as_secs().saturating_add(u64::from(over.subsec_nanos() > 0)))
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
