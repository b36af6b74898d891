//! Clients that ask and do not read.

use anyhow::ensure;
use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::etcdserverpb::{RangeResponse, WatchCreateRequest, WatchRequest, WatchResponse};
use t4_testkit::{Metrics, Rpc, poll_until_async};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::raw::{RawConnection, framed, next_chunk, read};
use crate::server::Transport;
use crate::{DEADLINE, MIB, assert_log_is_calm, assert_served, get, get_prefix, put, t4_over};

const WATCH: &str = "/etcdserverpb.Watch/Watch";
const RANGE: &str = "/etcdserverpb.KV/Range";

/// Events of 64 KiB: 144 MiB.
const EVENTS: usize = 2304;
const EVENT_BYTES: usize = 64 * 1024;
const WRITERS: usize = 16;
const DEAF_WATCHES: usize = 3;
/// Beyond what the store itself needs for as many writes; that varies by some
/// 40 MiB from run to run, with the moment at which the store seals. Holding
/// the events would take 144 MiB if the watchers shared them.
const DEAF_WATCH_BYTES_MAX: u64 = 80 * MIB;

fn watch_all() -> WatchRequest {
    let create = WatchCreateRequest {
        key: "event/".into(),
        range_end: "event0".into(),
        ..WatchCreateRequest::default()
    };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

over_both_transports! {
    a_watcher_that_does_not_read_costs_little_and_misses_nothing,
    answers_that_are_not_read_hold_back_the_next,
}

async fn a_watcher_that_does_not_read_costs_little_and_misses_nothing(transport: Transport) {
    let (mut t4, target) = t4_over(transport, &[]);
    let memory = t4.memory();
    let rpc = target.rpc().await;
    // What the store needs for such writes.
    write_events(&rpc).await;
    memory.begin_peak();
    let first = write_events(&rpc).await + 1;
    let without = memory.peak();

    let deaf = RawConnection::open(&target).await;
    let mut calls = Vec::new();
    for _ in 0..DEAF_WATCHES {
        let (response, mut requests) = deaf.begin(WATCH, &[]).await;
        requests.send_data(framed(&watch_all()).into(), false).expect("send");
        // The head of the response is there, and the message that the watcher
        // is created is behind it, before the writes begin.
        let response = response.await.expect("a response");
        calls.push((requests, response.into_body()));
    }
    let hearing = tokio::spawn(hear(target.rpc().await));
    wait_for_watchers(t4.metrics_endpoint(), DEAF_WATCHES + 1).await;
    memory.begin_peak();
    let last = write_events(&rpc).await;
    assert_eq!(last - first + 1, EVENTS as i64);
    let expected: Vec<i64> = (first..=last).collect();
    let heard = hearing.await.expect("the watcher that reads");
    assert_eq!(heard, expected, "who reads gets every event in order");
    let with = memory.peak();
    println!("peak without deaf watchers {} MiB, with {} MiB", without / MIB, with / MIB);
    assert!(with <= without + DEAF_WATCH_BYTES_MAX, "{without} B, then {with} B");

    // They read at last.
    let mut readers = JoinSet::new();
    for (requests, body) in calls {
        readers.spawn(async move {
            let _open = requests;
            revisions(body).await
        });
    }
    while let Some(heard) = readers.join_next().await {
        assert_eq!(heard.expect("a reader"), expected, "who reads late gets the same");
    }
    let late = memory.peak();
    println!("peak when they read at last {} MiB", late / MIB);
    assert!(late <= without + DEAF_WATCH_BYTES_MAX, "{without} B, then {late} B");
    assert_log_is_calm(&mut t4, 0);
}

/// Writes all events, from several writers; gives the last revision.
async fn write_events(rpc: &Rpc) -> i64 {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut rpc = rpc.clone();
        writers.spawn(async move {
            let mut revision = 0;
            for _ in 0..EVENTS / WRITERS {
                let request = put(&format!("event/{writer}"), vec![writer as u8; EVENT_BYTES]);
                let response = rpc.kv.put(request).await.expect("puts go on").into_inner();
                revision = response.header.expect("a header").revision;
            }
            revision
        });
    }
    writers.join_all().await.into_iter().max().expect("writers")
}

/// The revisions of all events, as a well-behaved client gets them.
async fn hear(mut rpc: Rpc) -> Vec<i64> {
    let (requests, queue) = mpsc::channel(1);
    requests.send(watch_all()).await.expect("the queue is open");
    let call = rpc.watch.watch(ReceiverStream::new(queue)).await;
    let mut responses = call.expect("watch").into_inner();
    let mut heard = Vec::new();
    while heard.len() < EVENTS {
        let response = responses.message().await.expect("an event").expect("no end");
        heard.extend(response.events.iter().filter_map(|e| Some(e.kv.as_ref()?.mod_revision)));
    }
    heard
}

/// The same from the bytes of a body.
async fn revisions(mut body: h2::RecvStream) -> Vec<i64> {
    let (mut heard, mut bytes) = (Vec::new(), BytesMut::new());
    while heard.len() < EVENTS {
        let chunk = tokio::time::timeout(DEADLINE, next_chunk(&mut body)).await;
        let chunk = chunk.expect("in time").expect("a connection").expect("no end");
        bytes.extend_from_slice(&chunk);
        while let Some(message) = split_message(&mut bytes) {
            let response = WatchResponse::decode(message).expect("a response");
            heard.extend(response.events.iter().filter_map(|e| Some(e.kv.as_ref()?.mod_revision)));
        }
    }
    heard
}

fn split_message(bytes: &mut BytesMut) -> Option<Bytes> {
    let &[_, a, b, c, d] = bytes.first_chunk::<5>()?;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if bytes.len() < 5 + length {
        return None;
    }
    bytes.advance(5);
    Some(bytes.split_to(length).freeze())
}

async fn wait_for_watchers(metrics: &str, wanted: usize) {
    let found = poll_until_async("the watchers are there", DEADLINE, || async {
        let found = Metrics::read(metrics)?.sample("etcd_debugging_mvcc_watcher_total");
        ensure!(found == Some(wanted as u64), "{found:?} watchers");
        Ok(())
    });
    found.await.expect("watchers");
}

const LISTS: usize = 200;
/// Four of these make an answer.
const LARGE_VALUE_BYTES: usize = 1 << 20;
/// 16 MiB of answers, those that are being made, and room for the allocator.
/// All answers would be 800 MiB.
const DEAF_LIST_BYTES_MAX: u64 = 80 * MIB;

async fn answers_that_are_not_read_hold_back_the_next(transport: Transport) {
    let (mut t4, target) = t4_over(transport, &[]);
    let memory = t4.memory();
    let mut rpc = target.rpc().await;
    for key in 0..4 {
        let value = vec![b'v'; LARGE_VALUE_BYTES];
        rpc.kv.put(put(&format!("large/{key}"), value)).await.expect("put");
    }
    let list = get_prefix("large/");
    // What one such answer takes is no part of what is measured.
    rpc.kv.range(list.clone()).await.expect("a list");
    let before = memory.begin_peak();

    let deaf = RawConnection::open(&target).await;
    let mut answers = Vec::new();
    for _ in 0..LISTS {
        answers.push(deaf.send(RANGE, &[], framed(&list)).await);
    }
    let begun = poll_until_async("all calls have begun", DEADLINE, || async {
        let name = r#"grpc_server_started_total{grpc_method="Range",grpc_service="etcdserverpb.KV",grpc_type="unary"}"#;
        let started = Metrics::read(t4.metrics_endpoint())?.sample(name);
        ensure!(started > Some(LISTS as u64), "{started:?} calls");
        Ok(())
    });
    begun.await.expect("begun");
    for round in 0..20 {
        assert_served(&mut rpc, &format!("while lists wait {round}")).await;
    }
    // Gets and puts of the same connection do not wait for its lists.
    for body in [framed(&get("bystander")), framed(&get("nothing"))] {
        let found = tokio::time::timeout(DEADLINE, deaf.call(RANGE, &[], body)).await;
        let status = found.expect("in time").expect("an answer").status;
        assert_eq!(status, Some((Code::Ok, String::new())));
    }

    let mut readers = JoinSet::new();
    for answer in answers {
        readers.spawn(async move {
            let answer = read(answer).await.expect("an answer");
            assert_eq!(answer.status, Some((Code::Ok, String::new())));
            RangeResponse::decode(&answer.body[5..]).expect("a response").kvs.len()
        });
    }
    let kvs = tokio::time::timeout(DEADLINE, readers.join_all()).await.expect("in time");
    assert_eq!(kvs, [4; LISTS], "who reads at last gets everything");
    let peak = memory.peak();
    println!("before {} MiB, peak {} MiB", before / MIB, peak / MIB);
    assert!(peak <= before + DEAF_LIST_BYTES_MAX, "{before} B, then {peak} B");

    // Who goes without reading leaves nothing behind, and may go on with other
    // calls, as a program does that cancels all that it has begun.
    let rude = RawConnection::open(&target).await;
    for _ in 0..LISTS {
        drop(rude.send(RANGE, &[], framed(&list)).await);
    }
    let found = rude.call(RANGE, &[], framed(&list)).await.expect("an answer after cancelled ones");
    assert_eq!(found.status, Some((Code::Ok, String::new())));
    drop(rude);
    assert_served(&mut rpc, "at the end").await;
    assert!(memory.peak() <= before + DEAF_LIST_BYTES_MAX, "{before} B, then {}", memory.peak());
    assert_log_is_calm(&mut t4, 0);
}
