//! What a server answers, less what is each server's own.

use t4_proto::etcdserverpb as pb;
use t4_proto::mvccpb::Event;
use tonic::{Code, Status};

/// An error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(code: Code, text: &str) -> Refusal {
        Refusal { code, text: format!("etcdserver: {text}") }
    }

    pub(super) fn permission_denied() -> Refusal {
        Refusal::new(Code::PermissionDenied, "permission denied")
    }

    pub(super) fn invalid_token() -> Refusal {
        Refusal::new(Code::Unauthenticated, "invalid auth token")
    }

    pub(super) fn no_user() -> Refusal {
        Refusal::new(Code::InvalidArgument, "user name is empty")
    }

    pub(super) fn invalid_management() -> Refusal {
        Refusal::new(Code::InvalidArgument, "invalid auth management")
    }

    /// Whether it is about who asks, and not about what is asked.
    pub(super) fn is_for_want_of_rights(&self) -> bool {
        let those = [Refusal::permission_denied(), Refusal::invalid_token(), Refusal::no_user()];
        those.contains(self)
    }

    /// As a watch is told it.
    pub(super) fn as_reason(&self) -> String {
        format!("rpc error: code = {:?} desc = {}", self.code, self.text)
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Refusal {
        Refusal { code: status.code(), text: status.message().to_owned() }
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Refused(Refusal),
    Range(pb::RangeResponse),
    User(pb::AuthUserGetResponse),
    Role(pb::AuthRoleGetResponse),
    Status(pb::AuthStatusResponse),
    Watched(Watched),
    /// The revision in the header, and all of it as text.
    Other(i64, String),
}

/// What came on a watch stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Watched {
    /// To each creation, and to each cancellation.
    pub(super) controls: Vec<pb::WatchResponse>,
    /// Of each watcher, up to the write that it had to see.
    pub(super) events: Vec<(i64, Vec<Event>)>,
    /// After the last write.
    pub(super) revision: i64,
}

impl Answer {
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Answer::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The revision of the store by the time of the answer.
    pub(super) fn revision(&self) -> i64 {
        let header = match self {
            Answer::Refused(_) => &None,
            Answer::Range(response) => &response.header,
            Answer::User(response) => &response.header,
            Answer::Role(response) => &response.header,
            Answer::Status(response) => &response.header,
            Answer::Watched(watched) => return watched.revision,
            Answer::Other(revision, _) => return *revision,
        };
        header.as_ref().map_or(0, |header| header.revision)
    }
}

/// Leaves the revision alone in a header.
pub(super) fn strip(header: &mut Option<pb::ResponseHeader>) -> i64 {
    let revision = header.as_ref().map_or(0, |header| header.revision);
    if let Some(header) = header {
        *header = pb::ResponseHeader { revision, ..Default::default() };
    }
    revision
}
