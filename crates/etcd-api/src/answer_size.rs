//! Which requests may have a large answer, as far as the request shows it.

use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::request_op::Request;

/// A transaction with more reads than this may have a large answer, even if
/// each of them is of one key.
const SMALL_TXN_READS_MAX: usize = 4;

/// Whether the answer may have many keys.
pub(crate) fn range_is_large(request: &pb::RangeRequest) -> bool {
    !request.range_end.is_empty() && !request.count_only && request.limit != 1
}

/// Whether the answer may have many keys.
pub(crate) fn delete_is_large(request: &pb::DeleteRangeRequest) -> bool {
    !request.range_end.is_empty() && request.prev_kv
}

/// Whether the answer may have many keys, or few but often.
pub(crate) fn txn_is_large(request: &pb::TxnRequest) -> bool {
    let mut reads = 0;
    txn_has_large_op(request, &mut reads) || reads > SMALL_TXN_READS_MAX
}

/// Requests nest no deeper than their decoder allows.
fn txn_has_large_op(request: &pb::TxnRequest, reads: &mut usize) -> bool {
    request.success.iter().chain(&request.failure).any(|op| match &op.request {
        Some(Request::RequestRange(range)) => {
            *reads += 1;
            range_is_large(range)
        }
        Some(Request::RequestDeleteRange(delete)) => {
            *reads += usize::from(delete.prev_kv);
            delete_is_large(delete)
        }
        Some(Request::RequestPut(put)) => {
            *reads += usize::from(put.prev_kv);
            false
        }
        Some(Request::RequestTxn(txn)) => txn_has_large_op(txn, reads),
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        let get = pb::RangeRequest { key: "a".into(), ..Default::default() };
        let list = pb::RangeRequest { range_end: "b".into(), ..get.clone() };
        assert!(!range_is_large(&get) && range_is_large(&list));
        assert!(!range_is_large(&pb::RangeRequest { count_only: true, ..list.clone() }));
        assert!(!range_is_large(&pb::RangeRequest { limit: 1, ..list.clone() }));
        let delete = pb::DeleteRangeRequest { range_end: "b".into(), ..Default::default() };
        assert!(!delete_is_large(&delete));
        assert!(delete_is_large(&pb::DeleteRangeRequest { prev_kv: true, ..delete }));

        let op = |request: &pb::RangeRequest| pb::RequestOp {
            request: Some(Request::RequestRange(request.clone())),
        };
        let txn = |success| pb::TxnRequest { success, ..Default::default() };
        assert!(!txn_is_large(&txn(vec![op(&get); SMALL_TXN_READS_MAX])));
        assert!(txn_is_large(&txn(vec![op(&get); SMALL_TXN_READS_MAX + 1])));
        let inner = pb::RequestOp { request: Some(Request::RequestTxn(txn(vec![op(&list)]))) };
        assert!(txn_is_large(&txn(vec![inner])));
    }
}
