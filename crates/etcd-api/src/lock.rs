//! The service Lock: the oldest key under a name holds the lock.

use std::sync::Arc;

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use tonic::Status;

use crate::api::Api;
use crate::errors::ApiError;
use crate::proof::Proof;
use crate::recipe::{self, Turn};

impl Api {
    /// Waits for the lock. A lease that holds it already succeeds at once; one whose
    /// key is deleted while it waits gets its error at that moment.
    pub(crate) async fn lock(
        self: &Arc<Self>,
        proof: &Proof,
        request: LockRequest,
    ) -> Result<LockResponse, Status> {
        let lease = self.session(proof, request.lease).await?;
        let prefix = recipe::prefix(&request.name);
        let queued = self.queue_up(proof, &prefix, lease, Bytes::new()).await?;
        let turn = self.wait_for_turn(proof, &prefix, &queued.key, queued.created).await?;
        let Turn::Ours(revision) = turn else {
            return Err(ApiError::SessionExpired.status());
        };
        if let Some(place) = queued.place {
            place.keep();
        }
        Ok(LockResponse { header: Some(self.header(revision)), key: queued.key })
    }

    /// Deletes the key. It is not an error if the key is gone already.
    pub(crate) async fn unlock(
        &self,
        proof: &Proof,
        request: UnlockRequest,
    ) -> Result<UnlockResponse, Status> {
        let delete = pb::DeleteRangeRequest { key: request.key, ..Default::default() };
        let deleted = self.delete_range(proof, delete).await?;
        Ok(UnlockResponse { header: deleted.header })
    }
}
