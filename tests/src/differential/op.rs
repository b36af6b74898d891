//! The operations that both servers are asked to perform.

use bytes::Bytes;
use t4_proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseTimeToLiveRequest, PutRequest,
    RangeRequest, TxnRequest, WatchCreateRequest,
};
use t4_proto::v3electionpb::LeaderKey;

/// A member of the cluster, as an operation names it: ids differ between servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The member that answers.
    Own,
    /// This id, on both servers.
    Id(u64),
}

/// One operation. It means the same on every server and at any place of a
/// sequence, so that a sequence stays valid when operations are left out.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// KV.Range.
    Range(RangeRequest),
    /// KV.Put.
    Put(PutRequest),
    /// KV.DeleteRange.
    Delete(DeleteRangeRequest),
    /// KV.Txn.
    Txn(TxnRequest),
    /// KV.Compact.
    Compact(CompactionRequest),

    /// Lease.LeaseGrant with an id that the client chose.
    LeaseGrant(LeaseGrantRequest),
    /// LeaseGrant with id 0, then LeaseRevoke of the id that the server chose.
    LeaseGrantAny {
        /// Seconds.
        ttl: i64,
    },
    /// Lease.LeaseRevoke.
    LeaseRevoke {
        /// Which.
        id: i64,
    },
    /// Lease.LeaseTimeToLive.
    LeaseTimeToLive(LeaseTimeToLiveRequest),
    /// Lease.LeaseLeases.
    LeaseLeases,
    /// One Lease.LeaseKeepAlive stream with these requests, in lock step.
    LeaseKeepAlive {
        /// Which, in order.
        ids: Vec<i64>,
    },

    /// Maintenance.HashKV.
    HashKv {
        /// At which revision; 0 is the current one.
        revision: i64,
    },
    /// Maintenance.Alarm.
    Alarm {
        /// `AlarmAction` as a number.
        action: i32,
        /// Whose alarm.
        member: Who,
        /// `AlarmType` as a number.
        alarm: i32,
    },
    /// Maintenance.Status.
    Status,
    /// Maintenance.Hash; only that there is one.
    Hash,
    /// Maintenance.Defragment.
    Defragment,
    /// Maintenance.MoveLeader.
    MoveLeader {
        /// To whom.
        to: Who,
    },
    /// Maintenance.Downgrade.
    Downgrade {
        /// `DowngradeAction` as a number.
        action: i32,
        /// The target version.
        version: String,
    },

    /// Cluster.MemberList.
    MemberList {
        /// Through consensus, or from memory.
        linearizable: bool,
    },
    /// Cluster.MemberAdd with URLs that no server accepts: a member that never
    /// starts would leave a cluster of one without a quorum.
    MemberAddRefused {
        /// Bad URLs.
        peer_urls: Vec<String>,
    },
    /// Cluster.MemberRemove.
    MemberRemove {
        /// Whom.
        member: Who,
    },
    /// Cluster.MemberUpdate.
    MemberUpdate {
        /// Whom.
        member: Who,
        /// The new URLs.
        peer_urls: Vec<String>,
    },
    /// Cluster.MemberPromote.
    MemberPromote {
        /// Whom.
        member: Who,
    },

    /// Lock.Lock that does not have to wait.
    Lock {
        /// The lock.
        name: Bytes,
        /// The lease of the holder.
        lease: i64,
    },
    /// Lock.Lock by one lease, a second by another that has to wait, Unlock of
    /// the first, and Unlock of the second once it is held.
    LockContended {
        /// The lock.
        name: Bytes,
        /// Who has it first.
        first: i64,
        /// Who has to wait.
        second: i64,
    },
    /// Lock.Unlock.
    Unlock {
        /// The key that Lock answered with.
        key: Bytes,
    },
    /// Election.Campaign that does not have to wait.
    Campaign {
        /// The election.
        name: Bytes,
        /// The lease of the candidate.
        lease: i64,
        /// What it proclaims.
        value: Bytes,
    },
    /// Election.Proclaim.
    Proclaim {
        /// As Campaign answered; `None` leaves the field out.
        leader: Option<LeaderKey>,
        /// What it proclaims.
        value: Bytes,
    },
    /// Election.Leader.
    Leader {
        /// The election.
        name: Bytes,
    },
    /// Election.Resign.
    Resign {
        /// As Campaign answered; `None` leaves the field out.
        leader: Option<LeaderKey>,
    },
    /// The first answer of an Election.Observe stream.
    ObserveOnce {
        /// The election, which must have a leader.
        name: Bytes,
    },

    /// A create request on a Watch stream, which is opened if it is not open.
    WatchCreate {
        /// Which stream of the client.
        stream: u32,
        /// The request.
        request: WatchCreateRequest,
        /// How many responses without events must follow before the next
        /// operation: 1, or 2 when the watch is created and cancelled at once.
        controls: usize,
    },
    /// A cancel request.
    WatchCancel {
        /// Which stream.
        stream: u32,
        /// Which watcher.
        id: i64,
        /// 1 when the watcher exists, 0 when nothing may be answered.
        controls: usize,
    },
    /// A progress request on a stream whose watchers are all caught up.
    WatchProgress {
        /// Which stream.
        stream: u32,
    },
    /// A request without a union member, which servers ignore.
    WatchNothing {
        /// Which stream.
        stream: u32,
    },
    /// Collects the events of a watcher until one at `upto` or later is there,
    /// and answers with those up to `upto` that were not answered before.
    WatchJoin {
        /// Which stream.
        stream: u32,
        /// Which watcher.
        id: i64,
        /// The revision of a write that the watcher must see.
        upto: i64,
        /// The revision that the watch started from, for the rule on
        /// tombstones at the compacted revision.
        from: i64,
    },
    /// Ends a stream, and answers with everything that arrived on it besides
    /// events.
    WatchClose {
        /// Which stream.
        stream: u32,
    },
}

impl Op {
    /// The kind alone, for statistics.
    #[must_use]
    pub fn kind(&self) -> String {
        let text = format!("{self:?}");
        text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
    }
}
