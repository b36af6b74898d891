//! The service KV, but for its stream (`range_stream`).

use t4_kv_types::Revision;
use t4_proto::etcdserverpb as pb;
use tonic::Status;

use crate::answer::RangeAnswer;
use crate::api::Api;
use crate::errors::refused;
use crate::proof::Proof;
use crate::{convert, validate};

impl Api {
    pub(crate) async fn range(
        &self,
        proof: &Proof,
        request: pb::RangeRequest,
    ) -> Result<RangeAnswer, Status> {
        validate::range(&request)?;
        let result =
            self.acting(proof)?.range(convert::range_request(request)).await.map_err(refused)?;
        Ok(RangeAnswer::new(self.header(result.revision), result))
    }

    pub(crate) async fn put(
        &self,
        proof: &Proof,
        request: pb::PutRequest,
    ) -> Result<pb::PutResponse, Status> {
        let node = self.acting(proof);
        // Before the arguments, as etcd: on a full server a put that is wrong
        // in itself is told that there is no space.
        self.check_quota(&node, validate::put_cost(&request)).await?;
        validate::put(&request)?;
        validate::size(&request, self.config.max_request_bytes)?;
        let result = node?.put(convert::put_request(request)).await.map_err(refused)?;
        Ok(convert::put_response(self.header(result.revision), result))
    }

    pub(crate) async fn delete_range(
        &self,
        proof: &Proof,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, Status> {
        validate::delete_range(&request)?;
        validate::size(&request, self.config.max_request_bytes)?;
        let request = convert::delete_range_request(request);
        let result = self.acting(proof)?.delete_range(request).await.map_err(refused)?;
        Ok(convert::delete_range_response(self.header(result.revision), result))
    }

    pub(crate) async fn txn(
        &self,
        proof: &Proof,
        request: pb::TxnRequest,
    ) -> Result<pb::TxnResponse, Status> {
        self.txn_of_client(proof, request, || {}).await
    }

    /// The same; `only_reads` is told if that is all that it does.
    pub(crate) async fn txn_of_client(
        &self,
        proof: &Proof,
        request: pb::TxnRequest,
        only_reads: impl FnOnce(),
    ) -> Result<pb::TxnResponse, Status> {
        let node = self.acting(proof);
        let cost = validate::txn_cost(&request);
        if cost > 0 {
            self.check_quota(&node, cost).await?;
        }
        validate::txn(&request, self.config.max_txn_ops)?;
        let encoded = validate::size(&request, self.config.max_request_bytes);
        let request = convert::txn_request(request);
        // What only reads does not go through the log, whatever its size.
        if request.is_read_only() {
            only_reads();
        } else {
            encoded?;
        }
        let result = node?.txn(request).await.map_err(refused)?;
        Ok(convert::txn_response(self.header(result.revision), result))
    }

    pub(crate) async fn compact(
        &self,
        proof: &Proof,
        request: pb::CompactionRequest,
    ) -> Result<pb::CompactionResponse, Status> {
        let at = Revision(request.revision);
        let revision = self.acting(proof)?.compact(at, request.physical).await.map_err(refused)?;
        Ok(pb::CompactionResponse { header: Some(self.header(revision)) })
    }
}
