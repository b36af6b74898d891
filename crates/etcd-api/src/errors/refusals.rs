//! The statuses of what the node refuses.

use t4_kv_types::{AuthError, OpError};
use tonic::Status;

use super::ApiError;

/// The status of what the node refuses.
#[must_use]
pub fn refused(error: OpError) -> Status {
    match error {
        OpError::Compacted => ApiError::Compacted.status(),
        OpError::FutureRevision => ApiError::FutureRevision.status(),
        OpError::KeyNotFound => ApiError::KeyNotFound.status(),
        OpError::LeaseNotFound => ApiError::LeaseNotFound.status(),
        OpError::LeaseExists => ApiError::LeaseExists.status(),
        OpError::LeaseTtlTooLarge => ApiError::LeaseTtlTooLarge.status(),
        OpError::NoSpace => ApiError::NoSpace.status(),
        OpError::DiskFull => ApiError::DiskFull.status(),
        OpError::Exhausted => ApiError::Exhausted.status(),
        OpError::Corrupt => ApiError::Corrupt.status(),
        OpError::AnswerTooLarge => ApiError::AnswerTooLarge.status(),
        OpError::TooLarge => ApiError::RequestTooLarge.status(),
        OpError::TooManyRequests => ApiError::TooManyRequests.status(),
        OpError::Stopped => ApiError::Stopped.status(),
        OpError::Timeout => ApiError::Timeout.status(),
        OpError::Auth(error) => ApiError::from(error).status(),
        OpError::Damaged(what) => damaged(&what),
        // As etcd: what has no place in the table is Unknown with its text.
        error @ OpError::Io(_) => Status::unknown(error.to_string()),
    }
}

/// What is stored is damaged; the text names the file. The code is the one of
/// etcd's *corrupt cluster*, which clients do not retry.
pub(crate) fn damaged(what: &str) -> Status {
    Status::data_loss(format!("t4: {what}"))
}

/// The status if no token can be made; `Ok`: the login is to be repeated.
pub(crate) fn login_refused(error: OpError) -> Result<(), Status> {
    match error {
        OpError::Auth(AuthError::RepeatLogin) => Ok(()),
        error => Err(refused(error)),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_login_is_repeated_only_if_it_must_be() {
        assert!(login_refused(OpError::Auth(AuthError::RepeatLogin)).is_ok());
        let refused = login_refused(OpError::Auth(AuthError::AuthFailed)).unwrap_err();
        assert_eq!(refused.message(), ApiError::AuthFailed.text());
    }

    #[test]
    fn every_refusal_of_the_node_has_its_status() {
        assert_eq!(refused(OpError::Compacted).code(), Code::OutOfRange);
        assert_eq!(refused(OpError::Timeout).message(), "etcdserver: request timed out");
        let damaged = refused(OpError::Damaged("f.seg: corrupt".to_owned()));
        assert_eq!((damaged.code(), damaged.message()), (Code::DataLoss, "t4: f.seg: corrupt"));
        let io = refused(OpError::Io("gone".to_owned()));
        assert_eq!(
            (io.code(), io.message()),
            (Code::Unknown, "reading from the disk failed: gone")
        );
    }
}
