//! Clients that do nothing wrong, only much of it at once: nothing ends their
//! connection, as nothing does in etcd.

use std::io::{Read, Write};
use std::net::TcpStream;

use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::etcdserverpb::{
    LeaseKeepAliveRequest, WatchCancelRequest, WatchCreateRequest, WatchRequest,
};
use tokio::task::JoinSet;
use tonic::Code;

use crate::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, RST_STREAM, call, call_headers, frame,
    frames_in, hello,
};
use crate::raw::{RawConnection, framed, next_chunk};
use crate::server::Transport;
use crate::{DEADLINE, assert_log_is_calm, get, put, t4, t4_over};

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// More than a client has leases, or watches on one stream.
const MESSAGES: usize = 20_000;
/// Calls that are cancelled in one breath.
const CANCELLED: u32 = 8_000;

/// Sends messages in one burst on one stream, and reads as many answers.
async fn burst(raw: &RawConnection, path: &str, messages: Vec<Vec<u8>>) {
    let expected = messages.len();
    let (response, mut requests) = raw.begin(path, &[]).await;
    for message in messages {
        requests.send_data(message.into(), false).expect("the stream is open");
    }
    let mut body = response.await.expect("a response").into_body();
    let (mut answers, mut bytes) = (0, Vec::new());
    while answers < expected {
        let chunk = tokio::time::timeout(DEADLINE, next_chunk(&mut body)).await.expect("in time");
        bytes.extend_from_slice(&chunk.expect("the connection is open").expect("no end"));
        let mut rest = &bytes[..];
        while let Some(&[_, a, b, c, d]) = rest.first_chunk::<5>() {
            let end = 5 + u32::from_be_bytes([a, b, c, d]) as usize;
            let Some(after) = rest.get(end..) else { break };
            (rest, answers) = (after, answers + 1);
        }
        bytes = rest.to_vec();
    }
}

async fn assert_open(raw: &RawConnection) {
    let answer = raw.call(RANGE, &[], framed(&get("k"))).await.expect("the connection is open");
    assert_eq!(answer.status, Some((Code::Ok, String::new())));
}

over_both_transports! {
    many_small_messages_at_once_are_served,
}

async fn many_small_messages_at_once_are_served(transport: Transport) {
    let (mut t4, target) = t4_over(transport, &[]);
    let raw = RawConnection::open(&target).await;
    let renewals = (1..=MESSAGES as i64).map(|id| framed(&LeaseKeepAliveRequest { id }));
    burst(&raw, KEEP_ALIVE, renewals.collect()).await;
    assert_open(&raw).await;

    // Created in one burst and cancelled in another, in one.
    let create = |number| {
        let key = format!("watched/{number}").into();
        RequestUnion::CreateRequest(WatchCreateRequest { key, ..Default::default() })
    };
    let cancel =
        |number| RequestUnion::CancelRequest(WatchCancelRequest { watch_id: number as i64 });
    let number = 0..MESSAGES / 4;
    let all = number.clone().map(create).chain(number.map(cancel));
    let all = all.map(|union| framed(&WatchRequest { request_union: Some(union) }));
    burst(&raw, WATCH, all.collect()).await;
    assert_open(&raw).await;
    assert_log_is_calm(&mut t4, 0);
}

/// A connection as bytes, both ways.
struct Wire {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Wire {
    fn open(endpoint: &str) -> Wire {
        let stream = TcpStream::connect(endpoint).expect("connect");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        stream.set_write_timeout(Some(DEADLINE)).expect("a socket");
        let mut wire = Wire { stream, heard: Vec::new() };
        wire.say(&hello());
        wire
    }

    fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the connection is open");
    }

    /// Hears until it is enough, and no farewell.
    fn hear_until(&mut self, enough: impl Fn(&[Frame]) -> bool) {
        loop {
            let frames = frames_in(&self.heard);
            assert!(frames.iter().all(|frame| frame.kind != GOAWAY), "{:?}", frames.last());
            if enough(&frames) {
                return;
            }
            let mut buffer = vec![0; 64 << 10];
            let length = self.stream.read(&mut buffer).expect("more in time");
            assert!(length > 0, "the connection is closed");
            self.heard.extend_from_slice(&buffer[..length]);
        }
    }

    /// A call is answered on this stream.
    fn assert_served(&mut self, stream: u32) {
        self.say(&call(stream, RANGE));
        self.hear_until(|frames| {
            frames.iter().any(|frame| frame.kind == HEADERS && frame.stream == stream)
        });
    }
}

/// A program that gives up all that it has begun; so many calls wait in the
/// socket that the server has looked at none of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_cancelled_at_once_leave_the_others() {
    let mut t4 = t4(&[]);
    let endpoint = t4.endpoint().to_owned();
    let client = tokio::task::spawn_blocking(move || {
        let mut wire = Wire::open(&endpoint);
        let cancelled = |number| {
            let stream = 2 * number + 1;
            let mut bytes = call(stream, RANGE);
            bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
            bytes
        };
        let all: Vec<u8> = (0..CANCELLED).flat_map(cancelled).collect();
        wire.say(&all);
        wire.assert_served(2 * CANCELLED + 1);
    });
    client.await.expect("the client");
    assert_log_is_calm(&mut t4, 0);
}

/// What is on its way when a call is refused counts against nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_bodies_of_refused_calls_are_ignored() {
    const STREAMS: u32 = 1_500;
    const ROUNDS: u32 = 3;
    let mut t4 = t4(&[]);
    let endpoint = t4.endpoint().to_owned();
    let client = tokio::task::spawn_blocking(move || {
        let mut wire = Wire::open(&endpoint);
        let head = call_headers("/nope.Svc/M");
        for round in 0..ROUNDS {
            let streams = (round * STREAMS..(round + 1) * STREAMS).map(|number| 2 * number + 1);
            let begun = streams.clone().flat_map(|id| frame(HEADERS, END_HEADERS, id, &head));
            wire.say(&begun.collect::<Vec<_>>());
            let refused = ((round + 1) * STREAMS) as usize;
            wire.hear_until(|frames| {
                frames.iter().filter(|frame| frame.kind == HEADERS).count() == refused
            });
            let late = streams.flat_map(|id| {
                let first = frame(DATA, 0, id, &[7; 100]);
                [first, frame(DATA, END_STREAM, id, &[7; 100])].concat()
            });
            wire.say(&late.collect::<Vec<_>>());
        }
        wire.assert_served(2 * ROUNDS * STREAMS + 1);
    });
    client.await.expect("the client");
    assert_log_is_calm(&mut t4, 0);
}

/// Writes over the limit, again and again, and others beside them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_writes_leave_the_others() {
    const AT_A_TIME: usize = 100;
    const ROUNDS: usize = 12;
    let mut t4 = t4(&[]);
    let raw = RawConnection::open(t4.endpoint()).await;
    let large = framed(&put("large", vec![7; 2_500_000]));
    for round in 0..ROUNDS {
        let mut calls = JoinSet::new();
        for _ in 0..AT_A_TIME {
            let response = raw.send(PUT, &[], large.clone()).await;
            calls.spawn(crate::raw::read(response));
        }
        for _ in 0..5 {
            let small = raw.call(PUT, &[], framed(&put("small", vec![1]))).await;
            let status = small.expect("the connection is open").status;
            assert_eq!(status, Some((Code::Ok, String::new())), "round {round}");
        }
        while let Some(refused) = calls.join_next().await {
            let status = refused.expect("a call").expect("an answer").status;
            assert_eq!(status.expect("a status").0, Code::ResourceExhausted);
        }
    }
    assert_open(&raw).await;
    assert_log_is_calm(&mut t4, 0);
}
