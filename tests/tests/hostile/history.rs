//! Watch streams that catch up and are not read, each from another revision: what
//! they hold is within the bound for all clients, and those that read go on.

use h2::RecvStream;
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use tokio::task::JoinSet;

use crate::bystander::Bystander;
use crate::raw::{RawConnection, framed, next_chunk};
use crate::server::Transport;
use crate::{DEADLINE, MIB, assert_log_is_calm, put, t4_over};

const WATCH: &str = "/etcdserverpb.Watch/Watch";
/// Revisions with a value each: 100 MiB of history.
const REVISIONS: i64 = 400;
const VALUE_BYTES: usize = 256 << 10;
const CONNECTIONS: i64 = 8;
const STREAMS: i64 = 50;

struct Stream {
    _requests: h2::SendStream<bytes::Bytes>,
    body: RecvStream,
    start: i64,
}

/// A watch of everything from a revision on, of which nothing is read.
async fn watch(raw: &RawConnection, start: i64) -> Stream {
    let create = WatchCreateRequest {
        key: "v/".into(),
        range_end: "v0".into(),
        start_revision: start,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let (response, mut requests) = raw.begin(WATCH, &[]).await;
    requests.send_data(framed(&request).into(), false).expect("the stream is open");
    let body = response.await.expect("a response").into_body();
    Stream { _requests: requests, body, start }
}

/// Reads events up to a revision; each comes, once, in order.
async fn read_to(mut stream: Stream, last: i64) {
    let (mut bytes, mut next) = (Vec::new(), stream.start);
    while next <= last {
        let chunk = tokio::time::timeout(DEADLINE, next_chunk(&mut stream.body));
        let chunk = chunk.await.unwrap_or_else(|_| panic!("no event {next} in time"));
        bytes.extend(chunk.expect("the connection is open").expect("no end"));
        while let Some(&[_, a, b, c, d]) = bytes.first_chunk::<5>() {
            let end = 5 + u32::from_be_bytes([a, b, c, d]) as usize;
            if bytes.len() < end {
                break;
            }
            let response: WatchResponse = prost::Message::decode(&bytes[5..end]).expect("events");
            bytes.drain(..end);
            for event in response.events {
                assert_eq!(event.kv.expect("a key").mod_revision, next);
                next += 1;
            }
        }
    }
}

over_both_transports! {
    streams_that_catch_up_unread_are_bounded_in_all,
}

async fn streams_that_catch_up_unread_are_bounded_in_all(transport: Transport) {
    let (mut t4, target) = t4_over(transport, &["--client-memory-bytes=67108864"]);
    let memory = t4.memory();
    let mut rpc = target.rpc().await;
    let mut last = 0;
    for number in 0..REVISIONS {
        let request = put(&format!("v/{}", number % 10), vec![7; VALUE_BYTES]);
        let response = rpc.kv.put(request).await.expect("put").into_inner();
        last = response.header.expect("a header").revision;
    }
    let first = last - REVISIONS + 1;
    // One that reads, as a measure of what that takes.
    let reader = RawConnection::open(&target).await;
    read_to(watch(&reader, first).await, last).await;
    let before = memory.begin_peak();

    let bystander = Bystander::begin(&target).await;
    let mut crowd = Vec::new();
    for connection in 0..CONNECTIONS {
        let raw = RawConnection::open(&target).await;
        let mut streams = Vec::new();
        for stream in 0..STREAMS {
            let at = first + (stream * CONNECTIONS + connection) % (REVISIONS - 40);
            streams.push(watch(&raw, at).await);
        }
        crowd.push((raw, streams));
    }
    // Each connection has what it may have when one more can be read to its end.
    read_to(watch(&reader, first).await, last).await;
    bystander.assert_served("history that is not read").await;
    let peak = memory.peak();
    println!("before {} MiB, peak {} MiB", before / MIB, peak / MIB);
    assert!(peak <= before + 3 * 64 * MIB, "{before} B, then {peak} B");

    // Those that are read at last miss nothing, while others still wait.
    for (_raw, streams) in crowd.drain(..2) {
        let mut readers = JoinSet::new();
        for stream in streams {
            readers.spawn(read_to(stream, last));
        }
        while let Some(read) = readers.join_next().await {
            read.expect("each event, in order");
        }
    }
    assert_log_is_calm(&mut t4, 0);
}
