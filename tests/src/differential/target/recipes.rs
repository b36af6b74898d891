//! Lock and election operations on a server.

use bytes::Bytes;
use t4_proto::etcdserverpb::RangeRequest;
use t4_proto::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use t4_proto::v3lockpb::{LockRequest, UnlockRequest};

use super::super::answer::{Answer, Refusal};
use super::super::recipe_key;
use super::{Outcome, Target};

impl Target {
    pub(super) async fn lock(&mut self, name: Bytes, lease: i64) -> Outcome {
        let call = self.rpc.lock.lock(LockRequest { name, lease });
        self.identity.answer(call, Answer::Locked).await
    }

    pub(super) async fn unlock(&mut self, key: Bytes) -> Outcome {
        let call = self.rpc.lock.unlock(UnlockRequest { key });
        self.identity.answer(call, |response| Answer::Header(response.header)).await
    }

    /// The second waits in a task of its own. That it waits shows by its key:
    /// it is written before the wait begins.
    pub(super) async fn lock_contended(&mut self, name: Bytes, first: i64, second: i64) -> Outcome {
        let held = self.lock(name.clone(), first).await?;
        let Answer::Locked(holder) = &held else { return Ok(held) };
        let first_key = holder.key.clone();
        let mut rpc = self.rpc.clone();
        let request = LockRequest { name: name.clone(), lease: second };
        let waiting = tokio::spawn(async move { rpc.lock.lock(request).await });
        self.wait_for_key(recipe_key(&name, second)).await?;
        if waiting.is_finished() {
            waiting.abort();
            return Ok(Answer::Silence("two hold one lock".to_owned()));
        }
        let unlocked = self.unlock(first_key).await?;
        let waited =
            async { waiting.await.unwrap_or_else(|e| Err(tonic::Status::from_error(Box::new(e)))) };
        let then = self.identity.answer(waited, Answer::Locked).await?;
        let Answer::Locked(holder) = &then else { return Ok(then) };
        let last = self.unlock(holder.key.clone()).await?;
        Ok(Answer::Several(vec![held, unlocked, then, last]))
    }

    // Bounded by the patience around every operation.
    async fn wait_for_key(&mut self, key: Bytes) -> Result<(), Refusal> {
        loop {
            let request = RangeRequest { key: key.clone(), count_only: true, ..Default::default() };
            if self.rpc.kv.range(request).await?.into_inner().count > 0 {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn campaign(&mut self, name: Bytes, lease: i64, value: Bytes) -> Outcome {
        let call = self.rpc.election.campaign(CampaignRequest { name, lease, value });
        self.identity.answer(call, Answer::Campaigned).await
    }

    pub(super) async fn proclaim(&mut self, leader: Option<LeaderKey>, value: Bytes) -> Outcome {
        let call = self.rpc.election.proclaim(ProclaimRequest { leader, value });
        self.identity.answer(call, |response| Answer::Header(response.header)).await
    }

    pub(super) async fn leader(&mut self, name: Bytes) -> Outcome {
        let call = self.rpc.election.leader(LeaderRequest { name });
        self.identity.answer(call, Answer::Leader).await
    }

    pub(super) async fn resign(&mut self, leader: Option<LeaderKey>) -> Outcome {
        let call = self.rpc.election.resign(ResignRequest { leader });
        self.identity.answer(call, |response| Answer::Header(response.header)).await
    }

    pub(super) async fn observe_once(&mut self, name: Bytes) -> Outcome {
        let mut leaders = self.rpc.election.observe(LeaderRequest { name }).await?.into_inner();
        match leaders.message().await? {
            Some(mut leader) => {
                self.identity.strip(&mut leader.header);
                Ok(Answer::Leader(leader))
            }
            None => Ok(Answer::Silence("Observe ended without a leader".to_owned())),
        }
    }
}
