//! The service Lease.

use http_body::Body;
use t4_kv_types::LeaseId;
use t4_proto::etcdserverpb as pb;
use tonic::{Code, Status};

use crate::api::Api;
use crate::errors::refused;
use crate::leader_watch::LeaderWatch;
use crate::proof::Proof;
use crate::sink::Sink;
use crate::validate;
use crate::wire::Requests;

impl Api {
    pub(crate) async fn lease_grant(
        &self,
        proof: &Proof,
        request: pb::LeaseGrantRequest,
    ) -> Result<pb::LeaseGrantResponse, Status> {
        let node = self.acting(proof);
        self.check_quota(&node, validate::LEASE_COST).await?;
        let granted = node?.lease_grant(LeaseId(request.id), request.ttl).await.map_err(refused)?;
        Ok(pb::LeaseGrantResponse {
            header: Some(self.header(granted.revision)),
            id: granted.id.0,
            ttl: granted.ttl_s,
            error: String::new(),
        })
    }

    pub(crate) async fn lease_revoke(
        &self,
        proof: &Proof,
        request: pb::LeaseRevokeRequest,
    ) -> Result<pb::LeaseRevokeResponse, Status> {
        let revision =
            self.acting(proof)?.lease_revoke(LeaseId(request.id)).await.map_err(refused)?;
        Ok(pb::LeaseRevokeResponse { header: Some(self.header(revision)) })
    }

    /// Renews one lease per request. A lease that is not there is answered
    /// with a time to live of 0; the stream goes on.
    pub(crate) async fn lease_keep_alive<B: Body<Data = bytes::Bytes>>(
        &self,
        proof: &Proof,
        mut requests: Requests<B, pb::LeaseKeepAliveRequest>,
        mut leader: LeaderWatch,
        sink: &Sink<'_>,
    ) -> Result<(), Status> {
        let mut tenure = self.tenure(proof, None)?;
        loop {
            let next = tokio::select! {
                biased;
                lost = tenure.ended(self) => return Err(lost.status()),
                next = requests.next() => next,
                lost = leader.lost(self) => return Err(lost.status()),
            };
            let next = next.inspect_err(|status| {
                if status.code() != Code::Cancelled {
                    let failures = &sink.stats().keep_alive_receive_failures;
                    failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
            let Some((request, bytes)) = next? else { return Ok(()) };
            sink.count_received(bytes);
            // Before the renewal: a client that sees the header knows that
            // the lease lived at that revision.
            let header = self.header_now();
            let id = LeaseId(request.id);
            let ttl = self.acting(proof)?.lease_keep_alive(id).await.map_err(refused)?;
            sink.send(&pb::LeaseKeepAliveResponse { header: Some(header), id: id.0, ttl }).await?;
        }
    }

    pub(crate) async fn lease_time_to_live(
        &self,
        proof: &Proof,
        request: pb::LeaseTimeToLiveRequest,
    ) -> Result<pb::LeaseTimeToLiveResponse, Status> {
        // Before the table is looked at: what is shown is not older.
        let header = self.header_now();
        let found = self
            .acting(proof)?
            .lease_time_to_live(LeaseId(request.id), request.keys)
            .await
            .map_err(refused)?;
        Ok(pb::LeaseTimeToLiveResponse {
            header: Some(header),
            id: found.id.0,
            ttl: found.ttl_s,
            granted_ttl: found.granted_ttl_s,
            keys: found.keys,
        })
    }

    pub(crate) async fn lease_leases(
        &self,
        proof: &Proof,
        _: pb::LeaseLeasesRequest,
    ) -> Result<pb::LeaseLeasesResponse, Status> {
        let header = self.header_now();
        let leases = self.acting(proof)?.leases().await.map_err(refused)?;
        Ok(pb::LeaseLeasesResponse {
            header: Some(header),
            leases: leases.into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect(),
        })
    }
}
