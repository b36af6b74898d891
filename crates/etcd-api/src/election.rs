//! The service Election: the oldest key under a name is the leader's, and its value is
//! what the leader proclaims.

use std::sync::Arc;

use bytes::Bytes;
use t4_kv_types::{EventKind, KeyRange, LeaseId, Revision};
use t4_proto::etcdserverpb as pb;
use t4_proto::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};
use tonic::Status;

use crate::api::Api;
use crate::convert;
use crate::errors::{ApiError, refused};
use crate::leader_watch::LeaderWatch;
use crate::proof::Proof;
use crate::recipe::{self, Changes, Turn};
use crate::sink::Sink;

impl Api {
    /// Waits until the candidate leads. A lease that is a candidate already proclaims
    /// the new value. A candidate whose key goes away while it waits (its lease ended,
    /// or the key was deleted) gets its error at that moment: etcd waits on, and then
    /// reports a leadership that does not exist.
    pub(crate) async fn campaign(
        self: &Arc<Self>,
        proof: &Proof,
        request: CampaignRequest,
    ) -> Result<CampaignResponse, Status> {
        let lease = self.session(proof, request.lease).await?;
        let prefix = recipe::prefix(&request.name);
        let queued = self.queue_up(proof, &prefix, lease, request.value.clone()).await?;
        if queued.existing.as_ref().is_some_and(|kv| kv.value != request.value) {
            self.proclaim_as(proof, &queued.key, queued.created, lease, request.value).await?;
        }
        let turn = self.wait_for_turn(proof, &prefix, &queued.key, queued.created).await?;
        if let Turn::KeyGone = turn {
            return Err(ApiError::ElectionNotLeader.status());
        }
        if let Some(place) = queued.place {
            place.keep();
        }
        let leader =
            LeaderKey { name: request.name, key: queued.key, rev: queued.created, lease: lease.0 };
        Ok(CampaignResponse { header: Some(queued.header), leader: Some(leader) })
    }

    /// Changes the value of a leader that still leads.
    pub(crate) async fn proclaim(
        &self,
        proof: &Proof,
        request: ProclaimRequest,
    ) -> Result<ProclaimResponse, Status> {
        let leader = request.leader.ok_or(ApiError::MissingLeaderKey)?;
        let lease = self.session(proof, leader.lease).await?;
        let header = self.proclaim_as(proof, &leader.key, leader.rev, lease, request.value).await?;
        Ok(ProclaimResponse { header })
    }

    async fn proclaim_as(
        &self,
        proof: &Proof,
        key: &Bytes,
        created: i64,
        lease: LeaseId,
        value: Bytes,
    ) -> Result<Option<pb::ResponseHeader>, Status> {
        let request = pb::TxnRequest {
            compare: vec![recipe::created_at(key, created)],
            success: vec![recipe::put_op(key, value, lease)],
            failure: vec![],
        };
        let response = self.txn(proof, request).await?;
        if !response.succeeded {
            return Err(ApiError::ElectionNotLeader.status());
        }
        Ok(response.header)
    }

    /// Gives up a leadership. It is not an error if it is gone already.
    pub(crate) async fn resign(
        &self,
        proof: &Proof,
        request: ResignRequest,
    ) -> Result<ResignResponse, Status> {
        let leader = request.leader.ok_or(ApiError::MissingLeaderKey)?;
        let response = self.give_up(proof, &leader.key, leader.rev).await?;
        Ok(ResignResponse { header: response.header })
    }

    pub(crate) async fn leader(
        &self,
        proof: &Proof,
        request: LeaderRequest,
    ) -> Result<LeaderResponse, Status> {
        let (leader, _) = self.leader_now(proof, &recipe::prefix(&request.name)).await?;
        leader.ok_or_else(|| ApiError::ElectionNoLeader.status())
    }

    /// The leader, and the revision at which it led.
    async fn leader_now(
        &self,
        proof: &Proof,
        prefix: &Bytes,
    ) -> Result<(Option<LeaderResponse>, Revision), Status> {
        let found =
            self.acting(proof)?.range(recipe::first_created(prefix)).await.map_err(refused)?;
        let leader = found.kvs.into_iter().next().map(|kv| LeaderResponse {
            header: Some(self.header(found.revision)),
            kv: Some(convert::key_value(kv)),
        });
        Ok((leader, found.revision))
    }

    /// Sends the leader, every value that it proclaims, and its successors.
    pub(crate) async fn observe(
        &self,
        proof: &Proof,
        request: LeaderRequest,
        mut no_leader: LeaderWatch,
        sink: &Sink<'_>,
    ) -> Result<(), Status> {
        let prefix = recipe::prefix(&request.name);
        let mut tenure = self.tenure(proof, Some(KeyRange::prefix(prefix.clone())))?;
        tokio::select! {
            biased;
            lost = tenure.ended(self) => Err(lost.status()),
            ended = self.observe_under(proof, &prefix, sink) => ended,
            lost = no_leader.lost(self) => Err(lost.status()),
        }
    }

    async fn observe_under(
        &self,
        proof: &Proof,
        prefix: &Bytes,
        sink: &Sink<'_>,
    ) -> Result<(), Status> {
        loop {
            let (leader, revision) = self.leader_now(proof, prefix).await?;
            let Some(leader) = leader else {
                // The first candidate will be the oldest; look again then.
                let range = KeyRange::prefix(prefix.clone());
                Changes::sent_to(sink, &self.node, range, revision).next().await?;
                continue;
            };
            let key = leader.kv.as_ref().map(|kv| kv.key.clone()).unwrap_or_default();
            sink.send(&leader).await?;
            let range = KeyRange::single(key);
            let mut changes = Changes::sent_to(sink, &self.node, range, revision);
            while let Some(event) = changes.next().await? {
                if event.kind == EventKind::Delete {
                    break;
                }
                let header = Some(self.header(event.kv.mod_revision));
                let kv = Some(convert::key_value(event.kv));
                sink.send(&LeaderResponse { header, kv }).await?;
            }
        }
    }
}
