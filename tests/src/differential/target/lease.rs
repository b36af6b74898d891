//! Lease operations on a server.

use t4_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::super::answer::{Answer, Refusal};
use super::{Outcome, Target};

impl Target {
    /// A grant with an id of the server's choice, and its revocation. The id
    /// becomes 1 when it is positive, as it must be.
    pub(super) async fn lease_grant_any(&mut self, ttl: i64) -> Outcome {
        let request = LeaseGrantRequest { ttl, id: 0 };
        let mut granted = self.rpc.lease.lease_grant(request).await?.into_inner();
        self.identity.strip(&mut granted.header);
        let id = granted.id;
        granted.id = id.signum();
        let revoked = self.lease_revoke(id).await?;
        Ok(Answer::Several(vec![Answer::LeaseGranted(granted), revoked]))
    }

    pub(super) async fn lease_revoke(&mut self, id: i64) -> Outcome {
        let call = self.rpc.lease.lease_revoke(LeaseRevokeRequest { id });
        self.identity.answer(call, Answer::LeaseRevoked).await
    }

    pub(super) async fn lease_time_to_live(&mut self, request: LeaseTimeToLiveRequest) -> Outcome {
        let call = self.rpc.lease.lease_time_to_live(request);
        self.identity.answer(call, Answer::LeaseTimeToLive).await
    }

    pub(super) async fn lease_leases(&mut self) -> Outcome {
        let call = self.rpc.lease.lease_leases(LeaseLeasesRequest {});
        self.identity.answer(call, Answer::Leases).await
    }

    /// One stream; each request is sent when the one before was answered.
    pub(super) async fn lease_keep_alive(&mut self, ids: Vec<i64>) -> Outcome {
        let (requests, queue) = mpsc::channel(1);
        let mut answers = Vec::new();
        let mut ids = ids.into_iter();
        if let Some(id) = ids.next() {
            // The queue is empty and open: this cannot fail.
            let _ = requests.try_send(LeaseKeepAliveRequest { id });
        }
        let call = self.rpc.lease.lease_keep_alive(ReceiverStream::new(queue)).await?;
        let mut responses = call.into_inner();
        let mut requests = Some(requests);
        loop {
            match responses.message().await {
                Ok(Some(mut response)) => {
                    self.identity.strip(&mut response.header);
                    answers.push(response);
                }
                Ok(None) => return Ok(Answer::KeptAlive(answers, None)),
                Err(status) => return Ok(Answer::KeptAlive(answers, Some(Refusal::from(status)))),
            }
            match (ids.next(), &requests) {
                (Some(id), Some(open)) => {
                    // A stream that has ended shows at the next message.
                    let _ = open.send(LeaseKeepAliveRequest { id }).await;
                }
                // Nothing more to ask: the server has to end the stream.
                _ => requests = None,
            }
        }
    }
}
