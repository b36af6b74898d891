//! Cluster and maintenance operations on a server.

use t4_proto::etcdserverpb::{
    AlarmRequest, DefragmentRequest, DowngradeRequest, HashKvRequest, HashRequest,
    MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    MemberUpdateRequest, MoveLeaderRequest, StatusRequest,
};

use super::super::answer::Answer;
use super::super::op::Who;
use super::{Outcome, Target};

impl Target {
    pub(super) async fn hash_kv(&mut self, revision: i64) -> Outcome {
        let call = self.rpc.maintenance.hash_kv(HashKvRequest { revision });
        self.identity.answer(call, Answer::Hash).await
    }

    pub(super) async fn alarm(&mut self, action: i32, member: Who, alarm: i32) -> Outcome {
        let request = AlarmRequest { action, member_id: self.id_of(member), alarm };
        let mut response = self.rpc.maintenance.alarm(request).await?.into_inner();
        self.identity.strip(&mut response.header);
        for alarm in &mut response.alarms {
            alarm.member_id = self.identity.member_id(alarm.member_id);
        }
        Ok(Answer::Alarms(response))
    }

    pub(super) async fn status(&mut self) -> Outcome {
        let mut response = self.rpc.maintenance.status(StatusRequest {}).await?.into_inner();
        self.identity.strip(&mut response.header);
        response.leader = self.identity.member_id(response.leader);
        let own = format!("memberID:{}", self.identity.member);
        for error in &mut response.errors {
            // Go's protobuf text has white space that is deliberately not stable.
            let words: Vec<&str> = error.split_whitespace().collect();
            *error = words.join(" ").replace(&own, "memberID:1");
        }
        response.errors.sort();
        Ok(Answer::Status(Box::new(response)))
    }

    /// The hash of the backend differs between any two stores: only the shape
    /// of the answer is compared.
    pub(super) async fn hash(&mut self) -> Outcome {
        let call = self.rpc.maintenance.hash(HashRequest {});
        self.identity.answer(call, |response| Answer::Header(response.header)).await
    }

    pub(super) async fn defragment(&mut self) -> Outcome {
        let call = self.rpc.maintenance.defragment(DefragmentRequest {});
        self.identity.answer(call, |response| Answer::Header(response.header)).await
    }

    pub(super) async fn move_leader(&mut self, to: Who) -> Outcome {
        let request = MoveLeaderRequest { target_id: self.id_of(to) };
        let call = self.rpc.maintenance.move_leader(request);
        self.identity.answer(call, |response| Answer::Header(response.header)).await
    }

    pub(super) async fn downgrade(&mut self, action: i32, version: String) -> Outcome {
        let call = self.rpc.maintenance.downgrade(DowngradeRequest { action, version });
        self.identity.answer(call, |response| Answer::Header(response.header)).await
    }

    pub(super) async fn member_list(&mut self, linearizable: bool) -> Outcome {
        let call = self.rpc.cluster.member_list(MemberListRequest { linearizable });
        let mut response = call.await?.into_inner();
        self.identity.strip(&mut response.header);
        for member in &mut response.members {
            member.id = self.identity.member_id(member.id);
        }
        Ok(Answer::Members(response))
    }

    pub(super) async fn member_add_refused(&mut self, peer_urls: Vec<String>) -> Outcome {
        let call = self.rpc.cluster.member_add(MemberAddRequest { peer_urls, is_learner: false });
        self.identity.answer(call, |response| Answer::Header(response.header)).await
    }

    pub(super) async fn member_remove(&mut self, member: Who) -> Outcome {
        let request = MemberRemoveRequest { id: self.id_of(member) };
        let call = self.rpc.cluster.member_remove(request);
        self.identity.answer(call, |response| Answer::Header(response.header)).await
    }

    pub(super) async fn member_update(&mut self, member: Who, peer_urls: Vec<String>) -> Outcome {
        let request = MemberUpdateRequest { id: self.id_of(member), peer_urls };
        let call = self.rpc.cluster.member_update(request);
        self.identity.answer(call, |response| Answer::Header(response.header)).await
    }

    pub(super) async fn member_promote(&mut self, member: Who) -> Outcome {
        let request = MemberPromoteRequest { id: self.id_of(member) };
        let call = self.rpc.cluster.member_promote(request);
        self.identity.answer(call, |response| Answer::Header(response.header)).await
    }
}
