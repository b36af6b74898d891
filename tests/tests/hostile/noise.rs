//! What is not HTTP/2, and what is a flood of it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use t4_testkit::{Rng, Rpc, Seed};
use tokio::task::spawn_blocking;

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, call, call_headers, frame, header, hello,
    kinds, random_frame,
};
use crate::{DEADLINE, MIB, Memory, assert_log_is_calm, assert_served, connect, t4};

const COMMAND: &str = "cargo test -p t4-tests --test hostile noise";
const ROUNDS: u64 = 300;
const RANGE: &str = "/etcdserverpb.KV/Range";

/// What all of it may cost the server at its worst moment. Connections come
/// one after the other, so this is what one of them can hold.
const NOISE_BYTES_MAX: u64 = 64 * MIB;

/// Frames of a flood.
const FLOOD: u32 = 20_000;
/// Memory of a call that is open and does nothing. How many calls a connection
/// may have open is the operator's to say; as in etcd, by default any number.
const OPEN_CALL_BYTES_MAX: u64 = 8 * 1024;
/// What a flood that is not read sends at most, in bytes.
const DEAF_FLOOD_BYTES_MAX: usize = 64 << 20;
/// A server that takes nothing for so long does not want to: it waits until
/// what it has said is read.
const PATIENCE: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_ends_its_own_connection_only() {
    let seed = Seed::announce("noise", COMMAND);
    let mut t4 = t4(&[]);
    let memory = Memory::of(&mut t4);
    let mut rpc = connect(t4.endpoint()).await;
    assert_served(&mut rpc, "before").await;
    memory.begin_peak();
    let before = memory.peak();

    for round in 0..ROUNDS {
        let bytes = noise(&mut seed.round(round).rng());
        say(t4.endpoint(), bytes).await;
        assert_served(&mut rpc, &format!("seed {seed}, round {round}")).await;
    }
    let peak = memory.peak();
    println!("before {} MiB, peak {} MiB", before / MIB, peak / MIB);
    assert!(peak <= before + NOISE_BYTES_MAX, "seed {seed}: {before} B, then {peak} B");
    assert!(t4.program().is_running().expect("a process"));
    assert_log_is_calm(&mut t4, ROUNDS as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_are_bounded() {
    let mut t4 = t4(&[]);
    let memory = Memory::of(&mut t4);
    let mut rpc = connect(t4.endpoint()).await;
    assert_served(&mut rpc, "before").await;

    let floods = floods();
    let attacks = floods.len();
    for (name, bytes) in floods {
        memory.begin_peak();
        let before = memory.peak();
        let heard = kinds(&say(t4.endpoint(), bytes).await);
        told(name, &heard, before, &memory, NOISE_BYTES_MAX);
        assert_served(&mut rpc, name).await;
        if name == "endless headers" {
            assert!(heard.contains(&GOAWAY), "{name}: {:?}", &heard[..heard.len().min(20)]);
        }
    }
    for (name, unit) in echoes() {
        memory.begin_peak();
        let before = memory.peak();
        let _open = shout(t4.endpoint(), unit).await;
        told(name, &[], before, &memory, NOISE_BYTES_MAX);
        assert_served(&mut rpc, name).await;
    }
    still_serves(&mut rpc, t4.endpoint()).await;
    assert!(t4.program().is_running().expect("a process"));
    assert_log_is_calm(&mut t4, attacks);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_calls_are_as_many_as_the_operator_allows() {
    let bounds = [
        (vec![], u64::from(FLOOD) * OPEN_CALL_BYTES_MAX),
        (vec!["--max-concurrent-streams=500"], NOISE_BYTES_MAX / 4),
    ];
    for (flags, bytes_max) in bounds {
        let mut t4 = t4(&flags);
        let memory = Memory::of(&mut t4);
        let mut rpc = connect(t4.endpoint()).await;
        assert_served(&mut rpc, "before").await;
        memory.begin_peak();
        let before = memory.peak();
        let head = call_headers(RANGE);
        let open = |number| frame(HEADERS, END_HEADERS, 2 * number + 1, &head);
        let heard = kinds(&say(t4.endpoint(), repeated(open)).await);
        told("open calls", &heard, before, &memory, bytes_max);
        still_serves(&mut rpc, t4.endpoint()).await;
        assert_log_is_calm(&mut t4, 1);
    }
}

fn told(name: &str, heard: &[u8], before: u64, memory: &Memory, bytes_max: u64) {
    let peak = memory.peak();
    println!(
        "{name}: {} frames back, {} KiB more at most",
        heard.len(),
        peak.saturating_sub(before) / 1024
    );
    assert!(peak <= before + bytes_max, "{name}: {before} B, then {peak} B");
}

async fn still_serves(rpc: &mut Rpc, endpoint: &str) {
    assert_served(rpc, "after").await;
    assert_served(&mut connect(endpoint).await, "a new connection").await;
}

/// Says all of it, hears all that comes back until the server closes.
async fn say(endpoint: &str, bytes: Vec<u8>) -> Vec<u8> {
    let stream = TcpStream::connect(endpoint).expect("connect");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
    stream.set_write_timeout(Some(DEADLINE)).expect("a socket");
    let mut ear = stream.try_clone().expect("a socket");
    let hearing = spawn_blocking(move || {
        let mut heard = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match ear.read(&mut buffer) {
                Ok(0) => return Ok(heard),
                Ok(length) => heard.extend_from_slice(&buffer[..length]),
                Err(error) if is_timeout(&error) => return Err("the server does not close"),
                // Reset: it closed without hearing us out.
                Err(_) => return Ok(heard),
            }
        }
    });
    let speaking = spawn_blocking(move || {
        let mut stream = stream;
        // It may well close before it has heard everything.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
    });
    speaking.await.expect("speak");
    hearing.await.expect("hear").expect("an end")
}

/// Says `unit` again and again without hearing, until the server takes no more.
async fn shout(endpoint: &str, unit: Vec<u8>) -> TcpStream {
    let mut stream = TcpStream::connect(endpoint).expect("connect");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
    spawn_blocking(move || {
        let chunk: Vec<u8> = unit.iter().copied().cycle().take(unit.len() * 2000).collect();
        let mut said = 0;
        let _ = stream.write_all(&hello());
        while said < DEAF_FLOOD_BYTES_MAX && stream.write_all(&chunk).is_ok() {
            said += chunk.len();
        }
        stream
    })
    .await
    .expect("shout")
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// Frames that want an answer each.
fn echoes() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("pings, unread", frame(PING, 0, 0, &[7; 8])),
        ("settings, unread", frame(SETTINGS, 0, 0, b"")),
    ]
}

fn repeated(unit: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let mut bytes = hello();
    for number in 0..FLOOD {
        bytes.extend(unit(number));
    }
    bytes
}

fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let head = call_headers(RANGE);
    let open = frame(HEADERS, 0, 1, &head);
    let endless = [hello(), open.clone(), continuations(|_| header("x", &[b'y'; 200]))].concat();
    let empty = [hello(), open, continuations(|_| Vec::new())].concat();
    vec![
        // CVE-2023-44487.
        (
            "rapid reset",
            repeated(|number| {
                let stream = 2 * number + 1;
                let reset = frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
                [frame(HEADERS, END_HEADERS, stream, &head), reset].concat()
            }),
        ),
        // CVE-2024-27316 and its like.
        ("endless headers", endless),
        ("empty continuations", empty),
        ("pings", repeated(|number| frame(PING, 0, 0, &u64::from(number).to_be_bytes()))),
        ("settings", repeated(|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]))),
        ("priorities", repeated(|number| frame(PRIORITY, 0, 2 * number + 1, &[0, 0, 0, 0, 9]))),
        ("empty data", {
            let begin = frame(HEADERS, END_HEADERS, 1, &head);
            let data = repeated(|_| frame(DATA, 0, 1, b""));
            [&hello(), &begin[..], &data[hello().len()..]].concat()
        }),
        ("windows", repeated(|_| frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()))),
        ("calls", repeated(|number| call(2 * number + 1, RANGE))),
    ]
}

fn continuations(payload: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..FLOOD).flat_map(|number| frame(CONTINUATION, 0, 1, &payload(number))).collect()
}

/// Something to say, of any kind.
fn noise(rng: &mut Rng) -> Vec<u8> {
    let some = |rng: &mut Rng, most: u64| {
        let length = rng.below(most) as usize;
        rng.bytes(length)
    };
    match rng.below(12) {
        0 => some(rng, 4096),
        1 => [&PREFACE[..rng.below(24) as usize], &some(rng, 64)].concat(),
        2 => [PREFACE, &some(rng, 4096)].concat(),
        3 => http1(rng),
        4 => [hello(), oversized(rng)].concat(),
        5 => [hello(), bad_headers(rng)].concat(),
        6 => [hello(), out_of_order(rng)].concat(),
        7 => {
            // A good call, cut off anywhere.
            let mut bytes = [hello(), call(1, RANGE)].concat();
            bytes.truncate(rng.below(bytes.len() as u64) as usize);
            bytes
        }
        8 => {
            // Good calls of which one byte was changed.
            let mut bytes = [hello(), call(1, RANGE), call(3, RANGE)].concat();
            let place = rng.below(bytes.len() as u64) as usize;
            bytes[place] = rng.below(256) as u8;
            bytes
        }
        _ => {
            let mut bytes = hello();
            for _ in 0..rng.between(1, 30) {
                bytes.extend(random_frame(rng));
            }
            bytes
        }
    }
}

/// Frames longer than allowed, or than they are.
fn oversized(rng: &mut Rng) -> Vec<u8> {
    let kind = rng.below(10) as u8;
    let mut bytes = frame(kind, END_HEADERS, 1, &vec![0; 16_385 + rng.below(50_000) as usize]);
    if rng.chance(1, 2) {
        bytes[..3].fill(0xff);
    }
    bytes
}

/// Headers that cannot be decompressed, or say nothing that makes sense.
fn bad_headers(rng: &mut Rng) -> Vec<u8> {
    let block = match rng.below(6) {
        0 => rng.bytes(200),
        // The index 0, one of no entry, and a number without an end.
        1 => vec![0x80],
        2 => vec![0xff, 0xff, 0x7f],
        3 => [&[0xff][..], &[0xff; 40]].concat(),
        // A table far larger than was agreed.
        4 => vec![0x3f, 0xff, 0xff, 0xff, 0x7f],
        _ => [header(":method", b"\xff"), header("UPPER", b"\0"), header(":late", b"")].concat(),
    };
    frame(HEADERS, END_HEADERS | rng.below(64) as u8, 1, &block)
}

/// Frames that are right, at a moment or a place that is not.
fn out_of_order(rng: &mut Rng) -> Vec<u8> {
    let head = call_headers(RANGE);
    match rng.below(9) {
        0 => frame(DATA, END_STREAM, 0, b"data"),
        1 => frame(DATA, END_STREAM, 7, b"data"),
        2 => frame(CONTINUATION, END_HEADERS, 1, &head),
        3 => frame(PUSH_PROMISE, END_HEADERS, 1, &head),
        4 => frame(HEADERS, END_HEADERS, 2, &head),
        5 => [call(5, RANGE), call(3, RANGE)].concat(),
        6 => frame(WINDOW_UPDATE, 0, rng.below(2) as u32, &[0; 4]),
        7 => frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        // More than the window, without waiting for it to open.
        _ => {
            let data = frame(DATA, 0, 1, &[0; 16_384]);
            [frame(HEADERS, END_HEADERS, 1, &head), data.repeat(200)].concat()
        }
    }
}

/// What only looks like HTTP/1.
fn http1(rng: &mut Rng) -> Vec<u8> {
    match rng.below(6) {
        0 => b"GET / HTTP/1.1\r\n".to_vec(),
        1 => [&b"GET /"[..], &vec![b'a'; 1 << 20]].concat(),
        2 => [&b"GET / HTTP/1.1\r\n"[..], &b"x: y\r\n".repeat(5000)].concat(),
        3 => {
            b"POST / HTTP/1.1\r\nHost: t4\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec()
        }
        4 => b"POST / HTTP/1.1\r\nHost: t4\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        _ => [&b"GET / HTTP/9.9\r\n"[..], &rng.bytes(300)].concat(),
    }
}
