//! Transactions.

use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use t4_proto::etcdserverpb::request_op::Request;
use t4_proto::etcdserverpb::response_op::Response;
use tonic::Code;

use crate::support::{Server, assert_error, get, put};

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn put_op(key: &'static str, value: &'static str) -> pb::RequestOp {
    op(Request::RequestPut(put(key, value)))
}

fn get_op(key: &'static str) -> pb::RequestOp {
    op(Request::RequestRange(get(key)))
}

fn delete_op(key: &'static str, range_end: &'static str) -> pb::RequestOp {
    let delete = pb::DeleteRangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..Default::default()
    };
    op(Request::RequestDeleteRange(delete))
}

fn value_is(key: &'static str, value: &'static str) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Value.into(),
        key: key.into(),
        target_union: Some(TargetUnion::Value(value.into())),
        ..Default::default()
    }
}

fn revision_of(response: &pb::ResponseOp) -> i64 {
    let header = match response.response.as_ref().unwrap() {
        Response::ResponseRange(response) => response.header.as_ref(),
        Response::ResponsePut(response) => response.header.as_ref(),
        Response::ResponseDeleteRange(response) => response.header.as_ref(),
        Response::ResponseTxn(response) => response.header.as_ref(),
    };
    header.unwrap().revision
}

#[tokio::test]
async fn one_branch_runs_at_one_revision() {
    let server = Server::start().await;
    server.put("a", "1").await;
    let request = pb::TxnRequest {
        compare: vec![value_is("a", "1")],
        success: vec![get_op("a"), put_op("a", "2"), get_op("a"), delete_op("b", "c")],
        failure: vec![put_op("never", "")],
    };
    let done = server.kv().txn(request.clone()).await.unwrap().into_inner();
    assert!(done.succeeded);
    assert_eq!(done.header.as_ref().unwrap().revision, 3);
    let revisions: Vec<_> = done.responses.iter().map(revision_of).collect();
    assert_eq!(revisions, [2, 3, 3, 3]);
    let Some(Response::ResponseRange(seen)) = &done.responses[2].response else { panic!() };
    assert_eq!(seen.kvs[0].value, "2");

    let done = server.kv().txn(request).await.unwrap().into_inner();
    assert!(!done.succeeded);
    assert_eq!(server.get("never").await.unwrap(), "");
}

#[tokio::test]
async fn transactions_may_stand_inside_transactions() {
    let server = Server::start().await;
    let inside = pb::TxnRequest {
        compare: vec![value_is("a", "1")],
        success: vec![put_op("b", "yes")],
        failure: vec![put_op("b", "no")],
    };
    let request = pb::TxnRequest {
        success: vec![put_op("a", "1"), op(Request::RequestTxn(inside))],
        ..Default::default()
    };
    let done = server.kv().txn(request).await.unwrap().into_inner();
    // Compares inside look at the state before the whole.
    assert_eq!(server.get("b").await.unwrap(), "no");
    let Some(Response::ResponseTxn(inside)) = &done.responses[1].response else { panic!() };
    assert_eq!(inside.header, Some(pb::ResponseHeader::default()));
    assert!(!inside.succeeded);
    assert_eq!(revision_of(&inside.responses[0]), 2);
}

#[tokio::test]
async fn a_transaction_without_effect_makes_no_revision() {
    let server = Server::start().await;
    server.put("a", "1").await;
    let request =
        pb::TxnRequest { success: vec![delete_op("x", ""), get_op("a")], ..Default::default() };
    let done = server.kv().txn(request).await.unwrap().into_inner();
    assert_eq!(done.header.unwrap().revision, 2);
    let empty = server.kv().txn(pb::TxnRequest::default()).await.unwrap().into_inner();
    assert!(empty.succeeded);
}

#[tokio::test]
async fn wrong_transactions_are_refused_whole() {
    let server = Server::start_with(|_| {}, |api| api.max_txn_ops = 3).await;
    let mut kv = server.kv();
    let mut refusal = async |success: Vec<pb::RequestOp>| {
        kv.txn(pb::TxnRequest { success, ..Default::default() }).await
    };
    let invalid = Code::InvalidArgument;
    let many = vec![put_op("a", ""); 4];
    let text = "etcdserver: too many operations in txn request";
    assert_error(refusal(many).await, invalid, text);
    let text = "etcdserver: duplicate key given in txn request";
    assert_error(refusal(vec![put_op("a", ""); 2]).await, invalid, text);
    assert_error(refusal(vec![delete_op("a", "c"), put_op("b", "")]).await, invalid, text);
    let text = "etcdserver: key is not provided";
    assert_error(refusal(vec![get_op("")]).await, invalid, text);
    let text = "etcdserver: key not found";
    assert_error(refusal(vec![pb::RequestOp { request: None }]).await, invalid, text);
    let keep = pb::PutRequest { ignore_value: true, ..put("missing", "") };
    assert_error(
        refusal(vec![put_op("a", "1"), op(Request::RequestPut(keep))]).await,
        invalid,
        text,
    );
    let ahead = pb::RangeRequest { revision: 50, ..get("a") };
    assert_error(
        refusal(vec![put_op("a", "1"), op(Request::RequestRange(ahead))]).await,
        Code::OutOfRange,
        "etcdserver: mvcc: required revision is a future revision",
    );
    assert_eq!(server.get("a").await, None);
}

/// etcd 3.5 panics here, and again at every restart.
#[tokio::test]
async fn nothing_is_kept_of_a_key_that_the_same_transaction_deletes() {
    let server = Server::start().await;
    server.put("a", "1").await;
    for keep in [
        pb::PutRequest { ignore_value: true, ..put("a", "") },
        pb::PutRequest { ignore_lease: true, ..put("a", "2") },
    ] {
        // Only an open end gets past the rule that a key comes once.
        let success = vec![delete_op("a", "\0"), op(Request::RequestPut(keep))];
        let kept = server.kv().txn(pb::TxnRequest { success, ..Default::default() }).await;
        assert_error(kept, Code::InvalidArgument, "etcdserver: key not found");
    }
    assert_eq!(server.get("a").await.unwrap(), "1");
}

#[tokio::test]
async fn a_delete_without_end_may_meet_a_put() {
    let server = Server::start().await;
    server.put("c", "").await;
    let request = pb::TxnRequest {
        success: vec![put_op("b", "1"), delete_op("a", "\0")],
        ..Default::default()
    };
    let done = server.kv().txn(request).await.unwrap().into_inner();
    let Some(Response::ResponseDeleteRange(deleted)) = &done.responses[1].response else {
        panic!()
    };
    assert_eq!(deleted.deleted, 2);
    assert_eq!(server.get("b").await, None);
}
