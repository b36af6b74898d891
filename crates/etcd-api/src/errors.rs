//! Every error that a client sees: its gRPC code and its text, in one module.
//!
//! Clients of etcd tell errors apart by the text, so the texts are a contract.
//! [`ApiError`] is etcd's own table, with the texts that only this server has. The
//! modules make the statuses whose text has a part that varies: `refusals` those of
//! the node, `grpc` those of calls that reach no service; `reasons` are the texts of
//! watchers that end.

mod grpc;
mod reasons;
mod refusals;

use std::fmt;

use t4_kv_types::AuthError;
use tonic::{Code, Status};

pub(crate) use grpc::{
    bad_compression_flag, bad_content_type, cannot_decompress, compressed_message,
    decompressed_too_large, malformed_message, malformed_timeout, message_too_large,
    metadata_too_large, missing_message, not_post, sent_message_too_large, surplus_message,
    too_many_calls, too_much_unfinished, truncated_message, unknown_path,
};
pub(crate) use reasons::{as_reason, status_reason, watch_refusal};
pub use refusals::refused;
pub(crate) use refusals::{damaged, login_refused};

macro_rules! api_errors {
    ($($(#[$doc:meta])* $name:ident = $code:ident, $text:literal;)*) => {
        /// The errors that clients of etcd know by their text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ApiError {
            $($(#[$doc])* $name,)*
        }

        impl ApiError {
            /// Every error, in the order of etcd's table.
            pub const ALL: &[ApiError] = &[$(ApiError::$name),*];

            /// The gRPC code on the wire.
            #[must_use]
            pub const fn code(self) -> Code {
                match self { $(ApiError::$name => Code::$code,)* }
            }

            /// The text on the wire.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(ApiError::$name => $text,)* }
            }
        }
    };
}

api_errors! {
    /// The key is empty.
    EmptyKey = InvalidArgument, "etcdserver: key is not provided";
    /// `ignore_value` or `ignore_lease` on a key that is not there; also a
    /// transaction with an operation that is not one.
    KeyNotFound = InvalidArgument, "etcdserver: key not found";
    /// `ignore_value` with a value.
    ValueProvided = InvalidArgument, "etcdserver: value is provided";
    /// `ignore_lease` with a lease.
    LeaseProvided = InvalidArgument, "etcdserver: lease is provided";
    /// A list of a transaction is longer than allowed.
    TooManyOps = InvalidArgument, "etcdserver: too many operations in txn request";
    /// A transaction puts a key twice, or puts and deletes it.
    DuplicateKey = InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// The metadata `client-api-version` is not UTF-8.
    InvalidClientApiVersion = InvalidArgument, "etcdserver: invalid client api version";
    /// An unknown sort order or target.
    InvalidSortOption = InvalidArgument, "etcdserver: invalid sort option";
    /// The revision was compacted away.
    Compacted = OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// The revision does not exist yet.
    FutureRevision = OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// The quota is used up.
    NoSpace = ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    /// There is no such lease.
    LeaseNotFound = NotFound, "etcdserver: requested lease not found";
    /// There is such a lease already.
    LeaseExists = FailedPrecondition, "etcdserver: lease already exists";
    /// The time to live is over 9,000,000,000 s.
    LeaseTtlTooLarge = OutOfRange, "etcdserver: too large lease TTL";
    /// The client has cancelled the call of a watch stream.
    WatchCanceled = Cancelled, "etcdserver: watch canceled";
    /// The new member has the id of another.
    MemberExists = FailedPrecondition, "etcdserver: member ID already exist";
    /// A peer URL belongs to another member.
    PeerUrlExists = FailedPrecondition, "etcdserver: Peer URLs already exists";
    /// Too few members run. Unknown on the wire, as etcd sends it.
    MemberNotEnoughStarted = Unknown,
        "etcdserver: re-configuration failed due to not enough started members";
    /// A peer URL is not a URL of a peer.
    MemberBadUrls = InvalidArgument, "etcdserver: given member URLs are invalid";
    /// There is no such member.
    MemberNotFound = NotFound, "etcdserver: member not found";
    /// The member has its vote already.
    MemberNotLearner = FailedPrecondition, "etcdserver: can only promote a learner member";
    /// The learner is behind.
    LearnerNotReady = FailedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader";
    /// There are learners enough.
    TooManyLearners = FailedPrecondition, "etcdserver: too many learner members in cluster";
    /// A member of another cluster.
    ClusterIdMismatch = FailedPrecondition, "etcdserver: cluster ID mismatch";
    /// The request is over `max_request_bytes`.
    RequestTooLarge = InvalidArgument, "etcdserver: request is too large";
    /// The commit queue is full. Unknown on the wire, as etcd sends it.
    TooManyRequests = Unknown, "etcdserver: too many requests";
    /// Authentication needs a user `root`.
    RootUserNotExist = FailedPrecondition, "etcdserver: root user does not exist";
    /// The user `root` needs the role `root`.
    RootRoleNotExist = FailedPrecondition, "etcdserver: root user does not have root role";
    /// There is such a user already.
    UserAlreadyExist = FailedPrecondition, "etcdserver: user name already exists";
    /// No user is named, or the call has no credentials.
    UserEmpty = InvalidArgument, "etcdserver: user name is empty";
    /// There is no such user.
    UserNotFound = FailedPrecondition, "etcdserver: user name not found";
    /// There is such a role already.
    RoleAlreadyExist = FailedPrecondition, "etcdserver: role name already exists";
    /// There is no such role.
    RoleNotFound = FailedPrecondition, "etcdserver: role name not found";
    /// No role is named.
    RoleEmpty = InvalidArgument, "etcdserver: role name is empty";
    /// Wrong name or password.
    AuthFailed = InvalidArgument,
        "etcdserver: authentication failed, invalid user ID or password";
    /// A permission is missing in the request.
    PermissionNotGiven = InvalidArgument, "etcdserver: permission not given";
    /// The user may not do that.
    PermissionDenied = PermissionDenied, "etcdserver: permission denied";
    /// The user does not have the role.
    RoleNotGranted = FailedPrecondition, "etcdserver: role is not granted to the user";
    /// The role does not have the permission.
    PermissionNotGranted = FailedPrecondition,
        "etcdserver: permission is not granted to the role";
    /// Authentication is off.
    AuthNotEnabled = FailedPrecondition, "etcdserver: authentication is not enabled";
    /// The token is unknown or expired.
    InvalidAuthToken = Unauthenticated, "etcdserver: invalid auth token";
    /// A password for a user that logs in by certificate only, or a hash that
    /// cannot be read.
    NoPasswordUser = Unknown,
        "auth: authentication failed, password was given for no password user";
    /// bcrypt looks at no more.
    PasswordTooLong = Unknown, "bcrypt: password length exceeds 72 bytes";
    /// Tokens come from outside: there is no private key here.
    VerifyOnlyKey = Unknown, "auth: token signing attempted with verify-only key";
    /// What keeps the administrator in charge must not be taken away.
    InvalidAuthManagement = InvalidArgument, "etcdserver: invalid auth management";
    /// The token was made before users or roles changed.
    AuthOldRevision = InvalidArgument, "etcdserver: revision of auth store is old";
    /// No member leads.
    NoLeader = Unavailable, "etcdserver: no leader";
    /// Another member leads.
    NotLeader = FailedPrecondition, "etcdserver: not leader";
    /// The leadership moved while the request was served.
    LeaderChanged = Unavailable, "etcdserver: leader changed";
    /// The version of the cluster is not known yet.
    NotCapable = FailedPrecondition, "etcdserver: not capable";
    /// The member stops.
    Stopped = Unavailable, "etcdserver: server stopped";
    /// It is not known whether the request was carried out.
    Timeout = Unavailable, "etcdserver: request timed out";
    /// The same, after a leader failed.
    TimeoutDueToLeaderFail = Unavailable,
        "etcdserver: request timed out, possibly due to previous leader failure";
    /// The same, after a connection was lost.
    TimeoutDueToConnectionLost = Unavailable,
        "etcdserver: request timed out, possibly due to connection lost";
    /// The member has not applied what it must have for the answer.
    TimeoutWaitAppliedIndex = Unavailable,
        "etcdserver: request timed out, waiting for the applied index took too long";
    /// Too few members are connected.
    Unhealthy = Unavailable, "etcdserver: unhealthy cluster";
    /// The alarm CORRUPT is on.
    Corrupt = DataLoss, "etcdserver: corrupt cluster";
    /// A learner does not serve that.
    NotSupportedForLearner = FailedPrecondition, "etcdserver: rpc not supported for learner";
    /// The leadership cannot go to that member.
    BadLeaderTransferee = FailedPrecondition, "etcdserver: bad leader transferee";
    /// The target of a downgrade is not a version.
    WrongDowngradeVersionFormat = InvalidArgument,
        "etcdserver: wrong downgrade target version format";
    /// The target of a downgrade is not one minor version below.
    InvalidDowngradeTargetVersion = InvalidArgument,
        "etcdserver: invalid downgrade target version";
    /// A downgrade needs a cluster version.
    ClusterVersionNotFound = FailedPrecondition,
        "etcdserver: cluster version not found during downgrade";
    /// The client has cancelled the request.
    RequestCanceled = Cancelled, "etcdserver: request canceled";
    /// The client's time is over; from etcd's own waits.
    DeadlineExceeded = DeadlineExceeded, "etcdserver: context deadline exceeded";

    // What etcd sends without a code of its own.

    /// The call's `grpc-timeout` has passed.
    ContextDeadlineExceeded = DeadlineExceeded, "context deadline exceeded";
    /// The client has cancelled the call.
    ContextCanceled = Cancelled, "context canceled";
    /// A downgrade action that does not exist.
    UnknownMethod = Unknown, "etcdserver: unknown method";
    /// The lock's key went away while waiting for it.
    SessionExpired = Unknown, "mutex: session is expired";
    /// The key given does not lead any more.
    ElectionNotLeader = Unknown, "election: not leader";
    /// The election has no candidate.
    ElectionNoLeader = Unknown, "election: no leader";
    /// `leader` is missing in the request.
    MissingLeaderKey = Unknown, "\"leader\" field must be provided";
    /// A health check of a service that does not exist.
    UnknownHealthService = NotFound, "unknown service";
    /// A stream of a range cannot be sorted.
    StreamSort = Unimplemented, "RangeStream does not support custom sort orders";
    /// A stream of a range cannot be filtered.
    StreamFilter = Unimplemented, "RangeStream does not support revision filters";

    // What only this server says.

    /// Not the quota, but the disk, which has another remedy.
    DiskFull = ResourceExhausted,
        "t4: the disk of the data directory is full; writes are taken again when there is room";
    /// The log cannot make its next file.
    Exhausted = ResourceExhausted,
        "t4: the server has no open files or no memory left; writes are taken again when it has";
    /// No keys without users: `--auth-enabled`.
    AuthRequired = FailedPrecondition,
        "t4: no keys are served until authentication is enabled: add the user root, grant it the role root, and enable authentication";
    /// More than fits one message.
    AnswerTooLarge = ResourceExhausted,
        "t4: the answer would be larger than the 2147483647 bytes that one message may have; nothing was done: ask for less at once, with a limit or in smaller ranges";
    /// The operating system gave no random numbers.
    NoRandomness = Unavailable, "t4: the operating system gave no random numbers";
    /// The crypto provider refused.
    SigningFailed = Internal, "t4: the token cannot be signed";
    /// The members cannot be changed.
    MembershipUnsupported = Unimplemented,
        "t4: this version runs clusters of one member; its membership cannot be changed";
    /// The watchers of a connection, with their keys, are beyond its share of the
    /// memory.
    TooManyWatchers = ResourceExhausted,
        "t4: the watchers of this connection hold more than its share of the server's memory for \
         clients; cancel some, watch ranges instead of keys, or raise --client-memory-bytes";
    /// An alarm, or an action on alarms, that does not exist.
    UnknownAlarm = InvalidArgument, "t4: there is no such alarm, or no such action on alarms";
    /// The store cannot be copied out.
    SnapshotUnsupported = Unimplemented,
        "t4: this version does not stream snapshots; back up the data directory instead";
    /// There is no older version to prepare for.
    DowngradeUnsupported = Unimplemented, "t4: this version cannot be downgraded";
}

impl ApiError {
    /// The status on the wire.
    #[must_use]
    pub fn status(self) -> Status {
        Status::new(self.code(), self.text())
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        error.status()
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::RootUserNotExist => ApiError::RootUserNotExist,
            AuthError::RootRoleNotExist => ApiError::RootRoleNotExist,
            AuthError::UserAlreadyExist => ApiError::UserAlreadyExist,
            AuthError::UserEmpty => ApiError::UserEmpty,
            AuthError::UserNotFound => ApiError::UserNotFound,
            AuthError::RoleAlreadyExist => ApiError::RoleAlreadyExist,
            AuthError::RoleNotFound => ApiError::RoleNotFound,
            AuthError::RoleEmpty => ApiError::RoleEmpty,
            AuthError::AuthFailed => ApiError::AuthFailed,
            AuthError::NoPasswordUser => ApiError::NoPasswordUser,
            AuthError::PermissionNotGiven => ApiError::PermissionNotGiven,
            AuthError::PermissionDenied => ApiError::PermissionDenied,
            AuthError::RoleNotGranted => ApiError::RoleNotGranted,
            AuthError::PermissionNotGranted => ApiError::PermissionNotGranted,
            AuthError::AuthNotEnabled => ApiError::AuthNotEnabled,
            AuthError::InvalidAuthToken => ApiError::InvalidAuthToken,
            AuthError::InvalidAuthManagement => ApiError::InvalidAuthManagement,
            // A login that has to be repeated is repeated before a client sees
            // this; its clients do the same with an old revision.
            AuthError::AuthOldRevision | AuthError::RepeatLogin => ApiError::AuthOldRevision,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn texts_tell_errors_apart() {
        let texts: HashSet<_> = ApiError::ALL.iter().map(|error| error.text()).collect();
        assert_eq!(texts.len(), ApiError::ALL.len());
    }

    /// Codes that differ from what the name suggests, and those that clients
    /// decide on.
    #[test]
    fn codes_are_those_of_the_wire() {
        for (error, code) in [
            (ApiError::KeyNotFound, 3),
            (ApiError::Compacted, 11),
            (ApiError::NoSpace, 8),
            (ApiError::DiskFull, 8),
            (ApiError::Exhausted, 8),
            (ApiError::LeaseExists, 9),
            (ApiError::MemberNotEnoughStarted, 2),
            (ApiError::TooManyRequests, 2),
            (ApiError::UserNotFound, 9),
            (ApiError::PermissionDenied, 7),
            (ApiError::InvalidAuthToken, 16),
            (ApiError::NoLeader, 14),
            (ApiError::Corrupt, 15),
            (ApiError::WatchCanceled, 1),
            (ApiError::DeadlineExceeded, 4),
            (ApiError::LeaseNotFound, 5),
        ] {
            assert_eq!(error.code() as i32, code, "{error}");
        }
    }
}
