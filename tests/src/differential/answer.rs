//! What a server answered, made comparable between servers.

use t4_proto::etcdserverpb::{
    AlarmResponse, CompactionResponse, DefragmentResponse, DeleteRangeResponse, DowngradeResponse,
    HashKvResponse, HashResponse, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse,
    LeaseRevokeResponse, LeaseTimeToLiveResponse, MemberAddResponse, MemberListResponse,
    MemberPromoteResponse, MemberRemoveResponse, MemberUpdateResponse, MoveLeaderResponse,
    PutResponse, RangeResponse, ResponseHeader, StatusResponse, TxnResponse, WatchResponse,
    response_op::Response,
};
use t4_proto::mvccpb::Event;
use t4_proto::v3electionpb::{CampaignResponse, LeaderResponse, ProclaimResponse, ResignResponse};
use t4_proto::v3lockpb::{LockResponse, UnlockResponse};
use tonic::Status;

/// An error answer, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code, by name.
    pub code: String,
    /// The text, which clients match on.
    pub text: String,
}

/// The code of an error that the server did not send: the connection broke.
const DISCONNECTED: &str = "Disconnected";

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        // Only errors that the client's own transport met have a source.
        if std::error::Error::source(&status).is_some() {
            return Refusal { code: DISCONNECTED.to_owned(), text: format!("{status:?}") };
        }
        Refusal { code: format!("{:?}", status.code()), text: status.message().to_owned() }
    }
}

/// One answer. The variants that several operations share hold what they share.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// An error.
    Refused(Refusal),
    /// Nothing, although an answer was due; what was waited for.
    Silence(String),
    /// To a range.
    Range(RangeResponse),
    /// To a put.
    Put(PutResponse),
    /// To a delete.
    Delete(DeleteRangeResponse),
    /// To a transaction.
    Txn(TxnResponse),
    /// To a compaction.
    Compacted(CompactionResponse),
    /// To a grant.
    LeaseGranted(LeaseGrantResponse),
    /// To a revocation.
    LeaseRevoked(LeaseRevokeResponse),
    /// To a question for the time to live.
    LeaseTimeToLive(LeaseTimeToLiveResponse),
    /// All leases.
    Leases(LeaseLeasesResponse),
    /// To each keep-alive, and the error that ended the stream if one did.
    KeptAlive(Vec<LeaseKeepAliveResponse>, Option<Refusal>),
    /// To a hash.
    Hash(HashKvResponse),
    /// To an alarm request.
    Alarms(AlarmResponse),
    /// To a status request.
    Status(Box<StatusResponse>),
    /// The members.
    Members(MemberListResponse),
    /// Of a call whose answer is but a header.
    Header(Option<ResponseHeader>),
    /// To a lock request.
    Locked(LockResponse),
    /// To a campaign.
    Campaigned(CampaignResponse),
    /// The leader of an election.
    Leader(LeaderResponse),
    /// Several answers in order.
    Several(Vec<Answer>),
    /// Watch responses without events.
    Watched(Vec<WatchResponse>),
    /// The events of a watcher, in order.
    Events(Vec<Event>),
    /// Everything without events that a watch stream carried, and what was
    /// wrong in itself: a revision split over responses, an event out of order.
    Closed(Vec<WatchResponse>, Vec<String>),
}

/// Who a server says it is. Its ids become 1 in answers, an id of somebody
/// else stays and shows as a difference.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity {
    /// The id of its cluster.
    pub cluster: u64,
    /// The id of the member.
    pub member: u64,
}

impl Identity {
    /// Normalises a header in place: ids that are the server's own become 1,
    /// and so does any raft term but 0.
    pub fn strip(&self, header: &mut Option<ResponseHeader>) {
        if let Some(header) = header {
            self.strip_header(header);
        }
    }

    /// The same for a header that is there.
    pub fn strip_header(&self, header: &mut ResponseHeader) {
        if header.cluster_id == self.cluster && self.cluster != 0 {
            header.cluster_id = 1;
        }
        header.member_id = self.member_id(header.member_id);
        header.raft_term = header.raft_term.min(1);
    }

    /// 1 for the server's own id, any other as it is.
    #[must_use]
    pub fn member_id(&self, id: u64) -> u64 {
        if id == self.member && self.member != 0 { 1 } else { id }
    }

    /// Normalises every header inside a transaction's answer.
    pub fn strip_txn(&self, txn: &mut TxnResponse) {
        self.strip(&mut txn.header);
        for op in &mut txn.responses {
            match &mut op.response {
                Some(Response::ResponseRange(r)) => self.strip(&mut r.header),
                Some(Response::ResponsePut(r)) => self.strip(&mut r.header),
                Some(Response::ResponseDeleteRange(r)) => self.strip(&mut r.header),
                Some(Response::ResponseTxn(r)) => self.strip_txn(r),
                None => {}
            }
        }
    }
}

/// A response with a header, and maybe more of them inside.
pub(super) trait Headed {
    /// Normalises every header that it holds.
    fn strip(&mut self, identity: &Identity);
}

macro_rules! headed {
    ($($message:ty),* $(,)?) => {
        $(impl Headed for $message {
            fn strip(&mut self, identity: &Identity) {
                identity.strip(&mut self.header);
            }
        })*
    };
}

headed!(
    RangeResponse,
    PutResponse,
    DeleteRangeResponse,
    CompactionResponse,
    LeaseGrantResponse,
    LeaseRevokeResponse,
    LeaseTimeToLiveResponse,
    LeaseLeasesResponse,
    HashKvResponse,
    HashResponse,
    DefragmentResponse,
    MoveLeaderResponse,
    DowngradeResponse,
    MemberAddResponse,
    MemberRemoveResponse,
    MemberUpdateResponse,
    MemberPromoteResponse,
    LockResponse,
    UnlockResponse,
    CampaignResponse,
    ProclaimResponse,
    LeaderResponse,
    ResignResponse,
);

impl Headed for TxnResponse {
    fn strip(&mut self, identity: &Identity) {
        identity.strip_txn(self);
    }
}

impl Answer {
    /// True for what is never right, not even when both servers do it: an
    /// answer that did not come, or a server that went away.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self {
            Answer::Silence(_) => true,
            Answer::Refused(refusal) | Answer::KeptAlive(_, Some(refusal)) => {
                refusal.code == DISCONNECTED
            }
            _ => false,
        }
    }

    /// The revision in the header, when the answer has one; what the generator
    /// learns the current revision from.
    #[must_use]
    pub fn revision(&self) -> Option<i64> {
        let header = match self {
            Answer::Range(r) => &r.header,
            Answer::Put(r) => &r.header,
            Answer::Delete(r) => &r.header,
            Answer::Txn(r) => &r.header,
            Answer::Compacted(r) => &r.header,
            Answer::LeaseGranted(r) => &r.header,
            Answer::LeaseRevoked(r) => &r.header,
            Answer::LeaseTimeToLive(r) => &r.header,
            Answer::Leases(r) => &r.header,
            Answer::Hash(r) => &r.header,
            Answer::Header(header) => header,
            Answer::Locked(r) => &r.header,
            Answer::Campaigned(r) => &r.header,
            Answer::Leader(r) => &r.header,
            Answer::Several(parts) => return parts.iter().filter_map(Answer::revision).max(),
            _ => return None,
        };
        header.as_ref().map(|header| header.revision)
    }
}
