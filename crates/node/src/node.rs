//! The handle on a running replica: what an embedder, and each protocol, calls.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use t4_auth_rbac::{AuthState, Operation};
use t4_kv_types::{
    AlarmKind, ClusterId, DeleteRangeRequest, DeleteRangeResult, Epoch, KeyValue, LogIndex, NodeId,
    OpError, PutRequest, PutResult, RangeRequest, RangeResult, Revision, TxnRequest, TxnResult,
};
use t4_state_machine::{ANSWER_BYTES_MAX, AuthMark, Request, Response};
use t4_wal::{FileDir, SegmentDir};
use tokio::sync::oneshot;

use crate::commit_queue::CommitQueue;
use crate::config::Config;
use crate::counters::{Counters, bump};
use crate::data_dir::Identity;
use crate::error::{Closed, OpenError};
use crate::lane::Lane;
use crate::lanes::LaneRegistry;
use crate::maintenance::alarm_threshold;
use crate::open::{self, Started};
use crate::reads::{Reads, is_heavy, txn_is_heavy};
use crate::shared::Shared;
use crate::shortage::Shortage;
use crate::submissions::ReplyTo;
use crate::watch::WatchStream;

/// A member as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// Whether it only learns and does not count.
    pub is_learner: bool,
}

/// What a replica is and holds at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The newest revision that readers see.
    pub revision: Revision,
    /// The newest compaction, if there was one.
    pub compacted: Option<Revision>,
    /// Who leads; 0: nobody known.
    pub leader: NodeId,
    /// The epoch.
    pub epoch: Epoch,
    /// The newest committed log entry.
    pub log_index: LogIndex,
    /// The newest applied log entry.
    pub applied_index: LogIndex,
    /// Bytes of the key space on the disk, and of its tail in memory.
    pub bytes_on_disk: u64,
    /// Bytes of keys and values that a reader can still reach, before
    /// compression, and of users and roles: what counts towards the quota.
    pub bytes_in_use: u64,
    /// Bytes of all keys and values that are kept, before compression: those in
    /// use, and those that no collection has dropped yet.
    pub bytes_kept: u64,
    /// The quota, if there is one.
    pub quota_bytes: Option<u64>,
    /// The alarms that are on.
    pub alarms: Vec<(NodeId, AlarmKind)>,
    /// How many keys there are.
    pub keys: u64,
    /// Writes admitted and not answered yet.
    pub pending: usize,
}

impl Status {
    /// What counts as in use and is no key or value, in bytes: an empty store
    /// has a manifest and the first page of a log, too.
    const BYTES_OF_AN_EMPTY_STORE: u64 = 4096;

    /// The size of the store as clients of etcd understand it, in bytes. Never
    /// less than [`size_in_use`](Self::size_in_use), so that what compares the
    /// two, or the size with the quota, comes to the right result: compression
    /// does not make it smaller, as it does not make the quota larger.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.bytes_on_disk.max(self.bytes_kept) + Self::BYTES_OF_AN_EMPTY_STORE
    }

    /// How much of [`size`](Self::size) is in use, in bytes; never 0.
    #[must_use]
    pub fn size_in_use(&self) -> u64 {
        self.bytes_in_use + Self::BYTES_OF_AN_EMPTY_STORE
    }
}

/// etcd's hash of the key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// The newest revision that readers see.
    pub revision: Revision,
    /// The hash.
    pub hash: u32,
    /// The compaction that it assumes; -1 when there was none.
    pub compact_revision: i64,
    /// The revision up to which it goes.
    pub hash_revision: i64,
}

/// A handle on a running replica; clones are cheap. It belongs to the runtime
/// that it was made on ([`open`](Node::open), or
/// [`on_this_runtime`](Node::on_this_runtime)): responses and events come there
/// batch by batch, with one wake-up each.
///
/// The replica stops when it is told to, or when its last handle is dropped.
#[derive(Clone)]
pub struct Node {
    lane: Arc<LaneHandle>,
    /// On whose behalf this handle acts; nobody's, unless it was said.
    pub(crate) who: t4_auth_rbac::Identity,
}

struct LaneHandle {
    lane: Arc<Lane>,
    number: usize,
    core: Arc<Core>,
    /// The published state of authentication, copied: so that runtimes do not
    /// pass the counter of one shared pointer around among their cores.
    auth: Mutex<(AuthMark, Arc<AuthState>)>,
}

struct Core {
    config: Config,
    shared: Arc<Shared>,
    queue: Arc<CommitQueue>,
    lanes: Arc<LaneRegistry>,
    reads: Reads,
    log: t4_wal::Reader,
}

impl Drop for LaneHandle {
    fn drop(&mut self) {
        self.core.lanes.remove(self.number);
        self.lane.close();
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

impl LaneHandle {
    /// Starts a lane on the present runtime.
    fn start(core: Arc<Core>) -> Arc<LaneHandle> {
        let (reader, damage) = (core.shared.reader.clone(), core.shared.damage.clone());
        let lane = Arc::new(Lane::new(reader, damage));
        let number = core.lanes.add(lane.clone());
        tokio::spawn(lane.clone().run());
        let auth = Mutex::new(core.shared.auth.state());
        Arc::new(LaneHandle { lane, number, core, auth })
    }

    fn auth(&self) -> Arc<AuthState> {
        let published = &self.core.shared.auth;
        let mut copied = self.auth.lock();
        if copied.0 != published.mark() {
            let (mark, state) = published.state();
            *copied = (mark, Arc::new(AuthState::clone(&state)));
        }
        copied.1.clone()
    }
}

impl Node {
    /// Opens the replica whose data is in `config.data_dir`, or makes a new
    /// one there, and begins a new epoch.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was overwritten.
    pub async fn open(config: Config) -> Result<Node, OpenError> {
        Node::open_with_log(config, FileDir::open).await
    }

    /// The same, with the log in a directory of the caller's making, which is
    /// given the path that the log has in the data directory: one that watches,
    /// slows down or fails what the log does.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was overwritten.
    pub async fn open_with_log<D: SegmentDir>(
        config: Config,
        open_log: impl FnOnce(PathBuf) -> io::Result<D> + Send + 'static,
    ) -> Result<Node, OpenError> {
        let opening = config.clone();
        let Started { shared, queue, lanes, log } =
            tokio::task::spawn_blocking(move || open::start(&opening, open_log))
                .await
                .map_err(|failed| OpenError::Thread(std::io::Error::other(failed)))??;
        let reads = Reads::new(shared.reader.clone(), shared.damage.clone());
        let core = Arc::new(Core { config, shared, queue, lanes, reads, log });
        Ok(Node { lane: LaneHandle::start(core), who: Default::default() })
    }

    /// A handle on the same replica that belongs to the runtime that this is
    /// called on, and acts on the same behalf.
    #[must_use]
    pub fn on_this_runtime(&self) -> Node {
        Node { lane: LaneHandle::start(self.lane.core.clone()), who: self.who.clone() }
    }

    /// The same handle, on another's behalf.
    pub(crate) fn acting_as(&self, who: t4_auth_rbac::Identity) -> Node {
        Node { lane: self.lane.clone(), who }
    }

    /// Users, roles and tokens as they are applied: all changes that were
    /// answered are in it. Cheap, but [`auth_is_on`](Self::auth_is_on) is
    /// cheaper.
    #[must_use]
    pub fn auth(&self) -> Arc<AuthState> {
        self.lane.auth()
    }

    /// Stops the replica: what was submitted is committed and answered, new
    /// submissions are refused. Returns when the data directory is free.
    pub async fn stop(&self) -> Closed {
        self.lane.core.queue.stop();
        self.closed().await
    }

    /// Returns once the replica is no more, and why.
    pub async fn closed(&self) -> Closed {
        let mut closed = self.shared().closed.subscribe();
        match closed.wait_for(Option::is_some).await {
            Ok(why) => why.clone().expect("waited for it"),
            Err(_) => Closed::Stopped,
        }
    }

    /// How long a request waits for its answer.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.lane.core.config.request_timeout
    }

    pub(crate) fn shared_handle(&self) -> Arc<Shared> {
        self.lane.core.shared.clone()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.lane.core.shared
    }

    pub(crate) async fn submit(&self, request: Request) -> Result<Response, OpError> {
        let (to, response) = oneshot::channel();
        let (who, reply) = (self.who.clone(), ReplyTo { lane: self.lane.number, to });
        let result = match self.lane.core.queue.submit(who, request, reply) {
            Ok(()) => response.await.unwrap_or(Err(OpError::Stopped)),
            Err(refused) => Err(refused),
        };
        if let Err(OpError::Damaged(what)) = &result {
            self.shared().damage.met(what);
        }
        if let Err(
            OpError::NoSpace
            | OpError::DiskFull
            | OpError::Exhausted
            | OpError::Timeout
            | OpError::Stopped
            | OpError::Damaged(_)
            | OpError::Io(_),
        ) = result
        {
            bump(&self.shared().counters.writes_failed);
        }
        result
    }

    /// Reads a range, none of it after a change that forbids it. Linearizable:
    /// it sees every write that was acknowledged before it was asked. On a replica that leads alone this costs nothing,
    /// so `serializable` makes no difference.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResult, OpError> {
        self.range_as(request, ANSWER_BYTES_MAX, |result| result).await
    }

    /// The same, of at most `bytes_max` bytes as a
    /// [`Budget`](t4_mvcc::Budget) counts them, and `make` of it: a large answer
    /// is made on the blocking thread that has read it. Dropping the future ends
    /// the work soon.
    ///
    /// # Errors
    /// [`OpError::AnswerTooLarge`] before it was gathered, and as of every read.
    pub async fn range_as<T: Send + 'static>(
        &self,
        request: RangeRequest,
        bytes_max: usize,
        make: impl Fn(RangeResult) -> T + Clone + Send + 'static,
    ) -> Result<T, OpError> {
        bump(&self.shared().counters.ranges);
        let (right, reads) = (Operation::Range(&request), &self.lane.core.reads);
        self.read_by_right(right, || reads.range(&request, bytes_max, &make)).await
    }

    /// Sets a key.
    pub async fn put(&self, request: PutRequest) -> Result<PutResult, OpError> {
        bump(&self.shared().counters.puts);
        match self.submit(Request::Put(request)).await? {
            Response::Put(result) => Ok(result),
            other => unreachable!("a put was answered with {other:?}"),
        }
    }

    /// Removes a range of keys.
    pub async fn delete_range(
        &self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResult, OpError> {
        self.delete_range_as(request, |result| result).await
    }

    /// The same, and `make` of it: on a blocking thread if it is large.
    pub async fn delete_range_as<T: Send + 'static>(
        &self,
        request: DeleteRangeRequest,
        make: impl Fn(DeleteRangeResult) -> T + Send + 'static,
    ) -> Result<T, OpError> {
        bump(&self.shared().counters.deletes);
        match self.submit(Request::DeleteRange(request)).await? {
            Response::DeleteRange(result) => {
                let is_heavy = is_heavy(&result.prev_kvs);
                self.lane.core.reads.answer(result, is_heavy, make).await
            }
            other => unreachable!("a delete was answered with {other:?}"),
        }
    }

    /// Compares, then does one of two lists of operations. One of which no
    /// operation writes is answered without the log.
    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResult, OpError> {
        self.txn_as(request, |result| result).await
    }

    /// The same, and `make` of it: a large answer is made on a blocking thread.
    ///
    /// # Errors
    /// [`OpError::AnswerTooLarge`] if all answers together would be too large,
    /// with nothing done, and as of every write.
    pub async fn txn_as<T: Send + 'static>(
        &self,
        request: TxnRequest,
        make: impl Fn(TxnResult) -> T + Clone + Send + 'static,
    ) -> Result<T, OpError> {
        bump(&self.shared().counters.txns);
        let reads = &self.lane.core.reads;
        if request.is_read_only() {
            let right = Operation::Txn(&request);
            return self.read_by_right(right, || reads.read_only_txn(&request, &make)).await;
        }
        match self.submit(Request::Txn(request)).await? {
            Response::Txn(result) => {
                let is_heavy = txn_is_heavy(&result);
                reads.answer(result, is_heavy, make).await
            }
            other => unreachable!("a transaction was answered with {other:?}"),
        }
    }

    pub(crate) async fn submit_plain(&self, request: Request) -> Result<Revision, OpError> {
        match self.submit(request).await? {
            Response::Done(revision) => Ok(revision),
            other => unreachable!("a plain request was answered with {other:?}"),
        }
    }

    /// Gives up history below `at`, which stays readable; effective at once.
    /// With `physical`, returns when the superseded versions are gone from the
    /// index. Returns the current revision.
    pub async fn compact(&self, at: Revision, physical: bool) -> Result<Revision, OpError> {
        let mut compacted = self.shared().compacted.subscribe();
        let revision = self.submit_plain(Request::Compact(at)).await?;
        if !physical {
            return Ok(revision);
        }
        tokio::select! {
            biased;
            _ = compacted.wait_for(|done| *done >= at) => Ok(revision),
            // It goes on at the next start.
            _ = self.closed() => Err(OpError::Stopped),
        }
    }

    /// The alarms that are on. NOSPACE is, without being written down (there is
    /// no room to), while the disk is full and writes are refused; it goes off
    /// when there is room.
    #[must_use]
    pub fn alarms(&self) -> Vec<(NodeId, AlarmKind)> {
        let shared = self.shared();
        let mut alarms = shared.alarms.read().clone();
        if shared.shortages.refusing() == Some(Shortage::DiskFull) {
            alarms.insert((shared.identity.member_id, AlarmKind::NoSpace));
        }
        alarms.into_iter().collect()
    }

    /// Whether something is lacking for writing, be it that writes are still
    /// taken: the next file of the log, or the next seal, cannot be written.
    #[must_use]
    pub fn lacks(&self, what: Shortage) -> bool {
        self.shared().shortages.has(what)
    }

    /// What writes are refused with at present, for want of something.
    #[must_use]
    pub fn refuses_writes(&self) -> Option<OpError> {
        self.shared().shortages.refusing().map(Shortage::error)
    }

    /// Switches an alarm of a member on or off. Returns the alarm if it is on
    /// now, or was before it went off.
    pub async fn set_alarm(
        &self,
        member: NodeId,
        kind: AlarmKind,
        on: bool,
    ) -> Result<Vec<(NodeId, AlarmKind)>, OpError> {
        self.check_right(Operation::Admin)?;
        if kind == AlarmKind::NoSpace {
            self.shared().quota_alarm.store(false, Ordering::Relaxed);
        }
        self.request_alarm(member, kind, on).await
    }

    async fn request_alarm(
        &self,
        member: NodeId,
        kind: AlarmKind,
        on: bool,
    ) -> Result<Vec<(NodeId, AlarmKind)>, OpError> {
        match self.submit(Request::SetAlarm(member, kind, on)).await? {
            Response::Alarms(alarms) => Ok(alarms),
            other => unreachable!("an alarm was answered with {other:?}"),
        }
    }

    /// Whether `cost` more bytes fit the quota. If not, and most of the quota is
    /// used, the NOSPACE alarm goes on; it goes off by itself when a compaction
    /// has freed enough.
    pub async fn check_quota(&self, cost: u64) -> Result<(), OpError> {
        let Some(quota) = self.lane.core.config.quota_bytes else { return Ok(()) };
        let shared = self.shared();
        let in_use = shared.bytes_in_use.load(Ordering::Relaxed);
        if in_use.saturating_add(cost) < quota {
            return Ok(());
        }
        let member = shared.identity.member_id;
        if in_use < alarm_threshold(quota) {
            // This one is too large; smaller ones fit.
            return Err(OpError::NoSpace);
        }
        if !shared.alarms.read().contains(&(member, AlarmKind::NoSpace)) {
            tracing::warn!(
                in_use,
                quota,
                "the space quota is used up: compact, or raise the quota"
            );
            shared.quota_alarm.store(true, Ordering::Relaxed);
            self.on_own_authority().request_alarm(member, AlarmKind::NoSpace, true).await?;
        }
        Err(OpError::NoSpace)
    }

    /// What the replica is and holds.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = self.shared();
        let stats = shared.reader.stats();
        let applied_index = shared.applied_index();
        let auth_bytes = shared.auth_bytes();
        Status {
            revision: shared.reader.revision(),
            compacted: shared.reader.compacted(),
            leader: shared.identity.member_id,
            epoch: shared.epoch,
            log_index: applied_index,
            applied_index,
            bytes_on_disk: stats.bytes_on_disk + stats.tail_bytes + auth_bytes,
            bytes_in_use: stats.bytes_in_use + auth_bytes,
            bytes_kept: stats.record_bytes + auth_bytes,
            quota_bytes: self.lane.core.config.quota_bytes,
            alarms: self.alarms(),
            keys: stats.keys,
            pending: self.lane.core.queue.admitted(),
        }
    }

    /// How many files the log and the key space have open: one for each of
    /// their segments.
    #[must_use]
    pub fn open_files(&self) -> u64 {
        self.shared().reader.files() + self.lane.core.log.segments() as u64
    }

    /// How many they need, as the log is when it is longest: as much as two seals
    /// take, and the segments before and after.
    #[must_use]
    pub fn files_needed(&self) -> u64 {
        let Config { seal_bytes, log_segment_bytes, .. } = self.lane.core.config;
        let longest = 2 * (seal_bytes as u64 / log_segment_bytes.max(1) + 1) + 2;
        let log = self.lane.core.log.segments() as u64;
        self.shared().reader.files() + log.max(longest)
    }

    /// etcd's hash of the key space as it is now.
    pub async fn hash(&self) -> Result<HashKv, OpError> {
        let begun = Instant::now();
        let hash = self.hash_at(Revision(0)).await?;
        self.counters().times.hash.observe(begun.elapsed());
        Ok(hash)
    }

    /// etcd's hash of the key space as it was at a revision; 0: now.
    pub async fn hash_kv(&self, at: Revision) -> Result<HashKv, OpError> {
        let begun = Instant::now();
        let hash = self.hash_at(at).await?;
        self.counters().times.hash_at_revision.observe(begun.elapsed());
        Ok(hash)
    }

    async fn hash_at(&self, at: Revision) -> Result<HashKv, OpError> {
        loop {
            let revision = self.revision();
            let target = if at.0 <= 0 { revision } else { at };
            match self.lane.core.reads.hash(target).await {
                // What was the newest is compacted by now.
                Err(OpError::Compacted) if at.0 <= 0 && self.revision() > revision => {}
                Err(error) => return Err(error),
                Ok(hash) => {
                    return Ok(HashKv {
                        revision,
                        hash: hash.hash,
                        compact_revision: hash.compact_revision,
                        hash_revision: hash.hash_revision,
                    });
                }
            }
        }
    }

    /// Who this replica is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.shared().identity
    }

    /// The cluster, as clients see it.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.shared().identity.cluster_id
    }

    /// This member, as clients see it.
    #[must_use]
    pub fn member_id(&self) -> NodeId {
        self.shared().identity.member_id
    }

    /// The members of the cluster, by id.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let members = self.shared().members.read();
        let member = |(id, attributes): (&NodeId, &t4_state_machine::MemberAttributes)| Member {
            id: *id,
            name: attributes.name.clone(),
            peer_urls: attributes.peer_urls.clone(),
            client_urls: attributes.client_urls.clone(),
            is_learner: false,
        };
        members.iter().map(member).collect()
    }

    /// Changes where peers reach a member; its name and client URLs stay.
    ///
    /// # Errors
    /// As for [`Node::put`]; `None`: there is no such member.
    pub async fn update_member(
        &self,
        id: NodeId,
        peer_urls: Vec<String>,
    ) -> Result<Option<Revision>, OpError> {
        let known = self.shared().members.read().get(&id).cloned();
        let Some(known) = known else { return Ok(None) };
        let attributes = t4_state_machine::MemberAttributes { peer_urls, ..known };
        self.submit_plain(Request::Member(id, attributes)).await.map(Some)
    }

    /// The newest revision that readers see.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.shared().reader.revision()
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared().epoch
    }

    /// A key as it was before a change: what a watcher's `prev_kv` shows.
    /// `None` if it was not there, or if that revision is compacted.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn before(
        &self,
        key: &Bytes,
        mod_revision: Revision,
    ) -> Result<Option<KeyValue>, OpError> {
        let at = Revision(mod_revision.0 - 1);
        match self.lane.core.reads.get(key, at).await {
            Err(OpError::Compacted) => Ok(None),
            other => other,
        }
    }

    /// A new, empty watch stream. It belongs to this handle's runtime.
    #[must_use]
    pub fn watch(&self) -> WatchStream {
        WatchStream::open(self.lane.lane.clone())
    }

    /// What the replica has counted since its start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared().counters
    }

    /// Watch streams, watchers and queued events, over all runtimes.
    #[must_use]
    pub fn watch_stats(&self) -> t4_watch_hub::Stats {
        let mut total = t4_watch_hub::Stats::default();
        self.lane.core.lanes.each(|lane| {
            let stats = lane.watch_stats();
            total.streams += stats.streams;
            total.watchers += stats.watchers;
            total.slow_watchers += stats.slow_watchers;
            total.pending_events += stats.pending_events;
        });
        total
    }
}
