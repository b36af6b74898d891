//! One server under comparison: performs an operation, gives its answer.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use t4_proto::etcdserverpb::MemberListRequest;
use t4_testkit::Rpc;
use tonic::{Response, Status};

use super::answer::{Answer, Headed, Identity, Refusal};
use super::op::{Op, Who};
use super::watches::WatchStream;

mod lease;
mod maintenance;
mod recipes;
mod watch;

/// A server, the streams that are open on it, and who it says it is.
#[derive(Debug)]
pub struct Target {
    rpc: Rpc,
    identity: Identity,
    streams: BTreeMap<u32, WatchStream>,
    // How long an answer may take. Far more than any takes: what it bounds is
    // the wait for an answer that never comes.
    patience: Duration,
    // Whether it is a 3.5.1, which is asked to finish each compaction before it
    // answers. In the background, it loses track now and then: HashKV after the
    // same operations then differs between two runs of the very same program.
    waits_for_compaction: bool,
}

type Outcome = Result<Answer, Refusal>;

impl Target {
    /// Connects to a server and asks who it is.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn connect(endpoint: &str, patience: Duration) -> anyhow::Result<Target> {
        let mut rpc = Rpc::connect(endpoint).await?;
        let members = rpc.cluster.member_list(MemberListRequest { linearizable: true }).await;
        let header = members.context("MemberList")?.into_inner().header.context("a header")?;
        let identity = Identity { cluster: header.cluster_id, member: header.member_id };
        let streams = BTreeMap::new();
        Ok(Target { rpc, identity, streams, patience, waits_for_compaction: false })
    }

    /// The same server, known to be a 3.5.1: every compaction is a physical one.
    #[must_use]
    pub fn of_old_line(self) -> Target {
        Target { waits_for_compaction: true, ..self }
    }

    /// Performs one operation and waits for its answer.
    pub async fn perform(&mut self, op: &Op) -> Answer {
        let patience = self.patience;
        match tokio::time::timeout(patience, self.dispatch(op.clone())).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(refusal)) => Answer::Refused(refusal),
            Err(_) => Answer::Silence(format!("no answer within {patience:?}")),
        }
    }

    async fn dispatch(&mut self, op: Op) -> Outcome {
        let me = self.identity;
        let kv = &mut self.rpc.kv;
        match op {
            Op::Range(request) => me.answer(kv.range(request), Answer::Range).await,
            Op::Put(request) => me.answer(kv.put(request), Answer::Put).await,
            Op::Delete(request) => me.answer(kv.delete_range(request), Answer::Delete).await,
            Op::Txn(request) => me.answer(kv.txn(request), Answer::Txn).await,
            Op::Compact(mut request) => {
                request.physical |= self.waits_for_compaction;
                me.answer(kv.compact(request), Answer::Compacted).await
            }

            Op::LeaseGrant(request) => {
                me.answer(self.rpc.lease.lease_grant(request), Answer::LeaseGranted).await
            }
            Op::LeaseGrantAny { ttl } => self.lease_grant_any(ttl).await,
            Op::LeaseRevoke { id } => self.lease_revoke(id).await,
            Op::LeaseTimeToLive(request) => self.lease_time_to_live(request).await,
            Op::LeaseLeases => self.lease_leases().await,
            Op::LeaseKeepAlive { ids } => self.lease_keep_alive(ids).await,

            Op::HashKv { revision } => self.hash_kv(revision).await,
            Op::Alarm { action, member, alarm } => self.alarm(action, member, alarm).await,
            Op::Status => self.status().await,
            Op::Hash => self.hash().await,
            Op::Defragment => self.defragment().await,
            Op::MoveLeader { to } => self.move_leader(to).await,
            Op::Downgrade { action, version } => self.downgrade(action, version).await,

            Op::MemberList { linearizable } => self.member_list(linearizable).await,
            Op::MemberAddRefused { peer_urls } => self.member_add_refused(peer_urls).await,
            Op::MemberRemove { member } => self.member_remove(member).await,
            Op::MemberUpdate { member, peer_urls } => self.member_update(member, peer_urls).await,
            Op::MemberPromote { member } => self.member_promote(member).await,

            Op::Lock { name, lease } => self.lock(name, lease).await,
            Op::LockContended { name, first, second } => {
                self.lock_contended(name, first, second).await
            }
            Op::Unlock { key } => self.unlock(key).await,
            Op::Campaign { name, lease, value } => self.campaign(name, lease, value).await,
            Op::Proclaim { leader, value } => self.proclaim(leader, value).await,
            Op::Leader { name } => self.leader(name).await,
            Op::Resign { leader } => self.resign(leader).await,
            Op::ObserveOnce { name } => self.observe_once(name).await,

            Op::WatchCreate { stream, request, controls } => {
                self.watch_create(stream, request, controls).await
            }
            Op::WatchCancel { stream, id, controls } => {
                self.watch_cancel(stream, id, controls).await
            }
            Op::WatchProgress { stream } => self.watch_progress(stream).await,
            Op::WatchNothing { stream } => self.watch_nothing(stream).await,
            Op::WatchJoin { stream, id, upto, from: _ } => self.watch_join(stream, id, upto).await,
            Op::WatchClose { stream } => self.watch_close(stream).await,
        }
    }

    fn id_of(&self, who: Who) -> u64 {
        match who {
            Who::Own => self.identity.member,
            Who::Id(id) => id,
        }
    }
}

impl Identity {
    /// Awaits an RPC, normalises the header of its answer, and wraps it.
    async fn answer<T: Headed>(
        self,
        call: impl Future<Output = Result<Response<T>, Status>>,
        wrap: impl FnOnce(T) -> Answer,
    ) -> Outcome {
        let mut response = call.await?.into_inner();
        response.strip(&self);
        Ok(wrap(response))
    }
}
