//! Floods that last, from several connections at once: what others notice of
//! them, and what they cost. `noise` has those that end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use t4_proto::etcdserverpb::RangeRequest;
use t4_testkit::{Rpc, Scratch, T4, T4Options, TestAuthority};
use t4_tls_config::{ClientOptions, ClientTls, KeyType};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bystander::Bystander;
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, call, call_headers, frame, header, hello,
};
use crate::raw::framed;
use crate::{MIB, Memory, connect, get, put, t4};

/// Connections of an attacker.
const ATTACKERS: usize = 4;
/// How long one floods.
const FLOOD: Duration = Duration::from_millis(1500);
/// What a flood may cost at its worst moment. Measured: 2 to 40 MiB.
const FLOOD_BYTES_MAX: u64 = 128 * MIB;
/// Streams that a connection opens in one chunk of a flood.
const STREAMS: u32 = 100;

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";

/// Values that make a range of 20 MiB.
const VALUES: usize = 40;
const VALUE_BYTES: usize = 512 << 10;

/// What a connection sends again and again, from the number of its first stream.
type Chunk = fn(u32) -> Vec<u8>;

fn on_each_stream(first: u32, of: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..STREAMS).flat_map(|number| of(first + 2 * number)).collect()
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

fn resets_of_ranges(first: u32) -> Vec<u8> {
    let all = RangeRequest { range_end: "v0".into(), ..get("v/") };
    let (head, body) = (call_headers(RANGE), framed(&all));
    on_each_stream(first, |stream| {
        let begun = frame(HEADERS, END_HEADERS, stream, &head);
        [begun, frame(DATA, END_STREAM, stream, &body), reset(stream)].concat()
    })
}

/// Ranges that have time to begin before they are cancelled.
fn late_resets_of_ranges(first: u32) -> Vec<u8> {
    let all = RangeRequest { range_end: "v0".into(), ..get("v/") };
    let (head, body) = (call_headers(RANGE), framed(&all));
    let begun = on_each_stream(first, |stream| {
        let begun = frame(HEADERS, END_HEADERS, stream, &head);
        [begun, frame(DATA, END_STREAM, stream, &body)].concat()
    });
    // 128 KiB that say nothing: two turns of the connection.
    let pause = frame(PING, 0, 0, &[7; 8]).repeat(7_700);
    [begun, pause, on_each_stream(first, reset)].concat()
}

fn one_byte_a_frame(first: u32) -> Vec<u8> {
    let begun = frame(HEADERS, END_HEADERS, first, &call_headers(PUT));
    let announced = [&[0][..], &1_500_000_u32.to_be_bytes()].concat();
    let bytes = frame(DATA, 0, first, &[7]).repeat(20_000);
    [begun, frame(DATA, 0, first, &announced), bytes, reset(first)].concat()
}

fn long_heads(first: u32) -> Vec<u8> {
    let begun = frame(HEADERS, 0, first, &call_headers(RANGE));
    let more = frame(CONTINUATION, 0, first, &header("x", &[b'y'; 2000])).repeat(60);
    [begun, more, frame(CONTINUATION, END_HEADERS, first, b""), reset(first)].concat()
}

fn settings(_: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(1000)
}

fn pings(_: u32) -> Vec<u8> {
    frame(PING, 0, 0, &[7; 8]).repeat(1000)
}

fn windows(_: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()).repeat(1000)
}

const FLOODS: [(&str, Chunk); 7] = [
    ("resets of ranges", resets_of_ranges),
    ("late resets of ranges", late_resets_of_ranges),
    ("one byte a frame", one_byte_a_frame),
    ("long heads", long_heads),
    ("settings", settings),
    ("pings", pings),
    ("windows", windows),
];

trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// Where attackers connect, and how.
#[derive(Clone)]
struct Target {
    endpoint: String,
    tls: Option<ClientTls>,
}

impl Target {
    async fn connect(&self) -> Box<dyn Transport> {
        let stream = TcpStream::connect(&self.endpoint).await.expect("connect");
        match &self.tls {
            Some(tls) => Box::new(tls.connect(stream, "127.0.0.1").await.expect("TLS")),
            None => Box::new(stream),
        }
    }
}

/// Floods one connection after the other until it is time to stop. Says how
/// many connections that took.
async fn flood(target: Target, chunk: Chunk, stop: Arc<AtomicBool>) -> usize {
    let mut connections = 0;
    while !stop.load(Ordering::Relaxed) {
        connections += 1;
        let (mut ear, mut mouth) = tokio::io::split(target.connect().await);
        let hearing = tokio::spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while ear.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
        });
        let mut stream = 1;
        let mut open = mouth.write_all(&hello()).await.is_ok();
        while open && !stop.load(Ordering::Relaxed) {
            let chunk = chunk(stream);
            // A server that takes nothing more for a while holds it back.
            let said = tokio::time::timeout(FLOOD, mouth.write_all(&chunk)).await;
            open = matches!(said, Ok(Ok(())));
            stream += 2 * STREAMS;
        }
        hearing.abort();
    }
    connections
}

async fn endure(target: &Target, rpc: &Rpc, memory: &Memory, name: &str, chunk: Chunk) {
    memory.begin_peak();
    let before = memory.peak();
    let stop = Arc::new(AtomicBool::new(false));
    let bystander = Bystander::begin(rpc);
    let mut attackers = JoinSet::new();
    for _ in 0..ATTACKERS {
        attackers.spawn(flood(target.clone(), chunk, stop.clone()));
    }
    // The measure of a flood is how long it lasts.
    tokio::time::sleep(FLOOD).await;
    bystander.assert_served(name).await;
    stop.store(true, Ordering::Relaxed);
    let connections: usize = attackers.join_all().await.into_iter().sum();
    let peak = memory.peak();
    println!("  {connections} connections, {} MiB more at most", peak.saturating_sub(before) / MIB);
    assert!(peak <= before + FLOOD_BYTES_MAX, "{name}: {before} B, then {peak} B");
}

async fn store_values(rpc: &mut Rpc) {
    for key in 0..VALUES {
        rpc.kv.put(put(&format!("v/{key:03}"), vec![7; VALUE_BYTES])).await.expect("put");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_served_during_floods() {
    let mut t4 = t4(&[]);
    let memory = Memory::of(&mut t4);
    let mut rpc = connect(t4.endpoint()).await;
    store_values(&mut rpc).await;
    Bystander::begin(&rpc).assert_served("quiet").await;
    let target = Target { endpoint: t4.endpoint().to_owned(), tls: None };
    for (name, chunk) in FLOODS {
        endure(&target, &rpc, &memory, name, chunk).await;
    }
    Bystander::begin(&rpc).assert_served("after").await;
    assert!(t4.program().is_running().expect("a process"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_served_during_floods_over_tls() {
    let scratch = Scratch::new("floods").expect("scratch");
    let ca = TestAuthority::create(&scratch.join("ca"), KeyType::EcdsaP256).expect("a CA");
    let tls = Some(ca.server().expect("a server's pair"));
    let mut t4 = T4::start(T4Options { tls, ..T4Options::default() }).expect("start t4");
    let options = ClientOptions { ca: Some(ca.cert()), ..ClientOptions::default() };
    let client = ClientTls::load(options).expect("a client");
    let memory = Memory::of(&mut t4);
    let mut rpc = Rpc::connect_tls(t4.endpoint(), &client).await.expect("connect");
    store_values(&mut rpc).await;
    let target = Target { endpoint: t4.endpoint().to_owned(), tls: Some(client) };
    for (name, chunk) in FLOODS.into_iter().take(3) {
        endure(&target, &rpc, &memory, name, chunk).await;
    }
    assert!(t4.program().is_running().expect("a process"));
}

/// Clients that open no window, or one byte of it, and ask on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_windows_hold_up_nobody() {
    const STREAM_BYTES_MAX: u64 = 20 << 10;
    for (window, streams) in [(0_u32, 250), (1, 250), (0, 10_000), (1, 10_000)] {
        let mut t4 = t4(&[]);
        let memory = Memory::of(&mut t4);
        let mut rpc = connect(t4.endpoint()).await;
        rpc.kv.put(put("value", vec![7; 100 << 10])).await.expect("put");
        memory.begin_peak();
        let before = memory.peak();
        let bystander = Bystander::begin(&rpc);
        let target = Target { endpoint: t4.endpoint().to_owned(), tls: None };
        let mut raw = target.connect().await;
        // SETTINGS_INITIAL_WINDOW_SIZE.
        let closed = frame(SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat());
        raw.write_all(&[hello(), closed].concat()).await.expect("say hello");
        let (head, body) = (call_headers(RANGE), framed(&get("value")));
        for number in 0..streams {
            let stream = 2 * number + 1;
            let begun = frame(HEADERS, END_HEADERS, stream, &head);
            let asked = [begun, frame(DATA, END_STREAM, stream, &body)].concat();
            raw.write_all(&asked).await.expect("the connection is open");
        }
        // All was taken when the answer to this comes.
        raw.write_all(&frame(PING, 0, 0, b"all read")).await.expect("the connection is open");
        let mut heard = Vec::new();
        while !heard.windows(8).any(|bytes| bytes == b"all read") {
            let mut buffer = vec![0; 64 << 10];
            let length = raw.read(&mut buffer).await.expect("the connection is open");
            assert!(length > 0, "the connection is closed");
            let kept = heard.len().saturating_sub(8);
            heard.drain(..kept);
            heard.extend_from_slice(&buffer[..length]);
        }
        bystander.assert_served(&format!("{streams} streams, windows of {window}")).await;
        let more = memory.peak() - before;
        println!("  {} MiB more at most", more / MIB);
        // 16 MiB of answers that are not read, and twice of it for the allocator.
        assert!(more <= 48 * MIB + u64::from(streams) * STREAM_BYTES_MAX, "{more} B");
    }
}

/// Heads of calls that come byte by byte, on many connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_take_their_time_hold_up_nobody() {
    const CONNECTIONS: u64 = 300;
    let mut t4 = t4(&[]);
    let memory = Memory::of(&mut t4);
    let rpc = connect(t4.endpoint()).await;
    memory.begin_peak();
    let before = memory.peak();
    let bystander = Bystander::begin(&rpc);
    let target = Target { endpoint: t4.endpoint().to_owned(), tls: None };
    let call = call(1, RANGE);
    let mut slow = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut raw = target.connect().await;
        raw.write_all(&hello()).await.expect("say hello");
        slow.push(raw);
    }
    for byte in &call[..call.len() / 2] {
        for raw in &mut slow {
            raw.write_all(&[*byte]).await.expect("the connection is open");
        }
    }
    bystander.assert_served("slow heads").await;
    let more = memory.peak() - before;
    println!("  {} KiB a connection", more / CONNECTIONS / 1024);
    assert!(more <= CONNECTIONS * (64 << 10), "{more} B");
}
