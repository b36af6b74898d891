//! The applied state: key space, leases, alarms, members, authentication; and
//! `apply`, the one function that changes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use t4_auth_rbac::AuthState;
use t4_kv_types::{Event, LeaseId, LogIndex, Revision, Write};
use t4_lease::{LeaseTable, TTL_MAX_S};
use t4_mvcc::{LogPosition, Reader, SealTicket, Store, Tables};
use thiserror::Error;

use crate::batch::{Batch, DecodeError, Effect};
use crate::published_auth::PublishedAuth;
use crate::tables::{self, Alarms, Members};

/// The lease table, shared with the callers that answer keep-alives: a renewal
/// moves a deadline, which is not part of the replicated state and needs no log entry.
pub type SharedLeases = Arc<Mutex<LeaseTable>>;

/// The alarms that are on, for all threads.
pub type SharedAlarms = Arc<RwLock<Alarms>>;

/// Why the state cannot be restored.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// A table of the manifest cannot be read.
    #[error(
        "table {name:?} of the manifest cannot be read: {why}. Restore the data directory from a copy"
    )]
    Table {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// An entry of the log cannot be read.
    #[error("log entry {index} cannot be read: {why}")]
    Entry {
        /// Its index.
        index: LogIndex,
        /// What is wrong with it.
        why: DecodeError,
    },
    /// An entry of the log contradicts the state before it.
    #[error(
        "log entry {index} does not fit the state before it: {what}. Restore the data directory from a copy"
    )]
    Contradiction {
        /// Its index.
        index: LogIndex,
        /// What does not fit.
        what: &'static str,
    },
}

/// The results of applying a batch that other components need.
#[derive(Debug, Default)]
pub struct Applied {
    /// The events of each new revision, ascending.
    pub revisions: Vec<(Revision, Arc<[Event]>)>,
    /// The newest compaction in the batch.
    pub compacted: Option<Revision>,
    /// Whether leases were granted or revoked.
    pub leases_changed: bool,
    /// Whether members changed.
    pub members_changed: bool,
    /// What each effect on authentication did to the tokens, for the token clock.
    pub tokens: Vec<t4_auth_rbac::Applied>,
    /// Whether users, roles or permissions changed, or authentication was
    /// switched on or off: open streams may have lost their rights.
    pub rights_changed: bool,
}

/// The state after the log's entries up to [`position`](Self::position).
pub struct StateMachine {
    store: Store,
    reader: Reader,
    leases: SharedLeases,
    alarms: SharedAlarms,
    members: Members,
    auth: AuthState,
    /// The part of `auth` that other threads see.
    published_auth: Arc<PublishedAuth>,
    position: LogPosition,
    /// The time that leases had left according to the last entry, if that was
    /// the end of a clean stop.
    leases_left: Option<Vec<(LeaseId, u64)>>,
}

impl StateMachine {
    /// The state held by a store and its tables. `now` is on the clock of lease
    /// deadlines.
    pub fn restore(store: Store, now: Duration) -> Result<Self, RestoreError> {
        let reader = store.reader();
        let mut machine = StateMachine {
            position: store.position(),
            reader,
            leases: Arc::default(),
            alarms: Arc::default(),
            members: Members::new(),
            auth: AuthState::new(),
            published_auth: Arc::new(PublishedAuth::new(AuthState::new())),
            leases_left: None,
            store,
        };
        machine.restore_tables(now)?;
        machine.published_auth = Arc::new(PublishedAuth::new(machine.auth.clone()));
        Ok(machine)
    }

    fn restore_tables(&mut self, now: Duration) -> Result<(), RestoreError> {
        let failed = |name, why: String| RestoreError::Table { name, why };
        let mut leases = self.leases.lock();
        for (name, bytes) in self.store.tables() {
            match name.as_str() {
                tables::LEASES => {
                    let records = LeaseTable::decode(bytes)
                        .map_err(|why| failed(tables::LEASES, why.to_string()))?;
                    for record in records {
                        leases.grant(record.id, record.ttl_s, now);
                    }
                }
                tables::ALARMS => {
                    *self.alarms.write() = tables::decode_alarms(bytes)
                        .map_err(|why| failed(tables::ALARMS, why.to_string()))?;
                }
                tables::MEMBERS => {
                    self.members = tables::decode_members(bytes)
                        .map_err(|why| failed(tables::MEMBERS, why.to_string()))?;
                }
                tables::AUTH => {
                    self.auth = AuthState::decode(bytes)
                        .map_err(|why| failed(tables::AUTH, why.to_string()))?;
                }
                _ => return Err(failed("unknown", format!("no version has a table {name:?}"))),
            }
        }
        let mut stray = false;
        self.reader.leased_keys(|key, lease| {
            if leases.exists(lease) {
                leases.attach(lease, Bytes::copy_from_slice(key));
            } else {
                stray = true;
            }
        });
        if stray {
            return Err(failed(tables::LEASES, "a key names a lease that is not in it".into()));
        }
        Ok(())
    }

    /// The newest applied revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.store.revision()
    }

    /// The compacted revision, or `None`.
    #[must_use]
    pub fn compacted(&self) -> Option<Revision> {
        self.reader.compacted()
    }

    /// The log position of this state.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// A reader of the key space.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The leases.
    #[must_use]
    pub fn leases(&self) -> &SharedLeases {
        &self.leases
    }

    /// The alarms that are on.
    #[must_use]
    pub fn alarms(&self) -> &SharedAlarms {
        &self.alarms
    }

    /// The members and their published attributes.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Users, roles and tokens.
    #[must_use]
    pub fn auth(&self) -> &AuthState {
        &self.auth
    }

    /// The same, for other threads.
    #[must_use]
    pub fn published_auth(&self) -> &Arc<PublishedAuth> {
        &self.published_auth
    }

    pub(crate) fn lease_exists(&self, id: LeaseId) -> bool {
        self.leases.lock().exists(id)
    }

    /// Whether the key space is due for a seal.
    #[must_use]
    pub fn wants_seal(&self) -> bool {
        self.store.wants_seal()
    }

    /// Bytes of the key space that are not in a segment yet.
    #[must_use]
    pub fn tail_bytes(&self) -> usize {
        self.store.tail_bytes()
    }

    /// Closes the tail of the key space at the current position, with the current
    /// tables. Constant time: leases, users and roles are shared with the ticket,
    /// and encoded when it is sealed.
    pub fn seal(&mut self) -> SealTicket {
        let leases = self.leases.lock().snapshot();
        let alarms = self.alarms.read().clone();
        let (auth, members) = (self.auth.clone(), self.members.clone());
        self.store.seal_later(self.position, move || {
            let mut tables: Tables = vec![
                (tables::LEASES.to_owned(), leases.encode()),
                (tables::ALARMS.to_owned(), tables::encode_alarms(&alarms)),
                (tables::MEMBERS.to_owned(), tables::encode_members(&members)),
            ];
            // Authentication was never changed: programs without it can still
            // read the manifest.
            if auth.revision() > AuthState::new().revision() {
                tables.push((tables::AUTH.to_owned(), auth.encode()));
            }
            tables
        })
    }

    /// Applies an entry of the log at a start. Entries that the store's
    /// manifest covers are skipped.
    pub fn replay(
        &mut self,
        at: LogPosition,
        payload: &Bytes,
        now: Duration,
    ) -> Result<(), RestoreError> {
        if at.index <= self.position.index {
            return Ok(());
        }
        let index = at.index;
        if index != self.position.index.next() {
            let what = "entries between it and the newest sealed one are missing";
            return Err(RestoreError::Contradiction { index, what });
        }
        let batch = Batch::decode(payload).map_err(|why| RestoreError::Entry { index, why })?;
        self.check(&batch).map_err(|what| RestoreError::Contradiction { index, what })?;
        self.apply(at, &batch, now);
        Ok(())
    }

    /// Called after the last replayed entry: every lease gets its full time
    /// again, because the last answer to its holder is unknown, except after a
    /// clean stop, which recorded how much time each had left.
    pub fn replayed(&mut self, now: Duration) {
        let mut leases = self.leases.lock();
        leases.promote(now);
        for (id, millis) in self.leases_left.take().unwrap_or_default() {
            if leases.exists(id) {
                leases.restore_remaining(id, Duration::from_millis(millis), now);
            }
        }
    }

    /// Whether a replayed batch can have been evaluated on this state: a
    /// damaged or foreign log must cause an error, not a panic.
    fn check(&self, batch: &Batch) -> Result<(), &'static str> {
        let mut live = BTreeMap::new();
        let mut leases = BTreeMap::new();
        let mut auth = None;
        let mut writes = batch.writes.as_slice();
        for effect in &batch.effects {
            let (owned, grants) = match effect {
                Effect::Revision { writes: count } => (*count, None),
                Effect::LeaseGrant { id, ttl_s } => {
                    if !id.is_some() || !(1..=TTL_MAX_S).contains(ttl_s) {
                        return Err("it grants a lease that no client can have asked for");
                    }
                    (0, Some((*id, true)))
                }
                Effect::LeaseRevoke { id, writes: count } => (*count, Some((*id, false))),
                Effect::LeaseEnd { id } => {
                    self.check_lease_end(*id, &mut live);
                    (0, Some((*id, false)))
                }
                Effect::Auth(effect) => {
                    let auth = auth.get_or_insert_with(|| self.auth.clone());
                    auth.apply(effect).map_err(|diverged| diverged.what)?;
                    (0, None)
                }
                _ => (0, None),
            };
            for write in take(&mut writes, owned) {
                self.check_write(write, &mut live, &leases)?;
            }
            if let Some((id, granted)) = grants {
                let was = leases.insert(id, granted);
                if was.unwrap_or_else(|| self.lease_exists(id)) == granted {
                    return Err("it grants a lease that exists or revokes one that does not");
                }
            }
        }
        Ok(())
    }

    /// Marks the keys of the lease as deleted, including keys that this batch attached.
    fn check_lease_end(&self, id: LeaseId, live: &mut BTreeMap<Bytes, Option<LeaseId>>) {
        live.values_mut().filter(|lease| **lease == Some(id)).for_each(|lease| *lease = None);
        for key in self.leases.lock().keys(id) {
            live.entry(key.clone()).or_insert(None);
        }
    }

    /// `live` has the keys that the batch changed before: deleted, or attached
    /// to a lease.
    fn check_write(
        &self,
        write: &Write,
        live: &mut BTreeMap<Bytes, Option<LeaseId>>,
        leases: &BTreeMap<LeaseId, bool>,
    ) -> Result<(), &'static str> {
        match write {
            Write::Put { key, lease, .. } => {
                live.insert(key.clone(), Some(*lease));
                let known = leases.get(lease).copied();
                if lease.is_some() && !known.unwrap_or_else(|| self.lease_exists(*lease)) {
                    return Err("it attaches a key to a lease that does not exist");
                }
            }
            Write::Delete { key } => {
                let was = live.insert(key.clone(), None).map(|lease| lease.is_some());
                if !was.unwrap_or_else(|| self.reader.newest(key).is_some()) {
                    return Err("it deletes a key that is not there");
                }
            }
        }
        Ok(())
    }

    /// Applies a committed batch. `now` is on the clock of lease deadlines. Each
    /// revision becomes visible to readers as a whole.
    pub fn apply(&mut self, at: LogPosition, batch: &Batch, now: Duration) -> Applied {
        let mut applied = Applied::default();
        let mut writes = batch.writes.as_slice();
        self.leases_left = None;
        for effect in &batch.effects {
            match effect {
                Effect::Revision { writes: count } => {
                    let owned = take(&mut writes, *count);
                    applied.revisions.extend(self.apply_writes(owned, None));
                }
                Effect::LeaseGrant { id, ttl_s } => {
                    self.leases.lock().grant(*id, *ttl_s, now);
                    applied.leases_changed = true;
                }
                Effect::LeaseRevoke { id, writes: count } => {
                    let owned = take(&mut writes, *count);
                    applied.revisions.extend(self.apply_writes(owned, Some(*id)));
                    applied.leases_changed = true;
                }
                Effect::LeaseEnd { id } => {
                    applied.revisions.extend(self.end_lease(*id));
                    applied.leases_changed = true;
                }
                Effect::Compact { at } => applied.compacted = Some(*at),
                Effect::Alarm { member, kind, on: true } => {
                    self.alarms.write().insert((*member, *kind));
                }
                Effect::Alarm { member, kind, on: false } => {
                    self.alarms.write().remove(&(*member, *kind));
                }
                Effect::Barrier { .. } => {}
                Effect::LeasesLeft { left } => self.leases_left = Some(left.clone()),
                Effect::Member { id, attributes } => {
                    self.members.insert(*id, attributes.clone());
                    applied.members_changed = true;
                }
                Effect::Auth(effect) => self.apply_auth(effect, &mut applied),
            }
        }
        if let Some(at) = applied.compacted {
            self.store.compact(at);
        }
        self.position = at;
        applied
    }

    /// Publishes the change immediately: it may forbid access to what later
    /// entries contain.
    fn apply_auth(&mut self, effect: &t4_auth_rbac::Effect, applied: &mut Applied) {
        use t4_auth_rbac::Effect;
        let tokens = self.auth.apply(effect).expect("it was decided on this state");
        let rights = !matches!(effect, Effect::TokenIssue { .. } | Effect::TokensEnd { .. });
        self.published_auth.publish(&self.auth, rights);
        applied.tokens.push(tokens);
        applied.rights_changed |= rights;
    }

    /// Applies the writes of a revision, if any, and the end of the lease that
    /// comes with them.
    fn apply_writes(
        &mut self,
        writes: &[Write],
        revoked: Option<LeaseId>,
    ) -> Option<(Revision, Arc<[Event]>)> {
        let moves = self.lease_moves(writes);
        self.apply_with_leases(writes, |leases| {
            for (key, from, to) in moves {
                leases.detach(from, key);
                leases.attach(to, Bytes::copy_from_slice(key));
            }
            if let Some(id) = revoked {
                leases.revoke(id);
            }
        })
    }

    /// Ends a lease and deletes its keys, in one revision if there are any.
    fn end_lease(&mut self, id: LeaseId) -> Option<(Revision, Arc<[Event]>)> {
        let delete = |key: &Bytes| Write::Delete { key: key.clone() };
        let writes: Vec<Write> = self.leases.lock().keys(id).map(delete).collect();
        self.apply_with_leases(&writes, |leases| {
            leases.revoke(id);
        })
    }

    /// Applies the writes of a revision, if any, and a change of the lease table.
    ///
    /// Readers of the key space and of the lease table see both at one moment: the
    /// revision becomes visible under the table's lock. So a reader that has seen a
    /// key attached, detached or deleted in one of them also finds it so in the other.
    fn apply_with_leases(
        &mut self,
        writes: &[Write],
        change: impl FnOnce(&mut LeaseTable),
    ) -> Option<(Revision, Arc<[Event]>)> {
        let revision = self.store.revision().next();
        let events = (!writes.is_empty()).then(|| self.store.apply(revision, writes));
        let mut leases = self.leases.lock();
        change(&mut leases);
        let events = events?;
        self.store.publish(revision);
        Some((revision, events))
    }

    /// The keys that these writes move between leases, with the old and new
    /// lease. Must run before the writes are applied, as it looks up the old lease.
    fn lease_moves<'a>(&self, writes: &'a [Write]) -> Vec<(&'a Bytes, LeaseId, LeaseId)> {
        let mut moves = Vec::new();
        if self.leases.lock().is_empty() {
            return moves;
        }
        // Attachments made by this same revision: a transaction may put a key
        // and then delete it.
        let mut moved: BTreeMap<&Bytes, LeaseId> = BTreeMap::new();
        let distinct = writes.is_sorted_by(|a, b| a.key() < b.key());
        for write in writes {
            let key = write.key();
            let held_by = moved.get(key).copied().unwrap_or_else(|| {
                self.reader.newest(key).map_or(LeaseId::NONE, |meta| meta.lease)
            });
            let holder = match write {
                Write::Put { lease, .. } => *lease,
                Write::Delete { .. } => LeaseId::NONE,
            };
            if held_by != holder {
                moves.push((key, held_by, holder));
            }
            if !distinct {
                moved.insert(key, holder);
            }
        }
        moves
    }
}

/// Splits the next `count` writes off the front.
fn take<'a>(writes: &mut &'a [Write], count: u32) -> &'a [Write] {
    let (owned, rest) = writes.split_at(count as usize);
    *writes = rest;
    owned
}
