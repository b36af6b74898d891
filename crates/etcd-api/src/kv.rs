//! The service KV, but for its stream (`range_stream`).

use t4_kv_types::{DeleteRangeResult, RangeResult, Revision, TxnResult};
use t4_node::ANSWER_BYTES_MAX;
use t4_proto::etcdserverpb as pb;
use tonic::Status;

use crate::answer::RangeAnswer;
use crate::api::Api;
use crate::errors::refused;
use crate::proof::Proof;
use crate::wire::{Answer, Framed, encode_frame};
use crate::{convert, validate};

impl Api {
    pub(crate) async fn range(
        &self,
        proof: &Proof,
        request: pb::RangeRequest,
    ) -> Result<Framed, Status> {
        validate::range(&request)?;
        let (request, headers) = (convert::range_request(request), self.headers());
        // Framed where it is read: a large answer elsewhere than here.
        let framed = move |result: RangeResult| {
            encode_frame(&RangeAnswer::new(headers.at(result.revision), result)).map(Framed)
        };
        let node = self.acting(proof)?;
        node.range_as(request, ANSWER_BYTES_MAX, framed).await.map_err(refused)?
    }

    pub(crate) async fn put(
        &self,
        proof: &Proof,
        request: pb::PutRequest,
    ) -> Result<pb::PutResponse, Status> {
        let node = self.acting(proof);
        // Before the arguments, as in etcd: on a full server, an invalid put is
        // answered with the lack of space.
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
        self.delete_range_as(proof, request, |response| response).await
    }

    pub(crate) async fn framed_delete_range(
        &self,
        proof: &Proof,
        request: pb::DeleteRangeRequest,
    ) -> Result<Framed, Status> {
        self.delete_range_as(proof, request, framed).await?
    }

    /// A delete, and what is made of its response.
    async fn delete_range_as<T: Send + 'static>(
        &self,
        proof: &Proof,
        request: pb::DeleteRangeRequest,
        make: impl Fn(pb::DeleteRangeResponse) -> T + Send + 'static,
    ) -> Result<T, Status> {
        validate::delete_range(&request)?;
        validate::size(&request, self.config.max_request_bytes)?;
        let (request, headers) = (convert::delete_range_request(request), self.headers());
        let make = move |result: DeleteRangeResult| {
            make(convert::delete_range_response(headers.at(result.revision), result))
        };
        self.acting(proof)?.delete_range_as(request, make).await.map_err(refused)
    }

    pub(crate) async fn txn(
        &self,
        proof: &Proof,
        request: pb::TxnRequest,
    ) -> Result<pb::TxnResponse, Status> {
        self.txn_as(proof, request, || {}, |response| response).await
    }

    /// The same for a client; `only_reads` is called if the transaction only reads.
    pub(crate) async fn framed_txn(
        &self,
        proof: &Proof,
        request: pb::TxnRequest,
        only_reads: impl FnOnce(),
    ) -> Result<Framed, Status> {
        self.txn_as(proof, request, only_reads, framed).await?
    }

    /// A transaction, and what is made of its response.
    async fn txn_as<T: Send + 'static>(
        &self,
        proof: &Proof,
        request: pb::TxnRequest,
        only_reads: impl FnOnce(),
        make: impl Fn(pb::TxnResponse) -> T + Clone + Send + 'static,
    ) -> Result<T, Status> {
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
        let headers = self.headers();
        let make = move |result: TxnResult| {
            make(convert::txn_response(headers.at(result.revision), result))
        };
        node?.txn_as(request, make).await.map_err(refused)
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

/// A response as it is sent.
fn framed(response: impl Answer) -> Result<Framed, Status> {
    encode_frame(&response).map(Framed)
}
