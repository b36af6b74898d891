//! Calls that are open and do nothing, calls that are never heard, watchers with
//! keys as large as they may be: each counts, and beyond its share a connection is
//! refused more of them, while others are served.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use h2::client::ResponseFuture;
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::etcdserverpb::{RangeRequest, WatchCreateRequest, WatchRequest, WatchResponse};
use t4_testkit::{Metrics, T4};
use tonic::Code;

use crate::bystander::Bystander;
use crate::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, call_headers, frame,
    header,
};
use crate::raw::{RawConnection, framed, next_chunk};
use crate::server::Transport;
use crate::{DEADLINE, MIB, assert_log_is_calm, assert_served, get, put, t4_over};

const RANGE: &str = "/etcdserverpb.KV/Range";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const REFUSALS: &str = "t4_client_memory_refusals_total";

/// What a stream costs that is open and on which nothing was sent, with its part
/// of everything. Measured: see the output.
const STREAM_BYTES_MAX: u64 = 7 << 10;

type Open = (ResponseFuture, h2::SendStream<bytes::Bytes>);

async fn open_streams(raw: &RawConnection, count: usize) -> Vec<Open> {
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        open.push(raw.begin(WATCH, &[]).await);
    }
    open
}

fn refusals(t4: &T4) -> u64 {
    Metrics::read(t4.metrics_endpoint()).expect("metrics").sample(REFUSALS).expect("the sample")
}

/// A call on the connection, behind all that was sent on it before.
async fn status_of_a_get(raw: &RawConnection) -> (Code, String) {
    let answer = raw.call(RANGE, &[], framed(&get("by"))).await.expect("the connection is open");
    answer.status.expect("a status")
}

over_both_transports! {
    idle_streams_cost_little,
    calls_beyond_the_share_are_refused_and_others_go_on,
    the_keys_of_watchers_count,
}

async fn idle_streams_cost_little(transport: Transport) {
    const CONNECTIONS: usize = 5;
    const STREAMS: usize = 16_000;
    // They need about half of it, whatever memory the machine has.
    let (mut t4, target) = t4_over(transport, &["--client-memory-bytes=1073741824"]);
    let memory = t4.memory();
    Bystander::begin(&target).await.assert_served("quiet").await;
    let before = memory.begin_peak();

    let bystander = Bystander::begin(&target).await;
    let mut crowd = Vec::new();
    for _ in 0..CONNECTIONS {
        let raw = RawConnection::open(&target).await;
        let open = open_streams(&raw, STREAMS).await;
        assert_eq!(status_of_a_get(&raw).await, (Code::Ok, String::new()));
        crowd.push((raw, open));
    }
    bystander.assert_served("idle streams").await;
    let more = memory.peak().saturating_sub(before);
    let streams = (CONNECTIONS * STREAMS) as u64;
    println!("{} B a stream, {} MiB in all", more / streams, more / MIB);
    assert!(more <= streams * STREAM_BYTES_MAX, "{more} B");
    assert_eq!(refusals(&t4), 0);

    // They go at once, and nobody waits for that.
    let bystander = Bystander::begin(&target).await;
    drop(crowd);
    bystander.assert_served("idle streams that end").await;
    assert_log_is_calm(&mut t4, 0);
}

async fn calls_beyond_the_share_are_refused_and_others_go_on(transport: Transport) {
    const STREAMS: usize = 20_000;
    // A client within its share has hundreds, and all together thousands.
    const FEW: usize = 1_000;
    let (mut t4, target) = t4_over(transport, &["--client-memory-bytes=33554432"]);
    let memory = t4.memory();
    let mut rpc = target.rpc().await;
    assert_served(&mut rpc, "quiet").await;
    let before = memory.begin_peak();

    let bystander = Bystander::begin(&target).await;
    let greedy = RawConnection::open(&target).await;
    let mut open = open_streams(&greedy, STREAMS).await;
    let refused = (Code::ResourceExhausted, "etcdserver: too many requests".to_owned());
    assert_eq!(status_of_a_get(&greedy).await, refused);
    let (last, _) = open.pop().expect("streams");
    let answer = crate::raw::read(last).await.expect("the connection is open");
    assert_eq!(answer.status, Some(refused));
    let count = refusals(&t4);
    assert!((10_000..STREAMS as u64).contains(&count), "{count} refusals");

    let modest = RawConnection::open(&target).await;
    let _few = open_streams(&modest, FEW).await;
    assert_eq!(status_of_a_get(&modest).await, (Code::Ok, String::new()));
    bystander.assert_served("too many calls").await;
    assert_eq!(refusals(&t4), count);
    let peak = memory.peak();
    println!("before {} MiB, peak {} MiB", before / MIB, peak / MIB);
    assert!(peak <= before + 64 * MIB, "{before} B, then {peak} B");

    // When it has ended them it may have others.
    drop(open);
    let begun = Instant::now();
    while status_of_a_get(&greedy).await.0 != Code::Ok {
        assert!(begun.elapsed() < DEADLINE, "calls are refused for ever");
    }
    assert_log_is_calm(&mut t4, 1);
}

/// A connection whose client says that it takes any amount, and takes nothing.
fn deaf_connection(endpoint: &str) -> TcpStream {
    const ANY: u32 = 0x7fff_ffff;
    let stream = TcpStream::connect(endpoint).expect("connect");
    stream.set_write_timeout(Some(Duration::from_secs(1))).expect("a socket");
    // The window of each stream.
    let window = [&4_u16.to_be_bytes()[..], &ANY.to_be_bytes()].concat();
    let more = (ANY - 65_535).to_be_bytes();
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &window), &frame(WINDOW_UPDATE, 0, 0, &more)];
    (&stream).write_all(&hello.concat()).expect("the connection is open");
    stream
}

/// Asks again and again, and does not read, until the server takes no more or so
/// many have been asked.
fn ask_for_ever(mut stream: &TcpStream, request: &[u8], calls: u32) -> u32 {
    let head = call_headers(RANGE);
    for number in 0..calls {
        let id = 2 * number + 1;
        let mut bytes = frame(HEADERS, END_HEADERS, id, &head);
        bytes.extend(frame(DATA, END_STREAM, id, request));
        match stream.write_all(&bytes) {
            Ok(()) => {}
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                return number;
            }
            Err(error) => panic!("call {number}: {error}"),
        }
    }
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_holds_its_share() {
    const CALLS: u32 = 300_000;
    let (mut t4, target) = t4_over(Transport::Plain, &["--client-memory-bytes=67108864"]);
    let memory = t4.memory();
    let mut rpc = target.rpc().await;
    for key in 0..40 {
        rpc.kv.put(put(&format!("v/{key:03}"), vec![7; 512 << 10])).await.expect("put");
    }
    let list = RangeRequest { range_end: "v0".into(), ..get("v/") };
    for (what, request) in [("lists", framed(&list)), ("gets", framed(&get("v/000")))] {
        let before = memory.begin_peak();
        let bystander = Bystander::begin(&target).await;
        let endpoint = t4.endpoint().to_owned();
        let asking = tokio::task::spawn_blocking(move || {
            let stream = deaf_connection(&endpoint);
            let asked = ask_for_ever(&stream, &request, CALLS);
            (stream, asked)
        });
        let (stream, asked) = asking.await.expect("the client");
        bystander.assert_served(what).await;
        let peak = memory.peak();
        println!("{asked} {what}: before {} MiB, peak {} MiB", before / MIB, peak / MIB);
        // What is counted, as much again for what is made and the allocator, and
        // four lists that are being made.
        assert!(peak <= before + (2 * 64 + 4 * 2 * 20) * MIB, "{before} B, then {peak} B");
        drop(stream);
        assert_served(&mut rpc, what).await;
    }
    assert_log_is_calm(&mut t4, 1);
}

/// Answers that wait for the client's window would be held for a client that has no
/// more calls and opens no window. It reads the socket, so that nothing holds it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_leaves_nothing_to_a_client_that_opens_no_window() {
    const CALLS: u32 = 6_000;
    const OTHERS: u32 = 120_000;
    let (mut t4, target) = t4_over(Transport::Plain, &["--client-memory-bytes=33554432"]);
    let memory = t4.memory();
    let mut rpc = target.rpc().await;
    assert_served(&mut rpc, "quiet").await;
    let before = memory.begin_peak();

    let endpoint = t4.endpoint().to_owned();
    let asking = tokio::task::spawn_blocking(move || {
        let stream = TcpStream::connect(&endpoint).expect("connect");
        let no_window = [&4_u16.to_be_bytes()[..], &0_u32.to_be_bytes()].concat();
        let hello = [PREFACE, &frame(SETTINGS, 0, 0, &no_window)];
        (&stream).write_all(&hello.concat()).expect("the connection is open");
        let mut reading = stream.try_clone().expect("a socket");
        std::thread::spawn(move || std::io::copy(&mut reading, &mut std::io::sink()));
        let page = [
            header(":method", b"GET"),
            header(":scheme", b"http"),
            header(":path", b"/health"),
            header(":authority", b"t4"),
        ];
        for number in 0..CALLS + OTHERS {
            let id = 2 * number + 1;
            let bytes = if number < CALLS {
                frame(HEADERS, END_HEADERS, id, &call_headers(WATCH))
            } else {
                frame(HEADERS, END_HEADERS | END_STREAM, id, &page.concat())
            };
            (&stream).write_all(&bytes).expect("the connection is open");
        }
        stream
    });
    let stream = asking.await.expect("the client");
    // What was sent is read in turns: some of it after the client has sent all.
    let begun = Instant::now();
    while refusals(&t4) < u64::from(OTHERS) {
        assert!(begun.elapsed() < DEADLINE, "{} refusals", refusals(&t4));
        assert_served(&mut rpc, "refusals").await;
    }
    let peak = memory.peak();
    println!("before {} MiB, peak {} MiB", before / MIB, peak / MIB);
    assert!(peak <= before + 64 * MIB, "{before} B, then {peak} B");
    drop(stream);
    assert_log_is_calm(&mut t4, 1);
}

/// The next message of a watch.
async fn next_response(body: &mut h2::RecvStream, bytes: &mut Vec<u8>) -> WatchResponse {
    loop {
        if let Some(&[_, a, b, c, d]) = bytes.first_chunk::<5>() {
            let end = 5 + u32::from_be_bytes([a, b, c, d]) as usize;
            if bytes.len() >= end {
                let message = prost::Message::decode(&bytes[5..end]).expect("a response");
                bytes.drain(..end);
                return message;
            }
        }
        let chunk = tokio::time::timeout(DEADLINE, next_chunk(body)).await.expect("in time");
        bytes.extend(chunk.expect("the connection is open").expect("no end"));
    }
}

fn watch(key: Vec<u8>) -> WatchRequest {
    let create = WatchCreateRequest { key: key.into(), ..WatchCreateRequest::default() };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

async fn the_keys_of_watchers_count(transport: Transport) {
    const WATCHERS: usize = 332;
    const KEY_BYTES: usize = 1_400_000;
    let (mut t4, target) = t4_over(transport, &["--client-memory-bytes=134217728"]);
    let memory = t4.memory();
    let mut rpc = target.rpc().await;
    assert_served(&mut rpc, "quiet").await;
    let before = memory.begin_peak();

    let raw = RawConnection::open(&target).await;
    let (response, mut requests) = raw.begin(WATCH, &[]).await;
    let mut body = response.await.expect("a response").into_body();
    let (mut bytes, mut created) = (Vec::new(), 0);
    for number in 0..WATCHERS {
        let mut key = vec![7; KEY_BYTES];
        key.extend(number.to_be_bytes());
        requests.send_data(framed(&watch(key)).into(), false).expect("the stream is open");
        let answer = next_response(&mut body, &mut bytes).await;
        assert!(answer.created);
        if answer.canceled {
            let why = &answer.cancel_reason;
            assert!(why.contains("raise --client-memory-bytes"), "{why}");
            assert_eq!(answer.watch_id, -1);
        } else {
            created += 1;
        }
    }
    let peak = memory.peak();
    println!("{created} created, before {} MiB, peak {} MiB", before / MIB, peak / MIB);
    assert!((20..60).contains(&created), "{created} created");
    assert!(peak <= before + 128 * MIB, "{before} B, then {peak} B");

    // The stream goes on, and so do the others.
    rpc.kv.put(put("by", vec![7])).await.expect("a put of somebody else");
    requests.send_data(framed(&watch(b"by".to_vec())).into(), false).expect("the stream is open");
    assert!(!next_response(&mut body, &mut bytes).await.canceled);
    rpc.kv.put(put("by", vec![8])).await.expect("a put of somebody else");
    assert_eq!(next_response(&mut body, &mut bytes).await.events.len(), 1);
    // What ends gives back what it held.
    drop((requests, body));
    let (response, mut requests) = raw.begin(WATCH, &[]).await;
    let mut body = response.await.expect("a response").into_body();
    let begun = Instant::now();
    loop {
        let request = framed(&watch(vec![7; KEY_BYTES]));
        requests.send_data(request.into(), false).expect("the stream is open");
        if !next_response(&mut body, &mut bytes).await.canceled {
            break;
        }
        assert!(begun.elapsed() < DEADLINE, "watchers are refused for ever");
    }
    assert_log_is_calm(&mut t4, 0);
}
