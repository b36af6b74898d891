//! The service Watch.

use std::time::Duration;

use t4_proto::etcdserverpb as pb;
use t4_proto::mvccpb::event::EventType;
use tonic::Code;

use crate::support::{Server, get, put, watch};

/// Kind, key and revision of each event.
fn events(response: &pb::WatchResponse) -> Vec<(EventType, &str, i64)> {
    response
        .events
        .iter()
        .map(|event| {
            let kv = event.kv.as_ref().unwrap();
            (event.r#type(), std::str::from_utf8(&kv.key).unwrap(), kv.mod_revision)
        })
        .collect()
}

fn revision(response: &pb::WatchResponse) -> i64 {
    response.header.as_ref().unwrap().revision
}

#[tokio::test]
async fn changes_arrive_in_order_with_their_revision() {
    let server = Server::start().await;
    let mut stream = server.watch().await;
    let created = stream.created(watch("k")).await;
    assert_eq!((created.watch_id, created.canceled, revision(&created)), (0, false, 1));

    server.put("other", "").await;
    server.put("k", "1").await;
    server.delete("k").await;
    let put = stream.next().await;
    assert_eq!((put.watch_id, revision(&put)), (0, 3));
    assert_eq!(events(&put), [(EventType::Put, "k", 3)]);
    let delete = stream.next().await;
    assert_eq!(events(&delete), [(EventType::Delete, "k", 4)]);
    let kv = delete.events[0].kv.as_ref().unwrap();
    assert_eq!((kv.create_revision, kv.version, kv.value.len()), (0, 0, 0));
}

#[tokio::test]
async fn history_is_told_first() {
    let server = Server::start().await;
    for value in ["1", "2", "3"] {
        server.put("k", value).await;
    }
    let mut stream = server.watch().await;
    stream.created(pb::WatchCreateRequest { start_revision: 3, ..watch("k") }).await;
    let history = stream.next().await;
    assert_eq!(events(&history), [(EventType::Put, "k", 3), (EventType::Put, "k", 4)]);
    assert_eq!(revision(&history), 4);
    server.put("k", "4").await;
    assert_eq!(events(&stream.next().await), [(EventType::Put, "k", 5)]);
}

#[tokio::test]
async fn one_revision_is_one_response() {
    let server = Server::start().await;
    let mut stream = server.watch().await;
    stream.created(pb::WatchCreateRequest { range_end: "z".into(), ..watch("a") }).await;
    let put =
        |key| pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put(key, ""))) };
    let txn = pb::TxnRequest { success: vec![put("c"), put("a"), put("b")], ..Default::default() };
    server.kv().txn(txn).await.unwrap();
    let keys: Vec<_> =
        events(&stream.next().await).iter().map(|event| event.1.to_owned()).collect();
    assert_eq!(keys, ["c", "a", "b"]);
}

#[tokio::test]
async fn what_was_before_is_told_if_asked_for() {
    let server = Server::start().await;
    let mut stream = server.watch().await;
    stream.created(pb::WatchCreateRequest { prev_kv: true, ..watch("k") }).await;
    stream.created(watch("k")).await;
    server.put("k", "1").await;
    server.put("k", "2").await;
    server.delete("k").await;
    let mut before = Vec::new();
    for _ in 0..6 {
        let response = stream.next().await;
        let value = response.events[0].prev_kv.as_ref().map(|kv| kv.value.clone());
        if response.watch_id == 0 {
            before.push(value);
        } else {
            assert_eq!(value, None);
        }
    }
    assert_eq!(before, [None, Some("1".into()), Some("2".into())]);
}

#[tokio::test]
async fn filters_leave_events_out() {
    let server = Server::start().await;
    let mut stream = server.watch().await;
    // No deletes; a filter that does not exist is none.
    stream.created(pb::WatchCreateRequest { filters: vec![1, 7], ..watch("k") }).await;
    server.put("k", "1").await;
    server.delete("k").await;
    server.put("k", "2").await;
    assert_eq!(revision(&stream.next().await), 2);
    assert_eq!(revision(&stream.next().await), 4);
}

#[tokio::test]
async fn ids_are_chosen_unless_given() {
    let server = Server::start().await;
    let mut stream = server.watch().await;
    let with_id = |watch_id| pb::WatchCreateRequest { watch_id, ..watch("k") };
    assert_eq!(stream.created(with_id(1)).await.watch_id, 1);
    assert_eq!(stream.created(with_id(0)).await.watch_id, 0);
    assert_eq!(stream.created(with_id(0)).await.watch_id, 2);
    assert_eq!(stream.created(with_id(-9)).await.watch_id, -9);
    let refused = stream.created(with_id(1)).await;
    assert_eq!((refused.watch_id, refused.canceled), (-1, true));
    assert_eq!(refused.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
}

#[tokio::test]
async fn watchers_that_cannot_be_are_refused() {
    let server = Server::start().await;
    let mut stream = server.watch().await;
    let empty = pb::WatchCreateRequest { range_end: "a".into(), ..watch("b") };
    let refused = stream.created(empty).await;
    assert_eq!((refused.watch_id, refused.canceled), (-1, true));
    assert_eq!(refused.cancel_reason, "mvcc: watcher range is empty");

    let negative = pb::WatchCreateRequest { start_revision: -1, ..watch("b") };
    let refused = stream.created(negative).await;
    assert_eq!((refused.watch_id, refused.canceled), (-1, true));
    assert_eq!(refused.cancel_reason, "etcdserver: mvcc: required revision has been compacted");
}

#[tokio::test]
async fn what_is_compacted_cannot_be_watched() {
    let server = Server::start().await;
    for _ in 0..4 {
        server.put("k", "v").await;
    }
    server.compact(4).await;
    let mut stream = server.watch().await;
    let from = |start_revision| pb::WatchCreateRequest { start_revision, ..watch("k") };
    let created = stream.created(from(3)).await;
    assert!(!created.canceled);
    let canceled = stream.next().await;
    assert_eq!((canceled.watch_id, canceled.canceled), (created.watch_id, true));
    assert_eq!((canceled.compact_revision, canceled.cancel_reason.as_str()), (4, ""));
    assert_eq!(revision(&canceled), 0);
    // At the compacted revision itself all is still there.
    stream.created(from(4)).await;
    assert_eq!(events(&stream.next().await).len(), 2);
}

#[tokio::test]
async fn cancelling_is_answered_once() {
    let server = Server::start().await;
    let mut stream = server.watch().await;
    let id = stream.created(watch("k")).await.watch_id;
    stream.cancel(77).await;
    stream.cancel(id).await;
    stream.cancel(id).await;
    let canceled = stream.next().await;
    assert_eq!((canceled.watch_id, canceled.canceled, revision(&canceled)), (id, true, 1));
    assert_eq!((canceled.compact_revision, canceled.cancel_reason.as_str()), (0, ""));
    // Nothing came for the others, and nothing comes for the key.
    server.put("k", "v").await;
    let next = stream.created(watch("other")).await;
    assert_eq!(revision(&next), 2);
}

#[tokio::test]
async fn requests_without_content_are_ignored() {
    let server = Server::start().await;
    let mut stream = server.watch().await;
    stream.send(None).await;
    assert_eq!(stream.created(watch("k")).await.watch_id, 0);
}

#[tokio::test]
async fn progress_is_told_when_asked() {
    let server = Server::start().await;
    let mut stream = server.watch().await;
    // Without watchers there is nothing to tell.
    stream.request_progress().await;
    stream.created(watch("k")).await;
    server.put("k", "v").await;
    server.put("other", "v").await;
    assert_eq!(revision(&stream.next().await), 2);
    stream.request_progress().await;
    let progress = stream.next().await;
    assert_eq!((progress.watch_id, revision(&progress), progress.events.len()), (-1, 3, 0));
}

#[tokio::test]
async fn progress_is_told_now_and_then() {
    let interval = Duration::from_millis(20);
    let quick = |api: &mut t4_etcd_api::ApiConfig| api.watch_progress_notify_interval = interval;
    let server = Server::start_with(|_| {}, quick).await;
    server.put("k", "v").await;
    let mut stream = server.watch().await;
    stream.created(watch("silent")).await;
    stream.created(pb::WatchCreateRequest { progress_notify: true, ..watch("k") }).await;
    for _ in 0..2 {
        let progress = stream.next().await;
        assert_eq!((progress.watch_id, revision(&progress), progress.events.len()), (1, 2, 0));
    }
}

#[tokio::test]
async fn large_responses_are_split_if_that_is_allowed() {
    // Split at 512 KiB and a bit.
    let server = Server::start_with(|_| {}, |api| api.max_request_bytes = 100_000).await;
    let put = |key: &'static str| pb::PutRequest {
        key: key.into(),
        value: vec![b'x'; 90_000].into(),
        ..Default::default()
    };
    for key in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        server.kv().put(put(key)).await.unwrap();
    }
    let mut stream = server.watch().await;
    let all = pb::WatchCreateRequest { range_end: "z".into(), start_revision: 2, ..watch("a") };
    stream.created(pb::WatchCreateRequest { fragment: true, ..all.clone() }).await;
    let first = stream.next().await;
    assert_eq!((first.events.len(), first.fragment, revision(&first)), (6, true, 11));
    let last = stream.next().await;
    assert_eq!((last.events.len(), last.fragment, revision(&last)), (4, false, 11));
    assert_eq!(events(&last)[0], (EventType::Put, "g", 8));

    stream.created(all).await;
    let whole = stream.next().await;
    assert_eq!((whole.events.len(), whole.fragment), (10, false));
}

#[tokio::test]
async fn many_watchers_of_a_key_all_hear_of_it() {
    let server = Server::start().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = server.watch().await;
        for _ in 0..10 {
            stream.created(watch("k")).await;
        }
        streams.push(stream);
    }
    let large =
        pb::PutRequest { key: "k".into(), value: vec![7; 50_000].into(), ..Default::default() };
    server.put("k", "small").await;
    server.kv().put(large).await.unwrap();
    for stream in &mut streams {
        let mut heard = vec![];
        for _ in 0..20 {
            let response = stream.next().await;
            let kv = response.events[0].kv.as_ref().unwrap();
            assert!(kv.value == "small" || kv.value == vec![7; 50_000]);
            heard.push((response.watch_id, kv.mod_revision));
        }
        heard.sort_unstable();
        let expected: Vec<_> = (0..10).flat_map(|id| [(id, 2), (id, 3)]).collect();
        assert_eq!(heard, expected);
    }
}

#[tokio::test]
async fn a_client_that_asks_no_more_still_listens() {
    let server = Server::start().await;
    let mut stream = server.watch().await;
    stream.created(watch("k")).await;
    stream.requests = None;
    server.put("k", "v").await;
    assert_eq!(revision(&stream.next().await), 2);
}

#[tokio::test]
async fn streams_end_when_the_node_stops() {
    let server = Server::start().await;
    let mut stream = server.watch().await;
    stream.created(watch("k")).await;
    server.node.stop().await;
    let status = stream.try_next().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "etcdserver: server stopped")
    );
    let put = server.kv().put(put("k", "v")).await.unwrap_err();
    assert_eq!(put.message(), "etcdserver: server stopped");
    // A member that stops may still have answers.
    let _ = server.kv().range(get("k")).await;
}
