//! Why a watcher was not created or was ended: the `cancel_reason` of a response.

use t4_node::watch_hub::RefusalReason;
use tonic::{Code, Status};

use super::ApiError;

/// A status as etcd writes it into the `cancel_reason` of a watcher.
pub(crate) fn status_reason(status: &Status) -> String {
    reason(status.code(), status.message())
}

/// An error as etcd writes it into the `cancel_reason` of a watcher: as Go
/// prints a status.
pub(crate) fn as_reason(error: ApiError) -> String {
    reason(error.code(), error.text())
}

fn reason(code: Code, text: &str) -> String {
    // Only Go's name of this code differs from ours.
    let code = match code {
        Code::Cancelled => "Canceled".to_owned(),
        code => format!("{code:?}"),
    };
    format!("rpc error: code = {code} desc = {text}")
}

/// Why a watcher was not created: the `cancel_reason` of the response.
pub(crate) fn watch_refusal(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::NegativeStart => ApiError::Compacted.text(),
        RefusalReason::EmptyRange => "mvcc: watcher range is empty",
        RefusalReason::DuplicateId => "mvcc: duplicate watch ID provided on the WatchStream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_written_as_go_prints_a_status() {
        assert_eq!(
            as_reason(ApiError::PermissionDenied),
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
        );
        assert_eq!(
            as_reason(ApiError::InvalidAuthToken),
            "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
        );
        assert_eq!(
            as_reason(ApiError::UserEmpty),
            "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"
        );
    }
}
