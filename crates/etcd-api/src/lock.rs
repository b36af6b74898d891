//! The service Lock: whoever has the oldest key under a name holds the lock.

use std::sync::Arc;

use bytes::Bytes;
use t4_kv_types::{KeyRange, RangeRequest};
use t4_proto::etcdserverpb as pb;
use t4_proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use tonic::Status;

use crate::api::Api;
use crate::errors::{ApiError, refused};
use crate::proof::Proof;
use crate::recipe;

impl Api {
    /// Waits for the lock. A lease that holds it already succeeds at once.
    pub(crate) async fn lock(
        self: &Arc<Self>,
        proof: &Proof,
        request: LockRequest,
    ) -> Result<LockResponse, Status> {
        let lease = self.session(proof, request.lease).await?;
        let prefix = recipe::prefix(&request.name);
        let queued = self.queue_up(proof, &prefix, lease, Bytes::new()).await?;
        self.wait_for_turn(proof, &prefix, queued.created).await?;
        // The lease may have ended while it waited.
        let own = RangeRequest::new(KeyRange::single(queued.key.clone()));
        let found = self.acting(proof)?.range(own).await.map_err(refused)?;
        if found.kvs.is_empty() {
            return Err(ApiError::SessionExpired.status());
        }
        if let Some(place) = queued.place {
            place.keep();
        }
        Ok(LockResponse { header: Some(self.header(found.revision)), key: queued.key })
    }

    /// Deletes the key; that it is gone already is no error.
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
